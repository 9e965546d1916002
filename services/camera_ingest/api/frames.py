"""Where cameras put their frames: 201 only once the bytes and the row are safe."""

import asyncio
import time
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import structlog
import uuid_utils
from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.requests import ClientDisconnect

from services.camera_ingest import metrics, store
from services.camera_ingest.api.dependencies import FrameId, Ingest, Parts, SendingCamera, shown_in_openapi
from services.camera_ingest.api.receipts import Receipt, describe
from services.camera_ingest.domain import observed_at, parse_captured_at, parse_exif_time
from services.camera_ingest.files import IncomingImage
from services.camera_ingest.photo import NotAPhoto, Photo, PhotoError
from shared.database import now
from shared.problem import Problem, unavailable

log = structlog.get_logger(__name__)
router = APIRouter(tags=["frames"])

# The limit that counts is the setting `frame_bytes`, which answers with a problem document; this one only lifts the
# 64 kB of all other routes.
NO_LIMIT_OF_ITS_OWN = 2**40

CapturedAt = Annotated[
    str | None, Header(description="When the photo was taken, RFC 3339 with a zone; without it EXIF's time is used.")
]
IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            name: {"schema": {"type": "string", "format": "binary"}}
            for name in ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
        },
    },
}
ANSWERS = {201: {"model": Receipt, "description": "Accepted: it will be counted."}}


@router.put(
    "/v1/cameras/{camera_id}/frames/{frame_id}",
    response_model=Receipt,
    responses=ANSWERS,  # type: ignore[arg-type]  # FastAPI's type is wider than any literal's
    openapi_extra=IMAGE_BODY,
    dependencies=shown_in_openapi,
    max_body_size=NO_LIMIT_OF_ITS_OWN,
)
async def put_frame(
    frame_id: FrameId, camera: SendingCamera, request: Request, parts: Ingest, captured_at: CapturedAt = None
) -> Response:
    """Take a photo that the camera names; the same again is 200, another under the same name 409."""
    return await _take(parts, request, camera, frame_id, captured_at)


async def _frame_without_name(
    camera: SendingCamera, request: Request, parts: Ingest, captured_at: CapturedAt = None
) -> Response:
    """Take a photo of a camera that can't name its photos.

    It is the same again if bytes and `Captured-At` are equal; without the header, if equal bytes came within 10 s.
    """
    return await _take(parts, request, camera, None, captured_at)


for method in ("PUT", "POST"):
    router.add_api_route(
        "/v1/cameras/{camera_id}/frame",
        _frame_without_name,
        methods=[method],
        name=f"{method.lower()}_frame_without_name",
        response_model=Receipt,
        responses=ANSWERS,  # type: ignore[arg-type]  # as above
        openapi_extra=IMAGE_BODY,
        dependencies=shown_in_openapi,
        max_body_size=NO_LIMIT_OF_ITS_OWN,
    )


async def _take(
    parts: Parts, request: Request, camera: store.Camera, frame_id: str | None, captured_at: str | None
) -> Response:
    try:
        row, created = await _receive_and_store(parts, request, camera, frame_id, captured_at)
    except Problem as problem:
        metrics.FRAMES.labels(problem.slug).inc()
        raise
    except ClientDisconnect:
        metrics.FRAMES.labels("client-gone").inc()
        return Response(status_code=400)  # to nobody
    metrics.FRAMES.labels("accepted" if created else "repeated").inc()
    return JSONResponse(
        describe(row).model_dump(mode="json"),
        status_code=201 if created else 200,
        headers={"Location": f"/v1/receipts/{row.receipt}"},
    )


