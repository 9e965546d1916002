"""SQL of a batch's life: made, opened for work, cancelled. What workers do is in claims.py, removal in janitor.py.

Rows of inputs are locked before the row of their batch, everywhere, so that no two writers wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, update

from services.image_classifier.batches.rules import CANCELLED, UNFINISHED, BatchState, Held, Quota, over_quota
from services.image_classifier.batches.tables import batches, contents, inputs

RECEIVING, REMOVED = "receiving", "removed"
UPLOAD, RECEIPTS = "upload", "receipts"
CREATE_LOCK = 0x6261746368


class OverQuota(Exception):
    """Another job would exceed what may wait; `what` is jobs, inputs, own_bytes or bytes."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class IdTaken(Exception):
    """There is a batch of this id."""


class NotReceiving(Exception):
    """The batch is not being received any more: it was taken for abandoned, and removed."""


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be made at `at`; `size` is the bytes of its inputs, 0 of receipts."""

    batch_id: str
    client: str
    source: str
    names: Sequence[str]
    size: int
    at: datetime


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


def by_id(connection: Connection, batch_id: str) -> Row[Any] | None:
    """Return a batch's row whatever its state is, or None."""
    return connection.execute(select(batches).where(batches.c.id == batch_id)).first()


def create(connection: Connection, new: NewBatch, quota: Quota) -> None:
    """Make a batch that is still being received. Raises OverQuota or IdTaken."""
    if connection.dialect.name == "postgresql":
        # There two transactions don't see each other's new batches, and both would find room for theirs.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CREATE_LOCK})
    if by_id(connection, new.batch_id) is not None:
        raise IdTaken
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
        "created_at": new.at,
        "progress_at": new.at,
    }
    connection.execute(insert(batches), [row])
    rows = [
        {"batch_id": new.batch_id, "number": number, "name": name, "claimable_at": new.at, "attempts": 0}
        for number, name in enumerate(new.names, 1)
    ]
    connection.execute(insert(inputs), rows)


def _change_received(connection: Connection, new: NewBatch, **values: object) -> bool:
    # By the time, too: one of the same id may have been made since this one was taken for abandoned.
    changed = connection.execute(
        update(batches)
        .where(batches.c.id == new.batch_id, batches.c.state == RECEIVING, batches.c.created_at == new.at)
        .values(values)
    )
    return changed.rowcount > 0


def add_contents(connection: Connection, new: NewBatch, found: Mapping[int, bytes], at: datetime) -> None:
    """Write the bytes of some inputs, by number. Raises NotReceiving."""
    if not _change_received(connection, new, progress_at=at):
        raise NotReceiving
    rows = [{"batch_id": new.batch_id, "number": number, "content": content} for number, content in found.items()]
    connection.execute(insert(contents), rows)


def open_for_work(connection: Connection, new: NewBatch, digest: str, at: datetime) -> None:
    """Let workers at a batch, now that all of it is there. Raises NotReceiving."""
    lock_inputs(connection, new.batch_id)
    values = {"state": BatchState.QUEUED.value, "created_at": at, "progress_at": at, "digest": digest}
    if not _change_received(connection, new, **values):
        raise NotReceiving


def abandon(connection: Connection, new: NewBatch) -> bool:
    """Mark a batch for removal that will not be received whole; return whether there is one."""
    return _change_received(connection, new, state=REMOVED)


def lock_inputs(connection: Connection, batch_id: str, numbers: Sequence[int] | None = None) -> None:
    """Lock inputs that have not ended, all or those of `numbers`, in the order of all others who lock."""
    wanted = select(inputs.c.number).where(inputs.c.batch_id == batch_id, inputs.c.claimable_at.is_not(None))
    if numbers is not None:
        wanted = wanted.where(inputs.c.number.in_(numbers))
    connection.execute(wanted.order_by(inputs.c.number).with_for_update()).all()


def cancel(connection: Connection, batch_id: str, at: datetime) -> bool:
    """End an unfinished batch; what has no result ends as an error. Return whether it was unfinished."""
    lock_inputs(connection, batch_id)
    ended = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state.in_(UNFINISHED))
        .values(state=BatchState.CANCELLED.value, failed=batches.c.total - batches.c.done, finished_at=at)
    )
    if ended.rowcount == 0:
        return False
    connection.execute(
        update(inputs)
        .where(inputs.c.batch_id == batch_id, inputs.c.claimable_at.is_not(None))
        .values(claimable_at=None, ended_at=at, error=CANCELLED)
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
