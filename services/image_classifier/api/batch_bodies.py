"""Takes the body of `POST /v1/batches`: received into a file without a name, read without trust, written as rows."""

import asyncio
import errno
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from tempfile import TemporaryFile
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import Request
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from services.image_classifier.api import batch_keeping as keeping
from services.image_classifier.api.batch_keeping import Sent
from services.image_classifier.api.batch_shapes import BatchCreated, Batching
from services.image_classifier.batches import intake
from services.image_classifier.batches.intake import Multipart
from services.image_classifier.batches.rules import INPUTS_LIMIT
from services.image_classifier.settings import Settings
from shared.messages import Identifier, Receipt
from shared.problem import Problem, unavailable

PIECE: Final = 1024 * 1024
SLOWEST: Final = 16_000
"""Bytes a second below which a sender is cut off: else a byte now and then would hold a place for ever."""
JSON_BYTES: Final = 256 * 1024
LONGEST_SPAN: Final = timedelta(days=366)
ZIP, MULTIPART, JSON = "application/zip", "multipart/form-data", "application/json"
ZIP_TOO: Final = ("application/x-zip-compressed", "application/x-zip")

FILE: Final = {"type": "string", "format": "binary"}
RECEIPTS: Final = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1000}
TIME: Final = {"type": "string", "format": "date-time"}
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "1 to 1,000 photos: a zip, a part with a filename for each, or frames that cameras sent: "
        "by their receipts, or all of a camera that were received from `since` to before `until`.",
        "content": {
            ZIP: {"schema": FILE},
            MULTIPART: {"schema": {"type": "object", "properties": {"photos": {"type": "array", "items": FILE}}}},
            JSON: {
                "schema": {
                    "oneOf": [
                        {"type": "object", "required": ["receipts"], "properties": {"receipts": RECEIPTS}},
                        {
                            "type": "object",
                            "required": ["camera_id", "since", "until"],
                            "properties": {"camera_id": {"type": "string"}, "since": TIME, "until": TIME},
                        },
                    ]
                },
                "example": {"camera_id": "c1", "since": "2026-11-22T10:00:00Z", "until": "2026-11-22T11:00:00Z"},
            },
        },
    }
}


class _Receipts(BaseModel):
    receipts: list[Receipt]


class _Span(BaseModel):
    camera_id: Identifier
    since: AwareDatetime
    until: AwareDatetime


_wanted: TypeAdapter[_Receipts | _Span] = TypeAdapter(Annotated[_Receipts | _Span, Field(union_mode="left_to_right")])


async def take(request: Request, parts: Batching, client: str, key: str | None) -> BatchCreated:
    """Receive a batch of `client` whole and let workers at it; `key` is the id that its client gave it.

    Raises Problem 4xx or 503 that says what to do; then nothing of it is left.
    """
    sent = await to_thread.run_sync(keeping.begin, parts, client, key)
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (ZIP, *ZIP_TOO, MULTIPART, JSON):
        detail = f"Send {ZIP}, {MULTIPART} or {JSON}, not {kind[:80] or 'a body of no type'}."
        raise Problem(415, "unsupported-media-type", detail)
    limit = parts.settings.batch_bytes
    async with _place(parts, client):
        if kind == JSON:
            wanted = await _referred(request, parts.settings)
            return await to_thread.run_sync(_keep_referred, parts, sent, wanted)
        with _room_on_disk(), TemporaryFile(dir=parts.settings.scratch) as file:
            if kind == MULTIPART:
                form = Multipart(content_type, file)
                await _receive(request, form.write, limit, intake.too_large(limit), parts.settings)
                found = await to_thread.run_sync(form.inputs, limit)
            else:
                await _receive(request, file.write, limit, intake.too_large(limit), parts.settings)
                found = await to_thread.run_sync(intake.read_zip, file, limit)
            return await to_thread.run_sync(keeping.keep_upload, parts, sent, found)


