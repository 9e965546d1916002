"""What people say of frames, as aggregation delivers it, and what follows: quality, drift, a training set."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from services.image_classifier import tables
from services.image_classifier.rollout.journal import BINS
from services.image_classifier.rollout.statistics import stability_index

WEEK, DAY = timedelta(days=7), timedelta(days=1)
LEAST_FRAMES = 200
"""Frames of a camera on each side before its spread is compared."""
ALARM = 0.25
QUALITY_FRAMES = 20_000
CONFIDENCE_BINS = 5
PRUNED_AT_ONCE = 1000


def take(
    connection: Connection, corrections: Sequence[Mapping[str, Any]], counted: Sequence[Mapping[str, Any]]
) -> None:
    """Keep corrections, the newest word on each receipt, and the numbers that were counted; twice is as once."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    f, c = tables.feedback, tables.counted
    newest: dict[str, Mapping[str, Any]] = {}
    for one in corrections:
        if one["receipt"] not in newest or newest[one["receipt"]]["at"] <= one["at"]:
            newest[one["receipt"]] = one
    if newest:
        into = make(f)
        fresh = {column.name: into.excluded[column.name] for column in f.columns if column.name != "receipt"}
        into = into.on_conflict_do_update(index_elements=["receipt"], set_=fresh, where=f.c.at <= into.excluded.at)
        connection.execute(into, [newest[receipt] for receipt in sorted(newest)])
    if counted:
        numbers = make(c)
        numbers = numbers.on_conflict_do_update(
            index_elements=list(c.primary_key.columns),
            set_={"number": numbers.excluded.number},
            where=c.c.number < numbers.excluded.number,
        )
        connection.execute(numbers, sorted(counted, key=lambda one: tuple(str(value) for value in one.values())))


def prune(connection: Connection, before: datetime, kept: int) -> int:
    """Remove a bounded number of the words that came before then, or that are more than `kept`; return how many."""
    f = tables.feedback
    newest_first = (f.c.received_at.desc(), f.c.receipt.desc())
    beyond = select(f.c.received_at).order_by(*newest_first).offset(kept).limit(1)
    edge = connection.execute(beyond).scalar()
    too_old = f.c.received_at < before if edge is None else (f.c.received_at < before) | (f.c.received_at <= edge)
    some = select(f.c.receipt).where(too_old).order_by(f.c.received_at).limit(PRUNED_AT_ONCE)
    return connection.execute(delete(f).where(f.c.receipt.in_(some))).rowcount


def quality(connection: Connection, since: datetime) -> dict[str, Any]:
    """Return accuracy and calibration on what people saw since then, by version, camera and hour of the day (UTC).

    Of more than QUALITY_FRAMES, the newest.
    """
    f = tables.feedback
    query = select(f).where(f.c.at >= since, f.c.label.is_not(None)).order_by(f.c.at.desc()).limit(QUALITY_FRAMES)
    rows = connection.execute(query).mappings().all()
    groups: dict[str, dict[str, list[bool]]] = {"version": {}, "camera": {}, "hour": {}}
    bins = [{"frames": 0, "said": 0.0, "seen": 0} for _ in range(CONFIDENCE_BINS)]
    confirmed = 0
    for row in rows:
        right = row["estimate"] == row["label"]
        confirmed += right
        for kind, name in (
            ("version", f"{row['model']}/{row['version']}"),
            ("camera", row["camera_id"]),
            ("hour", f"{row['observed_at'].hour:02d}"),
        ):
            groups[kind].setdefault(name, []).append(right)
        if row["label"] != "unsure":
            for species in ("cat", "dog"):
                place = bins[min(CONFIDENCE_BINS - 1, int(row[species] * CONFIDENCE_BINS))]
                place["frames"] += 1
                place["said"] += row[species]
                place["seen"] += row["label"] in (species, "both")
    return {
        "frames": len(rows),
        "confirmed": confirmed,
        "by": {
            kind: [{"name": name, "frames": len(them), "correct": sum(them)} for name, them in sorted(named.items())]
            for kind, named in groups.items()
        },
        "calibration": [
            {"frames": one["frames"], "said": one["said"] / one["frames"], "seen": one["seen"] / one["frames"]}
            for one in bins
            if one["frames"]
        ],
    }


def drift(connection: Connection, at: datetime) -> list[dict[str, Any]]:
    """Return the cameras whose scores or pictures were spread differently in the last day than in the week before."""
    s = tables.spreads
    found: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    late = func.sum(case((s.c.hour >= at - DAY, s.c.number), else_=0))
    query = select(s.c.camera_id, s.c.kind, s.c.bin, func.sum(s.c.number), late)
    query = query.where(s.c.hour >= at - DAY - WEEK).group_by(s.c.camera_id, s.c.kind, s.c.bin)
    for camera_id, kind, place, number, recent in connection.execute(query):
        before, after = found.setdefault((camera_id, kind), ([0] * BINS, [0] * BINS))
        before[place] += int(number - recent)
        after[place] += int(recent)
    alarms = []
    for (camera_id, kind), (before, after) in sorted(found.items()):
        if min(sum(before), sum(after)) < LEAST_FRAMES:
            continue
        index = stability_index(before, after)
        if index > ALARM:
            alarms.append({"camera_id": camera_id, "kind": kind, "index": index, "before": before, "after": after})
    return alarms


def labelled(connection: Connection, after: tuple[datetime, str] | None, limit: int) -> list[Mapping[str, Any]]:
    """Return corrected frames in the order in which people said so, after a place in it."""
    f = tables.feedback
    query = select(f).where(f.c.label.in_(["cat", "dog", "both", "none"])).order_by(f.c.at, f.c.receipt).limit(limit)
    if after is not None:
        at, receipt = after
        query = query.where((f.c.at > at) | ((f.c.at == at) & (f.c.receipt > receipt)))
    return [dict(row) for row in connection.execute(query).mappings()]
