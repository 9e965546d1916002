"""Writes what time alone changes, and removes what is old: a thread of the HTTP process, one at work at a time."""

import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, select

from services.aggregation import metrics, tables
from services.aggregation.retention import hold_lease, prune_changes, prune_estimates, prune_spans
from services.aggregation.settings import Settings
from services.aggregation.store import pass_time
from shared.database import Database, now

log = structlog.get_logger(__name__)

EVERY_S = 1.0
PRUNE_EVERY_S = 60.0
LEASE = timedelta(seconds=10)
SPACES_AT_ONCE, ROUNDS = 50, 20


class Ticker:
    """Looks every second, if it holds the lease; when its holder dies another takes over within ten seconds."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._holder = uuid.uuid4().hex
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
        self._failed = False
        self._pruned_at: datetime | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def check(self) -> None:
        """Raise if the thread has ended."""
        if not self._thread.is_alive():
            raise RuntimeError("the ticker has ended")

    def stop(self) -> None:
        """End the thread after the round it is at."""
        self._stopping.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                self.tick(now())
                self._failed = False
            except Exception as error:
                metrics.FAILURES.labels("ticker").inc()
                if not self._failed:
                    log.warning("ticker failed; it goes on trying", exc_info=error)
                self._failed = True

    def tick(self, at: datetime) -> bool:
        """Do one round as of `at`; return whether this ticker holds the lease."""
        held = self._database.write(lambda connection: hold_lease(connection, "ticker", self._holder, at, LEASE))
        metrics.TICKS.labels("yes" if held else "no").inc()
        if not held:
            return False
        for _ in range(ROUNDS):
            due = self._due(at)
            if not due:
                break
            changes = self._database.write(
                lambda connection, due=due: pass_time(connection, due, at, self._settings.rules)  # type: ignore[misc]  # bound now
            )
            for change in changes:
                metrics.CHANGES.labels(change.kind).inc()
        if self._pruned_at is None or (at - self._pruned_at).total_seconds() >= PRUNE_EVERY_S:
            self._pruned_at = at
            self.prune(at)
        return True

    def prune(self, at: datetime) -> None:
        """Remove a bounded number of rows that are too old as of `at`."""
        estimates_before = at - timedelta(days=self._settings.estimate_days)
        changes_before = at - timedelta(days=self._settings.change_days)
        for name, prune, before in (
            ("changes", prune_changes, changes_before),
            ("estimates", prune_estimates, estimates_before),
            ("occupancy_spans", prune_spans, estimates_before),
        ):
            metrics.PRUNED.labels(name).inc(self._database.write(_before(prune, before)))

    def _due(self, at: datetime) -> list[str]:
        spaces = tables.spaces
        with self._database.read() as connection:
            query = select(spaces.c.id).where(spaces.c.due_at <= at).order_by(spaces.c.id).limit(SPACES_AT_ONCE)
            return list(connection.execute(query).scalars())


def _before(prune: Callable[[Connection, datetime], int], before: datetime) -> Callable[[Connection], int]:
    return lambda connection: prune(connection, before)
