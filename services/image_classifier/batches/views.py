"""What is shown of batches: all reading for the API."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from services.image_classifier.batches.store import RECEIVING, REMOVED
from services.image_classifier.batches.tables import batches, inputs, thumbnails
from shared.database import Database

_SHOWN = batches.c.state.not_in([RECEIVING, REMOVED])


def find(connection: Connection, batch_id: str) -> Row[Any] | None:
    """Return a batch's row, or None if there is none that anybody may see."""
    return connection.execute(select(batches).where(batches.c.id == batch_id, _SHOWN)).first()


def newest(connection: Connection, limit: int, before: str | None) -> Sequence[Row[Any]]:
    """Return batches, the newest first, from after the one whose id is `before`."""
    wanted = select(batches).where(_SHOWN).order_by(batches.c.id.desc()).limit(limit)
    return connection.execute(wanted if before is None else wanted.where(batches.c.id < before)).all()


def ended(connection: Connection, batch_id: str, after: int, limit: int) -> Sequence[Row[Any]]:
    """Return inputs that ended, in their order, from after the number `after`."""
    return connection.execute(
        select(inputs, thumbnails.c.number.label("pictured"))
        .outerjoin(thumbnails, (thumbnails.c.batch_id == inputs.c.batch_id) & (thumbnails.c.number == inputs.c.number))
        .where(inputs.c.batch_id == batch_id, inputs.c.number > after, inputs.c.ended_at.is_not(None))
        .order_by(inputs.c.number)
        .limit(limit)
    ).all()


def every_ended(database: Database, batch_id: str, at_once: int = 200) -> Iterator[Sequence[Row[Any]]]:
    """Give all inputs that ended, page by page."""
    after = 0
    while True:
        with database.read() as connection:
            rows = ended(connection, batch_id, after, at_once)
        if not rows:
            return
        yield rows
        after = rows[-1].number


def thumbnail(connection: Connection, batch_id: str, number: int) -> bytes | None:
    """Return the small JPEG of an input, or None if there is none."""
    content = connection.scalar(
        select(thumbnails.c.content)
        .join(batches, batches.c.id == thumbnails.c.batch_id)
        .where(thumbnails.c.batch_id == batch_id, thumbnails.c.number == number, _SHOWN)
    )
    return None if content is None else bytes(content)
