"""What is read for people: the status, spaces, stays, estimates, history. Each function takes a read connection."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, literal, select, tuple_

from services.aggregation import tables
from services.aggregation.domain import (
    AdoptionState,
    Occupancy,
    Purpose,
    ShownSpace,
    ShownStay,
    Species,
    is_stale,
    totals,
)
from services.aggregation.refold import Row
from shared.database import Instant, microseconds
from shared.messages import isoformat

RECENT_CHANGES = 50


def instant(moment: datetime | None) -> str | None:
    """Return a time as answers write it."""
    return None if moment is None else isoformat(moment)


def space_view(row: Row, now: datetime) -> dict[str, Any]:
    """Return a space as it is shown at `now`: staleness is worked out here, so it is right between two ticks."""
    last = row["last_evidence_at"]
    occupancy, since = row["occupancy"], row["since"]
    stale = is_stale(None if last is None else microseconds(last), row["stale_after_s"], microseconds(now))
    if stale and occupancy != Occupancy.STALE:
        occupancy, since = Occupancy.STALE.value, last + timedelta(seconds=row["stale_after_s"])
    return {
        "id": row["id"],
        "name": row["name"],
        "purpose": row["purpose"],
        "occupancy": occupancy,
        "probability": round(row["probability"], 6),
        "since": isoformat(since),
        "last_evidence_at": instant(last),
        "last_frame_at": instant(row["newest_at"]),
        "frames": row["frames"],
        "stale_after_s": row["stale_after_s"],
        "in_service": row["in_service"],
        "probabilities": {state: round(p, 6) for state, p in json.loads(row["posterior"]).items()},
    }


def stay_view(row: Row) -> dict[str, Any]:
    """Return a stay as it is shown."""
    return {
        "id": row["id"],
        "space_id": row["space_id"],
        "species": row["species"],
        "from": isoformat(row["from_at"]),
        "until": instant(row["until_at"]),
        "state": row["state"],
        "number_of_animals": row["number_of_animals"],
        "note": row["note"],
        "version": row["version"],
        "decided_by": row["decided_by"],
        "decided_at": instant(row["decided_at"]),
    }


def change_view(row: Row) -> dict[str, Any]:
    """Return a change as it is shown and streamed."""
    return {
        "sequence": row["sequence"],
        "written_at": isoformat(row["written_at"]),
        "kind": row["kind"],
        "space_id": row["space_id"],
        **json.loads(row["details"]),
    }


def status_tag(connection: Connection, now: datetime) -> str:
    """Return a weak ETag that differs whenever the status differs, from one pass over the spaces."""
    spaces = tables.spaces
    # What becomes stale does so without a write; every other change of a space raises its version.
    due = func.sum(case((spaces.c.due_at <= now, 1), else_=0))
    number, versions, passed = connection.execute(select(func.count(), func.sum(spaces.c.version), due)).one()
    last = connection.execute(select(tables.counters.c.value).where(tables.counters.c.name == "changes")).scalar_one()
    return f'W/"{number}-{versions or 0}-{passed or 0}-{last}"'


def status(connection: Connection, now: datetime) -> dict[str, Any]:
    """Return the adoption status of the whole shelter as of `now`."""
    rows = connection.execute(select(tables.spaces).order_by(tables.spaces.c.id)).mappings()
    spaces = [space_view(dict(row), now) for row in rows]
    table = tables.stays
    open_stays = connection.execute(
        select(table).where(table.c.until_at.is_(None)).order_by(table.c.space_id, table.c.from_at)
    )
    stays = [stay_view(dict(row)) for row in open_stays.mappings()]
    recent = connection.execute(
        select(tables.changes).order_by(tables.changes.c.sequence.desc()).limit(RECENT_CHANGES)
    ).mappings()
    return {
        "as_of": isoformat(now),
        "spaces": spaces,
        "stays": stays,
        "totals": _totals(spaces, stays),
        "changes": [change_view(dict(row)) for row in recent],
    }


def _totals(spaces: Sequence[Mapping[str, Any]], stays: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sums = totals(
        [
            ShownSpace(one["id"], Purpose(one["purpose"]), one["in_service"], Occupancy(one["occupancy"]))
            for one in spaces
        ],
        [
            ShownStay(one["space_id"], Species(one["species"]), AdoptionState(one["state"]), one["number_of_animals"])
            for one in stays
        ],
    )
    return {
        **{occupancy.value: number for occupancy, number in sums.spaces.items()},
        "up_for_adoption": {"cats": sums.cats_up_for_adoption, "dogs": sums.dogs_up_for_adoption},
        "spaces_free": sums.spaces_free,
    }


def space_row(connection: Connection, space_id: str) -> Row | None:
    """Return a space's row."""
    row = connection.execute(select(tables.spaces).where(tables.spaces.c.id == space_id)).mappings().first()
    return None if row is None else dict(row)


