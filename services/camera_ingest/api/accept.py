"""How a frame is accepted, whoever sends it and however: 201 only once the bytes and the row are safe."""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
import uuid_utils
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.requests import ClientDisconnect

from services.camera_ingest import metrics, registry, store
from services.camera_ingest.api.credentials import ask_again
from services.camera_ingest.api.dependencies import Parts
from services.camera_ingest.api.receipts import describe
from services.camera_ingest.bodies import Body, BodyError, NoPhotoPart, PhotoBody, body_of
from services.camera_ingest.domain import Address, observed_at, parse_captured_at, parse_event_time, parse_exif_time
from services.camera_ingest.event import Event, read_event
from services.camera_ingest.files import IncomingImage
from services.camera_ingest.photo import NotAPhoto, Photo, PhotoError
from shared.database import now
from shared.problem import Problem, unavailable

log = structlog.get_logger(__name__)

WRONG_SECRET = (401, 429)  # here only `ask_again` raises them


@dataclass(frozen=True)
class Arrival:
    """A frame that is being sent: by which camera, under which name if any, and when it says that it was captured.

    With an `address` the camera's device may have several channels, and that or the event message says which it is.
    """

    camera: registry.Camera
    frame_id: str | None = None
    captured_at: str | None = None
    address: Address | None = None


@dataclass(frozen=True)
class Accepted:
    """What became of a frame: its row, whether it is new, and the camera as it was when the row was written."""

    row: store.FrameRow
    created: bool
    camera: registry.Camera


async def accept(parts: Parts, request: Request, arrival: Arrival) -> Response:
    """Receive a frame and store it, and answer with its receipt.

    A camera that takes nothing but 200 is answered so whatever came of it, as long as its secret is right; the truth is
    counted, and is in the body. 401 and 429 of a secret that was revoked meanwhile are answered as what they are.
    """
    camera = arrival.camera
    try:
        accepted = await _receive_and_store(parts, request, arrival)
    except Problem as problem:
        metrics.FRAMES.labels(problem.slug).inc()
        # How it is to be answered may have changed since it was looked up; what writes no row does not ask again.
        parts.remembered.forget(camera.camera_id)
        if not camera.always_200 or problem.status in WRONG_SECRET:
            raise
        await _note_refusal(parts, camera, problem.slug)
        refused = problem.response()
        refused.status_code = 200
        return refused
    except ClientDisconnect:
        metrics.FRAMES.labels("client-gone").inc()
        return Response(status_code=400)  # to nobody
    if accepted.camera is not camera:
        parts.remembered.forget(camera.camera_id)
    metrics.FRAMES.labels("accepted" if accepted.created else "repeated").inc()
    return Response(
        describe(accepted.row).model_dump_json(),
        status_code=201 if accepted.created and not accepted.camera.always_200 else 200,
        headers={"Location": f"/v1/receipts/{accepted.row.receipt}"},
        media_type="application/json",
    )


async def _note_refusal(parts: Parts, camera: registry.Camera, verdict: str) -> None:
    metrics.HIDDEN_REFUSALS.labels(verdict).inc()
    try:
        at = now()
        noted = parts.database.submit(
            lambda connection: registry.note_refusal(connection, camera.camera_id, verdict, at)
        )
        await asyncio.wrap_future(noted)
    except (DBAPIError, Problem) as error:
        log.error("refusal not noted at its camera", camera_id=camera.camera_id, verdict=verdict, error=str(error))


async def _receive_and_store(parts: Parts, request: Request, arrival: Arrival) -> Accepted:
    captured_at = _captured_at(arrival.captured_at)
    body = _body(request, named=arrival.frame_id is not None)
    _refuse_early(request, parts.settings.frame_bytes + body.around)
    parts.capacity.admit()
    with IncomingImage(parts.files, str(uuid_utils.uuid7())) as incoming:
        try:
            await _receive(parts, request, body, incoming)
            received_at, started = now(), time.perf_counter()
            event, unread = _event(body)
            camera = await _addressed(parts, arrival, event, unread, has_event=bool(body.event))
            # One change of thread for all that waits for the disk: to wake a thread costs as much as to write a row.
            accepted = await asyncio.get_running_loop().run_in_executor(
                parts.putting, _store, parts, incoming, camera, arrival.frame_id, captured_at, event, received_at
            )
        except OSError as error:
            log.error("image not stored", error=str(error))
            raise unavailable("The photo could not be stored now. Keep it and send it again later.", 30) from None
        except SQLAlchemyError as error:
            log.error("camera not looked up", error=type(error).__name__)
            raise unavailable("The photo's camera could not be looked up now. Keep it and send it again.", 5) from None
    metrics.ACCEPT.observe(time.perf_counter() - started)
    if accepted.created:
        metrics.FRAME_BYTES.inc(incoming.size)
        parts.capacity.add(incoming.size)
        parts.relay.wake(arrived=1)
    return accepted


def _store(
    parts: Parts,
    incoming: IncomingImage,
    camera: registry.Camera,
    frame_id: str | None,
    captured_at: datetime | None,
    event: Event,
    received_at: datetime,
) -> Accepted:
    """Make the photo durable, then its row; `captured_at` is what the header says. Raises OSError or Problem."""
    with incoming:  # which is this thread's to the end, whatever becomes of the task that waits for it
        photo, digest = _finish(incoming, parts.settings.frame_pixels)
        zone = ZoneInfo(parts.settings.camera_timezone)
        told = (
            ("header", captured_at),
            ("event", parse_event_time(event.time, zone)),
            ("exif", parse_exif_time(photo.exif.time_original, photo.exif.offset_original, zone)),
        )
        source, captured_at = next(((source, time) for source, time in told if time is not None), (None, None))
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
        return _record(parts, incoming, frame)


