"""The books of camera_ingest: settlements, and the totals by hour that make the audit exact and cheap.

Every change of a frame that the audit counts changes its hour's totals in the same transaction, so a row that is
pruned later leaves its counts behind without being looked at. The hour is that of the receipt. On PostgreSQL each
process adds to rows of its own (`writer`), so that no process ever waits for another's commit; readers sum them up.
"""

import secrets
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from services.camera_ingest.domain import State, settled_state
from services.camera_ingest.tables import frame_totals, frames, in_flight, insert_into
from shared.receipts import MODULUS, hour_of, ledger_digest

WRITER = secrets.randbelow(2**62) + 1
SHARED_WRITER = 0
SUMS = ("accepted", "counted", "rejected", "digest_high", "digest_low", "image_bytes")
HALF = 32


@dataclass(frozen=True)
class Settlement:
    """One frame's end: `counted`, or `rejected` with a reason."""

    receipt: str
    state: State
    reason: str | None = None


@dataclass(frozen=True)
class HourTotals:
    """The audit of one hour; `digest` is that of the counted receipts, by `shared.receipts.ledger_digest`."""

    hour: datetime
    accepted: int
    counted: int
    rejected: int
    in_flight: int
    digest: str


def add(connection: Connection, hour: datetime, **deltas: int) -> None:
    """Add to the totals of an hour, in the transaction that changes the frames."""
    writer = SHARED_WRITER if connection.dialect.name == "sqlite" else WRITER
    _add_to(connection, hour, writer, deltas)


def _add_to(connection: Connection, hour: datetime, writer: int, deltas: Mapping[str, int]) -> None:
    values = dict.fromkeys(SUMS, 0) | dict(deltas)
    connection.execute(_adding(connection.dialect.name), {"hour": hour, "writer": writer, **values})


@cache
def _adding(dialect: str) -> Any:
    statement = insert_into(dialect, frame_totals)
    sums = {name: frame_totals.c[name] + statement.excluded[name] for name in SUMS}
    return statement.on_conflict_do_update(index_elements=["hour", "writer"], set_=sums)


def settle(
    connection: Connection, settlements: Sequence[Settlement], now: datetime
) -> tuple[dict[str, int], list[str]]:
    """Settle frames; return how many changed by new state, and the receipts that are not known here.

    Repeats change nothing. A receipt that is named twice is counted if any of the two says so.
    """
    wanted: dict[str, Settlement] = {}
    for settlement in settlements:
        if settlement.receipt not in wanted or settlement.state is State.COUNTED:
            wanted[settlement.receipt] = settlement
    rows = connection.execute(
        select(frames.c.receipt, frames.c.state)
        .where(frames.c.receipt.in_(list(wanted)))
        .order_by(frames.c.receipt)  # in one order, so that two processes never wait for each other
        .with_for_update()
    ).all()
    changes: dict[tuple[State, str | None], list[str]] = defaultdict(list)
    deltas: dict[datetime, Counter[str]] = defaultdict(Counter)
    for row in rows:
        current, settlement = State(row.state), wanted[row.receipt]
        new = settled_state(current, settlement.state)
        if new is current:
            continue
        changes[new, settlement.reason if new is State.REJECTED else None].append(row.receipt)
        delta = deltas[hour_of(row.receipt)]
        delta[new.value] += 1
        if current is State.REJECTED:
            delta["rejected"] -= 1
        if new is State.COUNTED:
            digest = int(ledger_digest([row.receipt]), 16)
            delta["digest_high"] += digest >> HALF
            delta["digest_low"] += digest & (2**HALF - 1)
    numbers: dict[str, int] = Counter()
    for (state, reason), receipts in changes.items():
        numbers[state.value] += len(receipts)
        connection.execute(
            update(frames)
            .where(frames.c.receipt.in_(receipts))
            .values(state=state.value, reason=reason, settled_at=now, next_offer_at=None, attempt_at=None)
        )
    for hour in sorted(deltas):
        add(connection, hour, **deltas[hour])
    known = {row.receipt for row in rows}
    return numbers, [receipt for receipt in wanted if receipt not in known]


def audit(connection: Connection) -> dict[str, int]:
    """Return `accepted`, `counted`, `rejected` from the totals and `in_flight` from the frames themselves."""
    totals = connection.execute(
        select(*(func.coalesce(func.sum(frame_totals.c[name]), 0).label(name) for name in SUMS[:3]))
    ).one()
    flying = connection.scalar(select(func.count()).select_from(frames).where(in_flight))
    return {
        "accepted": int(totals.accepted),
        "counted": int(totals.counted),
        "rejected": int(totals.rejected),
        "in_flight": int(flying or 0),
    }


def audit_hours(connection: Connection, since: datetime, until: datetime) -> list[HourTotals]:
    """Return the hours that begin in [`since`, `until`) and have frames, in order."""
    flying: Counter[datetime] = Counter()
    for receipt in connection.scalars(select(frames.c.receipt).where(in_flight)):
        flying[hour_of(receipt)] += 1
    rows = connection.execute(
        select(frame_totals.c.hour, *(func.sum(frame_totals.c[name]).label(name) for name in SUMS))
        .where(frame_totals.c.hour >= since, frame_totals.c.hour < until)
        .group_by(frame_totals.c.hour)
        .order_by(frame_totals.c.hour)
    )
    return [
        HourTotals(row.hour, int(row.accepted), int(row.counted), int(row.rejected), flying[row.hour], _digest(row))
        for row in rows
    ]


def _digest(row: Any) -> str:
    total = (int(row.digest_high) << HALF) + int(row.digest_low)
    return f"{total % MODULUS:016x}"


def image_bytes(connection: Connection) -> int:
    """Return the bytes of the image files that are kept."""
    return int(connection.scalar(select(func.sum(frame_totals.c.image_bytes))) or 0)


def fold_totals(connection: Connection, before: datetime) -> None:
    """Make one row of an hour's rows by many processes, for hours before `before`.

    A row that a process adds to right now is left for the next time.
    """
    old = (
        select(frame_totals.c.hour, frame_totals.c.writer)
        .where(frame_totals.c.hour < before, frame_totals.c.writer != SHARED_WRITER)
        .limit(1000)
        .with_for_update(skip_locked=True)
    )
    sums: Mapping[datetime, Counter[str]] = defaultdict(Counter)
    for key in connection.execute(old).all():
        gone = connection.execute(
            delete(frame_totals)
            .where(frame_totals.c.hour == key.hour, frame_totals.c.writer == key.writer)
            .returning(frame_totals)
        ).one()
        sums[gone.hour].update({name: getattr(gone, name) for name in SUMS})
    for hour in sorted(sums):
        _add_to(connection, hour, SHARED_WRITER, sums[hour])
