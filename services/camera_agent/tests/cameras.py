"""Cameras, photos and an ingest for the agent's tests."""

import io
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from services.camera_agent.config import Camera, Config
from services.camera_agent.entries import CameraEntry
from services.camera_agent.sources.photos import Photo

SECRET = "a-camera-secret-"
MORNING = datetime(2026, 11, 22, 10, tzinfo=UTC)


def camera(source: str = "simulated:cat", camera_id: str = "cam1", folder: Path | None = None, **keys: Any) -> Camera:
    """Return a camera as `load` would, with the keys that its entry in the file has."""
    entry = CameraEntry.model_validate({"source": source, "secret_env": "SECRET", **keys}, strict=False)
    password = "hunter2-hunter2" if entry.user else None
    return Camera(camera_id, entry, SECRET, password, folder=folder)


def config(*cameras: Camera, ingest: str = "http://ingest.test") -> Config:
    """Return a file's content with these cameras."""
    return Config(ingest, None, 10**9, cameras)


def scene(shade: int, size: tuple[int, int] = (160, 120)) -> bytes:
    """Return a small photo; another shade is another scene."""
    output = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(output, "JPEG")
    return output.getvalue()


def grainy(seed: int, size: tuple[int, int] = (1280, 720), grain: int = 24) -> bytes:
    """Return a photo of one and the same scene with a sensor's noise, of up to `grain` levels a pixel."""
    noise = random.Random(seed).randbytes(size[0] * size[1])
    picture = Image.frombytes("L", size, noise).point(lambda level: 110 + level * grain // 256)
    output = io.BytesIO()
    picture.convert("RGB").save(output, "JPEG", quality=88)
    return output.getvalue()


def minutes(number: int, every_s: float = 1.0, first: int = 0) -> list[Photo]:
    """Return `number` photos, each of another scene, captured `every_s` seconds apart from the MORNING on."""
    return [
        Photo(MORNING + timedelta(seconds=every_s * (first + n)), scene(40 + (first + n) % 2 * 100) + str(n).encode())
        for n in range(number)
    ]


def giving(photos: Sequence[Photo]) -> Callable[[threading.Event], Iterator[Photo]]:
    """Return a source that gives these photos at once, and then is over."""
    return lambda stopped: iter(photos)


class IngestDouble:
    """What ingest is to a camera: it takes frames, unless `answers` has something else to say first."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, bytes]] = []
        self.asked = 0
        self.headers: list[httpx.Headers] = []
        self.answers: Callable[[int, str], httpx.Response | None] = lambda number, path: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        self.headers.append(request.headers)
        answer = self.answers(self.asked, request.url.path)
        if answer is not None:
            return answer
        _, _, _, camera_id, _, frame_id = request.url.path.split("/")
        repeated = any(frame_id == name for _, name, _ in self.taken)
        if not repeated:
            self.taken.append((camera_id, frame_id, request.content))
        return httpx.Response(200 if repeated else 201, json={"receipt": f"r-{frame_id}", "frame_id": frame_id})
