"""All SQL of batches but what the API lists (views.py).

Rows of inputs are locked before the row of their batch, everywhere, so that no two writers wait for each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, or_, select, update

from services.image_classifier.batches.rules import (
    ATTEMPTS,
    UNFINISHED,
    BatchState,
    Held,
    Quota,
    Waiting,
    gave_up,
    over_quota,
    turns,
)
from services.image_classifier.batches.tables import batches, contents, inputs, thumbnails

RECEIVING, REMOVED = "receiving", "removed"
UPLOAD, RECEIPTS = "upload", "receipts"
AT_ONCE = 50
"""Contents removed in one transaction, so that workers never wait long for it."""


class OverQuota(Exception):
    """Another job would exceed what may wait; `what` is jobs, inputs, own_bytes or bytes."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be made; `size` is the bytes of its inputs, 0 of receipts."""

    batch_id: str
    client: str
    source: str
    names: Sequence[str]
    size: int


@dataclass(frozen=True, slots=True)
class Input:
    """An input that a worker has taken."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """Inputs of one batch that a worker has taken for a while."""

    batch_id: str
    source: str
    inputs: tuple[Input, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an input: a prediction (`label` and all beside it), or an `error`."""

    number: int
    label: str | None = None
    cat: float | None = None
    dog: float | None = None
    quality: str | None = None
    model: str | None = None
    version: str | None = None
    error: str | None = None
    thumbnail: bytes | None = None


def held(connection: Connection, client: str) -> Held:
    """Return what waits now, with what is being received."""
    waits = batches.c.state.in_([*UNFINISHED, RECEIVING])
    mine = connection.execute(
        select(
            func.count(), func.sum(batches.c.total - batches.c.done - batches.c.failed), func.sum(batches.c.bytes)
        ).where(waits, batches.c.client == client)
    ).one()
    size = connection.scalar(select(func.sum(batches.c.bytes)).where(waits))
    return Held(mine[0], int(mine[1] or 0), int(mine[2] or 0), int(size or 0))


def create(connection: Connection, new: NewBatch, quota: Quota, at: datetime) -> None:
    """Make a batch that is still being received. Raises OverQuota."""
    exceeded = over_quota(held(connection, new.client), quota, len(new.names), new.size)
    if exceeded:
        raise OverQuota(exceeded)
    row = {
        "id": new.batch_id,
        "client": new.client,
        "state": RECEIVING,
        "source": new.source,
        "total": len(new.names),
        "done": 0,
        "failed": 0,
        "bytes": new.size,
        "created_at": at,
        "progress_at": at,
    }
    connection.execute(insert(batches), [row])
    rows = [
        {"batch_id": new.batch_id, "number": number, "name": name, "claimable_at": at, "attempts": 0}
        for number, name in enumerate(new.names, 1)
    ]
    connection.execute(insert(inputs), rows)


def add_contents(connection: Connection, batch_id: str, found: Mapping[int, bytes]) -> None:
    """Write the bytes of some inputs, by number."""
    rows = [{"batch_id": batch_id, "number": number, "content": content} for number, content in found.items()]
    connection.execute(insert(contents), rows)


def open_for_work(connection: Connection, batch_id: str, at: datetime) -> None:
    """Let workers at a batch, now that all of it is there."""
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state == RECEIVING)
        .values(state=BatchState.QUEUED.value, created_at=at, progress_at=at)
    )


def _is_due(at: datetime, lease: timedelta) -> ColumnElement[bool]:
    # So far ahead nobody puts it: the clock was put back since.
    return or_(inputs.c.claimable_at <= at, inputs.c.claimable_at > at + 10 * lease)


def claimable(connection: Connection, at: datetime, limit: int, lease: timedelta) -> int:
    """Return how many inputs a worker that takes them for `lease` could take now, counted up to `limit`."""
    some = (
        select(inputs.c.number)
        .join(batches, batches.c.id == inputs.c.batch_id)
        .where(_is_due(at, lease), batches.c.state.in_(UNFINISHED))
        .limit(limit)
        .subquery()
    )
    return int(connection.scalar(select(func.count()).select_from(some)) or 0)


