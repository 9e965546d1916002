"""A thread's trouble, told once when it begins and once when it ends, however often it is met between."""

import structlog

log = structlog.get_logger(__name__)


class Outage:
    """What one thread could not do; `name` is what stands in the log before "failed" and "works again"."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0
        self._kinds: set[type[BaseException]] = set()

    def failed(self, error: Exception) -> None:
        """Note a failure; the first of each kind is logged with its traceback."""
        self._failures += 1
        if type(error) not in self._kinds:
            self._kinds.add(type(error))
            log.error(f"{self._name} failed", exc_info=error)

    def over(self) -> None:
        """Note a success; the first after failures is logged with their number."""
        if self._failures:
            log.info(f"{self._name} works again", failures=self._failures)
            self._failures = 0
            self._kinds.clear()
