"""A worker's part in the rollout, without its queue, for tests."""

from concurrent.futures import wait
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import uuid_utils

from services.image_classifier.classify import predict_each
from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import Manifest
from services.image_classifier.rollout import store
from services.image_classifier.rollout.controller import Controller
from services.image_classifier.rollout.domain import Role, Rollout, Variant
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.rollout.serving import Answer, Shot, answer, choose
from services.image_classifier.settings import Settings
from services.image_classifier.tests.tiny_model import SIZE, tiny_manifest
from services.image_classifier.versions import store as versions
from services.image_classifier.versions.store import State
from shared.database import Database, now

AT = (now() - timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)
"""Yesterday: what is older than some months no report tells of."""
CAT = Picture(np.full((SIZE, SIZE, 3), (250, 0, 0), dtype=np.uint8), Quality.OK)
CHAMPION = Variant("tiny", "1", Role.CHAMPION, 1.0)


def put_version(database: Database, version: str, graph: bytes) -> Variant:
    """Put a version into the database as if it were proven."""
    manifest = Manifest.model_validate(tiny_manifest(graph, "tiny", version))

    def put(connection: Any) -> None:
        versions.put(connection, manifest, graph, "tests", AT)
        versions.finish_proof(connection, manifest, State.READY, "", 0.001, AT)

    database.write(put)
    return Variant("tiny", version, Role.CANDIDATE, 1.0)


def feedback_row(receipt: str, label: str, at: datetime = AT) -> dict[str, Any]:
    """Return what people said of a frame that the shipped version had called a cat."""
    return {
        "receipt": receipt, "label": label, "by": "marta", "at": at, "received_at": AT, "camera_id": "c1",
        "space_id": "k1", "observed_at": AT, "revision": 0, "model": "tiny", "version": "1", "variant": "champion",
        "estimate": "cat", "quality": "ok", "cat": 0.9, "dog": 0.1,
    }  # fmt: skip


class Worker:
    """A worker's part in the rollout, without its queue."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.database = database
        self.journal = Journal(database)
        self.lineup = Lineup(settings, database, self.journal, candidates=True)
        self.controller = Controller(database, settings)

    def put(self, rollout: Rollout) -> int:
        revision = self.database.write(lambda connection: store.add(connection, rollout, "tests", "try", now()))
        self.follow()
        return revision.rollout.revision

    def follow(self) -> None:
        """Put in force what is newest, and wait until its candidates run."""
        self.lineup.refresh()
        wait([one._starting for one in self.lineup.now.candidates.values() if one._starting], timeout=60)

    def work(self, number: int, deadline_s: float = 30.0, until_heard: bool = True) -> list[Answer]:
        now_ = self.lineup.now
        receipts = [str(uuid_utils.uuid7()) for _ in range(number)]
        shots = [Shot(receipt, "c1", choose(now_, "c1", receipt), {SIZE: CAT}) for receipt in receipts]
        answers = answer(now_, shots, predict_each, now(), deadline_s, self.journal.add)
        if until_heard:
            # What is written of an answer that nobody waits for is written by its thread, before it does anything else.
            wait([one._thread.submit(int) for one in now_.candidates.values()], timeout=60)
        self.journal.flush()
        self.database.write(lambda connection: None)
        return [answers[receipt] for receipt in receipts]

    def seen(self) -> dict[str, Any]:
        self.journal.flush()
        self.database.write(lambda connection: None)
        with self.database.read() as connection:
            found = store.current(connection)
            assert found is not None
            return {key[1]: seen for key, seen in store.seen(connection, found.rollout, whole=True).items()}

    def newest(self) -> store.Revision:
        with self.database.read() as connection:
            found = store.current(connection)
        assert found is not None
        return found
