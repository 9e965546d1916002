"""A thread that ends a worker process which can no longer do its work, so that its supervisor starts a fresh one.

Under Celery's solo pool its own time and memory limits do nothing, and a worker can stay alive and deaf after it lost
the broker. Three rules: a task past its deadline, memory past its bound, nothing consumed while messages wait.
"""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

EXIT_CODE = 70


class Watchdog:
    """Watches one worker process; `task()` surrounds each task.

    `deadline_s` bounds one task, `memory_bytes` the resident memory, `deaf_s` the time in which messages wait and no
    task starts. `messages_waiting` returns how many wait, or None when it can't tell (then nothing is held against
    the worker). `end` is called once with a reason; the default logs it and exits at once.
    """

    def __init__(
        self,
        *,
        deadline_s: float,
        memory_bytes: int,
        deaf_s: float,
        messages_waiting: Callable[[], int | None],
        end: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deadline_s = deadline_s
        self.memory_bytes = memory_bytes
        self.deaf_s = deaf_s
        self._messages_waiting = messages_waiting
        self._end = end or _exit
        self._clock = clock
        self._task_since: float | None = None
        self._consumed_at = clock()

    @contextmanager
    def task(self) -> Iterator[None]:
        """Surround one task."""
        self._task_since = self._consumed_at = self._clock()
        try:
            yield
        finally:
            self._task_since = None
            self._consumed_at = self._clock()

    def start(self, every_s: float = 1.0) -> None:
        """Look every `every_s` seconds from now on, in a thread of its own."""

        def watch() -> None:
            while True:
                time.sleep(every_s)
                reason = self.look()
                if reason:
                    self._end(reason)
                    return

        threading.Thread(target=watch, name="watchdog", daemon=True).start()

    def look(self) -> str | None:
        """Return why this process should end, or None."""
        since = self._task_since
        if since is not None:
            return "a task passed its deadline" if self._clock() - since > self.deadline_s else self._memory()
        return self._memory() or self._deaf()

    def _memory(self) -> str | None:
        return "memory passed its bound" if resident_bytes() > self.memory_bytes else None

    def _deaf(self) -> str | None:
        if not self._messages_waiting():
            self._consumed_at = self._clock()
            return None
        return "messages wait and none was consumed" if self._clock() - self._consumed_at > self.deaf_s else None


def resident_bytes() -> int:
    """Return this process's resident memory."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _exit(reason: str) -> None:
    log.critical("worker ends itself", reason=reason)
    os._exit(EXIT_CODE)
