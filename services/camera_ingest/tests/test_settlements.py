"""Settlements and the books: accepted = counted + rejected + in flight, whatever happens in which order."""

import random
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from services.camera_ingest import ledger
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest
from shared.database import Database
from shared.receipts import given_at, ledger_digest
from shared.tokens import Role


def counted(receipt: str) -> dict[str, str]:
    return {"receipt": receipt, "state": "counted"}


def rejected(receipt: str, reason: str = "no picture") -> dict[str, str]:
    return {"receipt": receipt, "state": "rejected", "reason": reason}


def test_settlements_go_forward_only_and_may_be_repeated(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    receipt = ingest.accept("a")
    seen = []
    for settlement in (
        rejected(receipt),
        rejected(receipt, "other"),
        counted(receipt),
        counted(receipt),
        rejected(receipt),
    ):
        assert ingest.settle(settlement).json() == {"settled": 1, "unknown": []}
        body = ingest.receipt(receipt)
        seen.append((body["state"], body["reason"]))
        ingest.audit()
    assert seen == [("rejected", "no picture")] * 2 + [("counted", None)] * 3
    assert ingest.audit() == {"accepted": 1, "counted": 1, "rejected": 0, "in_flight": 0}


def test_a_bulk_of_settlements_settles_the_known_and_names_the_unknown(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    receipts = [ingest.accept(f"f{number}", photo(number)) for number in range(5)]
    answer = ingest.settle(
        counted(receipts[0]),
        rejected(receipts[0]),  # twice in one request: counted wins, in either order
        rejected(receipts[1]),
        counted(receipts[1]),
        rejected(receipts[2]),
        counted("unknown-1"),
        counted("unknown-1"),
    )
    assert answer.json() == {"settled": 3, "unknown": ["unknown-1"]}
    assert ingest.audit() == {"accepted": 5, "counted": 2, "rejected": 1, "in_flight": 2}


@pytest.mark.parametrize(
    "settlements",
    [
        [{"receipt": "r", "state": "accepted"}],
        [{"receipt": "r", "state": "rejected"}],
        [{"receipt": "r", "state": "rejected", "reason": ""}],
        [{"receipt": "r", "state": "rejected", "reason": "x" * 201}],
        [{"receipt": "", "state": "counted"}],
        [{"receipt": "r" * 65, "state": "counted"}],
        [counted(f"r{number}") for number in range(1001)],
    ],
)
def test_settlements_that_are_none_are_refused(ingest: Ingest, settlements: list[dict[str, str]]) -> None:
    assert ingest.settle(*settlements).status_code == 422


def test_a_thousand_settlements_fit_into_a_request(ingest: Ingest) -> None:
    answer = ingest.settle(*(rejected("r" * 60 + f"{number:04}", "x" * 200) for number in range(1000)))
    assert (answer.status_code, answer.json()["settled"], len(answer.json()["unknown"])) == (200, 0, 1000)
    assert ingest.settle().json() == {"settled": 0, "unknown": []}


def test_an_operator_offers_a_rejected_frame_again(ingest_on_each: Ingest) -> None:
    ingest, operator = ingest_on_each, ingest_on_each.bearer(Role.OPERATOR)
    receipt = ingest.accept("a")
    path = f"/v1/receipts/{receipt}/offers"
    assert ingest.client.post(path, headers=operator).json()["state"] == "accepted"  # in flight anyway
    ingest.settle(rejected(receipt))
    offered = ingest.client.post(path, headers=operator)
    assert (offered.status_code, offered.json()["state"], offered.json()["reason"]) == (202, "accepted", None)
    assert ingest.audit() == {"accepted": 1, "counted": 0, "rejected": 0, "in_flight": 1}
    ingest.settle(counted(receipt))
    assert ingest.client.post(path, headers=operator).status_code == 409
    assert ingest.client.post("/v1/receipts/nothing/offers", headers=operator).status_code == 404


def test_the_hours_tell_numbers_and_the_digest_of_what_is_counted(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    receipts = [ingest.accept(f"f{number}", photo(number)) for number in range(6)]
    ingest.settle(counted(receipts[0]), counted(receipts[1]), rejected(receipts[2]))
    ingest.settle(counted(receipts[2]), rejected(receipts[3]))
    hours = ingest.get("/v1/audit/hours", role=Role.SERVICE).json()["items"]
    assert sum(hour["accepted"] for hour in hours) == 6
    for hour in hours:  # two, if the test ran over the hour
        start = datetime.fromisoformat(hour["hour"])
        mine = [r for r in receipts if start <= given_at(r) < start + timedelta(hours=1)]
        assert hour["digest"] == ledger_digest([r for r in mine if r in receipts[:3]])
        assert hour["counted"] == len(set(mine) & set(receipts[:3]))
        assert hour["accepted"] == hour["counted"] + hour["rejected"] + hour["in_flight"] == len(mine)


def test_the_hours_are_those_asked_for(ingest: Ingest) -> None:
    receipt = ingest.accept("a")
    hour = given_at(receipt).replace(minute=0, second=0, microsecond=0)

    def hours(since: datetime | None, until: datetime | None) -> int:
        times = {"since": since, "until": until}
        parameters = {name: time.isoformat() for name, time in times.items() if time}
        answer = ingest.get("/v1/audit/hours", params=parameters)
        return len(answer.json()["items"]) if answer.status_code == 200 else -answer.status_code

    one = timedelta(hours=1)
    assert hours(None, None) == 1
    assert hours(hour, hour + one) == 1
    assert hours(hour + one / 2, hour + one) == 1  # from the start of its hour
    assert hours(hour + one, None) == 0
    assert hours(hour - one, hour) == 0
    assert hours(hour - timedelta(days=101), hour) == -422
    assert hours(datetime(1, 1, 1, tzinfo=UTC), None) == -422
    assert hours(None, datetime(1, 1, 1, tzinfo=UTC)) == -422
    assert ingest.get("/v1/audit/hours?since=2026-11-22T10:00:00").status_code == 422


def test_the_books_balance_after_any_sequence_and_equal_the_frames(ingest_on_each: Ingest) -> None:
    ingest, chance = ingest_on_each, random.Random(11)
    operator = ingest.bearer(Role.OPERATOR)
    receipts: list[str] = []
    for step in range(120):
        what = chance.choice(("put", "settle", "settle", "offer"))
        if what == "put" or not receipts:
            receipts.append(ingest.accept(f"f{step}", photo(step)))
        elif what == "settle":
            make = chance.choice((counted, rejected))
            ingest.settle(*(make(receipt) for receipt in chance.choices(receipts, k=3)))
        else:
            ingest.client.post(f"/v1/receipts/{chance.choice(receipts)}/offers", headers=operator)
    states = [ingest.receipt(receipt)["state"] for receipt in receipts]
    books = ingest.audit()
    assert books == {
        "accepted": len(receipts),
        "counted": states.count("counted"),
        "rejected": states.count("rejected"),
        "in_flight": states.count("accepted"),
    }


def test_digests_add_up_past_64_bits_and_rows_of_many_writers_are_folded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = datetime(2026, 11, 22, 10, tzinfo=UTC)
    most = 2**32 - 1
    for writer in range(1, 6):
        monkeypatch.setattr(ledger, "WRITER", writer)
        for _ in range(3):
            database.write(lambda c: ledger.add(c, hour, accepted=2, counted=2, digest_high=most, digest_low=most))

    def books() -> list[ledger.HourTotals]:
        with database.read() as connection:
            return ledger.audit_hours(connection, hour, hour + timedelta(hours=1))

    before = books()
    assert (before[0].accepted, int(before[0].digest, 16)) == (30, 15 * (2**64 - 1) % 2**64)
    for _ in range(2):
        database.write(lambda c: ledger.fold_totals(c, hour + timedelta(hours=3)))
        assert books() == before
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM frame_totals").scalar() == 1


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_hours_are_told_in_order(database: Database, order: str) -> None:
    hours = [datetime(2026, 11, 22, hour, tzinfo=UTC) for hour in range(5)]
    for hour in hours if order == "oldest first" else reversed(hours):
        database.write(partial(ledger.add, hour=hour, accepted=1))
    with database.read() as connection:
        found = ledger.audit_hours(connection, hours[1], hours[4])
    assert [one.hour for one in found] == hours[1:4]
