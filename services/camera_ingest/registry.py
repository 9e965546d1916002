"""Cameras, their secrets and their addresses, as they are kept: whose credentials these are.

Functions take the connection of `Database.read()` or of a change given to `Database.write`.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from services.camera_ingest import digest
from services.camera_ingest.domain import Address
from services.camera_ingest.tables import camera_secrets, cameras, frames, insert_into, shared_keys

SECRETS_KEPT = 2
NO_ADDRESS = Address()


@dataclass(frozen=True)
class Camera:
    """A camera as its frames need it.

    `secret` is the SHA-256 of the one by which it was known, if it was by one, and `in_path` whether that came in the
    path.
    """

    camera_id: str
    space_id: str
    address: Address = NO_ADDRESS
    always_200: bool = False
    secret: str | None = None
    in_path: bool = False


def digest_of(secret: str) -> str:
    """Return what is kept of a camera's secret: its SHA-256, which suffices since the secret is random."""
    return hashlib.sha256(secret.encode()).hexdigest()


def put_camera(
    connection: Connection, camera_id: str, space_id: str, now: datetime, **chosen: str | int | bool | None
) -> tuple[bool, str | None]:
    """Create or change a camera; return whether it is new, and its new secret if it was given one.

    `chosen` are those of the other columns that change; raises IntegrityError if its address is another camera's. An
    old camera is given a secret when Digest is switched on, which can't use those that it has.
    """
    chosen = {"space_id": space_id, **chosen}
    created = connection.execute(
        insert_into(connection.dialect.name, cameras)
        .values(camera_id=camera_id, created_at=now, **chosen)
        .on_conflict_do_nothing(index_elements=["camera_id"])
        .returning(cameras.c.camera_id)
    ).first()
    if created is not None:
        return True, add_secret(connection, camera_id, now)
    connection.execute(update(cameras).where(cameras.c.camera_id == camera_id).values(chosen))
    own = camera_secrets.c.camera_id == camera_id
    if chosen.get("authentication") == "digest":
        ready = connection.scalar(select(func.count()).where(own, camera_secrets.c.ha1_md5.is_not(None)))
        return False, None if ready else add_secret(connection, camera_id, now)
    if chosen.get("authentication") == "basic":
        connection.execute(update(camera_secrets).where(own).values(ha1_md5=None, ha1_sha256=None))
    return False, None


def add_secret(connection: Connection, camera_id: str, now: datetime) -> str | None:
    """Give a camera one more secret and return it, dropping the oldest past two; None for an unknown camera."""
    camera = connection.execute(_locked_camera(camera_id)).first()
    if camera is None:
        return None
    secret = secrets.token_urlsafe(12)
    values = {"camera_id": camera_id, "sha256": digest_of(secret), "created_at": now}
    if camera.authentication == "digest":
        kept = digest.kept_of(camera_id, secret)
        values |= {"ha1_md5": kept[digest.MD5], "ha1_sha256": kept[digest.SHA256]}
    connection.execute(insert(camera_secrets).values(values))
    keep_newest_secrets(connection, camera_id, SECRETS_KEPT)
    return secret


def keep_newest_secrets(connection: Connection, camera_id: str, number: int) -> bool:
    """Revoke all but the newest `number` secrets of a camera; return whether there is such a camera."""
    if connection.execute(_locked_camera(camera_id)).first() is None:
        return False
    newest = (
        select(camera_secrets.c.number)
        .where(camera_secrets.c.camera_id == camera_id)
        .order_by(camera_secrets.c.number.desc())
        .limit(number)
    )
    numbers = connection.scalars(newest).all()
    connection.execute(
        delete(camera_secrets).where(camera_secrets.c.camera_id == camera_id, camera_secrets.c.number.not_in(numbers))
    )
    return True


def remove_camera(connection: Connection, camera_id: str) -> bool:
    """Remove a camera and its secrets, never its frames; return whether there was one."""
    connection.execute(delete(camera_secrets).where(camera_secrets.c.camera_id == camera_id))
    return connection.execute(delete(cameras).where(cameras.c.camera_id == camera_id)).rowcount > 0


def _locked_camera(camera_id: str) -> Any:
    return (
        select(cameras.c.camera_id, cameras.c.authentication).where(cameras.c.camera_id == camera_id).with_for_update()
    )


def _described() -> Any:
    last = select(func.max(frames.c.receipt)).where(frames.c.camera_id == cameras.c.camera_id).scalar_subquery()
    number = (
        select(func.count())
        .select_from(camera_secrets)
        .where(camera_secrets.c.camera_id == cameras.c.camera_id)
        .scalar_subquery()
    )
    return select(cameras, last.label("last_receipt"), number.label("secrets"))


