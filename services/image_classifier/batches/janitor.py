"""What is removed of batches, when, and how: in steps for which nobody waits long.

Who asks for a batch's removal hides it first; from then on it is gone for everybody, and what is left of it goes
whatever ends the process meanwhile, as the next round finds it.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select

from services.image_classifier.batches.rules import UNFINISHED, BatchState
from services.image_classifier.batches.store import RECEIVING, REMOVED, hide, lock_inputs
from services.image_classifier.batches.tables import batches, contents
from services.image_classifier.settings import Settings
from shared.database import Database

ENDED = (BatchState.DONE, BatchState.CANCELLED, BatchState.FAILED)
STILL_FOR = timedelta(minutes=2)
"""Time without any more of a batch's photos written, after which it is taken for abandoned by who received it."""
AT_ONCE = 50
"""Contents removed in one transaction, so that workers never wait long for it."""
A_ROUND = 20
"""Batches removed in one round."""


def clear(database: Database, settings: Settings, at: datetime) -> bool:
    """Remove what was not received whole, is hidden, too old or beyond what is kept; return whether there is more.

    What waits may wait, however long.
    """
    with database.read() as connection:
        too_many = _too_old(connection, at - timedelta(days=settings.batch_days)) + _beyond(
            connection, settings.batch_kept
        )
    for batch_id in too_many[:A_ROUND]:
        database.write(lambda connection, one=batch_id: hide(connection, one))  # type: ignore[misc]  # bound now
    with database.read() as connection:
        gone = _abandoned(connection, at - STILL_FOR) + _hidden(connection)
        left = _with_contents(connection)
    for batch_id in left:
        forget_contents(database, batch_id)
    for batch_id in gone[:A_ROUND]:
        remove(database, batch_id)
    return len(too_many) > A_ROUND or len(gone) > A_ROUND


def forget_contents(database: Database, batch_id: str) -> None:
    """Remove the photos of a batch."""
    while database.write(lambda connection: _drop_contents(connection, batch_id)):
        pass


def remove(database: Database, batch_id: str) -> None:
    """Remove all of a batch."""
    forget_contents(database, batch_id)
    database.write(lambda connection: drop(connection, batch_id))


def drop(connection: Connection, batch_id: str) -> None:
    """Remove a batch, its inputs and results."""
    lock_inputs(connection, batch_id)
    connection.execute(delete(batches).where(batches.c.id == batch_id))


def unfinished(connection: Connection) -> int:
    """Return how many batches are queued or running."""
    return int(connection.scalar(select(func.count()).where(batches.c.state.in_(UNFINISHED))) or 0)


def _drop_contents(connection: Connection, batch_id: str) -> int:
    some = select(contents.c.number).where(contents.c.batch_id == batch_id).limit(AT_ONCE)
    numbers = list(connection.execute(some).scalars())
    if numbers:
        connection.execute(delete(contents).where(contents.c.batch_id == batch_id, contents.c.number.in_(numbers)))
    return len(numbers)


def _too_old(connection: Connection, before: datetime) -> list[str]:
    found = select(batches.c.id).where(batches.c.state.in_(ENDED), batches.c.finished_at < before)
    return list(connection.execute(found).scalars())


def _beyond(connection: Connection, kept: int) -> list[str]:
    """Return ended batches so that of those left `kept` inputs stay at most, half of them of one client."""
    newest_first = (batches.c.finished_at.desc(), batches.c.id)
    ended = (
        select(
            batches.c.id,
            func.sum(batches.c.total).over(order_by=newest_first).label("of_all"),
            func.sum(batches.c.total).over(partition_by=batches.c.client, order_by=newest_first).label("of_client"),
        )
        .where(batches.c.state.in_(ENDED))
        .subquery()
    )
    found = select(ended.c.id).where((ended.c.of_all > kept) | (ended.c.of_client > kept // 2))
    return list(connection.execute(found).scalars())


def _abandoned(connection: Connection, before: datetime) -> list[str]:
    found = select(batches.c.id).where(batches.c.state == RECEIVING, batches.c.progress_at < before)
    return list(connection.execute(found).scalars())


def _hidden(connection: Connection) -> list[str]:
    return list(connection.execute(select(batches.c.id).where(batches.c.state == REMOVED)).scalars())


def _with_contents(connection: Connection) -> list[str]:
    """Return ended batches that still have photos: of inputs that were never worked on."""
    has = select(contents.c.number).where(contents.c.batch_id == batches.c.id).exists()
    return list(connection.execute(select(batches.c.id).where(batches.c.state.in_(ENDED), has)).scalars())
