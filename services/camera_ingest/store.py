"""What is read from and written to the table of frames.

Functions take the connection of `Database.read()` or of a change given to `Database.write`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, func, literal_column, select, update

from services.camera_ingest import ledger, registry
from services.camera_ingest.domain import REPEAT_WITHIN, State
from services.camera_ingest.photo import Photo
from services.camera_ingest.tables import camera_secrets, cameras, frames, in_flight, insert_into
from shared.receipts import given_at, hour_of

NULL_AT_FIRST = ("reason", "offered_at", "attempt_at", "settled_at", "image_removed_at")
TOLD = ("header", "event")  # who sends a photo again tells the same time again

FrameRow = Row[Any]


@dataclass(frozen=True)
class NewFrame:
    """A frame whose bytes are on disk and whose row is not yet."""

    receipt: str
    camera: registry.Camera
    frame_id: str | None
    captured_at: datetime | None
    captured_from: str | None
    received_at: datetime
    observed_at: datetime
    sha256: str
    size: int
    photo: Photo


class FrameConflict(Exception):
    """The camera has another frame of that name, with other bytes."""


class CameraChanged(Exception):
    """The camera is not what it was when its body was let in, or the secret is none of its own any more."""


def accept_frame(connection: Connection, new: NewFrame) -> tuple[Row[Any], bool]:
    """Write a frame's row, unless the camera sent that frame before; return the row and whether it is new.

    A named frame is the same by name and digest; one without a name by digest and `Captured-At`, or by digest within
    ten seconds. Raises FrameConflict for a known name with another digest, and CameraChanged if the camera was known by
    a secret that is not its own now.
    """
    if new.frame_id is None:
        repeat = _find_repeat(connection, new)
        if repeat is not None:
            _ask_again(connection, new.camera)
            return repeat, False
    photo = new.photo
    values = {
        "receipt": new.receipt,
        "camera_id": new.camera.camera_id,
        "frame_id": new.frame_id or new.receipt,
        "captured_at": new.captured_at,
        "captured_from": new.captured_from,
        "received_at": new.received_at,
        "observed_at": new.observed_at,
        "sha256": new.sha256,
        "size": new.size,
        "media_type": photo.media_type,
        "width": photo.width,
        "height": photo.height,
        "state": State.ACCEPTED.value,
        "next_offer_at": new.received_at,
        "offers": 0,
        "attempts": 0,
    }
    if new.camera.secret is None:
        accepting = _accepting(connection.dialect.name)
        values |= {"space_id": new.camera.space_id}
    else:
        accepting = _accepting_by_secret(connection.dialect.name)
        values |= {"secret": new.camera.secret, "always_200": new.camera.always_200}
    row = connection.execute(accepting, values).first()
    if row is not None:
        ledger.add(connection, hour_of(new.receipt), accepted=1, image_bytes=new.size)
        return row, True
    _ask_again(connection, new.camera)
    existing = connection.execute(
        select(frames).where(
            frames.c.camera_id == new.camera.camera_id, frames.c.frame_id == (new.frame_id or new.receipt)
        )
    ).one()
    if existing.sha256 != new.sha256:
        raise FrameConflict(existing.receipt)
    return existing, False


@cache
def _accepting(dialect: str) -> Any:
    # Made once: to build this statement costs several times as much as to run it.
    return (
        insert_into(dialect, frames).on_conflict_do_nothing(index_elements=["camera_id", "frame_id"]).returning(frames)
    )


@cache
def _accepting_by_secret(dialect: str) -> Any:
    """The same, if the camera still has the secret; the space is the one that it is in now."""
    given = [column for column in frames.c if column.name not in ("camera_id", "space_id", *NULL_AT_FIRST)]
    camera = (
        select(
            cameras.c.camera_id, cameras.c.space_id, *(bindparam(column.name, type_=column.type) for column in given)
        )
        .where(cameras.c.camera_id == bindparam("camera_id"), cameras.c.always_200 == bindparam("always_200"))
        .where(
            exists().where(
                camera_secrets.c.camera_id == cameras.c.camera_id, camera_secrets.c.sha256 == bindparam("secret")
            )
        )
    )
    return (
        insert_into(dialect, frames)
        .from_select(["camera_id", "space_id", *(column.name for column in given)], camera)
        .on_conflict_do_nothing(index_elements=["camera_id", "frame_id"])
        .returning(frames)
    )


def _ask_again(connection: Connection, camera: registry.Camera) -> None:
    """Raise CameraChanged unless what the camera's answer depends on is as it was when its body was let in."""
    if camera.secret is None:
        return
    found = registry.camera_with_sha256(connection, camera.camera_id, camera.secret)
    if found is None or found.always_200 != camera.always_200:
        raise CameraChanged


