"""The receipts that aggregation holds, by the hour in which they were given: number and digest."""

from datetime import datetime

from sqlalchemy import Connection, select

from services.aggregation import tables
from shared.receipts import hour_of, ledger_digest

EMPTY = (0, ledger_digest(()))

AT_ONCE = 10_000


def start_of_hour(moment: datetime) -> datetime:
    """Return the start of the hour that a time is in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def hours(connection: Connection, first: datetime, last: datetime) -> dict[datetime, tuple[int, str]]:
    """Return (number, digest) of each hour from `first` to `last` that has any; pruned estimates included."""
    totals, table = tables.hour_totals, tables.estimates
    sums: dict[datetime, tuple[int, str]] = {}
    for row in connection.execute(select(totals).where(totals.c.hour.between(first, last))).mappings():
        sums[row["hour"]] = (row["number"], row["digest"])
    rows = connection.execution_options(yield_per=AT_ONCE).execute(
        select(table.c.hour, table.c.receipt).where(table.c.hour.between(first, last))
    )
    for part in rows.partitions():
        by_hour: dict[datetime, list[str]] = {}
        for hour, receipt in part:
            by_hour.setdefault(hour, []).append(receipt)
        for hour, receipts in by_hour.items():
            number, digest = sums.get(hour, EMPTY)
            sums[hour] = (number + len(receipts), ledger_digest(receipts, digest))
    return sums


def awaiting_settlement(connection: Connection, first: datetime, last: datetime) -> dict[datetime, int]:
    """Return how many counted receipts of each hour ingest has not been told of yet."""
    table, frames = tables.settlements, tables.estimates
    waiting = connection.execute(
        select(frames.c.hour, table.c.receipt)
        .join(frames, frames.c.receipt == table.c.receipt)
        .where(table.c.state == "counted", frames.c.hour.between(first, last))
    )
    numbers: dict[datetime, int] = {}
    for _, receipt in waiting:
        numbers[hour_of(receipt)] = numbers.get(hour_of(receipt), 0) + 1
    return numbers
