"""The bell: a thread of the HTTP service that tells workers of work, and clears away what batches leave behind.

It keeps a few messages in the queue for as long as inputs can be taken. A message that is lost is simply rung again,
and one too many finds nothing to do; so every HTTP process may ring, and none has to know what the others do.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from kombu.exceptions import OperationalError
from redis import RedisError

from services.image_classifier.batches import claims, janitor, metrics
from services.image_classifier.leases import hold_lease
from services.image_classifier.settings import Settings
from shared.broker import CLASSIFY_BATCHES, create_celery, create_redis, queue_length
from shared.database import Database, now

log = structlog.get_logger(__name__)

BUSY_S, IDLE_S = 0.05, 1.0
CLEAR_EVERY_S = 60.0


class Bell:
    """Rings while there is work. `waiting` says how many rings are in the queue, `ring` adds one; both may raise."""

    def __init__(
        self, database: Database, settings: Settings, *, waiting: Callable[[], int], ring: Callable[[], None]
    ) -> None:
        self._database = database
        self._settings = settings
        self._waiting = waiting
        self._ring = ring
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
        self._out = self._failed = False
        self._cleared_at: datetime | None = None
        self._id = str(uuid4())

    def start(self) -> None:
        """Begin to look for work."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    def check(self) -> None:
        """Raise if the thread has ended."""
        if not self._thread.is_alive():
            raise RuntimeError("the bell has ended")

    def stop(self) -> None:
        """End the thread after what it is at."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        while not self._stopping.is_set():
            delay = IDLE_S
            try:
                delay = self.step()
                at = now()
                if self._cleared_at is None or abs((at - self._cleared_at).total_seconds()) >= CLEAR_EVERY_S:
                    with self._database.read() as connection:
                        metrics.WAITING.set(janitor.unfinished(connection))
                    self._cleared_at = at
                    if self.clear(at):
                        self._cleared_at = None
                self._failed = False
            except Exception as error:
                metrics.FAILURES.labels("bell").inc()
                if not self._failed:
                    log.warning("the bell failed; it goes on trying", exc_info=error)
                self._failed = True
            self._wake.wait(delay)
            self._wake.clear()

    def step(self) -> float:
        """Ring as often as there is work and room; return in how many seconds to look again."""
        most = self._settings.batch_bells * self._settings.batch_chunk
        with self._database.read() as connection:
            inputs = claims.claimable(connection, now(), most, timedelta(seconds=self._settings.batch_lease_s))
        if inputs == 0:
            return IDLE_S
        try:
            missing = min(self._settings.batch_bells, -(-inputs // self._settings.batch_chunk)) - self._waiting()
            for _ in range(missing):
                self._ring()
        except (OperationalError, RedisError, OSError) as error:
            metrics.FAILURES.labels("broker").inc()
            if not self._out:
                log.warning("broker does not answer; batches wait", error=type(error).__name__)
            self._out = True
            return IDLE_S
        if self._out:
            log.info("broker answers again")
        self._out = False
        return BUSY_S

    def clear(self, at: datetime) -> bool | None:
        """Clear away what is left of batches; return whether there is more, None if another process does it."""
        lease = timedelta(seconds=2 * CLEAR_EVERY_S)
        if not self._database.write(lambda connection: hold_lease(connection, "clear batches", self._id, at, lease)):
            return None
        return janitor.clear(self._database, self._settings, at)


def open_bell(database: Database, settings: Settings) -> Bell:
    """Return a bell that rings in the settings' broker, which is first looked for when there is work."""
    open_: list[tuple[Callable[[], int], Callable[[], None]]] = []

    def broker() -> tuple[Callable[[], int], Callable[[], None]]:
        if not open_:
            celery, redis = create_celery("image_classifier", settings.broker_url), create_redis(settings.broker_url)
            open_.append(
                (
                    lambda: queue_length(redis, CLASSIFY_BATCHES),
                    lambda: celery.send_task(CLASSIFY_BATCHES, args=[{"schema": 1}]),
                )
            )
        return open_[0]

    return Bell(database, settings, waiting=lambda: broker()[0](), ring=lambda: broker()[1]())