def _find_repeat(connection: Connection, new: NewFrame) -> Row[Any] | None:
    if connection.dialect.name != "sqlite":  # there, one process writes at a time anyway
        # Two processes may be given the same frame at once; one waits here for the other's commit.
        key = int.from_bytes(hashlib.sha256(f"{new.camera.camera_id}/{new.sha256}".encode()).digest()[:8], signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(key)))
    same_time: ColumnElement[bool]
    if new.captured_from in TOLD:
        same_time = frames.c.captured_from.in_(TOLD) & (frames.c.captured_at == new.captured_at)
    else:
        same_time = frames.c.received_at > new.received_at - REPEAT_WITHIN
    return connection.execute(
        select(frames)
        .where(frames.c.camera_id == new.camera.camera_id, frames.c.sha256 == new.sha256, same_time)
        .order_by(frames.c.receipt.desc())
        .limit(1)
    ).first()


def read_frame(connection: Connection, receipt: str) -> Row[Any] | None:
    """Return a frame's row, or None."""
    return connection.execute(select(frames).where(frames.c.receipt == receipt)).first()


def read_frames(connection: Connection, receipts: Sequence[str]) -> dict[str, Row[Any]]:
    """Return the rows of those receipts that exist."""
    rows = connection.execute(select(frames).where(frames.c.receipt.in_(receipts)))
    return {row.receipt: row for row in rows}


def latest_kept_frame(connection: Connection, camera_id: str) -> Row[Any] | None:
    """Return a camera's newest frame whose image is still kept, or None."""
    return connection.execute(
        select(frames)
        .where(frames.c.camera_id == camera_id, frames.c.image_removed_at.is_(None))
        .order_by(frames.c.receipt.desc())
        .limit(1)
    ).first()


def list_frames(
    connection: Connection,
    *,
    after: str,
    limit: int,
    state: State | None,
    camera_id: str | None,
    before: str | None = None,
    until: str | None = None,
) -> Sequence[Row[Any]]:
    """Return up to `limit` frames whose receipt comes after `after`, in the order in which they were received.

    With `before`, those whose receipt comes before it too, newest first; "" is the end of time. With `until`, none
    whose receipt comes after it, in either order.
    """
    statement = select(frames).where(frames.c.receipt > after).limit(limit)
    statement = statement.order_by(frames.c.receipt if before is None else frames.c.receipt.desc())
    if before:
        statement = statement.where(frames.c.receipt < before)
    if until is not None:
        statement = statement.where(frames.c.receipt < until)
    if camera_id is not None:
        statement = statement.where(frames.c.camera_id == camera_id)
    if state is State.ACCEPTED:
        statement = statement.where(in_flight)
    elif state is not None:
        # Written out, so that the partial index on rejected frames applies.
        statement = statement.where(frames.c.state == literal_column(f"'{state.value}'"))
    return connection.execute(statement).all()


def unsettled(connection: Connection) -> tuple[int, datetime | None]:
    """Return how many frames are not settled, and when the oldest of them was received."""
    row = connection.execute(select(func.count(), func.min(frames.c.receipt)).where(in_flight)).one()
    return int(row[0]), given_at(row[1]) if row[1] else None


def newest_frames(connection: Connection, limit: int) -> Sequence[Row[datetime, datetime | None]]:
    """Return when each of the newest frames was received and settled, newest first."""
    columns = (frames.c.received_at, frames.c.settled_at)
    return connection.execute(select(*columns).order_by(frames.c.receipt.desc()).limit(limit)).all()


def begin_attempts(connection: Connection, receipts: Sequence[str], now: datetime) -> dict[str, Row[Any]]:
    """Note that the classifier fetches these frames, where they are in flight, and return those that exist."""
    rows = connection.execute(
        select(frames).where(frames.c.receipt.in_(receipts)).order_by(frames.c.receipt).with_for_update()
    ).all()
    begun = [row.receipt for row in rows if row.state == State.ACCEPTED]
    if begun:
        connection.execute(update(frames).where(frames.c.receipt.in_(begun)).values(attempt_at=now))
    return {row.receipt: row for row in rows}


def offer_again(connection: Connection, receipt: str, now: datetime) -> Row[Any] | None:
    """Put a rejected frame whose image is kept back in flight, with no attempt against it; return its row.

    A frame that is not rejected is returned as it is; None if there is no such receipt.
    """
    row = connection.execute(select(frames).where(frames.c.receipt == receipt).with_for_update()).first()
    if row is None or row.state != State.REJECTED or row.image_removed_at is not None:
        return row
    ledger.add(connection, hour_of(receipt), rejected=-1)
    changed = (
        update(frames)
        .where(frames.c.receipt == receipt)
        .values(
            state=State.ACCEPTED.value,
            reason=None,
            next_offer_at=now,
            offered_at=None,
            attempt_at=None,
            attempts=0,
            settled_at=None,
        )
    )
    return connection.execute(changed.returning(frames)).first()
