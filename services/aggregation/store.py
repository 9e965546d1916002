"""What changes the database: frames are counted, spaces made, frames corrected, stays decided. Each function runs
inside one transaction of `shared.database.Database.write` and takes the connection first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import uuid_utils
from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.aggregation import deliveries, tables
from services.aggregation.belief import first_belief
from services.aggregation.checkpoint import write_belief, write_images
from services.aggregation.domain import Label, Occupancy, Purpose
from services.aggregation.occupancy import Image, Rules, add_image, bucket_of, evidence
from services.aggregation.refold import (
    Change,
    Row,
    ToFold,
    closed_before,
    load_window,
    moment,
    refold,
    stay_change,
    write_changes,
)
from services.aggregation.settlements import Settlement, enqueue
from services.aggregation.window import Window, Windows
from shared.database import microseconds
from shared.messages import EstimateResult, RejectedResult, Result
from shared.receipts import hour_of

DIGEST_LENGTH = 16  # of the hex digits of a SHA-256: enough to tell the images of one camera apart
GOOD = "ok"


class ChangedMeanwhile(Exception):
    """A stay is not of the version that the decision was about."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one message's results."""

    counted: Sequence[EstimateResult]
    late: int
    repeated: int
    rejected: int
    changes: Sequence[Change]


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *keys: str) -> None:
    """Insert the rows whose keys are not there yet."""
    connection.execute(_inserting(connection.dialect.name, table, keys), list(rows))


@cache
def _inserting(dialect: str, table: Table, keys: tuple[str, ...]) -> Any:
    # Made once: to build a statement costs more than to run it.
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return make(table).on_conflict_do_nothing(index_elements=list(keys))


_LOCKED = (
    select(tables.spaces).where(tables.spaces.c.id.in_(bindparam("ids"))).order_by(tables.spaces.c.id).with_for_update()
)


def lock_spaces(connection: Connection, space_ids: Iterable[str]) -> dict[str, Row]:
    """Return the rows of spaces, locked in the order of their ids so that no two writers wait for each other."""
    rows = connection.execute(_LOCKED, {"ids": sorted(space_ids)}).mappings()
    return {row["id"]: dict(row) for row in rows}


def new_space(space_id: str, now: datetime, stale_after_s: int, rules: Rules) -> dict[str, Any]:
    """Return the row of a space that nobody described yet."""
    return {
        "id": space_id,
        "name": space_id,
        "purpose": Purpose.ADOPTION,
        "stale_after_s": stale_after_s,
        "in_service": True,
        "created_at": now,
        "version": 1,
        "frames": 0,
        "occupancy": Occupancy.STALE,
        "probability": 0.0,
        "since": now,
        "posterior": "{}",
        "checkpoint": write_belief(first_belief(rules)),
        "fold": "",
    }


def record(
    connection: Connection,
    results: Sequence[Result],
    now: datetime,
    rules: Rules,
    stale_after_s: int,
    windows: Windows | None = None,
) -> Recorded:
    """Count the estimates that are new, bring their spaces up to date, and queue every frame's settlement.

    `windows` is what this process remembers of spaces; without it everything is read.
    """
    windows = windows if windows is not None else Windows()
    found = {result.receipt: result for result in results if isinstance(result, EstimateResult)}
    rejected = {result.receipt: result for result in results if isinstance(result, RejectedResult)}
    space_ids = sorted({result.space_id for result in found.values()})
    spaces = _lock_or_make(connection, space_ids, now, stale_after_s, rules)
    counted_before = _counted(connection, [*found, *rejected])
    new = [result for receipt, result in sorted(found.items()) if receipt not in counted_before]
    by_space: dict[str, list[EstimateResult]] = {}
    for result in new:
        by_space.setdefault(result.space_id, []).append(result)
    todo: list[ToFold] = []
    rows: list[dict[str, Any]] = []
    evidence_rows: list[dict[str, Any]] = []
    for space_id in sorted(by_space):
        here = by_space[space_id]
        one, space_rows, space_evidence = _count_in_space(connection, spaces[space_id], here, now, rules, windows)
        todo.append(one)
        rows += space_rows
        evidence_rows += space_evidence
    if evidence_rows:
        connection.execute(_putting_evidence(connection.dialect.name), evidence_rows)
    changes = refold(connection, todo, now, rules)
    for one in todo:
        if one.window is not None:
            windows.keep(one.space["id"], one.name, one.window)
    if rows:
        insert_missing(connection, tables.estimates, rows, "receipt")
        deliveries.count(connection, new)
    refused = [result for receipt, result in rejected.items() if receipt not in counted_before and receipt not in found]
    enqueue(
        connection,
        [Settlement(receipt, "counted", None) for receipt in {*found, *(counted_before & set(rejected))}],
        [Settlement(result.receipt, "rejected", result.reason) for result in refused],
        now,
    )
    write_changes(connection, changes, now)
    return Recorded(new, sum(row["late"] for row in rows), len(found) - len(new), len(refused), changes)


