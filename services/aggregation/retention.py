"""What is removed by age. Estimates leave their number and digest behind, by hour, in the same transaction."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from services.aggregation import tables
from shared.receipts import ledger_digest

AT_ONCE = 1000
"""Rows removed in one transaction, so that counting never waits long for it."""


def prune_changes(connection: Connection, before: datetime) -> int:
    """Remove some of the changes written before; return how many."""
    table = tables.changes
    old = select(table.c.sequence).where(table.c.written_at < before).order_by(table.c.sequence).limit(AT_ONCE)
    return connection.execute(delete(table).where(table.c.sequence.in_(old))).rowcount


def prune_estimates(connection: Connection, before: datetime) -> int:
    """Move some estimates of receipts given before that hour into their hour's totals; return how many.

    What ingest was not told yet stays.
    """
    table, waiting, said = tables.estimates, tables.settlements, tables.corrections
    rows = connection.execute(
        select(table.c.receipt, table.c.hour)
        .where(table.c.hour < before.replace(minute=0, second=0, microsecond=0))
        .where(table.c.receipt.not_in(select(waiting.c.receipt)))
        .order_by(table.c.hour)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    by_hour: dict[datetime, list[str]] = {}
    for receipt, hour in rows:
        by_hour.setdefault(hour, []).append(receipt)
    for hour, receipts in by_hour.items():
        _add_to_totals(connection, hour, receipts)
    gone = [receipt for receipt, _ in rows]
    if gone:
        connection.execute(delete(said).where(said.c.receipt.in_(gone)))
        history = tables.correction_history
        connection.execute(delete(history).where(history.c.receipt.in_(gone)))
        connection.execute(delete(table).where(table.c.receipt.in_(gone)))
    return len(gone)


def _add_to_totals(connection: Connection, hour: datetime, receipts: list[str]) -> None:
    table = tables.hour_totals
    before = connection.execute(select(table).where(table.c.hour == hour).with_for_update()).mappings().first()
    if before is None:
        row = {"hour": hour, "number": len(receipts), "digest": ledger_digest(receipts)}
        connection.execute(insert(table), [row])
        return
    connection.execute(
        update(table)
        .where(table.c.hour == hour)
        .values(number=before["number"] + len(receipts), digest=ledger_digest(receipts, before["digest"]))
    )


def prune_spans(connection: Connection, before: datetime) -> int:
    """Remove some of the occupancy spans that began before, of spaces that have changed since; return how many."""
    table = tables.spans
    later = table.alias()
    old = (
        select(table.c.space_id, table.c.since)
        .where(table.c.since < before)
        .where(
            select(later.c.since)
            .where(later.c.space_id == table.c.space_id, later.c.since > table.c.since, later.c.since < before)
            .exists()
        )
        .limit(AT_ONCE)
    )
    gone = connection.execute(old).all()
    for space_id, since in gone:
        connection.execute(delete(table).where(table.c.space_id == space_id, table.c.since == since))
    return len(gone)


def hold_lease(connection: Connection, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
    """Take or keep the lease `name`; return whether `holder` has it, then for three quarters of `lease` at least.

    It is written anew once a quarter is over, not at each look, for each writing syncs the disk.
    """
    table = tables.leases
    mine = select(table.c.until).where(table.c.name == name, table.c.holder == holder)
    until = connection.execute(mine).scalar_one_or_none()
    if until is not None and 0.75 * lease < until - now <= lease:
        return True
    taken = connection.execute(
        update(table)
        .where(table.c.name == name, (table.c.holder == holder) | (table.c.until < now))
        .values(holder=holder, until=now + lease)
    )
    return taken.rowcount == 1
