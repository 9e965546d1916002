"""`rtsp://`: a video stream, of which one key frame each `every_s` seconds is decoded and made a JPEG."""

import io
import time
from contextlib import closing
from datetime import UTC, datetime
from threading import Event
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import av
import av.error
from av.video.frame import VideoFrame

from services.camera_agent.config import Camera
from services.camera_agent.sources.photos import Photo, Photos, SourceFailure, ticks

TIMEOUT_S = 10.0
STAY_CONNECTED_S = 30.0
"""A camera that is asked less often than this is connected anew for each photo: a stream costs as much whether it is
looked at or not."""
KEY_FRAME_S = 20.0
QUALITY = 88
LEAST_GAP = 0.95  # of the time between photos; the rest lets a slow start be made up for
OPTIONS = {
    # Interleaved in the one connection that we opened: no ports of ours for others to send to.
    "rtsp_transport": "tcp",
    # A redirect to another rtsp:// host would be followed; what is not on this list is not.
    "protocol_whitelist": "tcp",
    # How long the start of a stream is looked at before its first photo, in microseconds.
    "analyzeduration": "2000000",
}


def photos(camera: Camera, stopped: Event) -> Photos:
    """Give a JPEG of a key frame each `every_s` seconds. Raises SourceFailure."""
    if camera.entry.every_s < STAY_CONNECTED_S:
        yield from _stream(camera, stopped)
        return
    for _ in ticks(camera.entry.every_s, stopped):
        with closing(_stream(camera, stopped)) as stream:
            photo = next(stream, None)
        if photo is not None:  # else stopped meanwhile
            yield photo


def _stream(camera: Camera, stopped: Event) -> Photos:
    address, asked_at = _with_credentials(camera), time.monotonic()
    opened = False
    try:
        with av.open(address, options=OPTIONS, timeout=(TIMEOUT_S, TIMEOUT_S)) as container:
            opened = True
            if not container.streams.video:
                raise SourceFailure("not-a-photo", "the stream has no video: check the address")
            yield from _key_frames(container, camera, stopped)
    except (av.error.FFmpegError, OSError) as error:
        # While a stream is being opened, PyAV says of a time-out only that it can't be understood.
        in_vain = not opened and time.monotonic() - asked_at >= TIMEOUT_S
        raise _failure(error, in_vain) from None
    if not stopped.is_set():
        raise SourceFailure("unreachable", "it ended the stream")


def _key_frames(container: Any, camera: Camera, stopped: Event) -> Photos:
    video = container.streams.video[0]
    codec = video.codec_context
    codec.thread_count = 1
    due = last = time.monotonic()
    # All streams: asked for the video alone, demux would not come back while nothing but sound arrives.
    for packet in container.demux():
        # Every packet is read, else they would pile up in the camera; only the one that is due is decoded.
        if stopped.is_set():
            return
        now = time.monotonic()
        if packet.stream.index == video.index and packet.is_keyframe and packet.size:
            last = now
            if now >= due:
                # A photo that came late, as the first one does, is not followed by the next at once.
                due = max(due + camera.entry.every_s, now + LEAST_GAP * camera.entry.every_s)
                captured_at = datetime.now(UTC)
                frames = [*codec.decode(packet), *codec.decode(None)]
                codec.flush_buffers()
                if frames:
                    yield Photo(captured_at, _to_jpeg(frames[-1], camera.entry.width))
        elif now - last > KEY_FRAME_S:
            raise SourceFailure(
                "stalled",
                f"no key frame in {KEY_FRAME_S:g} s: set a shorter interval of key frames (GOP) in the camera",
            )


def _to_jpeg(frame: VideoFrame, width: int) -> bytes:
    """Return the frame as JPEG, at most `width` pixels wide."""
    size: dict[str, int] = {}
    if frame.width > width:
        size = {"width": width, "height": max(2, round(frame.height * width / frame.width))}
    output = io.BytesIO()
    picture = frame.to_image(**size)  # type: ignore[no-untyped-call]  # PyAV gives it no types
    picture.save(output, "JPEG", quality=QUALITY)
    return output.getvalue()


def _with_credentials(camera: Camera) -> str:
    if camera.entry.user is None:
        return camera.address
    parts = urlsplit(camera.address)
    user = quote(camera.entry.user, safe="") + (f":{quote(camera.password, safe='')}" if camera.password else "")
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))


def _failure(error: Exception, in_vain: bool) -> SourceFailure:
    """Say what failed; never with the error's own text, which holds the address with its password."""
    if isinstance(error, av.error.HTTPUnauthorizedError):
        return SourceFailure("unauthorized", "it answered 401; check user and password")
    if isinstance(error, av.error.HTTPError | av.error.HTTPClientError):
        return SourceFailure("answered", f"it answered with an error ({type(error).__name__}); check the address")
    if in_vain or isinstance(error, av.error.ExitError | TimeoutError):
        return SourceFailure("stalled", f"nothing came for {TIMEOUT_S:g} s")
    if isinstance(error, av.error.ArgumentError):
        # What a redirect ends with, as the list of protocols has no rtsp.
        return SourceFailure("redirected", "it sends us elsewhere, or its answer makes no sense; correct the address")
    return SourceFailure("unreachable", f"it can't be reached or understood ({type(error).__name__})")
