"""What the rollout costs a worker: `python -m services.image_classifier.tests.bench_rollout`.

Prints the CPU ms a frame, least of some rounds, of the model alone on chunks of 16 pictures, and of the same under a
rollout with everything that it writes into a database: `single`, and `silent` with a tenth of the frames for a
candidate, whose own process is told apart. A round is what comes in five seconds at a hundred frames a second.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import uuid_utils

from services.image_classifier.classify import predict_each
from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.main import MIGRATIONS
from services.image_classifier.model_version import DEFAULT_FOLDER, Manifest, ModelVersion, read_graph, read_manifest
from services.image_classifier.rollout import store
from services.image_classifier.rollout.domain import Role, Rollout, Strategy, Variant, single
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.rollout.serving import Shot, answer, choose
from services.image_classifier.settings import Settings
from services.image_classifier.versions import store as versions
from services.image_classifier.versions.store import State
from shared import logs
from shared.database import Database, now
from shared.migrations import migrate
from shared.testing import wait_until

CHUNK, CHUNKS, CHUNKS_A_LOOK, ROUNDS = 16, 32, 3, 8


def main() -> None:
    """Measure and print."""
    logs.configure("bench", level="warning")
    with tempfile.TemporaryDirectory() as name:
        settings = Settings(data=Path(name))
        migrate(settings.database_url, MIGRATIONS)
        database = Database(settings.database_url)
        shipped, graph = read_manifest(DEFAULT_FOLDER), read_graph(DEFAULT_FOLDER)
        candidate = _put(database, shipped.model_copy(update={"version": "again"}), graph)
        champion = Variant(shipped.name, shipped.version, Role.CHAMPION)
        size = shipped.input_size
        noise = np.random.default_rng(0).integers(0, 256, (CHUNK, size, size, 3), dtype=np.uint8)
        pictures = [Picture(one, Quality.OK) for one in noise]
        model = ModelVersion.load(DEFAULT_FOLDER)
        alone = _least(lambda: predict_each(model, pictures))
        print(f"the model alone: {alone:.2f} CPU ms a frame")
        for rollout in (
            single(*champion.key),
            Rollout(0, 0, Strategy.SILENT, (champion, candidate), silent_share=0.1),
        ):
            least, theirs = _under(settings, database, rollout, pictures)
            print(f"{rollout.strategy}: {least:.2f}, so {least - alone:+.2f}; the candidate's process {theirs:.2f}")
        database.close()


def _put(database: Database, manifest: Manifest, graph: bytes) -> Variant:
    database.write(lambda connection: versions.put(connection, manifest, graph, "bench", now()))
    database.write(lambda c: versions.finish_proof(c, manifest, State.READY, "", None, now()))
    return Variant(manifest.name, manifest.version, Role.CANDIDATE)


def _under(settings: Settings, database: Database, rollout: Rollout, pictures: list[Picture]) -> tuple[float, float]:
    """Return the CPU ms a frame of this process, least, and of the candidate's, mean, under a rollout."""
    database.write(lambda connection: store.add(connection, rollout, "bench", "bench", now()))
    journal = Journal(database)
    lineup = Lineup(settings, database, journal, candidates=True)
    lineup.refresh()
    running = list(lineup.now.candidates.values())
    wait_until("candidates run", lambda: not any(one.starting for one in running), 120)
    children = [psutil.Process(one._version._process.pid) for one in running if one._version is not None]

    flushed: list[None] = []

    def chunk() -> None:
        taken = lineup.now
        shots = []
        for picture in pictures:
            receipt = str(uuid_utils.uuid7())
            shots.append(Shot(receipt, "c1", choose(taken, "c1", receipt), {len(picture.pixels): picture}))
        answer(taken, shots, predict_each, now(), 30.0, journal.add)
        # A candidate works beside; that is its own process's cost, and the next chunk is not to find it busy.
        while any(one.busy for one in running):
            time.sleep(0.002)
        if len(flushed) % CHUNKS_A_LOOK == 0:
            journal.flush(sums_alone=False)
        flushed.append(None)

    def written() -> None:
        journal.flush()
        database.write(lambda connection: None)

    def spent() -> float:
        return sum(times.user + times.system for times in (child.cpu_times() for child in children))

    before = spent()
    least = _least(chunk, written)
    theirs = 1000 * (spent() - before) / (ROUNDS * CHUNKS * CHUNK)
    for one in running:
        one.close()
    return least, theirs


def _least(chunk: Callable[[], object], written: Callable[[], None] = lambda: None) -> float:
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CHUNKS):
            chunk()
        written()
        rounds.append(time.process_time() - started)
    return 1000 * min(rounds) / (CHUNKS * CHUNK)


if __name__ == "__main__":
    main()