@asynccontextmanager
async def _place(parts: Batching, client: str) -> AsyncIterator[None]:
    if parts.uploading[client] >= max(1, parts.settings.batch_uploads // 2):
        detail = "You are sending as many batches at once as one client may. Send it again when one has arrived."
        raise Problem(429, "too-many-batches", detail, headers={"Retry-After": "5"}, what="uploads")
    if parts.uploads.locked():
        raise unavailable("Too many batches are being received. Send it again shortly.", 5)
    parts.uploading[client] += 1
    try:
        async with parts.uploads:
            yield
    finally:
        parts.uploading[client] -= 1
        if not parts.uploading[client]:
            del parts.uploading[client]


async def _receive(
    request: Request, sink: Callable[[bytes], object], limit: int, too_large: Problem, settings: Settings
) -> None:
    """Hand the body to `sink` in pieces of about PIECE bytes, in a thread. Raises `too_large` past `limit` bytes."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    received, gathered = 0, bytearray()
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        async with asyncio.timeout(settings.batch_deadline_s) as whole:
            pieces = aiter(request.stream())
            while True:
                async with asyncio.timeout(settings.body_deadline_s):
                    piece = await anext(pieces, None)
                if piece is not None:
                    received += len(piece)
                    gathered += piece
                if received > limit:
                    raise too_large
                waited = clock() - begun
                if piece is not None and waited > settings.body_deadline_s and received < SLOWEST * waited:
                    raise _too_slow(f"came at less than {SLOWEST // 1000} kB a second")
                if len(gathered) >= PIECE or (piece is None and gathered):
                    await to_thread.run_sync(sink, bytes(gathered))
                    gathered.clear()
                if piece is None:
                    return
    except TimeoutError:
        waited = settings.batch_deadline_s if whole.expired() else settings.body_deadline_s
        raise _too_slow(f"stalled or did not arrive in time ({waited:g} s)") from None
    except ClientDisconnect:
        # Nobody hears this answer; it only keeps a caller's hanging up from looking like our fault.
        raise Problem(400, "client-disconnected", "The connection ended before the batch did.") from None


def _too_slow(what: str) -> Problem:
    detail = f"The batch {what}. Send it again, in smaller batches."
    return Problem(408, "request-timeout", detail, headers={"Connection": "close"})


async def _referred(request: Request, settings: Settings) -> _Receipts | _Span:
    """Return what a JSON body asks for."""
    body = bytearray()

    def add(piece: bytes) -> None:
        body.extend(piece)

    detail = f"The JSON has more than {JSON_BYTES // 1024} KiB, which {INPUTS_LIMIT:,} receipts never need. Send fewer."
    too_large = Problem(413, "content-too-large", detail)
    await _receive(request, add, JSON_BYTES, too_large, settings)
    try:
        wanted = _wanted.validate_python(json.loads(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        detail = f'{where}: {first["msg"]}. Send {{"receipts": [...]}}, or {{"camera_id", "since", "until"}}.'
        raise Problem(422, "invalid-request", detail) from None
    except (ValueError, RecursionError):
        raise Problem(422, "invalid-request", "The body is not valid JSON. Correct it and send it again.") from None
    if isinstance(wanted, _Receipts):
        intake.check_names(wanted.receipts)
    elif not timedelta() < wanted.until - wanted.since <= LONGEST_SPAN:
        raise Problem(422, "invalid-request", "`until` must be after `since`, by a year at most. Correct them.")
    return wanted


def _keep_referred(parts: Batching, sent: Sent, wanted: _Receipts | _Span) -> BatchCreated:
    """Keep the receipts that are named, or those that camera_ingest has of the camera and the span."""
    digest = hashlib.sha256(wanted.model_dump_json().encode()).hexdigest()
    if sent.known is not None:
        return keeping.again(sent.known, digest)
    if isinstance(wanted, _Receipts):
        return keeping.keep_receipts(parts, sent, wanted.receipts, digest)
    names = parts.receipts.of_camera(wanted.camera_id, wanted.since, wanted.until)
    if not names:
        detail = (
            f"No frame of {wanted.camera_id!r} was received in this span, or there is no such camera. `since` and "
            "`until` bound when frames were received, not when they were taken. Correct them."
        )
        raise Problem(422, "empty-batch", detail)
    return keeping.keep_receipts(parts, sent, names, digest)


@contextmanager
def _room_on_disk() -> Iterator[None]:
    """Make a full disk a 503."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise unavailable("There is no room on the disk for this batch now. Send it again later.", 60) from error
