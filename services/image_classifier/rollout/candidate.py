"""A version that is not trusted yet, in a process of its own that is started again when it ends."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog
from prometheus_client import Counter

from services.image_classifier.decode import Picture
from services.image_classifier.model_version import InvalidModelVersion, Manifest, Prediction
from services.image_classifier.rollout.domain import Variant
from services.image_classifier.versions.isolated import Failed, IsolatedVersion, Late

log = structlog.get_logger(__name__)

REST_S = 5.0
START_S = 60.0

STARTS = Counter(
    "huella_classifier_candidate_starts_total", "Starts of candidates' processes, by outcome.", ["outcome"]
)

Asked = Future[tuple[list[Prediction], float]]


class Down(Exception):
    """Its process has ended; whatever ended it was counted and logged when that happened."""


class Candidate:
    """Whatever a version does here costs its own frames only.

    Everything slow happens in one thread of its own, one thing after the other: starting the process, and asking it. So
    neither holds up the thread that follows the rollout.
    """

    def __init__(self, variant: Variant, manifest: Manifest, graph: bytes, memory_bytes: int) -> None:
        self.variant = variant
        self.manifest = manifest
        self.champions_pace_s = 0.0  # seconds a frame that the champion took last in this process
        self._graph = graph
        self._memory_bytes = memory_bytes
        self._version: IsolatedVersion | None = None
        self._rest_until = 0.0
        self._closed = False
        self._unstartable = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="candidate")
        self._starting: Future[None] | None = None
        self._asked: Asked | None = None
        self._before: tuple[Asked | None, float] = None, 0.0
        self.due = 0.0
        """When it must have done all that it was asked, by the monotonic clock."""

    def keep_up(self) -> None:
        """Begin to start its process if it is down and has rested; does not wait."""
        alive = self._version is not None and self._version.alive
        if not (self._closed or self.starting or alive or time.monotonic() < self._rest_until):
            self._starting = self._thread.submit(self._start)

    def _start(self) -> None:
        try:
            self._version = IsolatedVersion(self.manifest, self._memory_bytes)
            if not self._closed:
                self._version.load(self._graph, START_S)
        except (InvalidModelVersion, OSError) as error:
            if self._closed:
                return
            STARTS.labels("failed").inc()
            log.warning(
                "a candidate does not start", model=self.manifest.name, version=self.manifest.version, reason=str(error)
            )
            self._rest_until = time.monotonic() + REST_S
            self._unstartable = True
            return
        self._unstartable = False
        STARTS.labels("started").inc()
        if self._closed:  # in the very moment in which it was begun
            self._version.close()

    @property
    def starting(self) -> bool:
        """Whether its process is being started."""
        return self._starting is not None and not self._starting.done()

    @property
    def away(self) -> bool:
        """Whether no answer is to be had, for a reason that has been counted already: it starts, or rests from its end.

        One that can't even start is not away: each time that it is asked counts against it.
        """
        alive = self._version is not None and self._version.alive
        return self.starting or not (alive or self._unstartable)

    @property
    def busy(self) -> bool:
        """Whether it still works at what it was asked last."""
        return self._asked is not None and not self._asked.done()

    def ask(self, pictures: Sequence[Picture], deadline_s: float) -> Asked:
        """Begin to ask it, once it has done what it is at; the future raises Late, Failed or Down.

        Its time runs from when it begins, so `due` is later by what is left for what it is at.
        """
        self._before = self._asked, self.due
        begins = max(time.monotonic(), self.due) if self.busy else time.monotonic()
        try:
            self._asked = self._thread.submit(self._predict, list(pictures), deadline_s)
        except RuntimeError as error:  # it was closed since this chunk began: another revision is in force
            self._asked = Future()
            self._asked.set_exception(Down(str(error)))
        self.due = begins + deadline_s
        return self._asked

    def withdraw(self) -> bool:
        """Take back what it was asked last, as if it never had been; return False if it has begun with it."""
        if self._asked is None or not self._asked.cancel():
            return False
        self._asked, self.due = self._before
        return True

    def _predict(self, pictures: Sequence[Picture], deadline_s: float) -> tuple[list[Prediction], float]:
        version = self._version
        if version is None or not version.alive:
            raise Failed("it does not start") if self._unstartable else Down("its process does not run")
        try:
            return version.predict(pictures, deadline_s)
        except (Late, Failed):
            if not version.alive:
                self._rest_until = time.monotonic() + REST_S
            raise

    def close(self) -> None:
        """End its process, and what it is asked."""
        self._closed = True
        if self._version is not None:
            self._version.close()
        self._thread.shutdown(wait=False)