def _lock_or_make(
    connection: Connection, space_ids: Sequence[str], now: datetime, stale_after_s: int, rules: Rules
) -> dict[str, Row]:
    """Return the rows of spaces, locked; those that nobody described yet are made."""
    spaces = lock_spaces(connection, space_ids)
    missing = [new_space(space_id, now, stale_after_s, rules) for space_id in space_ids if space_id not in spaces]
    if not missing:
        return spaces
    insert_missing(connection, tables.spaces, missing, "id")
    return lock_spaces(connection, space_ids)


_COUNTED = select(tables.estimates.c.receipt).where(tables.estimates.c.receipt.in_(bindparam("receipts")))


def _counted(connection: Connection, receipts: Sequence[str]) -> set[str]:
    return set(connection.execute(_COUNTED, {"receipts": receipts}).scalars())


def _count_in_space(
    connection: Connection,
    space: Row,
    results: Sequence[EstimateResult],
    now: datetime,
    rules: Rules,
    windows: Windows,
) -> tuple[ToFold, list[dict[str, Any]], list[dict[str, Any]]]:
    """Take new results into their space's window.

    Returns what is to be folded, and the rows of the results and of the evidence, which are still to be written.
    """
    newest = max([result.observed_at for result in results] + ([space["newest_at"]] if space["newest_at"] else []))
    closed = closed_before(space, microseconds(newest), rules)
    rows = []
    fresh: dict[tuple[int, str], list[EstimateResult]] = {}
    for result in results:
        bucket = bucket_of(microseconds(result.observed_at), rules)
        # What is older than the checkpoint that the space had counts as history; the new checkpoint, which this very
        # message may move, folds what is in it first.
        late = bucket < (space["closed_before"] if space["closed_before"] is not None else closed)
        rows.append(_estimate_row(result, now, late))
        if not late and result.quality == GOOD:
            fresh.setdefault((bucket, result.camera_id), []).append(result)
    window = windows.take(space["id"], space["fold"]) or load_window(connection, space, rules)
    evidence_rows = _add_evidence(space["id"], window, fresh, rules)
    return ToFold({**space, "newest_at": newest}, window, frames=len(rows)), rows, evidence_rows


def _estimate_row(result: EstimateResult, now: datetime, late: bool) -> dict[str, Any]:
    return {
        "receipt": result.receipt,
        "space_id": result.space_id,
        "camera_id": result.camera_id,
        "observed_at": result.observed_at,
        "recorded_at": now,
        "hour": hour_of(result.receipt),
        "sha256": result.sha256,
        "cat": result.probabilities.cat,
        "dog": result.probabilities.dog,
        "prior_cat": result.prior.cat,
        "prior_dog": result.prior.dog,
        "label": result.label,
        "quality": result.quality,
        "model": result.model,
        "version": result.version,
        "variant": result.variant,
        "late": late,
        "revision": result.revision,
    }


def _add_evidence(
    space_id: str, window: Window, fresh: Mapping[tuple[int, str], Sequence[EstimateResult]], rules: Rules
) -> list[dict[str, Any]]:
    """Add results, by bucket and camera, to a space's window, and return its rows that differ now."""
    rows = []
    for (bucket, camera_id), results in fresh.items():
        images = dict(window.buckets.get(bucket, {}).get(camera_id, {}))
        for result in results:
            image = Image(
                result.receipt,
                microseconds(result.observed_at),
                evidence(result.probabilities.cat, result.prior.cat),
                evidence(result.probabilities.dog, result.prior.dog),
            )
            add_image(images, result.sha256[:DIGEST_LENGTH], image, rules)
        window.put(bucket, camera_id, images)
        rows.append(_evidence_row(space_id, bucket, camera_id, images))
    return rows


@cache
def _putting_evidence(dialect: str) -> Any:
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = make(tables.evidence)
    return statement.on_conflict_do_update(
        index_elements=["space_id", "bucket", "camera_id"], set_={"images": statement.excluded.images}
    )


def _evidence_row(space_id: str, bucket: int, camera_id: str, images: dict[str, Image]) -> dict[str, Any]:
    return {"space_id": space_id, "bucket": bucket, "camera_id": camera_id, "images": write_images(images)}


def put_space(connection: Connection, space_id: str, described: Mapping[str, Any], now: datetime, rules: Rules) -> bool:
    """Make or describe a space; return whether it is new. `described`: name, purpose, stale_after_s, in_service."""
    space = lock_spaces(connection, [space_id]).get(space_id)
    if space is None:
        row = {**new_space(space_id, now, described["stale_after_s"], rules), **described}
        # Two who make the same space at once: the second finds it after the first's commit.
        insert_missing(connection, tables.spaces, [row], "id")
        space = lock_spaces(connection, [space_id])[space_id]
        if space["created_at"] == now and space["version"] == 1:
            write_changes(connection, [Change("space", space_id, dict(described))], now)
            return True
    if all(space[name] == value for name, value in described.items()):
        return False
    connection.execute(update(tables.spaces).where(tables.spaces.c.id == space_id).values(**described))
    changes = [Change("space", space_id, dict(described))]
    changes += refold(connection, [ToFold({**space, **described})], now, rules)
    write_changes(connection, changes, now)
    return False


