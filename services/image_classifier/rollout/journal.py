"""What a process did with its frames, on its way to the database: never waited for, half a second behind at most."""

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import Counter as Metric

from services.image_classifier import tables
from services.image_classifier.decode import Picture
from services.image_classifier.model_version import Prediction
from services.image_classifier.rollout import store
from services.image_classifier.rollout.domain import Variant
from services.image_classifier.rollout.latency import bin_of
from shared.database import Database
from shared.problem import Problem

log = structlog.get_logger(__name__)

LOST = Metric("huella_classifier_decisions_lost_total", "Decisions that the database did not take: statistics only.")
DECISIONS = Metric(
    "huella_classifier_decisions_total",
    "Frames that a variant looked at, by version and outcome.",
    ["variant", "model", "version", "outcome"],
)
BINS = 10
MOST_DECISIONS = 2000

Key = tuple[Any, ...]


@dataclass
class Entry:
    """What is written together: rows of decisions, and sums to be added."""

    decisions: list[dict[str, Any]] = field(default_factory=list)
    tallies: defaultdict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    latencies: Counter[Key] = field(default_factory=Counter)
    spreads: Counter[Key] = field(default_factory=Counter)

    def called(self, revision: int, variant: Variant, seconds: float | None) -> None:
        """Count one time that a variant was asked, of some frames at once: the seconds a frame, None if it failed.

        Frames that are asked together fail and are slow together, so that is judged by calls.
        """
        key = (revision, *variant.key, variant.role.value)
        self.tallies[key]["calls"] += 1
        if seconds is None:
            self.tallies[key]["failed_calls"] += 1
        else:
            self.latencies[(*key, bin_of(seconds))] += 1

    def decided(
        self,
        revision: int,
        variant: Variant,
        outcome: str,
        *,
        served: bool,
        seconds: float | None = None,
        champion: Prediction | None = None,
        said: Prediction | None = None,
    ) -> None:
        """Count one frame; `champion` is what the champion says of it, if the two are to be compared."""
        DECISIONS.labels(variant.role, *variant.key, outcome).inc()
        sums = self.tallies[(revision, *variant.key, variant.role.value)]
        sums["decisions"] += 1
        sums["served"] += served
        sums["errors"] += outcome == "error"
        sums["late"] += outcome == "late"
        if seconds is not None:
            sums["seconds"] += seconds  # type: ignore[assignment]  # a Counter adds floats as well
        if champion is not None and said is not None and champion.label != "unsure":
            sums["compared"] += 1
            sums["agreed"] += champion.label == said.label
            ours, theirs = said.probabilities, champion.probabilities
            sums["shift"] += (abs(ours.cat - theirs.cat) + abs(ours.dog - theirs.dog)) / 2  # type: ignore[assignment]  # as above

    def row(
        self,
        revision: int,
        variant: Variant,
        receipt: str,
        camera_id: str,
        outcome: str,
        at: datetime,
        *,
        served: bool,
        propensity: float,
        said: Prediction | None,
    ) -> None:
        """Keep one decision by itself."""
        self.decisions.append(
            {
                "receipt": receipt,
                "revision": revision,
                "model": variant.model,
                "version": variant.version,
                "variant": variant.role.value,
                "camera_id": camera_id,
                "served": served,
                "propensity": propensity,
                "outcome": outcome,
                "label": said.label.value if said else None,
                "cat": said.probabilities.cat if said else None,
                "dog": said.probabilities.dog if said else None,
                "decided_at": at,
            }
        )

    def spread(self, camera_id: str, at: datetime, picture: Picture, said: Prediction) -> None:
        """Count where a frame's scores and its picture, as the camera took it, lie among those of its camera."""
        hour = at.replace(minute=0, second=0, microsecond=0)
        values = {
            "cat": said.probabilities.cat,
            "dog": said.probabilities.dog,
            "brightness": picture.mean / 256,
            "contrast": picture.deviation / 128,
        }
        for kind, value in values.items():
            self.spreads[(camera_id, hour, kind, min(BINS - 1, int(value * BINS)))] += 1

    def add(self, other: "Entry") -> None:
        """Take what another has."""
        self.decisions += other.decisions
        for key, sums in other.tallies.items():
            self.tallies[key].update(sums)
        self.latencies.update(other.latencies)
        self.spreads.update(other.spreads)

    def rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the rows by table, ordered by key so that no two writers wait for each other."""
        version = ("revision", "model", "version", "variant")
        return {
            "decisions": self.decisions,
            "tallies": [
                dict(zip(version, key, strict=True)) | {name: self.tallies[key][name] for name in tables.SUMS}
                for key in sorted(self.tallies)
            ],
            "latencies": [
                dict(zip((*version, "bin"), key, strict=True)) | {"number": number}
                for key, number in sorted(self.latencies.items())
            ],
            "spreads": [
                dict(zip(("camera_id", "hour", "kind", "bin"), key, strict=True)) | {"number": number}
                for key, number in sorted(self.spreads.items())
            ],
        }


class Journal:
    """Gathers entries until `flush` is called; many decisions are not waited for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._kept = Entry()

    def add(self, entry: Entry) -> None:
        """Take an entry, soon to be durable; does not wait."""
        with self._lock:
            self._kept.add(entry)
            due = len(self._kept.decisions) >= MOST_DECISIONS
        if due:
            self.flush()

    def flush(self, *, sums_alone: bool = True) -> None:
        """Hand over what has gathered, mere sums only if they are due.

        A database that does not take it costs statistics, and no frame.
        """
        with self._lock:
            if not (sums_alone or self._kept.decisions):
                return
            entry, self._kept = self._kept, Entry()
        if not (entry.tallies or entry.spreads or entry.decisions):
            return
        rows = entry.rows()
        number = sum(sums["decisions"] for sums in entry.tallies.values())
        try:
            future = self._database.submit(lambda connection: store.log(connection, rows))
        except Problem as problem:
            _lost(number, problem)
            return
        future.add_done_callback(lambda done: _check(done, number))


def _check(done: "Future[None]", number: int) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _lost(number, error)


def _lost(number: int, error: BaseException) -> None:
    LOST.inc(number)
    log.error("decisions not written", decisions=number, kind=type(error).__name__, error=str(error)[:200])
