"""RTSP against a real server, GStreamer's from Debian's packages; and against cameras that mean no good."""

import io
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import av
import pytest
from PIL import Image

from services.camera_agent.config import Camera
from services.camera_agent.sources import rtsp
from services.camera_agent.sources.photos import Photo, SourceFailure
from services.camera_agent.tests.cameras import camera
from shared.testing import wait_until

PYTHON = "/usr/bin/python3"
PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
PACKAGES += " gstreamer1.0-plugins-ugly"
HAS_SERVER = "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('GstRtsp', '1.0')"
GRACE_S = 30.0


def has_server() -> bool:
    try:
        return subprocess.run([PYTHON, "-c", HAS_SERVER], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_server = pytest.mark.skipif(not has_server(), reason=f"no RTSP server: `apt-get install {PACKAGES}` enables this")


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """Run a real RTSP server for the length of a `with`, and give the URL of its stream."""
    command = [PYTHON, str(Path(__file__).with_name("rtsp_server.py")), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"rtsp://127.0.0.1:{int(process.stdout.readline())}/stream"
        finally:
            process.kill()


def take(one: Camera, number: int) -> list[Photo]:
    """Return the first photos of a camera."""
    photos = rtsp.photos(one, threading.Event())
    try:
        return list(islice(photos, number))
    finally:
        photos.close()


def size(photo: Photo) -> tuple[int, int]:
    with Image.open(io.BytesIO(photo.image), formats=("JPEG",)) as picture:
        picture.load()
        return picture.size


@needs_server
@pytest.mark.parametrize("kind", ["h264", "jpeg"])
def test_key_frames_of_a_real_stream_come_as_photos_at_the_pace_that_was_asked_for(kind: str) -> None:
    with server(kind) as url:
        photos = take(camera(url, every_s=1, width=320), 4)
    assert {size(photo) for photo in photos} == {(320, 180)}
    assert all(later.captured_at - earlier.captured_at > timedelta(seconds=0.9) for earlier, later in pairwise(photos))
    assert len({photo.image for photo in photos}) == 4


@needs_server
def test_a_camera_that_is_asked_rarely_is_connected_anew_for_each_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = av.open

    def noting(address: str, **keys: Any) -> Any:
        opened.append(address)
        return real(address, **keys)

    monkeypatch.setattr(rtsp, "STAY_CONNECTED_S", 0.0)
    monkeypatch.setattr(av, "open", noting)
    with server("h264") as url:
        photos = take(camera(url, every_s=0.5), 2)
    assert {size(photo) for photo in photos} == {(640, 360)}
    assert opened == [url, url]


@needs_server
def test_a_stream_that_asks_for_a_password_is_opened_with_the_right_one_alone() -> None:
    with server("h264", "viewer", "hunter2-hunter2") as url:
        assert size(take(camera(url, user="viewer"), 1)[0]) == (640, 360)
        for one in (camera(url), camera(url, user="somebody")):
            with pytest.raises(SourceFailure, match="401; check user and password") as caught:
                take(one, 1)
            assert caught.value.reason == "unauthorized"
            assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"


@needs_server
def test_a_server_that_dies_is_a_failure_soon_and_works_again_when_it_is_back() -> None:
    stopped = threading.Event()
    with server("h264") as url:
        photos = rtsp.photos(camera(url, every_s=0.1), stopped)
        next(photos)
    started = time.monotonic()
    with pytest.raises(SourceFailure):
        list(photos)
    assert time.monotonic() - started < rtsp.TIMEOUT_S + GRACE_S


Answer = Callable[[str], str]


@contextmanager
def false_camera(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """Answer RTSP requests with what `answer` makes of their method; gives the URL, and the requests seen."""
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the test is over
            seen.append("connected")
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(4096).decode():
                method = request.partition(" ")[0]
                seen.append(method)
                number = next(line for line in request.splitlines() if line.lower().startswith("cseq"))
                reply = answer(method)
                if reply:
                    connection.sendall(reply.replace("\r\n", f"\r\n{number}\r\n", 1).encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/stream", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def well(method: str) -> str:
    return "RTSP/1.0 200 OK\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY\r\n\r\n"


@pytest.mark.parametrize("scheme", ["rtsp", "rtspt", "rtp", "tcp", "udp", "http", "RTSP", ""])
@pytest.mark.parametrize("at", ["OPTIONS", "DESCRIBE"])
def test_a_camera_that_sends_us_to_another_host_is_not_followed(scheme: str, at: str) -> None:
    with false_camera(well) as (elsewhere, visited):
        target = elsewhere.replace("rtsp", scheme, 1) if scheme else elsewhere.removeprefix("rtsp:")
        moved = f"RTSP/1.0 302 Moved\r\nLocation: {target}\r\n\r\n"
        with false_camera(lambda method: moved if method == at else well(method)) as (url, asked):
            with pytest.raises(SourceFailure):
                take(camera(url, user="viewer"), 1)
            assert at in asked
        assert visited == []


@pytest.mark.parametrize(
    ("status", "reason"), [("404 Not Found", "answered"), ("403 Forbidden", "answered"), ("500 No", "answered")]
)
def test_a_refusal_is_told_without_the_password(status: str, reason: str) -> None:
    with false_camera(lambda method: f"RTSP/1.0 {status}\r\n\r\n") as (url, _):
        with pytest.raises(SourceFailure, match="check the address") as caught:
            take(camera(url, user="viewer"), 1)
        assert caught.value.reason == reason


def test_many_vain_connections_leave_neither_descriptors_nor_threads() -> None:
    with false_camera(lambda method: "RTSP/1.0 404 Not Found\r\n\r\n") as (url, asked):

        def fail(times: int) -> None:
            for _ in range(times):
                with pytest.raises(SourceFailure):
                    take(camera(url), 1)

        def opened() -> tuple[int, int]:
            return len(os.listdir("/proc/self/fd")), threading.active_count()

        fail(3)  # what is loaded once is loaded by now
        before = opened()
        fail(60)
        assert asked.count("connected") == 63
        wait_until("all of it is closed", lambda: all(now <= then for now, then in zip(opened(), before, strict=True)))


@needs_server
def test_many_streams_of_a_real_server_leave_no_descriptor() -> None:
    with server("h264") as url:
        take(camera(url), 1)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(6):
            assert len(take(camera(url), 1)) == 1
        assert len(os.listdir("/proc/self/fd")) <= before


def test_a_camera_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp, "TIMEOUT_S", 0.5)
    with false_camera(lambda method: "") as (url, _), pytest.raises(SourceFailure) as caught:
        take(camera(url), 1)
    assert caught.value.reason == "stalled"


def test_nobody_at_the_address_is_said_so() -> None:
    with pytest.raises(SourceFailure, match="can't be reached") as caught:
        take(camera("rtsp://127.0.0.1:9/stream", user="viewer"), 1)
    assert caught.value.reason == "unreachable"


def test_a_password_with_any_characters_reaches_the_camera_whole() -> None:
    one = camera("rtsp://10.0.0.1:554/a?b=c", user="me@home:1")
    assert rtsp._with_credentials(one) == "rtsp://me%40home%3A1:hunter2-hunter2@10.0.0.1:554/a?b=c"


class Packet:
    """A packet of a stream, as PyAV gives it."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.is_keyframe, self.size = stream, True, 100


@pytest.mark.parametrize("lost_s", [0.0, 0.7, 2.5])
def test_after_a_late_photo_the_next_one_keeps_its_distance(lost_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(rtsp, "_to_jpeg", lambda frame, width: b"")
    video = Mock(index=0)
    video.codec_context.decode.return_value = ["frame"]

    def demux() -> Iterator[Packet]:
        clock[0] += lost_s
        for number in range(100):
            clock[0] += 0.1 + (lost_s if number == 40 else 0.0)
            yield Packet(video)

    container = Mock(demux=demux)
    container.streams.video = [video]
    frames = rtsp._key_frames(container, camera("rtsp://127.0.0.1/", every_s=1), threading.Event())
    taken = [clock[0] for _ in frames]
    assert all(later - earlier >= rtsp.LEAST_GAP for earlier, later in pairwise(taken))
    assert 9 <= len(taken) <= 13


@pytest.mark.parametrize("stop", [True, False])
def test_sound_that_goes_on_while_the_picture_stands_still_is_noticed_and_can_be_stopped(
    stop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtsp, "KEY_FRAME_S", 0.05)
    video, sound, stopped = Mock(index=0), Mock(index=1), threading.Event()
    if stop:
        stopped.set()

    def demux(*streams: Any) -> Iterator[Packet]:
        ends = time.monotonic() + GRACE_S
        while time.monotonic() < ends:
            if not streams:  # asked for the video alone, PyAV gives nothing of this
                yield Packet(sound)
            time.sleep(0.001)

    container = Mock(demux=demux)
    container.streams.video = [video]
    frames = rtsp._key_frames(container, camera("rtsp://127.0.0.1/"), stopped)
    began = time.monotonic()
    if stop:
        assert list(frames) == []
    else:
        with pytest.raises(SourceFailure, match="no key frame"):
            next(frames)
    assert time.monotonic() - began < GRACE_S
