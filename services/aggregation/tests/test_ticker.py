"""The ticker: what time alone changes, what is too old, one at work at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import uuid_utils
from sqlalchemy import func, insert, select, update

from services.aggregation import ledger, tables
from services.aggregation.settings import Settings
from services.aggregation.tests.conftest import Record, minutes_ago, result
from services.aggregation.ticker import Ticker
from shared.database import Database
from shared.receipts import hour_of, ledger_digest


def rows(database: Database, table: Any) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(table)).mappings())


def test_a_space_becomes_stale_once_and_the_change_is_written(
    database: Database, settings: Settings, record: Record
) -> None:
    record(result(cat=0.98))
    ticker, later = Ticker(database, settings), datetime.now(UTC) + timedelta(seconds=601)
    assert ticker.tick(later)
    ticker.tick(later + timedelta(seconds=1))
    (space,) = rows(database, tables.spaces)
    assert (space["occupancy"], space["due_at"]) == ("stale", None)
    assert space["since"] == space["last_evidence_at"] + timedelta(seconds=600)
    assert [row["kind"] for row in rows(database, tables.changes)] == ["occupancy", "stay_opened", "occupancy"]
    (stay,) = rows(database, tables.stays)
    assert stay["until_at"] is None, "nobody saw the cat leave"


def test_a_stay_ends_when_its_grace_time_does_though_no_frame_comes(
    database: Database, settings: Settings, record: Record
) -> None:
    at = minutes_ago(8)
    record(result(at=at, cat=0.98))
    # Five minutes of nobody, and the cat is gone; the grace time then ends with no frame after it.
    for step in range(1, 46):
        record(result(at=at + timedelta(seconds=10 * step), cat=0.02))
    (stay,) = rows(database, tables.stays)
    Ticker(database, settings).tick(datetime.now(UTC) + timedelta(seconds=130))
    (stay,) = rows(database, tables.stays)
    assert stay["until_at"] is not None
    assert at < stay["until_at"] <= at + timedelta(seconds=460)


def test_one_ticker_works_at_a_time_and_another_takes_over(database: Database, settings: Settings) -> None:
    first, second = Ticker(database, settings), Ticker(database, settings)
    at = datetime.now(UTC)
    assert first.tick(at)
    assert not second.tick(at)
    assert first.tick(at + timedelta(seconds=5))
    assert not second.tick(at + timedelta(seconds=14))
    assert second.tick(at + timedelta(seconds=16))


def test_a_lease_is_written_anew_when_a_quarter_is_over_or_the_clock_was_put_back(
    database: Database, settings: Settings
) -> None:
    at, ticker = datetime.now(UTC), Ticker(database, settings)

    def until_after(seconds: float) -> object:
        assert ticker.tick(at + timedelta(seconds=seconds))
        (lease,) = [row for row in rows(database, tables.leases) if row["name"] == "ticker"]
        return lease["until"] - at

    expected = [timedelta(seconds=seconds) for seconds in (10, 10, 13, 13, 10)]
    assert [until_after(seconds) for seconds in (0, 2, 3, 5, 0)] == expected


def old_receipt(days: float) -> str:
    """Return a receipt that was given `days` ago."""
    milliseconds = int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000)
    tail = uuid_utils.uuid7().int & ((1 << 80) - 1)
    return str(uuid_utils.UUID(int=(milliseconds << 80) | tail))


def test_old_estimates_leave_their_number_and_digest_behind(
    database: Database, settings: Settings, record: Record
) -> None:
    old, waits, new = old_receipt(401), old_receipt(401), result()["receipt"]
    record(*(result(receipt=receipt) for receipt in (old, waits, new)))
    settled = tables.settlements
    database.write(lambda connection: connection.execute(settled.delete().where(settled.c.receipt != waits)))
    first, last = hour_of(old) - timedelta(hours=1), hour_of(new)
    with database.read() as connection:
        before = ledger.hours(connection, first, last)
    Ticker(database, settings).tick(datetime.now(UTC))
    assert {row["receipt"] for row in rows(database, tables.estimates)} == {waits, new}
    with database.read() as connection:
        assert ledger.hours(connection, first, last) == before
    (total,) = rows(database, tables.hour_totals)
    assert (total["number"], total["digest"]) == (1, ledger_digest([old]))


def test_old_changes_go_and_numbers_go_on(database: Database, settings: Settings, record: Record) -> None:
    record(result(cat=0.98))
    database.write(
        lambda connection: connection.execute(
            update(tables.changes).values(written_at=datetime.now(UTC) - timedelta(days=31))
        )
    )
    Ticker(database, settings).tick(datetime.now(UTC))
    assert rows(database, tables.changes) == []
    record(result(space="k2", cat=0.98))
    assert min(row["sequence"] for row in rows(database, tables.changes)) == 3


def test_old_spans_go_but_the_one_that_reaches_into_the_kept_time(database: Database, settings: Settings) -> None:
    at = datetime.now(UTC)
    spans = [
        {"space_id": "k1", "since": at - timedelta(days=days), "occupancy": "cat", "probability": 0.9}
        for days in (500, 450, 10)
    ]
    database.write(lambda connection: connection.execute(insert(tables.spans), spans))
    Ticker(database, settings).tick(at)
    with database.read() as connection:
        oldest = connection.execute(select(func.min(tables.spans.c.since))).scalar_one()
    assert abs(oldest - (at - timedelta(days=450))) < timedelta(seconds=1)