def spaces_after(connection: Connection, after: str, limit: int) -> list[Row]:
    """Return up to `limit` spaces whose ids come after `after`."""
    spaces = tables.spaces
    query = select(spaces).where(spaces.c.id > after).order_by(spaces.c.id).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def stays_before(
    connection: Connection,
    limit: int,
    before: tuple[datetime, str] | None,
    *,
    space_id: str | None = None,
    is_open: bool | None = None,
    since: datetime | None = None,
) -> list[Row]:
    """Return stays, newest first, from the cursor (from, id) on; `since` leaves out what ended before it."""
    table = tables.stays
    conditions: list[ColumnElement[bool]] = []
    if space_id is not None:
        conditions.append(table.c.space_id == space_id)
    if is_open is not None:
        conditions.append(table.c.until_at.is_(None) if is_open else table.c.until_at.is_not(None))
    if since is not None:
        conditions.append(table.c.until_at.is_(None) | (table.c.until_at >= since))
    if before is not None:
        conditions.append(tuple_(table.c.from_at, table.c.id) < tuple_(*_bound(before, table.c.from_at, table.c.id)))
    query = select(table).where(*conditions).order_by(table.c.from_at.desc(), table.c.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def _bound(cursor: tuple[datetime, str], *columns: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [literal(value, column.type) for value, column in zip(cursor, columns, strict=True)]


def stay_row(connection: Connection, stay_id: str) -> Row | None:
    """Return a stay's row."""
    row = connection.execute(select(tables.stays).where(tables.stays.c.id == stay_id)).mappings().first()
    return None if row is None else dict(row)


def estimates_before(
    connection: Connection,
    space_id: str,
    limit: int,
    before: tuple[datetime, str] | None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Row]:
    """Return a space's estimates with their corrections, newest first, from the cursor (observed_at, receipt) on."""
    table, said = tables.estimates, tables.corrections
    conditions: list[ColumnElement[bool]] = [table.c.space_id == space_id]
    if since is not None:
        conditions.append(table.c.observed_at >= since)
    if until is not None:
        conditions.append(table.c.observed_at < until)
    if before is not None:
        columns = (table.c.observed_at, table.c.receipt)
        conditions.append(tuple_(*columns) < tuple_(*_bound(before, *columns)))
    query = (
        select(table, said.c.label.label("said"), said.c.corrected_by, said.c.corrected_at)
        .outerjoin(said, said.c.receipt == table.c.receipt)
        .where(*conditions)
        .order_by(table.c.observed_at.desc(), table.c.receipt.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def estimate_row(connection: Connection, receipt: str) -> Row | None:
    """Return one estimate with its correction."""
    table, said = tables.estimates, tables.corrections
    query = (
        select(table, said.c.label.label("said"), said.c.corrected_by, said.c.corrected_at)
        .outerjoin(said, said.c.receipt == table.c.receipt)
        .where(table.c.receipt == receipt)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def estimate_view(row: Row) -> dict[str, Any]:
    """Return an estimate as it is shown."""
    said = row["said"]
    correction = {"label": said, "by": row["corrected_by"], "at": instant(row["corrected_at"])}
    return {
        "receipt": row["receipt"],
        "space_id": row["space_id"],
        "camera_id": row["camera_id"],
        "observed_at": isoformat(row["observed_at"]),
        "recorded_at": isoformat(row["recorded_at"]),
        "label": row["label"],
        "probabilities": {"cat": row["cat"], "dog": row["dog"]},
        "quality": row["quality"],
        "model": row["model"],
        "version": row["version"],
        "variant": row["variant"],
        "late": row["late"],
        "correction": None if said is None else correction,
    }


def correction_history(connection: Connection, receipt: str, limit: int) -> list[dict[str, Any]]:
    """Return what people said of a frame, newest first."""
    table = tables.correction_history
    query = select(table).where(table.c.receipt == receipt).order_by(table.c.id.desc()).limit(limit)
    return [
        {"label": row["label"], "by": row["corrected_by"], "at": isoformat(row["corrected_at"])}
        for row in connection.execute(query).mappings()
    ]


def spans_before(
    connection: Connection, space_id: str, limit: int, before: datetime | None, since: datetime | None
) -> list[dict[str, Any]]:
    """Return spans of a space's occupancy, newest first, that begin before `before` and end after `since`."""
    table = tables.spans
    until = func.lead(table.c.since, type_=Instant).over(order_by=table.c.since).label("until")
    spans = select(table, until).where(table.c.space_id == space_id).subquery()
    conditions: list[ColumnElement[bool]] = []
    if before is not None:
        conditions.append(spans.c.since < before)
    if since is not None:
        conditions.append(spans.c.until.is_(None) | (spans.c.until > since))
    query = select(spans).where(*conditions).order_by(spans.c.since.desc()).limit(limit)
    return [
        {
            "occupancy": row["occupancy"],
            "from": isoformat(row["since"]),
            "until": instant(row["until"]),
            "probability": round(row["probability"], 6),
        }
        for row in connection.execute(query).mappings()
    ]


def newest_sequence(connection: Connection) -> int:
    """Return the number of the newest change."""
    query = select(tables.counters.c.value).where(tables.counters.c.name == "changes")
    newest: int = connection.execute(query).scalar_one()
    return newest


def oldest_sequence(connection: Connection) -> int | None:
    """Return the number of the oldest change that is kept."""
    oldest: int | None = connection.execute(select(func.min(tables.changes.c.sequence))).scalar_one()
    return oldest


def changes_after(connection: Connection, after: int, limit: int) -> list[dict[str, Any]]:
    """Return changes in order, from the one after `after` on."""
    table = tables.changes
    query = select(table).where(table.c.sequence > after).order_by(table.c.sequence).limit(limit)
    return [change_view(dict(row)) for row in connection.execute(query).mappings()]