async def _receive_and_store(
    parts: Parts, request: Request, camera: store.Camera, frame_id: str | None, header: str | None
) -> tuple[store.FrameRow, bool]:
    captured_at = _captured_at(header)
    _refuse_early(request, parts.settings.frame_bytes)
    parts.capacity.admit()
    with IncomingImage(parts.files, str(uuid_utils.uuid7())) as incoming:
        try:
            await _receive(request, incoming, parts.settings.frame_bytes, parts.settings.body_deadline_s)
            received_at, started = now(), time.perf_counter()
            photo, digest = await run_in_threadpool(_finish, incoming, parts.settings.frame_pixels)
        except OSError as error:
            log.error("image not stored", error=str(error))
            raise unavailable("The photo could not be stored now. Keep it and send it again later.", 30) from None
        source = "header" if captured_at else None
        if captured_at is None and photo.exif.time_original:
            zone = ZoneInfo(parts.settings.camera_timezone)
            captured_at = parse_exif_time(photo.exif.time_original, photo.exif.offset_original, zone)
            source = "exif" if captured_at else None
        frame = store.NewFrame(
            receipt=incoming.receipt,
            camera=camera,
            frame_id=frame_id,
            captured_at=captured_at,
            captured_from=source,
            received_at=received_at,
            observed_at=observed_at(captured_at, received_at),
            sha256=digest,
            size=incoming.size,
            photo=photo,
        )
        row, created = await _commit(parts, incoming, frame)
    metrics.ACCEPT.observe(time.perf_counter() - started)
    if created:
        metrics.FRAME_BYTES.inc(incoming.size)
        parts.capacity.add(incoming.size)
        parts.relay.wake(arrived=1)
    return row, created


def _captured_at(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        return parse_captured_at(header.strip())
    except ValueError as error:
        raise Problem(422, "captured-at", f"The header Captured-At {error}. Correct it or leave it out.") from None


def _refuse_early(request: Request, limit: int) -> None:
    """Refuse a body by the length that it announces, before it is sent."""
    announced = request.headers.get("content-length")
    if announced is None:
        return
    if int(announced) > limit:
        raise _too_large(limit)
    if int(announced) == 0:
        raise _empty()


async def _receive(request: Request, incoming: IncomingImage, limit: int, deadline_s: float) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            async for piece in request.stream():
                if incoming.size + len(piece) > limit:
                    raise _too_large(limit)
                if incoming.add(piece):
                    await run_in_threadpool(incoming.write)
    except TimeoutError:
        raise Problem(
            408,
            "too-slow",
            f"The photo did not arrive within {deadline_s:g} s. Send it again, smaller if it happens often.",
            headers={"Connection": "close"},
        ) from None
    if incoming.size == 0:
        raise _empty()


def _finish(incoming: IncomingImage, most_pixels: int) -> tuple[Photo, str]:
    try:
        photo = incoming.inspect()
    except NotAPhoto as error:
        raise Problem(415, "not-a-photo", f"The body {error}. Send one of these, whatever its file name.") from None
    except PhotoError as error:
        raise Problem(422, "broken-photo", f"The image {error}. Send it whole.") from None
    if photo.width * photo.height > most_pixels:
        raise Problem(
            422,
            "too-many-pixels",
            f"The image has {photo.width} x {photo.height} pixels; at most {most_pixels} are taken.",
        )
    return photo, incoming.make_durable()


async def _commit(parts: Parts, incoming: IncomingImage, frame: store.NewFrame) -> tuple[store.FrameRow, bool]:
    # Until the outcome is known the file stays: a row without its file would break the promise, while a file
    # without a row is only an orphan that the janitor finds.
    incoming.keep()
    try:
        written = parts.database.submit(lambda connection: store.accept_frame(connection, frame))
        row, created = await asyncio.wrap_future(written)
    except store.FrameConflict as conflict:
        incoming.discard()
        raise Problem(
            409,
            "frame-conflict",
            f"This camera has another frame of that name, receipt {conflict}. Use each name once.",
            receipt=str(conflict),
        ) from None
    except Problem:
        incoming.discard()
        raise
    except DBAPIError as error:
        log.error("frame not recorded", error=type(error.orig).__name__, lost=error.connection_invalidated)
        if not error.connection_invalidated:
            incoming.discard()
        raise unavailable("The photo could not be recorded now. Keep it and send it again.", 5) from None
    if not created:
        incoming.discard()
    return row, created


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"A frame may have {limit} bytes at most. Send a smaller one.")


def _empty() -> Problem:
    return Problem(422, "empty", "The body is empty. Send the image's bytes as the body.")
