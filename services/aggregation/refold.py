"""Brings one space up to date: reads its evidence, folds it, and writes what changed. Called inside a transaction."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import uuid_utils
from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from services.aggregation import tables
from services.aggregation.belief import Belief, Fold, Span
from services.aggregation.checkpoint import read_belief, read_images, write_belief
from services.aggregation.domain import Occupancy, Purpose, Species, first_state
from services.aggregation.occupancy import STATES, Rules, bucket_of
from services.aggregation.stays import KeptStay, revise
from services.aggregation.window import Window
from shared.database import EPOCH, microseconds
from shared.messages import isoformat

Row = Mapping[str, Any]
MICROSECOND = timedelta(microseconds=1)
FOR_EVER = datetime.max.replace(tzinfo=UTC)

# Made once: for the statements that every space of every message needs, building costs more than running.
_SPANS_AFTER = (
    select(tables.spans.c.since, tables.spans.c.occupancy, tables.spans.c.probability)
    .where(tables.spans.c.space_id == bindparam("space_id"), tables.spans.c.since > bindparam("after"))
    .order_by(tables.spans.c.since)
)
_STAYS_UNSETTLED = select(tables.stays).where(
    tables.stays.c.space_id == bindparam("space_id"),
    or_(tables.stays.c.until_at.is_(None), tables.stays.c.until_at >= bindparam("ended_after")),
)
_SPACE_FOLDED = (
    update(tables.spaces)
    .where(tables.spaces.c.id == bindparam("space_id"))
    .values(
        version=tables.spaces.c.version + 1,
        frames=tables.spaces.c.frames + bindparam("more_frames"),
        **{
            name: bindparam(name)
            for name in (
                *("newest_at", "last_evidence_at", "occupancy", "probability", "since", "posterior", "due_at"),
                *("closed_before", "checkpoint", "fold"),
            )
        },
    )
)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the stream of changes."""

    kind: str
    space_id: str
    details: dict[str, Any]


def moment(us: int) -> datetime:
    """Return microseconds since 1970 as an aware UTC time."""
    return EPOCH + timedelta(microseconds=us)


def closed_before(space: Row, newest_us: int, rules: Rules) -> int:
    """Return the bucket before which all is history, if the newest frame of the space is of `newest_us`."""
    horizon = bucket_of(newest_us - rules.horizon_s * 1_000_000, rules)
    return max(horizon, space["closed_before"] if space["closed_before"] is not None else horizon)


def load_window(connection: Connection, space: Row, rules: Rules) -> Window:
    """Read a space's window from the database; without a checkpoint there is none yet."""
    window = Window()
    if space["closed_before"] is None:
        return window
    table = tables.evidence
    rows = connection.execute(
        select(table.c.bucket, table.c.camera_id, table.c.images)
        .where(table.c.space_id == space["id"], table.c.bucket >= space["closed_before"] - rules.horizon_s)
        .order_by(table.c.bucket, table.c.camera_id)
    )
    for bucket, camera_id, images in rows:
        window.put(bucket, camera_id, read_images(images))
    return window


def refold(
    connection: Connection,
    space: Row,
    now: datetime,
    rules: Rules,
    *,
    window: Window | None = None,
    name: str | None = None,
    frames: int = 0,
) -> list[Change]:
    """Fold the evidence of a locked space as of `now`, write its belief, spans and stays, and return what changed.

    `space` is its row, with `newest_at` brought up to date; `window` is its evidence if it is at hand, `name` what to
    call this fold; `frames` is how many more frames the space has now.
    """
    window = window if window is not None else load_window(connection, space, rules)
    start = read_belief(space["checkpoint"])
    checkpoint, closed = start, None
    if space["newest_at"] is None:
        fold = Fold(start, space["stale_after_s"], rules)
    else:
        closed = closed_before(space, microseconds(space["newest_at"]), rules)
        folded_before = space["closed_before"] if space["closed_before"] is not None else closed
        fold = window.fold(start, folded_before, space["stale_after_s"], rules)
        checkpoint = window.belief_before(closed, fold)
        if closed > folded_before:
            _forget_before(connection, space, window, closed - rules.horizon_s)
    now_us = max(microseconds(now), fold.belief.last_evidence_us or 0)
    fold.pass_time(now_us)
    changes = _write_spans(connection, space, start, fold)
    changes += _write_stays(connection, space, fold, closed, now, rules)
    belief = fold.belief
    connection.execute(
        _SPACE_FOLDED,
        {
            "space_id": space["id"],
            "more_frames": frames,
            "newest_at": space["newest_at"],
            "last_evidence_at": None if belief.last_evidence_us is None else moment(belief.last_evidence_us),
            "occupancy": belief.occupancy,
            "probability": belief.probability,
            "since": moment(belief.since_us) if belief.since_us else space["created_at"],
            "posterior": json.dumps(dict(zip(STATES, belief.posterior, strict=True))),
            "due_at": _due_at(belief, space["stale_after_s"], rules),
            "closed_before": closed,
            "checkpoint": write_belief(checkpoint),
            "fold": name or uuid.uuid4().hex,
        },
    )
    return changes


def _forget_before(connection: Connection, space: Row, window: Window, bucket: int) -> None:
    table = tables.evidence
    connection.execute(delete(table).where(table.c.space_id == space["id"], table.c.bucket < bucket))
    window.forget_before(bucket)


