"""SQL of the work on batches: what a worker takes, gives back and ends.

Rows of inputs are locked before the row of their batch, as everywhere (store.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, or_, select, update

from services.image_classifier.batches.rules import (
    ATTEMPTS,
    KILLERS,
    UNFINISHED,
    BatchState,
    Waiting,
    gave_up,
    not_tried,
    turns,
)
from services.image_classifier.batches.tables import batches, contents, inputs, thumbnails

AHEAD = 10
"""Leases. So far ahead nobody puts the time at which an input may be taken: then the clock was put back since."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input that a worker has taken."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """Inputs of one batch that a worker has taken until `until`."""

    batch_id: str
    source: str
    inputs: tuple[Input, ...]
    until: datetime


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


def _is_due(at: datetime, lease: timedelta) -> ColumnElement[bool]:
    return or_(inputs.c.claimable_at <= at, inputs.c.claimable_at > at + AHEAD * lease)


def _at_risk(at: datetime, lease: timedelta) -> Select[tuple[str]]:
    """Select the clients of whom a worker has an input now that was tried before and may have ended that worker."""
    in_hand = (inputs.c.claimable_at > at) & (inputs.c.claimable_at <= at + AHEAD * lease) & inputs.c.error.is_(None)
    return (
        select(batches.c.client)
        .join(inputs, inputs.c.batch_id == batches.c.id)
        .where(in_hand, inputs.c.attempts > 1, batches.c.state.in_(UNFINISHED))
    )


def claimable(connection: Connection, at: datetime, limit: int, lease: timedelta) -> int:
    """Return how many inputs a worker that takes them for `lease` could take now, counted up to `limit`."""
    safe = or_(inputs.c.attempts == 0, batches.c.client.not_in(_at_risk(at, lease)))
    some = (
        select(inputs.c.number)
        .join(batches, batches.c.id == inputs.c.batch_id)
        .where(_is_due(at, lease), batches.c.state.in_(UNFINISHED), safe)
        .limit(limit)
        .subquery()
    )
    return int(connection.scalar(select(func.count()).select_from(some)) or 0)


def claim(connection: Connection, at: datetime, limit: int, lease: timedelta) -> Claimed | None:
    """Take up to `limit` inputs of the batch whose turn it is, until `at` + `lease`; None if there is nothing to do.

    Their attempts are counted before the work begins. An input that has an attempt without an end is taken alone,
    after all others of its batch, and while no other such of its client is in a worker's hands: so one client's photos
    end one worker at a time. One that has ATTEMPTS of them ends here as an error.
    """
    for row in _in_turn(connection):
        _give_up(connection, row.id, at, lease)
        found = _due(connection, row.id, at, lease, limit, suspects=False)
        if not found and row.client not in connection.execute(_at_risk(at, lease)).scalars().all():
            found = _due(connection, row.id, at, lease, 1, suspects=True)
        if not found:
            continue
        until = at + lease
        connection.execute(
            update(inputs)
            .where(inputs.c.batch_id == row.id, inputs.c.number.in_([one.number for one in found]))
            .values(claimable_at=until, attempts=inputs.c.attempts + 1, error=None)
        )
        connection.execute(
            update(batches)
            .where(batches.c.id == row.id, batches.c.state.in_(UNFINISHED))
            .values(served_at=at, state=BatchState.RUNNING.value)
        )
        return Claimed(row.id, row.source, tuple(found), until)
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
    """End inputs that have no attempt left; and the whole batch if KILLERS of them ended each worker they met."""
    rows = connection.execute(
        select(inputs.c.number, inputs.c.error)
        .where(inputs.c.batch_id == batch_id, _is_due(at, lease), inputs.c.attempts >= ATTEMPTS)
        .with_for_update(skip_locked=True)
    )
    ended = [Result(row.number, error=gave_up(row.error)) for row in rows]
    if not ended:
        return
    finish(connection, batch_id, ended, at)
    of_batch = inputs.c.batch_id == batch_id
    killers = select(func.count()).select_from(inputs).where(of_batch, inputs.c.error == gave_up(None))
    if (connection.scalar(killers) or 0) >= KILLERS:
        rest = connection.execute(select(inputs.c.number).where(of_batch, inputs.c.claimable_at.is_not(None)))
        finish(connection, batch_id, [Result(number, error=not_tried()) for number in rest.scalars()], at)


def read_contents(connection: Connection, batch_id: str, numbers: Sequence[int]) -> dict[int, bytes]:
    """Return the bytes of inputs by number; those that are gone (cancelled, ended elsewhere) are left out."""
    rows = connection.execute(
        select(contents.c.number, contents.c.content).where(
            contents.c.batch_id == batch_id, contents.c.number.in_(numbers)
        )
    )
    return {row.number: row.content for row in rows}


def put_back(connection: Connection, claimed: Claimed, numbers: Sequence[int], at: datetime) -> None:
    """Give inputs back that were not worked on, to be taken again from `at` on: that was no attempt.

    What another worker has taken since is left to it.
    """
    connection.execute(
        update(inputs)
        .where(_still(claimed), inputs.c.number.in_(numbers))
        .values(claimable_at=at, attempts=inputs.c.attempts - 1)
    )


def try_again(connection: Connection, claimed: Claimed, reasons: Mapping[int, str], at: datetime) -> None:
    """Have inputs tried again from `at` on, each alone; what happened counts as an attempt.

    `reasons` says by number what ended it, for the error of those that have no attempt left. What another worker has
    taken since is left to it.
    """
    for number, reason in sorted(reasons.items()):
        connection.execute(
            update(inputs).where(_still(claimed), inputs.c.number == number).values(claimable_at=at, error=reason)
        )


def _still(claimed: Claimed) -> ColumnElement[bool]:
    return (inputs.c.batch_id == claimed.batch_id) & (inputs.c.claimable_at == claimed.until)


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