def claim(connection: Connection, at: datetime, limit: int, lease: timedelta) -> Claimed | None:
    """Take up to `limit` inputs of the batch whose turn it is, until `at` + `lease`; None if there is nothing to do.

    Their attempts are counted before the work begins. An input that has an attempt without an end is taken alone, and
    after all others of its batch; one that has ATTEMPTS of them ends here as an error.
    """
    for row in _in_turn(connection):
        _give_up(connection, row.id, at, lease)
        found = _due(connection, row.id, at, lease, limit, suspects=False)
        found = found or _due(connection, row.id, at, lease, 1, suspects=True)
        if not found:
            continue
        connection.execute(
            update(inputs)
            .where(inputs.c.batch_id == row.id, inputs.c.number.in_([one.number for one in found]))
            .values(claimable_at=at + lease, attempts=inputs.c.attempts + 1, error=None)
        )
        connection.execute(
            update(batches)
            .where(batches.c.id == row.id, batches.c.state.in_(UNFINISHED))
            .values(served_at=at, state=BatchState.RUNNING.value)
        )
        return Claimed(row.id, row.source, tuple(found))
    return None


def _in_turn(connection: Connection) -> list[Any]:
    rows = {
        row.id: row
        for row in connection.execute(
            select(batches.c.id, batches.c.client, batches.c.source, batches.c.created_at, batches.c.served_at).where(
                batches.c.state.in_(UNFINISHED)
            )
        )
    }
    return [
        rows[batch_id]
        for batch_id in turns([Waiting(row.id, row.client, row.created_at, row.served_at) for row in rows.values()])
    ]


def _due(
    connection: Connection, batch_id: str, at: datetime, lease: timedelta, limit: int, *, suspects: bool
) -> list[Input]:
    attempted = inputs.c.attempts > 0 if suspects else inputs.c.attempts == 0
    rows = connection.execute(
        select(inputs.c.number, inputs.c.name)
        .where(inputs.c.batch_id == batch_id, _is_due(at, lease), attempted)
        .order_by(inputs.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [Input(row.number, row.name) for row in rows]


def _give_up(connection: Connection, batch_id: str, at: datetime, lease: timedelta) -> None:
    rows = connection.execute(
        select(inputs.c.number, inputs.c.error)
        .where(inputs.c.batch_id == batch_id, _is_due(at, lease), inputs.c.attempts >= ATTEMPTS)
        .with_for_update(skip_locked=True)
    )
    ended = [Result(row.number, error=gave_up(row.error)) for row in rows]
    if ended:
        finish(connection, batch_id, ended, at)


def read_contents(connection: Connection, batch_id: str, numbers: Sequence[int]) -> dict[int, bytes]:
    """Return the bytes of inputs by number; those that are gone (cancelled, ended elsewhere) are left out."""
    rows = connection.execute(
        select(contents.c.number, contents.c.content).where(
            contents.c.batch_id == batch_id, contents.c.number.in_(numbers)
        )
    )
    return {row.number: row.content for row in rows}


def lock_inputs(connection: Connection, batch_id: str, numbers: Sequence[int] | None = None) -> None:
    """Lock inputs that have not ended, all or those of `numbers`, in the order of all others who lock."""
    wanted = select(inputs.c.number).where(inputs.c.batch_id == batch_id, inputs.c.claimable_at.is_not(None))
    if numbers is not None:
        wanted = wanted.where(inputs.c.number.in_(numbers))
    connection.execute(wanted.order_by(inputs.c.number).with_for_update()).all()


def put_back(connection: Connection, batch_id: str, numbers: Sequence[int], at: datetime) -> None:
    """Give inputs back that were not worked on, to be taken again from `at` on: that was no attempt."""
    connection.execute(
        update(inputs)
        .where(inputs.c.batch_id == batch_id, inputs.c.number.in_(numbers), inputs.c.claimable_at.is_not(None))
        .values(claimable_at=at, attempts=inputs.c.attempts - 1)
    )


def try_again(connection: Connection, batch_id: str, reasons: Mapping[int, str], at: datetime) -> None:
    """Have inputs tried again from `at` on, each alone; what happened counts as an attempt.

    `reasons` says by number what ended it, for the error of those that have no attempt left.
    """
    for number, reason in sorted(reasons.items()):
        connection.execute(
            update(inputs)
            .where(inputs.c.batch_id == batch_id, inputs.c.number == number, inputs.c.claimable_at.is_not(None))
            .values(claimable_at=at, error=reason)
        )


def finish(connection: Connection, batch_id: str, results: Sequence[Result], at: datetime) -> int:
    """Write results of inputs that have none yet, forget their bytes, and end the batch with the last; return how many.

    What comes twice, or after a batch was cancelled, changes nothing.
    """
    numbers = [result.number for result in results]
    missing = set(
        connection.execute(
            select(inputs.c.number)
            .where(inputs.c.batch_id == batch_id, inputs.c.number.in_(numbers), inputs.c.claimable_at.is_not(None))
            .order_by(inputs.c.number)
            .with_for_update()
        ).scalars()
    )
    new = [result for result in results if result.number in missing]
    if not new:
        return 0
    connection.execute(_ENDING, [_row(batch_id, result, at) for result in new])
    of_these = (contents.c.batch_id == batch_id) & contents.c.number.in_([result.number for result in new])
    connection.execute(delete(contents).where(of_these))
    pictures = [
        {"batch_id": batch_id, "number": result.number, "content": result.thumbnail}
        for result in new
        if result.thumbnail is not None
    ]
    if pictures:
        connection.execute(insert(thumbnails), pictures)
    failed = sum(1 for result in new if result.error is not None)
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id)
        .values(done=batches.c.done + len(new) - failed, failed=batches.c.failed + failed, progress_at=at)
    )
    connection.execute(
        update(batches)
        .where(
            batches.c.id == batch_id,
            batches.c.done + batches.c.failed == batches.c.total,
            batches.c.state.in_(UNFINISHED),
        )
        .values(state=BatchState.DONE.value, finished_at=at)
    )
    return len(new)


