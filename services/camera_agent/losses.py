"""Says which frames were given up: each is counted, and the log tells of them together."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime

import structlog

from services.camera_agent import metrics
from services.camera_agent.spool import Kept

log = structlog.get_logger(__name__)

TELL_EVERY_S = 60.0


@dataclass
class Loss:
    """Frames given up for one reason and not told of yet."""

    frames: int
    captured_from: datetime
    captured_until: datetime
    said: str | None


class Losses:
    """Counts each frame that was given up, and says so: at once the first time, then together once a minute."""

    def __init__(self, camera_id: str) -> None:
        self._camera_id = camera_id
        self._lock = threading.Lock()
        self._untold: dict[str, Loss] = {}
        self._told_at: float | None = None

    def add(self, reason: str, frame: Kept, said: str | None = None) -> None:
        """Count a frame that was given up for `reason`; `said` explains it."""
        metrics.DROPPED.labels(self._camera_id, reason).inc()
        captured_at = frame.captured_at
        with self._lock:
            loss = self._untold.setdefault(reason, Loss(0, captured_at, captured_at, said))
            loss.frames += 1
            loss.captured_from = min(loss.captured_from, captured_at)
            loss.captured_until = max(loss.captured_until, captured_at)
            loss.said = said

    def tell(self, at_once: bool = False) -> None:
        """Log what was given up since the last time, unless that is less than a minute ago."""
        with self._lock:
            now = time.monotonic()  # whose clock nobody puts back
            recently = self._told_at is not None and now - self._told_at < TELL_EVERY_S
            if not self._untold or (recently and not at_once):
                return
            untold, self._untold, self._told_at = self._untold, {}, now
        for reason, loss in untold.items():
            log.error(
                "frames dropped",
                camera=self._camera_id,
                reason=reason,
                said=loss.said,
                frames=loss.frames,
                captured_from=loss.captured_from.isoformat(),
                captured_until=loss.captured_until.isoformat(),
            )
