"""All cameras of one file together: how they end, and what an earlier file left behind."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from services.camera_agent import main
from services.camera_agent.main import Agent
from services.camera_agent.sources.photos import Photo
from services.camera_agent.spool import Spool
from services.camera_agent.tests.cameras import MORNING, camera, config


def test_cameras_that_hang_delay_the_end_once_and_not_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hanging(stopped: threading.Event) -> Iterator[Photo]:
        released.wait()
        yield from ()

    monkeypatch.setattr(main, "STOP_S", 0.5)
    monkeypatch.setattr(main, "open_source", lambda camera, state: hanging)
    agent = Agent(config(*(camera(camera_id=f"cam{n}") for n in range(20))), tmp_path)
    agent.start()
    agent.check_threads()
    started = time.monotonic()
    agent.stop()
    took_s = time.monotonic() - started
    released.set()
    assert took_s < 20 * 0.5


def test_frames_of_a_camera_that_left_the_file_are_spoken_of(tmp_path: Path) -> None:
    Spool(tmp_path / "gone" / "spool", 10**6).add(MORNING, b"waiting")
    Spool(tmp_path / "empty" / "spool", 10**6)
    agent = Agent(config(camera(camera_id="cam1")), tmp_path)
    with structlog.testing.capture_logs() as told:
        agent.start()
        agent.stop()
    (line,) = (line for line in told if line["event"] == "frames of a camera that the file does not name")
    assert (line["camera"], line["frames"], "put the camera back" in line["hint"]) == ("gone", 1, True)