def list_cameras(connection: Connection, after: str, limit: int) -> Sequence[Row[Any]]:
    """Return up to `limit` cameras whose id comes after `after`, with `last_receipt` and the number of `secrets`."""
    return connection.execute(
        _described().where(cameras.c.camera_id > after).order_by(cameras.c.camera_id).limit(limit)
    ).all()


def read_camera(connection: Connection, camera_id: str) -> Row[Any] | None:
    """Return one camera as `list_cameras` does, or None."""
    return connection.execute(_described().where(cameras.c.camera_id == camera_id)).first()


_SENDING = (cameras.c.camera_id, cameras.c.space_id, cameras.c.mac, cameras.c.channel, cameras.c.always_200)
_BY_SECRET = select(*_SENDING, camera_secrets.c.sha256, camera_secrets.c.ha1_md5, camera_secrets.c.ha1_sha256).join(
    camera_secrets, camera_secrets.c.camera_id == cameras.c.camera_id
)


def _sending(row: Any, secret: str | None = None, in_path: bool = False) -> Camera:
    return Camera(row.camera_id, row.space_id, Address(row.mac, row.channel), row.always_200, secret, in_path)


def camera_with_secret(
    connection: Connection, camera_id: str | None, secret: str, in_path: bool = False
) -> Camera | None:
    """Return the camera whose secret this is, or None; with a `camera_id`, only if it is that camera.

    `in_path`: the secret came in the path, which only the cameras may do that have it switched on.
    """
    return camera_with_sha256(connection, camera_id, digest_of(secret), in_path)


def camera_with_sha256(
    connection: Connection, camera_id: str | None, sha256: str, in_path: bool = False
) -> Camera | None:
    """Do the same where only the secret's `digest_of` is known."""
    if camera_id is None:
        statement = _BY_SECRET.where(camera_secrets.c.sha256 == sha256)
    else:
        statement = _BY_SECRET.where(cameras.c.camera_id == camera_id)
    if in_path:
        statement = statement.where(cameras.c.secret_in_path)
    found = None
    for row in connection.execute(statement):
        if hmac.compare_digest(row.sha256, sha256):
            found = _sending(row, sha256, in_path)
    return found


def camera_with_answer(connection: Connection, answer: digest.Answer, method: str) -> Camera | None:
    """Return the camera whose secret this answer to a Digest challenge was made with, or None."""
    statement = _BY_SECRET.where(cameras.c.camera_id == answer.username, camera_secrets.c.ha1_md5.is_not(None))
    rows = connection.execute(statement).all()
    if not rows:  # the answer takes as long as that to a camera
        digest.is_right(answer, dict.fromkeys(digest.PREFERRED, ""), method)
    found = None
    for row in rows:
        if digest.is_right(answer, {digest.MD5: row.ha1_md5, digest.SHA256: row.ha1_sha256}, method):
            found = _sending(row)
    return found


def camera_at(connection: Connection, address: Address) -> Camera | None:
    """Return the camera that has this very address, channel or none, or None."""
    channel = cameras.c.channel.is_(None) if address.channel is None else cameras.c.channel == address.channel
    row = connection.execute(select(*_SENDING).where(cameras.c.mac == address.mac, channel)).first()
    return None if row is None else _sending(row)


def has_channels(connection: Connection, mac: str) -> bool:
    """Return whether a camera is a channel of that device, rather than the device itself."""
    found = connection.execute(select(cameras.c.camera_id).where(cameras.c.mac == mac, cameras.c.channel.is_not(None)))
    return found.first() is not None


def uses_digest(connection: Connection, claimed: str) -> bool | float:
    """Return whether a camera, by its id or its device's MAC address, has Digest; the share that has, if unknown."""
    kinds = connection.scalars(
        select(cameras.c.authentication).where((cameras.c.camera_id == claimed) | (cameras.c.mac == claimed))
    ).all()
    if kinds:
        return "digest" in kinds
    number, having = connection.execute(
        select(func.count(), func.count().filter(cameras.c.authentication == "digest")).select_from(cameras)
    ).one()
    return float(having / number) if number else 0.0


def note_refusal(connection: Connection, camera_id: str, verdict: str, now: datetime) -> None:
    """Note that a camera was answered 200 and its frame was refused."""
    connection.execute(
        update(cameras)
        .where(cameras.c.camera_id == camera_id)
        .values(refused=cameras.c.refused + 1, last_refusal=verdict, last_refused_at=now)
    )


def shared_key(connection: Connection, name: str) -> bytes:
    """Return the key of that name, which all processes over this database share; the first that asks makes it."""
    made = insert_into(connection.dialect.name, shared_keys).values(name=name, key=secrets.token_bytes(32))
    connection.execute(made.on_conflict_do_nothing(index_elements=["name"]))
    return bytes(connection.execute(select(shared_keys.c.key).where(shared_keys.c.name == name)).scalar_one())
