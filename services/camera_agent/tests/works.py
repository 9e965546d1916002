"""Cameras at work before an ingest double, and what they counted and logged."""

import time
from collections.abc import MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import REGISTRY

from services.camera_agent.camera import CameraAtWork
from services.camera_agent.domain import time_of_frame
from services.camera_agent.ingest import Ingest
from services.camera_agent.sources import Source
from services.camera_agent.spool import Spool
from services.camera_agent.tests.cameras import IngestDouble, camera, config

Told = MutableMapping[str, Any]


class Works:
    """Starts cameras for a test, and ends them after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.double = IngestDouble()
        self._cameras: list[CameraAtWork] = []
        self._ingest = Ingest(config(), httpx.MockTransport(self.double))

    def start(self, source: Source, camera_id: str = "cam1", most_bytes: int = 10**8, **keys: Any) -> Spool:
        spool = Spool(self.folder / camera_id, most_bytes)
        one = CameraAtWork(camera(camera_id=camera_id, **keys), source, spool, self._ingest)
        self._cameras.append(one)
        one.start()
        return spool

    def stop(self) -> None:
        for one in self._cameras:
            one.stop()
        for one in self._cameras:
            one.join(time.monotonic() + 5)

    def dead(self) -> list[str]:
        return [name for one in self._cameras for name in one.dead()]

    def taken(self, camera_id: str = "cam1") -> list[datetime]:
        return [time_of_frame(name) for owner, name, _ in self.double.taken if owner == camera_id]


def counted(name: str, camera_id: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"camera": camera_id, **labels}) or 0.0


def lines(told: list[Told], event: str, least: str = "warning") -> list[Told]:
    levels = ("debug", "info", "warning", "error")
    return [line for line in told if line["event"] == event and levels.index(line["log_level"]) >= levels.index(least)]


def away(number: int, path: str) -> httpx.Response:
    raise httpx.ConnectError("the network is cut")
