"""What the classifier is told: what people say of frames, and how many estimates of each version were counted.

Written in the transaction that corrects or counts, and delivered by the courier until acknowledged.
"""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.aggregation import tables
from shared.database import EPOCH
from shared.messages import EstimateResult, isoformat

LEASE = timedelta(seconds=10)
PAUSE = timedelta(hours=1)
"""How long a word rests that the classifier refuses; a newer one on the same frame is told at once."""
STRIPES = 1024
# Drawn once a process, so that two workers seldom wait for one row.
STRIPE = secrets.randbelow(STRIPES)
WHOLE = 1_000_000
"""The stripe under which the classifier is told the sum of all: no process can draw it, so that what the version before
told of single ones is not added to it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One person's word on a frame; None takes it back."""

    receipt: str
    label: str | None
    by: str
    at: datetime


def enqueue(connection: Connection, receipt: str, label: str | None, by: str, at: datetime) -> None:
    """Queue a person's word in place of an older one on the same frame; it is due at once."""
    table = tables.deliveries
    row = {"receipt": receipt, "label": label, "said_by": by, "said_at": at, "next_try_at": EPOCH}
    connection.execute(delete(table).where(table.c.receipt == receipt))
    connection.execute(insert(table), [row])


def claim(connection: Connection, now: datetime, limit: int) -> list[Delivery]:
    """Return words that are due, oldest first, and keep them from others for `LEASE`."""
    table = tables.deliveries
    rows = connection.execute(
        select(table)
        .where(table.c.next_try_at <= now)
        .order_by(table.c.said_at, table.c.receipt)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    receipts = [row.receipt for row in rows]
    if receipts:
        connection.execute(update(table).where(table.c.receipt.in_(receipts)).values(next_try_at=now + LEASE))
    return [Delivery(row.receipt, row.label, row.said_by, row.said_at) for row in rows]


def delivered(connection: Connection, deliveries: Sequence[Delivery]) -> None:
    """Remove what the classifier has, unless a newer word came meanwhile."""
    table = tables.deliveries
    for one in deliveries:
        connection.execute(delete(table).where(table.c.receipt == one.receipt, table.c.said_at == one.at))


def postpone(connection: Connection, deliveries: Sequence[Delivery], until: datetime) -> None:
    """Let words come due at `until`, unless a newer one came meanwhile."""
    table = tables.deliveries
    for one in deliveries:
        this = (table.c.receipt == one.receipt, table.c.said_at == one.at)
        connection.execute(update(table).where(*this).values(next_try_at=until))


def pending(connection: Connection) -> int:
    """Return how many words wait."""
    return connection.execute(select(func.count()).select_from(tables.deliveries)).scalar_one()


def described(connection: Connection, deliveries: Sequence[Delivery]) -> list[dict[str, Any]]:
    """Return words as the classifier takes them, with what was counted of each frame; pruned frames are left out."""
    table = tables.estimates
    query = select(table).where(table.c.receipt.in_([one.receipt for one in deliveries]))
    frames = {row["receipt"]: row for row in connection.execute(query).mappings()}
    return [_described(one, frames[one.receipt]) for one in deliveries if one.receipt in frames]


def _described(one: Delivery, frame: RowMapping) -> dict[str, Any]:
    return {
        "receipt": one.receipt,
        "label": one.label,
        "by": one.by,
        "at": isoformat(one.at),
        "camera_id": frame["camera_id"],
        "space_id": frame["space_id"],
        "observed_at": isoformat(frame["observed_at"]),
        "estimate": {name: frame[name] for name in ("label", "quality", "cat", "dog", "model", "version", "variant")}
        | {"revision": frame["revision"]},
    }


def count(connection: Connection, counted: Sequence[EstimateResult]) -> None:
    """Add estimates to what was counted of their versions."""
    numbers = Counter((one.revision, one.model, one.version, one.variant) for one in counted)
    if not numbers:
        return
    names = ("revision", "model", "version", "variant")
    rows = [
        dict(zip(names, key, strict=True)) | {"stripe": STRIPE, "number": number}
        for key, number in sorted(numbers.items())
    ]
    connection.execute(_adding(connection.dialect.name), rows)


@cache
def _adding(dialect: str) -> Any:
    # Made once: to build a statement costs more than to run it.
    table = tables.variant_counts
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    adding = make(table)
    return adding.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={"number": table.c.number + adding.excluded.number}
    )


def counts(connection: Connection, newest: int) -> list[dict[str, Any]]:
    """Return what was counted of the newest revisions' versions, `newest` of them at most: the sums of all writers,
    which only grow as well, and are as few however many processes there ever were."""
    table = tables.variant_counts
    names = (table.c.revision, table.c.model, table.c.version, table.c.variant)
    query = select(*names, func.sum(table.c.number).label("number"), literal(WHOLE).label("stripe"))
    query = query.group_by(*names).order_by(*(name.desc() for name in names)).limit(newest)
    return [{**row, "number": int(row["number"])} for row in connection.execute(query).mappings()]
