from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from services.camera_agent import camera as module
from services.camera_agent.domain import wait_s
from services.camera_agent.tests.works import Told, Works


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits after failures take no time; the list has how long they would have been."""
    waits: list[float] = []
    real = wait_s

    def wait(failures: int, luck: float, asked_s: float = 0.0) -> float:
        waits.append(real(failures, luck, asked_s))
        return 0.002

    monkeypatch.setattr(module, "wait_s", wait)
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    return waits


@pytest.fixture
def told() -> Iterator[list[Told]]:
    """Every line of the log."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def works(tmp_path: Path, quickly: list[float]) -> Iterator[Works]:
    works = Works(tmp_path)
    yield works
    works.stop()
