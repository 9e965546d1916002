"""The outbox of settlements: written in the transaction that counts a frame, emptied by the settler."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.aggregation import tables

table = tables.settlements

LEASE = timedelta(seconds=10)
"""How long a claim keeps other processes away; a delivery takes less, and a killed process costs no more."""


PAUSE = timedelta(hours=1)
"""How long a counted settlement rests that ingest refuses or does not know; it is never dropped, the books need it."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """That a frame is finished: `counted`, or `rejected` with a reason."""

    receipt: str
    state: str
    reason: str | None


# Made once: to build a statement costs more than to run it.
_DUE = (
    select(table.c.receipt, table.c.state, table.c.reason)
    .where(table.c.next_try_at <= bindparam("now"))
    .order_by(table.c.next_try_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_POSTPONED = update(table).where(table.c.receipt.in_(bindparam("receipts"))).values(next_try_at=bindparam("until"))
_DELIVERED = delete(table).where(table.c.receipt.in_(bindparam("receipts")), table.c.state == bindparam("told"))


@cache
def _inserting(dialect: str, state: str) -> Any:
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    if state == "rejected":
        return make(table).on_conflict_do_nothing(index_elements=["receipt"])
    return make(table).on_conflict_do_update(index_elements=["receipt"], set_={"state": "counted", "reason": None})


def enqueue(
    connection: Connection, counted: Sequence[Settlement], rejected: Sequence[Settlement], now: datetime
) -> None:
    """Queue settlements; `counted` replaces a `rejected` that still waits, and never the other way."""
    for state, group in (("rejected", rejected), ("counted", counted)):
        rows = [
            {"receipt": one.receipt, "state": one.state, "reason": one.reason, "created_at": now, "next_try_at": now}
            for one in sorted(group, key=lambda one: one.receipt)
        ]
        if rows:
            connection.execute(_inserting(connection.dialect.name, state), rows)


def claim(connection: Connection, now: datetime, limit: int) -> list[Settlement]:
    """Return settlements that are due, oldest first, and keep them from others for `LEASE`."""
    rows = connection.execute(_DUE, {"now": now, "most": limit}).all()
    postpone(connection, [receipt for receipt, _, _ in rows], now + LEASE)
    return [Settlement(receipt, state, reason) for receipt, state, reason in rows]


def postpone(connection: Connection, receipts: Sequence[str], until: datetime) -> None:
    """Let these settlements come due at `until`."""
    if receipts:
        connection.execute(_POSTPONED, {"receipts": receipts, "until": until})


def put_off(connection: Connection, receipts: Sequence[str], now: datetime) -> None:
    """Keep settlements that ingest does not take, and tell them again after `PAUSE`."""
    postpone(connection, receipts, now + PAUSE)


def delivered(connection: Connection, settlements: Sequence[Settlement]) -> None:
    """Remove what ingest has been told, unless it turned from rejected to counted meanwhile."""
    for state in ("counted", "rejected"):
        receipts = [one.receipt for one in settlements if one.state == state]
        if receipts:
            connection.execute(_DELIVERED, {"receipts": receipts, "told": state})


def pending(connection: Connection) -> int:
    """Return how many settlements wait."""
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def resting(connection: Connection, now: datetime) -> int:
    """Return how many settlements rest since ingest does not take them."""
    # No claim and no failure of the network puts one off for as long as a minute.
    query = select(func.count()).select_from(table).where(table.c.next_try_at > now + timedelta(minutes=1))
    return connection.execute(query).scalar_one()