_RESULT = ("label", "cat", "dog", "quality", "model", "version", "error")
_ENDING = (
    update(inputs)
    .where(inputs.c.batch_id == bindparam("of_batch"), inputs.c.number == bindparam("of_number"))
    .values({"claimable_at": None, "ended_at": bindparam("at"), **{name: bindparam(f"new_{name}") for name in _RESULT}})
)


def _row(batch_id: str, result: Result, at: datetime) -> dict[str, Any]:
    found = {f"new_{name}": getattr(result, name) for name in _RESULT}
    return {"of_batch": batch_id, "of_number": result.number, "at": at, **found}


def stop(connection: Connection, batch_id: str, state: BatchState, at: datetime) -> bool:
    """End an unfinished batch as cancelled or failed, the rest without results; return whether it was unfinished."""
    lock_inputs(connection, batch_id)
    ended = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state.in_(UNFINISHED))
        .values(state=state.value, finished_at=at)
    )
    if ended.rowcount == 0:
        return False
    connection.execute(
        update(inputs)
        .where(inputs.c.batch_id == batch_id, inputs.c.claimable_at.is_not(None))
        .values(claimable_at=None)
    )
    return True


def hide(connection: Connection, batch_id: str) -> bool:
    """Mark a batch for removal; from now on nobody sees or works on it. Return whether there was one."""
    marked = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state.not_in([REMOVED, RECEIVING]))
        .values(state=REMOVED)
    )
    return marked.rowcount > 0


def drop_contents(connection: Connection, batch_id: str) -> int:
    """Forget some of the bytes of a batch; return how many inputs' they were."""
    some = select(contents.c.number).where(contents.c.batch_id == batch_id).limit(AT_ONCE)
    numbers = list(connection.execute(some).scalars())
    if numbers:
        connection.execute(delete(contents).where(contents.c.batch_id == batch_id, contents.c.number.in_(numbers)))
    return len(numbers)


def drop(connection: Connection, batch_id: str) -> None:
    """Remove a batch, its inputs and results."""
    lock_inputs(connection, batch_id)
    connection.execute(delete(batches).where(batches.c.id == batch_id))


def ids(connection: Connection, states: Iterable[str], before: datetime, column: str = "created_at") -> list[str]:
    """Return the batches in `states` whose time in `column` is before `before`."""
    found = select(batches.c.id).where(batches.c.state.in_(list(states)), batches.c[column] < before)
    return list(connection.execute(found).scalars())


def with_contents(connection: Connection) -> list[str]:
    """Return ended batches that still have bytes: those of inputs that were never worked on."""
    ended = [BatchState.CANCELLED, BatchState.FAILED, BatchState.DONE]
    has = select(contents.c.number).where(contents.c.batch_id == batches.c.id).exists()
    return list(connection.execute(select(batches.c.id).where(batches.c.state.in_(ended), has)).scalars())
