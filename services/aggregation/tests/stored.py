"""What aggregation has stored, as tests compare it."""

from typing import Any

from sqlalchemy import select

from services.aggregation import tables
from shared.database import Database

COLUMNS = ("id", "occupancy", "probability", "since", "last_evidence_at", "frames", "posterior", "newest_at")


def believed(database: Database) -> dict[str, Any]:
    """Return all that is believed: spaces, stays (without their ids), spans."""
    with database.read() as connection:
        spaces = connection.execute(
            select(*(tables.spaces.c[name] for name in COLUMNS)).order_by(tables.spaces.c.id)
        ).all()
        stays = tables.stays
        found = connection.execute(
            select(stays.c.space_id, stays.c.species, stays.c.from_at, stays.c.until_at).order_by(
                stays.c.space_id, stays.c.from_at, stays.c.species
            )
        ).all()
        spans = connection.execute(select(tables.spans).order_by(tables.spans.c.space_id, tables.spans.c.since)).all()
    return {"spaces": [tuple(row) for row in spaces], "stays": [tuple(row) for row in found], "spans": list(spans)}


def outbox(database: Database) -> dict[str, tuple[str, str | None]]:
    """Return what ingest is still to be told of: a receipt's state and reason."""
    with database.read() as connection:
        rows = connection.execute(select(tables.settlements)).mappings()
        return {row["receipt"]: (row["state"], row["reason"]) for row in rows}
