import pytest

from deploy.local.story import Chapter
from deploy.local.truth import COMING_S, LEAVING_S, Tally, verdict


@pytest.mark.parametrize(
    ("shown", "label", "ago_s", "left", "blind", "right"),
    [
        ("cat", "cat", COMING_S, False, False, True),
        ("empty", "cat", COMING_S, False, False, False),
        ("empty", "cat", COMING_S - 1, False, False, None),
        ("cat", "none", LEAVING_S - 1, True, False, None),
        ("cat", "none", LEAVING_S, True, False, False),
        ("empty", "none", LEAVING_S, True, False, True),
        ("stale", "dog", 500, False, False, False),
        ("stale", "dog", 500, False, True, True),
        ("unsure", "dog", 500, False, True, True),
        ("dog", "dog", 500, False, True, True),
        ("empty", "dog", 500, False, True, False),
        ("cat", "none", 500, True, True, None),
    ],
)
def test_the_status_is_right_wrong_or_not_to_be_judged_yet(
    shown: str, label: str, ago_s: float, left: bool, blind: bool, right: bool | None
) -> None:
    assert verdict(shown, Chapter(100, label, 1, somebody_left=left), 100 + ago_s, blind=blind) is right


def test_the_share_counts_only_what_was_judged() -> None:
    tally = Tally()
    assert "not judged" in str(tally)
    tally.judge({"a": True, "b": False, "c": None})
    tally.judge({"a": True, "b": True, "c": None})
    assert tally.share == 0.75
    assert str(tally) == "right 75% of the time"


def test_how_long_a_change_took_is_counted_from_the_truth_to_the_status() -> None:
    tally = Tally()
    cat, nobody = Chapter(0, "cat", 1), Chapter(100, "none", 2, somebody_left=True)
    dog, both, again = Chapter(200, "dog", 3), Chapter(300, "both", 3), Chapter(310, "cat", 3, somebody_left=True)
    for elapsed_s, shown, chapter in [
        (50, "cat", cat),
        (101, "cat", nobody),
        (131, "empty", nobody),
        (203, "empty", dog),
        (205, "dog", dog),
        (301, "dog", both),
        (311, "dog", again),
        (315, "cat", again),
    ]:
        tally.follow({"k1": shown}, {"k1": chapter}, elapsed_s)
    assert tally.report() == {
        "right": None,
        "judged": 0,
        "arrivals_s": [5],
        "departures_s": [31, 5],
        "missed": 1,
    }
