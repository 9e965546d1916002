"""Brings spaces up to date: reads their evidence, folds it, and writes what changed. Called inside a transaction.

A message is of many spaces, and a statement costs more than what it does to one of them: so what all of them need is
asked and written at once.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import uuid_utils
from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, insert, or_, select, update

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

# Made once: for the statements that every message needs, building costs more than running.
_EVIDENCE_FORGOTTEN = delete(tables.evidence).where(
    tables.evidence.c.space_id == bindparam("of_space"), tables.evidence.c.bucket < bindparam("before")
)
_SPANS_REPLACED = delete(tables.spans).where(
    tables.spans.c.space_id == bindparam("of_space"), tables.spans.c.since > bindparam("after")
)
_STAYS_RECORDED = (
    update(tables.stays)
    .where(
        tables.stays.c.space_id == bindparam("of_space"),
        tables.stays.c.recorded.is_(False),
        tables.stays.c.from_at < bindparam("closed"),
    )
    .values(recorded=True)
)
_SPACE_FOLDED = (
    update(tables.spaces)
    .where(tables.spaces.c.id == bindparam("of_space"))
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


@dataclass(frozen=True, slots=True)
class ToFold:
    """A locked space that is to be folded.

    `space` is its row, with `newest_at` brought up to date; `window` is its evidence if it is at hand, `name` what to
    call this fold; `frames` is how many more frames the space has now.
    """

    space: Row
    window: Window | None = None
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    frames: int = 0


@dataclass(frozen=True, slots=True)
class _Folded:
    """A space with its new fold: `closed` and `checkpoint` are what it is to have, `start` was its checkpoint."""

    todo: ToFold
    start: Belief
    fold: Fold
    closed: int | None
    checkpoint: str

    @property
    def space(self) -> Row:
        return self.todo.space


def refold(connection: Connection, todo: Sequence[ToFold], now: datetime, rules: Rules) -> list[Change]:
    """Fold the evidence of locked spaces as of `now`, write their belief, spans and stays, and return what changed."""
    if not todo:
        return []
    folded = [_fold(connection, one, now, rules) for one in todo]
    moved = [
        (one.space, one.closed) for one in folded if one.closed is not None and one.closed != one.space["closed_before"]
    ]
    if moved:
        forgotten = [{"of_space": space["id"], "before": closed - rules.horizon_s} for space, closed in moved]
        connection.execute(_EVIDENCE_FORGOTTEN, forgotten)
    _write_spans(connection, folded)
    changes: list[Change] = []
    for one, stays in zip(folded, _unsettled_stays(connection, folded, rules), strict=True):
        changes += _change_of_occupancy(one)
        changes += _write_stays(connection, one, stays, now)
    if moved:
        recorded = [{"of_space": space["id"], "closed": moment(closed * 1_000_000)} for space, closed in moved]
        connection.execute(_STAYS_RECORDED, recorded)
    connection.execute(_SPACE_FOLDED, [_space_row(one, rules) for one in folded])
    return changes


def _fold(connection: Connection, todo: ToFold, now: datetime, rules: Rules) -> _Folded:
    space = todo.space
    window = todo.window if todo.window is not None else load_window(connection, space, rules)
    start = read_belief(space["checkpoint"])
    checkpoint, closed = space["checkpoint"], None
    if space["newest_at"] is None:
        fold = Fold(start, space["stale_after_s"], rules)
    else:
        closed = closed_before(space, microseconds(space["newest_at"]), rules)
        folded_before = space["closed_before"] if space["closed_before"] is not None else closed
        fold = window.fold(start, folded_before, space["stale_after_s"], rules)
        if closed > folded_before:
            checkpoint = write_belief(window.belief_before(closed, fold))
            window.forget_before(closed - rules.horizon_s)
    fold.pass_time(max(microseconds(now), fold.belief.last_evidence_us or 0))
    return _Folded(todo, start, fold, closed, checkpoint)


def _space_row(one: _Folded, rules: Rules) -> dict[str, Any]:
    space, belief = one.space, one.fold.belief
    return {
        "of_space": space["id"],
        "more_frames": one.todo.frames,
        "newest_at": space["newest_at"],
        "last_evidence_at": None if belief.last_evidence_us is None else moment(belief.last_evidence_us),
        "occupancy": belief.occupancy,
        "probability": belief.probability,
        "since": moment(belief.since_us) if belief.since_us else space["created_at"],
        "posterior": json.dumps(dict(zip(STATES, belief.posterior, strict=True))),
        "due_at": _due_at(belief, space["stale_after_s"], rules),
        "closed_before": one.closed,
        "checkpoint": one.checkpoint,
        "fold": one.todo.name,
    }


def _due_at(belief: Belief, stale_after_s: int, rules: Rules) -> datetime | None:
    """Return when time alone will change what is shown of a space."""
    times = [stay.gone_us + rules.grace_s * 1_000_000 for stay in belief.stays.values() if stay.gone_us is not None]
    if belief.occupancy is not Occupancy.STALE and belief.last_evidence_us is not None:
        times.append(belief.last_evidence_us + stale_after_s * 1_000_000)
    return moment(min(times)) + MICROSECOND if times else None


@cache
def _spans_after(number: int) -> Any:
    """Return the statement for the spans of so many spaces, each from a time of its own on."""
    table = tables.spans
    each = [
        and_(table.c.space_id == bindparam(f"space_{n}"), table.c.since > bindparam(f"after_{n}"))
        for n in range(number)
    ]
    return select(table).where(or_(*each)).order_by(table.c.space_id, table.c.since)


@cache
def _stays_ended_after(number: int) -> Any:
    """Return the statement for the stays of so many spaces that go on or ended after a time of each space's own."""
    table = tables.stays
    each = [
        and_(
            table.c.space_id == bindparam(f"space_{n}"),
            or_(table.c.until_at.is_(None), table.c.until_at >= bindparam(f"after_{n}")),
        )
        for n in range(number)
    ]
    return select(table).where(or_(*each))


