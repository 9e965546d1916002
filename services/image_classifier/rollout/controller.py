"""What goes on by itself: uploads are proven, canaries judged, bandits learn, old rows go. One process at a time."""

import threading
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import Connection

from services.image_classifier.leases import hold_lease
from services.image_classifier.model_version import InvalidModelVersion
from services.image_classifier.rollout import domain, feedback, store
from services.image_classifier.rollout.domain import Rollout, Strategy
from services.image_classifier.rollout.statistics import propensities
from services.image_classifier.rollout.store import Revision
from services.image_classifier.rollout.verdicts import Verdict, judge
from services.image_classifier.settings import Settings
from services.image_classifier.versions import store as versions
from services.image_classifier.versions.isolated import prove
from services.image_classifier.versions.store import State
from shared.database import Database, clock

log = structlog.get_logger(__name__)

EVERY_S = 1.0
LEASE = timedelta(seconds=10)
SLOW_EVERY_S = 60.0
AUTHOR = "canary"
SPREAD_DAYS = 9
PRUNING_ROUNDS = 50
"""Transactions of a bounded size in which old rows go, a minute: more than any number of workers write."""

FAILURES = Counter(
    "huella_classifier_controller_failures_total", "Rounds of the controller that failed, by part.", ["part"]
)
VERDICTS = Counter("huella_classifier_canary_verdicts_total", "What guard rails decided.", ["action"])
PROVEN = Counter("huella_classifier_versions_proven_total", "Uploads that were proven, by outcome.", ["state"])
DRIFTING = Gauge("huella_classifier_drifting_cameras", "Cameras whose scores or pictures differ from the week before.")


class Controller:
    """Looks every second, if it holds the lease; when its holder dies another takes over within ten seconds, of a proof
    within five times its deadline.

    Proving takes long, so it has a lease and a thread of its own and never holds up a roll-back.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._holder = uuid.uuid4().hex
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, step), name=name, daemon=True)
            for name, step in (("controller", self.tick), ("prover", self.prove))
        ]
        self._slow_at: datetime | None = None

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise if a thread has ended."""
        if not all(thread.is_alive() for thread in self._threads):
            raise RuntimeError("the controller has ended")

    def stop(self) -> None:
        """End the threads after the round they are at."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=15)

    def _run(self, name: str, step: Any) -> None:
        failed = False
        while not self._stopping.wait(EVERY_S):
            try:
                step(self._clock())
                failed = False
            except Exception as error:
                FAILURES.labels(name).inc()
                if not failed:
                    log.warning("controller failed; it goes on trying", part=name, exc_info=error)
                failed = True

    def _clock(self) -> datetime:
        with self._database.read() as connection:
            return clock(connection)

    def tick(self, at: datetime) -> bool:
        """Judge and learn as of `at`; return whether this process holds the lease."""
        if not self._holds("controller", at, LEASE, whole=False):
            return False
        with self._database.read() as connection:
            found = store.current(connection)
        if found is not None and found.rollout.strategy is Strategy.CANARY:
            self._judge(found, at)
        elif found is not None and found.rollout.strategy is Strategy.BANDIT:
            self._learn(found, at)
        if self._slow_at is None or (at - self._slow_at).total_seconds() >= SLOW_EVERY_S:
            self._slow_at = at
            self._prune(at)
            with self._database.read() as connection:
                DRIFTING.set(len({alarm["camera_id"] for alarm in feedback.drift(connection, at)}))
        return True

    def prove(self, at: datetime) -> bool:
        """Prove the oldest upload that waits; return whether there was one."""
        with self._database.read() as connection:
            if not versions.anything_to_prove(connection):
                return False
        # Loading and three rounds of asking each have that deadline.
        if not self._holds("prover", at, timedelta(seconds=5 * self._settings.proof_deadline_s), whole=True):
            return False
        found = self._database.write(lambda connection: versions.begin_proof(connection, at))
        if found is None:
            return False
        uploaded, graph = found
        manifest, frame_seconds = uploaded.manifest, None
        try:
            frame_seconds = prove(
                manifest,
                graph,
                memory_bytes=self._settings.candidate_memory_bytes,
                within_s=self._settings.proof_deadline_s,
            )
        except InvalidModelVersion as error:
            state, reason = State.REFUSED, str(error)
        else:
            state, reason = State.READY, ""
        ended = self._clock()
        self._database.write(
            lambda connection: versions.finish_proof(connection, manifest, state, reason, frame_seconds, ended)
        )
        PROVEN.labels(state.value).inc()
        log.info("version proven", model=manifest.name, version=manifest.version, state=state.value, reason=reason)
        return True

    def _holds(self, name: str, at: datetime, lease: timedelta, *, whole: bool) -> bool:
        return self._database.write(
            lambda connection: hold_lease(connection, name, self._holder, at, lease, whole=whole)
        )

    def _judge(self, found: Revision, at: datetime) -> None:
        rollout = found.rollout
        with self._database.read() as connection:
            seen = store.seen(connection, rollout, whole=False)
        verdict = judge(rollout, (at - found.since).total_seconds(), seen)
        following = next_rollout(rollout, verdict)
        if following is None:
            return
        root = rollout.root if following.strategy is Strategy.CANARY else None

        def change(connection: Connection) -> bool:
            store.lock(connection)
            newest = store.current(connection)
            if newest is None or newest.rollout.revision != rollout.revision:
                return False  # a person was faster
            store.add(connection, following, AUTHOR, verdict.reason, at, root)
            return True

        if self._database.write(change):
            VERDICTS.labels(verdict.action).inc()
            log.warning("canary", action=verdict.action, reason=verdict.reason, revision=rollout.revision)

    def _learn(self, found: Revision, at: datetime) -> None:
        rollout = found.rollout
        with self._database.read() as connection:
            rewards = store.rewards(connection, rollout)
        arms = [
            (sum(right for key, right, _ in rewards if key == one.key), sum(key == one.key for key, _, _ in rewards))
            for one in rollout.variants
        ]
        shares = [round(share, 6) for share in propensities(arms, rollout.bandit.floor)]
        if found.belief is None or max(abs(a - b) for a, b in zip(shares, found.belief, strict=True)) > 1e-4:
            self._database.write(
                lambda connection: store.keep_belief(connection, rollout.revision, shares, {"arms": arms}, at)
            )

    def _prune(self, at: datetime) -> None:
        before = at - timedelta(days=self._settings.decision_days)
        spreads = at - timedelta(days=SPREAD_DAYS)
        said = at - timedelta(days=self._settings.feedback_days)
        for prune in (
            lambda connection: store.prune(connection, before, spreads),
            lambda connection: feedback.prune(connection, said, self._settings.feedback_kept),
            store.prune_revisions,
        ):
            for _ in range(PRUNING_ROUNDS):
                if not self._database.write(prune):
                    break


def next_rollout(rollout: Rollout, verdict: Verdict) -> Rollout | None:
    """Return what a verdict puts in force, None if nothing changes."""
    if verdict.action == "advance":
        return replace(rollout, stage=rollout.stage + 1)
    if verdict.action == "promote":
        return domain.single(*rollout.candidates[0].key)
    if verdict.action == "roll_back":
        return domain.single(*rollout.champion.key)
    return None