def pass_time(connection: Connection, space_ids: Sequence[str], now: datetime, rules: Rules) -> list[Change]:
    """Write what time alone changed of some spaces: they became stale, or a grace time ended."""
    spaces = lock_spaces(connection, space_ids).values()
    due = [ToFold(space) for space in spaces if space["due_at"] is not None and space["due_at"] <= now]
    changes = refold(connection, due, now, rules)
    write_changes(connection, changes, now)
    return changes


def correct(
    connection: Connection, receipt: str, label: Label | None, by: str, now: datetime, rules: Rules
) -> str | None:
    """Keep what a person says of a frame, or undo it (`None`), and refold the space if the frame still matters.

    Returns `new`, `changed`, `same` or `undone`; None if no such frame is counted, or nothing was there to undo.
    """
    frame = connection.execute(select(tables.estimates).where(tables.estimates.c.receipt == receipt)).mappings().first()
    if frame is None:
        return None
    space = lock_spaces(connection, [frame["space_id"]])[frame["space_id"]]
    table = tables.corrections
    before = connection.execute(select(table.c.label).where(table.c.receipt == receipt)).scalar_one_or_none()
    if before == label:
        return None if label is None else "same"
    said = tables.correction_history
    last = connection.execute(select(func.max(said.c.corrected_at)).where(said.c.receipt == receipt)).scalar()
    # Whoever is told of it believes the newest word, so this one is newer, even if the clock was set back meanwhile.
    at = now if last is None else max(now, last + timedelta(microseconds=1))
    row = {"receipt": receipt, "label": label, "corrected_by": by, "corrected_at": at}
    connection.execute(delete(table).where(table.c.receipt == receipt))
    if label is not None:
        connection.execute(insert(table), [row])
    connection.execute(insert(tables.correction_history), [{"id": str(uuid_utils.uuid7()), **row}])
    deliveries.enqueue(connection, receipt, label, by, at)
    details = {"receipt": receipt, "label": label, "camera_id": frame["camera_id"]}
    changes = [Change("correction", frame["space_id"], details)]
    bucket = bucket_of(microseconds(frame["observed_at"]), rules)
    if not frame["late"] and space["closed_before"] is not None and bucket >= space["closed_before"]:
        _gather_evidence(connection, frame["space_id"], bucket, frame["camera_id"], rules)
        changes += refold(connection, [ToFold(space)], now, rules)
    write_changes(connection, changes, now)
    if label is None:
        return "undone"
    return "new" if before is None else "changed"


def _gather_evidence(connection: Connection, space_id: str, bucket: int, camera_id: str, rules: Rules) -> None:
    """Make one camera's evidence of one bucket anew from its estimates and corrections."""
    frames, said, table = tables.estimates, tables.corrections, tables.evidence
    rows = connection.execute(
        select(frames, said.c.label.label("said"))
        .outerjoin(said, said.c.receipt == frames.c.receipt)
        .where(
            frames.c.space_id == space_id,
            frames.c.camera_id == camera_id,
            frames.c.observed_at >= moment(bucket * 1_000_000),
            frames.c.observed_at < moment((bucket + rules.bucket_s) * 1_000_000),
        )
        .order_by(frames.c.observed_at, frames.c.receipt)
    ).mappings()
    images: dict[str, Image] = {}
    for row in rows:
        if row["quality"] == GOOD or row["said"] is not None:
            image = Image(
                row["receipt"],
                microseconds(row["observed_at"]),
                evidence(row["cat"], row["prior_cat"]),
                evidence(row["dog"], row["prior_dog"]),
                None if row["said"] is None else Label(row["said"]),
            )
            add_image(images, row["sha256"][:DIGEST_LENGTH], image, rules)
    here = (table.c.space_id == space_id) & (table.c.bucket == bucket) & (table.c.camera_id == camera_id)
    connection.execute(delete(table).where(here))
    if images:
        connection.execute(insert(table), [_evidence_row(space_id, bucket, camera_id, images)])


def decide_stay(
    connection: Connection, stay_id: str, decision: Mapping[str, Any], version: int | None, by: str, now: datetime
) -> Row | None:
    """Write what people decided of a stay and return its row, None if there is none. Raises ChangedMeanwhile."""
    table = tables.stays
    space_id = connection.execute(select(table.c.space_id).where(table.c.id == stay_id)).scalar_one_or_none()
    if space_id is None:
        return None
    lock_spaces(connection, [space_id])
    row = connection.execute(select(table).where(table.c.id == stay_id)).mappings().first()
    if row is None:
        return None
    if version is not None and row["version"] != version:
        raise ChangedMeanwhile
    if all(row[name] == value for name, value in decision.items()):
        return dict(row)
    values = {**decision, "version": row["version"] + 1, "recorded": True, "decided_by": by, "decided_at": now}
    connection.execute(update(table).where(table.c.id == stay_id).values(**values))
    spaces = tables.spaces
    connection.execute(update(spaces).where(spaces.c.id == space_id).values(version=spaces.c.version + 1))
    after = connection.execute(select(table).where(table.c.id == stay_id)).mappings().one()
    write_changes(connection, [stay_change("stay_decided", after)], now)
    return dict(after)
