"""Keeps what came in as a batch: its quota, its rows, and the id by which it is known when it is sent again."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import uuid_utils
from sqlalchemy import Connection, Row

from services.image_classifier.api.batch_shapes import BatchCreated, Batching
from services.image_classifier.batches import claims, intake, janitor, store
from services.image_classifier.batches.claims import Result
from services.image_classifier.batches.intake import Incoming
from services.image_classifier.batches.rules import BatchState, Quota, over_quota
from services.image_classifier.batches.store import IdTaken, NewBatch, NotReceiving, OverQuota
from services.image_classifier.settings import Settings
from shared.database import EPOCH, now
from shared.problem import Problem, unavailable

WRITTEN_AT_ONCE: Final = 4 * 1024 * 1024
AHEAD: Final = timedelta(days=1)
"""How far in the future a client's clock may be: ids sort by their time."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch that `client` sends, and the id that it has or is to get; `known` is its row if it was sent before."""

    client: str
    batch_id: str
    known: Row[Any] | None = None


def begin(parts: Batching, client: str, key: str | None) -> Sent:
    """Say which batch the one that is being sent is, before its body is read; `key` is the id its client gave it.

    Raises Problem 422 of a key that is no id, 409 of another client's, 429 if no batch would be taken now, 503 if the
    same one is still arriving.
    """
    if key is not None:
        key = _checked(key)
        with parts.database.read() as connection:
            row = store.by_id(connection, key)
        if row is not None:
            if row.client != client:
                raise _other("is the id of another client's batch")
            if row.state in (store.RECEIVING, store.REMOVED):
                raise _arriving()
            return Sent(client, key, row)
    with parts.database.read() as connection:
        exceeded = over_quota(store.held(connection, client), _quota(parts.settings))
    if exceeded:
        raise _over_quota(exceeded, parts.settings)
    return Sent(client, key or str(uuid_utils.uuid7()))


def _checked(key: str) -> str:
    try:
        given = UUID(key)
        made_at = EPOCH + timedelta(milliseconds=given.int >> 80)
    except (ValueError, OverflowError):
        given, made_at = UUID(int=0), datetime.max.replace(tzinfo=UTC)
    if str(given) != key.lower() or given.version != 7 or made_at > now() + AHEAD:
        detail = "An Idempotency-Key is a UUID of version 7, of the present, made anew for each batch. Make one so."
        raise Problem(422, "invalid-key", detail)
    return str(given)


def _other(how: str) -> Problem:
    return Problem(409, "key-taken", f"This Idempotency-Key {how}. Give each batch a new key of its own.")


def _arriving() -> Problem:
    return unavailable(
        "The batch of this Idempotency-Key is still being received or removed. Send it again shortly.", 5
    )


def again(known: Row[Any], digest: str) -> BatchCreated:
    """Answer for a batch that was sent before. Raises Problem 409 if it was another."""
    if known.digest != digest:
        raise _other("was sent with other content before")
    return BatchCreated(id=known.id, state=BatchState(known.state), total=known.total)


def keep_receipts(parts: Batching, sent: Sent, names: Sequence[str], digest: str) -> BatchCreated:
    """Make a batch of receipts; `digest` is that of the request. Raises Problem 429 or 503."""
    return _keep(parts, sent, store.RECEIPTS, names, [], digest)


def keep_upload(parts: Batching, sent: Sent, found: Sequence[Incoming]) -> BatchCreated:
    """Make a batch of what came in, or find it the same as the one that is known.

    Raises Problem 409, 422, 429 or 503; then nothing of it is left.
    """
    if sent.known is not None:
        digest = hashlib.sha256()
        for _ in _hashed(found, parts.settings.image_bytes, digest):
            pass
        return again(sent.known, digest.hexdigest())
    return _keep(parts, sent, store.UPLOAD, [incoming.name for incoming in found], found, None)


def _keep(
    parts: Batching, sent: Sent, source: str, names: Sequence[str], found: Sequence[Incoming], digest: str | None
) -> BatchCreated:
    settings, database = parts.settings, parts.database
    size = sum(incoming.size for incoming in found if incoming.size <= settings.image_bytes)
    new = NewBatch(sent.batch_id, sent.client, source, names, size, now())
    try:
        database.write(lambda connection: store.create(connection, new, _quota(settings)))
    except OverQuota as error:
        raise _over_quota(error.what, settings) from None
    except IdTaken:
        raise _arriving() from None
    try:
        too_large, of_contents = _write_contents(parts, new, found)

        def open_for_work(connection: Connection) -> None:
            at = now()
            store.open_for_work(connection, new, digest or of_contents, at)
            claims.finish(connection, new.batch_id, too_large, at)

        database.write(open_for_work)
    except BaseException as error:
        if database.write(lambda connection: store.abandon(connection, new)):
            janitor.remove(database, new.batch_id)
        if isinstance(error, NotReceiving):
            raise unavailable("The batch took too long to be written. Send it again later.", 30) from None
        raise
    parts.bell.wake()
    return BatchCreated(id=new.batch_id, state=BatchState.QUEUED, total=len(names))


def _write_contents(parts: Batching, new: NewBatch, found: Sequence[Incoming]) -> tuple[list[Result], str]:
    """Write the inputs' bytes, a few megabytes a transaction; return errors of those too large, and the digest."""
    limit = parts.settings.image_bytes
    reason = f"larger than {limit / 1024 / 1024:g} MiB, the most that an image may have"
    too_large: list[Result] = []
    waiting: dict[int, bytes] = {}
    digest = hashlib.sha256()

    def write() -> None:
        parts.database.write(lambda connection: store.add_contents(connection, new, waiting, now()))
        waiting.clear()

    for number, content in _hashed(found, limit, digest):
        if content is None:
            too_large.append(Result(number, error=reason))
            continue
        waiting[number] = content
        if sum(map(len, waiting.values())) >= WRITTEN_AT_ONCE:
            write()
    if waiting:
        write()
    return too_large, digest.hexdigest()


def _hashed(found: Sequence[Incoming], limit: int, digest: "hashlib._Hash") -> Iterator[tuple[int, bytes | None]]:
    """Give the inputs' bytes by number; at the end `digest` has all names and bytes, but of too large ones the size."""
    for number, content in intake.contents(found, limit):
        incoming = found[number - 1]
        digest.update(f"{len(incoming.name.encode())} {incoming.name} {incoming.size} ".encode())
        digest.update(content or b"")
        yield number, content


def _quota(settings: Settings) -> Quota:
    return Quota(settings.batch_jobs, settings.batch_inputs, settings.batch_quota_bytes)


def _over_quota(what: str, settings: Settings) -> Problem:
    reasons = {
        "jobs": f"You have {settings.batch_jobs} unfinished batches, as many as may wait.",
        "inputs": f"You would have more than {settings.batch_inputs:,} unfinished inputs.",
        "own_bytes": "Your unfinished batches would take more than half of the room for all.",
        "bytes": "The unfinished batches of all together take as much room as they may.",
    }
    detail = f"{reasons[what]} Wait until one is done, or cancel one, and send it again."
    return Problem(429, "too-many-batches", detail, headers={"Retry-After": "10"}, what=what)
