"""A thread that ends a process which can no longer do its work, so that its supervisor starts a fresh one.

Nobody else would: under Celery's solo pool its own time and memory limits do nothing, a worker can stay alive and deaf
after it lost the broker, and an HTTP service answers that it lives while the thread that matters hangs.
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
STOOD_STILL_S = 5.0
"""A look that comes so much too late says that the whole process stood still: stopped, or its machine paused."""

Rule = Callable[[], str | None]
"""Returns why this process should end, or None."""


class Watchdog:
    """Looks at the rules of one process, in their order; the first that gives a reason ends it.

    `end` is called once with that reason; the default logs it and exits at once.
    """

    def __init__(
        self, *rules: Rule, end: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._end = end or _exit
        self._stopping = threading.Event()

    def start(self, every_s: float = 1.0) -> None:
        """Look every `every_s` seconds from now on, in a thread of its own."""

        def watch() -> None:
            looked_at = self._clock()
            while not self._stopping.wait(every_s):
                stood_still = self._clock() - looked_at > every_s + STOOD_STILL_S
                looked_at = self._clock()
                # What was at work when the machine was paused looks too long, and gets until the next look.
                reason = None if stood_still else self.look()
                if reason:
                    self._end(reason)
                    return

        threading.Thread(target=watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more; does not wait."""
        self._stopping.set()

    def look(self) -> str | None:
        """Return why this process should end, or None."""
        return next((reason for rule in self._rules if (reason := rule())), None)


class Deadline:
    """Bounds the time of each of some tasks, of which several may be at work at once; `task()` surrounds each."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[object, tuple[float, str]] = {}  # in the order in which they began
        self.moved_at = clock()
        """When a task began or ended last."""

    @contextmanager
    def task(self, what: str = "a task") -> Iterator[None]:
        """Surround one task; `what` is the name that `passed` tells."""
        key = object()
        with self._lock:
            self.moved_at = self._clock()
            self._running[key] = self.moved_at, what
        try:
            yield
        finally:
            with self._lock:
                del self._running[key]
                self.moved_at = self._clock()

    @property
    def busy(self) -> bool:
        """Whether a task is at work."""
        return bool(self._running)

    def passed(self) -> str | None:
        """Return the name of the task that is at work for longest, if that is too long, or None."""
        with self._lock:
            oldest = next(iter(self._running.values()), None)
        if oldest is None:
            return None
        since, what = oldest
        return what if self._clock() - since > self.seconds else None

    def look(self) -> str | None:
        """Be a rule: no task passes the deadline."""
        what = self.passed()
        return f"{what} passed its deadline" if what else None


class Deafness:
    """The rule that no messages wait for `seconds` in which none of `tasks` begins, ends or is at work.

    `messages_waiting` returns how many wait, or None when it can't tell; then nothing is held against the process.
    """

    def __init__(
        self,
        tasks: Deadline,
        seconds: float,
        messages_waiting: Callable[[], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tasks = tasks
        self._seconds = seconds
        self._messages_waiting = messages_waiting
        self._clock = clock
        self._idle_at = clock()

    def look(self) -> str | None:
        """Return that the process is deaf, or None."""
        if self._tasks.busy or not self._messages_waiting():
            self._idle_at = self._clock()
            return None
        deaf_since = max(self._idle_at, self._tasks.moved_at)
        return "messages wait and none was consumed" if self._clock() - deaf_since > self._seconds else None


def memory_bound(limit_bytes: int) -> Rule:
    """Return the rule that the resident memory is no larger."""
    return lambda: "memory passed its bound" if resident_bytes() > limit_bytes else None


def resident_bytes() -> int:
    """Return this process's resident memory."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _exit(reason: str) -> None:
    log.critical("process ends itself", reason=reason)
    os._exit(EXIT_CODE)