def _of_each(
    connection: Connection, statement: Callable[[int], Any], after: Sequence[tuple[str, datetime]]
) -> list[list[RowMapping]]:
    """Return the rows of each space (id and time), asked at once."""
    asked: dict[str, object] = {}
    for n, (space_id, at) in enumerate(after):
        asked |= {f"space_{n}": space_id, f"after_{n}": at}
    found: dict[str, list[RowMapping]] = {space_id: [] for space_id, _ in after}
    for row in connection.execute(statement(len(after)), asked).mappings():
        found[row["space_id"]].append(row)
    return list(found.values())


def _write_spans(connection: Connection, folded: Sequence[_Folded]) -> None:
    """Make the spans after each checkpoint's last one equal to the fold's."""
    after = [(one.space["id"], moment(one.start.since_us)) for one in folded]
    differing = [
        one
        for one, rows in zip(folded, _of_each(connection, _spans_after, after), strict=True)
        if one.fold.spans
        != [Span(microseconds(row["since"]), Occupancy(row["occupancy"]), row["probability"]) for row in rows]
    ]
    if not differing:
        return
    connection.execute(
        _SPANS_REPLACED,
        [{"of_space": one.space["id"], "after": moment(one.start.since_us)} for one in differing],
    )
    new = [
        {
            "space_id": one.space["id"],
            "since": moment(span.since_us),
            "occupancy": span.occupancy,
            "probability": span.probability,
        }
        for one in differing
        for span in one.fold.spans
    ]
    if new:
        connection.execute(insert(tables.spans), new)


def _change_of_occupancy(one: _Folded) -> list[Change]:
    """Return the change of what is shown of a space, if there is one."""
    belief, before = one.fold.belief, one.space["occupancy"]
    if belief.occupancy == before:
        return []
    details = {
        "occupancy": belief.occupancy,
        "before": before,
        "probability": belief.probability,
        "since": isoformat(moment(belief.since_us)),
    }
    return [Change("occupancy", one.space["id"], details)]


def _unsettled_stays(connection: Connection, folded: Sequence[_Folded], rules: Rules) -> list[list[RowMapping]]:
    """Return the rows of each space's stays that its fold may still change."""
    after = []
    for one in folded:
        ended_after = FOR_EVER
        if one.space["closed_before"] is not None:
            # What ended before the checkpoint can't be told otherwise by any photo that still counts. But the
            # checkpoint may hold a stay open whose species was gone already: each fold ends it anew, and its row ended
            # then or later.
            ends = [stay.until_us for stay in one.fold.closed if stay.until_us is not None]
            ended_after = moment(min([(one.space["closed_before"] - rules.grace_s) * 1_000_000, *ends]))
        after.append((one.space["id"], ended_after))
    return _of_each(connection, _stays_ended_after, after)


def _write_stays(connection: Connection, one: _Folded, rows: Sequence[RowMapping], now: datetime) -> list[Change]:
    table, space = tables.stays, one.space
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
    revision = revise(kept, one.fold.stays(), newest_us)
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
