"""How often a log-in may be tried: by name, by address, and both; bounded, in the memory of one process."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from services.dashboard.domain import wait_after

FORGET_S = 3600.0
KEYS = 10_000
FREE_BY_NAME = 5
FREE_BY_ADDRESS = 20
LONGEST_BY_NAME_S = 30.0  # short: a stranger who guesses must not lock the person out
LONGEST_BY_ADDRESS_S = 900.0


class Throttle:
    """Counts wrong tries; a right one clears its name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, name: str, address: str) -> float:
        """Return how many seconds from now the next try of this name from this address is looked at; 0 is now."""
        with self._lock:
            waits = [
                self._wait(f"name {name}", FREE_BY_NAME, LONGEST_BY_NAME_S),
                self._wait(f"address {address}", FREE_BY_ADDRESS, LONGEST_BY_ADDRESS_S),
            ]
        return max(waits)

    def failed(self, name: str, address: str) -> None:
        """Note a wrong try."""
        with self._lock:
            for key in (f"name {name}", f"address {address}"):
                self._failures[key] = (self._count(key) + 1, self._clock())
                self._failures.move_to_end(key)
            while len(self._failures) > KEYS:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the wrong tries of this name, and the one try that this address was counted for it."""
        with self._lock:
            self._failures.pop(f"name {name}", None)
            key = f"address {address}"
            if self._count(key):
                count, last = self._failures[key]
                self._failures[key] = (count - 1, last)

    def _count(self, key: str) -> int:
        count, last = self._failures.get(key, (0, 0.0))
        return count if self._clock() - last < FORGET_S else 0

    def _wait(self, key: str, free: int, longest_s: float) -> float:
        count = self._count(key)
        if not count:
            return 0.0
        return max(0.0, self._failures[key][1] + wait_after(count, free, longest_s) - self._clock())
