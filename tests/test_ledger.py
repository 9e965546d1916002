"""The checker that the chaos tests trust sees each way of breaking the promise."""

import pytest

from tests.ledger import Frame, compare

A1, A2, A3 = ("a", "1"), ("a", "2"), ("a", "3")
ANSWERS = [(A1, "r1"), (A2, "r2")]


@pytest.mark.parametrize(
    ("answers", "counted", "broken"),
    [
        (ANSWERS, ["r2", "r1"], {}),
        ([*ANSWERS, (A1, "r1")], ["r1", "r2"], {}),
        (ANSWERS, ["r1"], {"lost": {"r2"}}),
        (ANSWERS, [], {"lost": {"r1", "r2"}}),
        (ANSWERS, ["r1", "r2", "r2"], {"doubled": {"r2"}}),
        (ANSWERS, ["r1", "r2", "r9"], {"unexpected": {"r9"}}),
        (ANSWERS, ["r1", "r2", "r3"], {"recovered": {"r3"}}),
        ([*ANSWERS, (A1, "r4")], ["r1", "r2", "r4"], {"doubled": {"r1", "r4"}}),
        (ANSWERS, ["r1", "r2", "r5"], {"recovered": {"r5"}, "doubled": {"r1", "r5"}}),
    ],
    ids=["kept", "told twice", "lost", "all lost", "twice", "strange", "unanswered", "two receipts", "two, one untold"],
)
def test_each_way_of_breaking_the_promise_is_seen(
    answers: list[tuple[Frame, str]], counted: list[str], broken: dict[str, set[str]]
) -> None:
    unanswered = {"r3": A3, "r5": A1}
    ledger = compare([A1, A2, A3], answers, counted, unanswered.get)
    found = {name: set(getattr(ledger, name)) for name in ("lost", "unexpected", "doubled", "recovered")}
    assert {name: receipts for name, receipts in found.items() if receipts} == broken
    assert ledger.kept == (not broken.keys() - {"recovered"})
    assert f"lost {len(broken.get('lost', ()))}," in str(ledger)