def _captured_at(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        return parse_captured_at(header.strip())
    except ValueError as error:
        raise Problem(422, "captured-at", f"The header Captured-At {error}. Correct it or leave it out.") from None


def _event(body: Body) -> tuple[Event, str | None]:
    """Return what the event message beside the photo tells, and what is wrong with it if it can't be read."""
    if not body.event:
        return Event(), None
    try:
        return read_event(bytes(body.event)), None
    except ValueError as error:
        return Event(), str(error)


async def _addressed(
    parts: Parts, arrival: Arrival, event: Event, unread: str | None, *, has_event: bool
) -> registry.Camera:
    """Return the camera that the frame is of: that of the credentials, or another channel of the same device."""
    camera, told = arrival.camera, arrival.address
    if told is None or camera.address.mac is None:
        return camera
    if unread is not None:
        raise Problem(422, "broken-event", f"The event message {unread}, so that its channel is not known.")
    mac, channel = told.mac or event.mac, event.channel if told.channel is None else told.channel
    if mac is not None and mac != camera.address.mac:
        raise Problem(
            403, "forbidden", "This is the message of another device than that of the camera whose secret it is."
        )
    if channel is None:
        if has_event and await run_in_threadpool(_has_channels, parts, camera.address.mac):
            raise Problem(
                422,
                "unknown-channel",
                "The event message tells no channel that can be read, and its device has channels. Name it in the "
                "address, by ?channel=; of a device that has only one, an admin leaves the camera's channel out.",
            )
        return camera
    if channel == camera.address.channel:
        return camera
    other = await run_in_threadpool(_camera_at, parts, Address(camera.address.mac, channel))
    if other is not None:
        return other
    if camera.address.channel is None:
        return camera
    raise Problem(
        422,
        "unknown-channel",
        f"No camera is channel {channel} of this device. An admin says so by PUT at a camera's address.",
    )


def _camera_at(parts: Parts, address: Address) -> registry.Camera | None:
    with parts.database.read() as connection:
        return registry.camera_at(connection, address)


def _has_channels(parts: Parts, mac: str) -> bool:
    with parts.database.read() as connection:
        return registry.has_channels(connection, mac)


def _refuse_early(request: Request, limit: int) -> None:
    """Refuse a body by the length that it announces, before it is sent."""
    announced = request.headers.get("content-length")
    if announced is None:
        return
    if int(announced) > limit:
        raise _too_large(limit)
    if int(announced) == 0:
        raise _empty()


def _body(request: Request, *, named: bool) -> Body:
    """Return how the body is read; a name is one photo's, so a named frame is no message of several parts."""
    try:
        return PhotoBody() if named else body_of(request.headers.get("content-type", ""))
    except BodyError as error:
        raise _bad_body(error) from None


async def _receive(parts: Parts, request: Request, body: Body, incoming: IncomingImage) -> None:
    limit, deadline_s = parts.settings.frame_bytes, parts.settings.body_deadline_s
    size = 0
    try:
        async with asyncio.timeout(deadline_s):
            async for piece in request.stream():
                size += len(piece)
                photo = body.feed(piece)
                if size > limit + body.around or incoming.size + len(photo) > limit:
                    raise _too_large(limit)
                if photo and incoming.add(photo):
                    await asyncio.get_running_loop().run_in_executor(parts.putting, _write, incoming)
        if size == 0:
            raise _empty()
        body.end()
    except BodyError as error:
        raise _bad_body(error) from None
    except NoPhotoPart:
        raise Problem(
            422,
            "no-photo",
            "No part of the message is a JPEG, PNG or WebP image. Let the camera send the picture itself with its "
            "events, not only a text or the picture's address.",
        ) from None
    except TimeoutError:
        raise Problem(
            408,
            "too-slow",
            f"The photo did not arrive within {deadline_s:g} s. Send it again, smaller if it happens often.",
            headers={"Connection": "close"},
        ) from None


def _write(incoming: IncomingImage) -> None:
    with incoming:  # as in _store: the deadline cancels too
        incoming.write()


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


def _record(parts: Parts, incoming: IncomingImage, frame: store.NewFrame) -> Accepted:
    # Until the outcome is known the file stays: a row without its file would break the promise, while a file
    # without a row is only an orphan that the janitor finds.
    incoming.keep()
    try:
        try:
            row, created = parts.database.write(lambda connection: store.accept_frame(connection, frame))
        except store.CameraChanged:
            frame = replace(frame, camera=ask_again(parts, frame.camera))
            row, created = parts.database.write(lambda connection: store.accept_frame(connection, frame))
    except store.FrameConflict as conflict:
        incoming.discard()
        raise Problem(
            409,
            "frame-conflict",
            f"This camera has another frame of that name, receipt {conflict}. Use each name once.",
            receipt=str(conflict),
        ) from None
    except store.CameraChanged:
        incoming.discard()
        raise unavailable("The photo's camera is being changed just now. Keep it and send it again.", 1) from None
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
    return Accepted(row, created, frame.camera)


def _bad_body(error: BodyError) -> Problem:
    return Problem(422, "broken-message", f"The body {error}. Send it whole, as its Content-Type says.")


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"A frame may have {limit} bytes at most. Send a smaller one.")


def _empty() -> Problem:
    return Problem(422, "empty", "The body is empty. Send the image's bytes as the body.")