def _due_at(belief: Belief, stale_after_s: int, rules: Rules) -> datetime | None:
    """Return when time alone will change what is shown of a space."""
    times = [stay.gone_us + rules.grace_s * 1_000_000 for stay in belief.stays.values() if stay.gone_us is not None]
    if belief.occupancy is not Occupancy.STALE and belief.last_evidence_us is not None:
        times.append(belief.last_evidence_us + stale_after_s * 1_000_000)
    return moment(min(times)) + MICROSECOND if times else None


def _write_spans(connection: Connection, space: Row, start: Belief, fold: Fold) -> list[Change]:
    """Make the spans after the checkpoint's last one equal to the fold's; return the change of what is shown."""
    table = tables.spans
    after = moment(start.since_us)
    kept = connection.execute(_SPANS_AFTER, {"space_id": space["id"], "after": after}).all()
    old = [Span(microseconds(since), Occupancy(occupancy), probability) for since, occupancy, probability in kept]
    if old != fold.spans:
        connection.execute(delete(table).where(table.c.space_id == space["id"], table.c.since > after))
        if fold.spans:
            connection.execute(
                insert(table),
                [
                    {
                        "space_id": space["id"],
                        "since": moment(span.since_us),
                        "occupancy": span.occupancy,
                        "probability": span.probability,
                    }
                    for span in fold.spans
                ],
            )
    belief = fold.belief
    if belief.occupancy == space["occupancy"]:
        return []
    details = {
        "occupancy": belief.occupancy,
        "before": space["occupancy"],
        "probability": belief.probability,
        "since": isoformat(moment(belief.since_us)),
    }
    return [Change("occupancy", space["id"], details)]


def _write_stays(
    connection: Connection, space: Row, fold: Fold, closed: int | None, now: datetime, rules: Rules
) -> list[Change]:
    table = tables.stays
    ended_after = FOR_EVER
    if space["closed_before"] is not None:
        # What ended before the checkpoint can't be told otherwise by any photo that still counts. But the checkpoint
        # may hold a stay open whose species was gone already: each fold ends it anew, and its row ended then or later.
        ends = [stay.until_us for stay in fold.closed if stay.until_us is not None]
        ended_after = moment(min([(space["closed_before"] - rules.grace_s) * 1_000_000, *ends]))
    unsettled = {"space_id": space["id"], "ended_after": ended_after}
    rows = connection.execute(_STAYS_UNSETTLED, unsettled).mappings().all()
    kept = [
        KeptStay(
            row["id"],
            Species(row["species"]),
            microseconds(row["from_at"]),
            None if row["until_at"] is None else microseconds(row["until_at"]),
            row["recorded"],
        )
        for row in rows
    ]
    newest_us = microseconds(space["newest_at"]) if space["newest_at"] else microseconds(now)
    revision = revise(kept, fold.stays(), newest_us)
    changes = []
    for stay in revision.opened:
        row = {
            "id": str(uuid_utils.uuid7()),
            "space_id": space["id"],
            "species": stay.species,
            "from_at": moment(stay.from_us),
            "until_at": None if stay.until_us is None else moment(stay.until_us),
            "state": first_state(Purpose(space["purpose"])),
            "number_of_animals": 1,
            "note": "",
            "version": 1,
            "recorded": False,
        }
        connection.execute(insert(table), [row])
        changes.append(stay_change("stay_opened" if stay.until_us is None else "stay_added", row))
    by_id = {row["id"]: row for row in rows}
    for kept_stay, from_us, until_us in revision.revised:
        after = {
            **by_id[kept_stay.id],
            "from_at": moment(from_us),
            "until_at": None if until_us is None else moment(until_us),
        }
        after["version"] += 1
        connection.execute(
            update(table)
            .where(table.c.id == kept_stay.id)
            .values(from_at=after["from_at"], until_at=after["until_at"], version=after["version"])
        )
        ended = kept_stay.until_us is None and until_us is not None
        changes.append(stay_change("stay_closed" if ended else "stay_revised", after))
    for gone in revision.withdrawn:
        connection.execute(delete(table).where(table.c.id == gone.id))
        changes.append(stay_change("stay_withdrawn", by_id[gone.id]))
    if closed is not None and closed != space["closed_before"]:
        connection.execute(
            update(table)
            .where(
                table.c.space_id == space["id"],
                table.c.recorded.is_(False),
                table.c.from_at < moment(closed * 1_000_000),
            )
            .values(recorded=True)
        )
    return changes


def stay_change(kind: str, row: Any) -> Change:
    """Return the change that tells of a stay as it is now."""
    details = {
        "stay_id": row["id"],
        "species": row["species"],
        "from": isoformat(row["from_at"]),
        "until": None if row["until_at"] is None else isoformat(row["until_at"]),
        "state": row["state"],
        "number_of_animals": row["number_of_animals"],
    }
    return Change(kind, row["space_id"], details)


def write_changes(connection: Connection, changes: Sequence[Change], now: datetime) -> None:
    """Append changes under the next sequence numbers; call it last, for it holds the counter until the commit.

    The counter's row is locked from its update to the commit, so a reader never sees a number before a smaller one.
    """
    if not changes:
        return
    counter = tables.counters
    last: int = connection.execute(
        update(counter)
        .where(counter.c.name == "changes")
        .values(value=counter.c.value + len(changes))
        .returning(counter.c.value)
    ).scalar_one()
    connection.execute(
        insert(tables.changes),
        [
            {
                "sequence": last - len(changes) + 1 + index,
                "written_at": now,
                "kind": change.kind,
                "space_id": change.space_id,
                "details": json.dumps(change.details),
            }
            for index, change in enumerate(changes)
        ],
    )
