"""The versions that a process has in use: the champion in this process, candidates in processes of their own.

A thread looks every half second which revision is in force, so a change reaches every worker within a second.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import Connection

from services.image_classifier.model_version import InvalidModelVersion, Manifest, ModelVersion
from services.image_classifier.rollout import probation, store
from services.image_classifier.rollout.candidate import Candidate
from services.image_classifier.rollout.domain import Rollout, Variant, single
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.settings import Settings
from services.image_classifier.shipped import load_default
from services.image_classifier.versions import library
from shared.database import Database, clock
from shared.watchdog import Deadline

log = structlog.get_logger(__name__)

EVERY_S = 0.5
LAST_WORDS_S = 5.0
"""The most that the end of a process waits for the database."""
LOOKS_A_FLUSH = 10
"""Sums without decisions, as under `single`, are written every five seconds: a commit costs as much as ten frames."""

REVISION = Gauge("huella_classifier_rollout_revision", "Revision of the rollout that this process has in force.")
FAILURES = Counter(
    "huella_classifier_lineup_failures_total", "Looks at the rollout, or loads of its versions, that failed.", ["what"]
)


@dataclass(frozen=True, slots=True)
class InForce:
    """What is in force at one moment: take it once a chunk, so that a chunk is decided by one revision."""

    rollout: Rollout
    champion: ModelVersion
    champion_variant: Variant
    candidates: dict[tuple[str, str], Candidate] = field(default_factory=dict)
    belief: tuple[float, ...] | None = None


def alone(model: ModelVersion) -> InForce:
    """Return what is in force when one version serves all."""
    rollout = single(model.manifest.name, model.manifest.version)
    return InForce(rollout, model, rollout.champion)


class Lineup:
    """Follows the rollout. `candidates` says whether this process asks candidates at all.

    `blames` says whether a champion that takes too long is at fault: in a process of low priority it may be held up.
    """

    def __init__(
        self, settings: Settings, database: Database, journal: Journal, *, candidates: bool, blames: bool = True
    ) -> None:
        self._settings = settings
        self._database = database
        self._journal = journal
        self._with_candidates = candidates
        self._blames = blames
        self._answering = Deadline(settings.answer_deadline_s)
        # Whoever was proven has been loaded in this time once.
        self._loading = Deadline(settings.proof_deadline_s)
        self._shipped = f"{settings.model}/{settings.version}"
        self._default = load_default(settings, partial(self._answering.task, self._shipped))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lineup", daemon=True)
        self._failed = False
        self._process = uuid.uuid4().hex
        self._young: tuple[int, float] | None = None
        self.now = alone(self._default)

    @property
    def champion(self) -> ModelVersion:
        """The version that is trusted now."""
        return self.now.champion

    def start(self) -> None:
        """Look once, then go on looking beside."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the candidates."""
        self._stopping.set()
        self._thread.join(timeout=10)
        for candidate in self.now.candidates.values():
            candidate.close()
        self._journal.flush()
        if self._young is not None:
            self._outlived(self._young[0])

    def stuck(self) -> str | None:
        """Be a rule for the watchdog of this process: versions load and answer in time.

        That the champion does not is written down first, so that the processes that come after this one know of it.
        """
        for deadline, did in ((self._answering, "answer"), (self._loading, "load")):
            version = deadline.passed()
            if version:
                if self._blames:
                    self._tell_death_by(version)
                else:
                    self.excuse()
                return f"{version} did not {did} within {deadline.seconds:g} s"
        return None

    def excuse(self) -> None:
        """Say, before this process ends, that its champion is not why."""
        young = self._young
        if young is not None:
            self._say_last(lambda connection: probation.end(connection, young[0], self._process))

    def _tell_death_by(self, version: str) -> None:
        def die(connection: Connection) -> None:
            newest = store.current(connection)
            if newest is not None and _title(newest.rollout.champion) == version != self._shipped:
                probation.die(connection, newest.rollout.revision, self._process, clock(connection))

        self._say_last(die)

    def _say_last(self, words: Callable[[Connection], None]) -> None:
        try:
            self._database.submit(words).result(LAST_WORDS_S)
        except Exception as error:
            log.error("why this process ends is not written down; it is a death if it is young", exc_info=error)

    def _run(self) -> None:
        for look in count(1):
            if self._stopping.wait(EVERY_S):
                return
            self._look()
            self._journal.flush(sums_alone=look % LOOKS_A_FLUSH == 0)

    def _look(self) -> None:
        try:
            self.refresh()
            self._failed = False
        except Exception as error:
            FAILURES.labels("look").inc()
            if not self._failed:
                log.error("can't follow the rollout; what was in force stays", exc_info=error)
            self._failed = True

    def refresh(self) -> None:
        """Put the newest revision in force. Raises what the database or a version that can't be loaded raises."""
        with self._database.read() as connection:
            newest = store.current(connection)
        before = self.now
        if newest is None:
            rollout, belief = single(self._settings.model, self._settings.version), None
        else:
            rollout, belief = newest.rollout, newest.belief
        if rollout.revision != before.rollout.revision:
            self.now = self._load(rollout, belief)
            REVISION.set(rollout.revision)
            for key, candidate in before.candidates.items():
                if self.now.candidates.get(key) is not candidate:
                    candidate.close()
            log.info("rollout in force", revision=rollout.revision, strategy=rollout.strategy)
        elif belief != before.belief:
            self.now = replace(before, belief=belief)
        for candidate in self.now.candidates.values():
            candidate.keep_up()
        if self._young is not None and time.monotonic() > self._young[1]:
            self._outlived(self._young[0])

    def _load(self, rollout: Rollout, belief: tuple[float, ...] | None) -> InForce:
        champion = self._trusted(rollout)
        candidates: dict[tuple[str, str], Candidate] = {}
        if self._with_candidates:
            for variant in rollout.candidates:
                kept = self.now.candidates.get(variant.key)
                candidates[variant.key] = kept if kept is not None else self._candidate(variant)
        return InForce(rollout, champion, rollout.champion, candidates, belief)

    def _trusted(self, rollout: Rollout) -> ModelVersion:
        variant = rollout.champion
        for loaded in (self.now.champion, self._default):
            if (loaded.manifest.name, loaded.manifest.version) == variant.key:
                return loaded
        version = _title(variant)
        left_alone = InvalidModelVersion(f"{version} has ended {probation.DEATHS} processes")
        # This comes again at each look as long as it fails: it reads little before it reads a graph, and writes last.
        with self._database.read() as connection:
            if probation.too_many(probation.deaths(connection, rollout.revision, clock(connection))):
                raise left_alone
        manifest, graph = self._stored(variant)
        if not self._database.write(lambda c: probation.begin(c, rollout.revision, self._process, clock(c))):
            raise left_alone
        self._young = rollout.revision, time.monotonic() + probation.YOUNG.total_seconds()
        watch = partial(self._answering.task, version)
        with self._loading.task(version):
            return ModelVersion.from_graph(manifest, graph, self._settings.threads, watch)

    def _outlived(self, revision: int) -> None:
        self._database.write(lambda connection: probation.end(connection, revision, self._process))
        self._young = None

    def _candidate(self, variant: Variant) -> Candidate:
        manifest, graph = self._stored(variant)
        return Candidate(variant, manifest, graph, self._settings.candidate_memory_bytes)

    def _stored(self, variant: Variant) -> tuple[Manifest, bytes]:
        with self._database.read() as connection:
            found = library.find(self._settings, connection, *variant.key)
            if found is None:
                raise InvalidModelVersion(f"there is no {variant.model}/{variant.version}")
            return found.manifest, library.graph_of(self._settings, connection, found)


def _title(variant: Variant) -> str:
    return f"{variant.model}/{variant.version}"
