"""A brake on guessing a camera's secret, which never keeps out the camera that knows it."""

import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_S = 60.0
FAILURES = 10
REMEMBERED = 10_000


class Throttle:
    """Counts wrong secrets by camera id, in bounded memory; only ever asked after a secret proved wrong."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def failed(self, camera_id: str) -> int | None:
        """Note a wrong secret; return how many seconds to wait if there were too many within a minute, else None."""
        now = self._clock()
        since, number = self._failures.pop(camera_id, (now, 0))
        if now - since >= WINDOW_S:
            since, number = now, 0
        self._failures[camera_id] = (since, number + 1)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return int(since + WINDOW_S - now) + 1 if number >= FAILURES else None
