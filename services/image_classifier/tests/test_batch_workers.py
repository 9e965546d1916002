"""Batches over several worker processes and a real Redis: each does its share, whoever dies and whoever else waits."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from services.image_classifier.batches.rules import ATTEMPTS, gave_up
from services.image_classifier.batches.tables import inputs
from services.image_classifier.batches.worker import NICENESS, WORKER_NAME
from services.image_classifier.main import MIGRATIONS, create_app
from services.image_classifier.settings import Settings
from services.image_classifier.tests.ingest_double import photo
from services.image_classifier.tests.poisonable_worker import POISON
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.broker import create_redis
from shared.broker import workers as counted
from shared.database import Database
from shared.migrations import migrate
from shared.testing import START_S, free_port, wait_until
from shared.tokens import PEOPLE, Role, Signer

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[3]
WORKERS = 3
READY = " ready."
SETTINGS = {
    "HUELLA_CLASSIFIER_MODEL": "tiny",
    # Short, so that what a dead worker held is taken again within the test's time.
    "HUELLA_CLASSIFIER_BATCH_LEASE_S": "3",
    "HUELLA_CLASSIFIER_BATCH_CHUNK": "8",
}


class Kept:
    """A worker process that is started again whenever it ends; all of its lives log to one file."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.deaths = 0
        self._log = log
        self._environment = environment
        self._ended = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "services.image_classifier.tests.poisonable_worker", "batches"]
        environment = self._environment | {"HUELLA_CLASSIFIER_BATCH_METRICS_PORT": str(free_port())}
        with self._log.open("ab") as file:
            return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=file, stderr=file)

    def _keep(self) -> None:
        while not self._ended.wait(0.05):
            ended = self._process.poll()
            if ended is not None:
                self.deaths += ended == -signal.SIGKILL  # and not of a port that somebody else was faster to take
                self._process = self._start()

    def ready(self) -> bool:
        return READY in self._log.read_text()

    def niceness(self) -> int:
        try:
            return os.getpriority(os.PRIO_PROCESS, self._process.pid)
        except ProcessLookupError:  # it is just being replaced
            return 0

    def predicted(self) -> int:
        """Return how many inputs it says that it predicted."""
        lines = (line for line in self._log.read_text().splitlines() if '"inputs predicted"' in line)
        return sum(json.loads(line).get("done", 0) for line in lines)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._process.kill()
        self._process.wait(timeout=30)


@pytest.fixture
def workers(tmp_path: Path, keys: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Kept]]:
    """Three workers that are ready; the environment is theirs."""
    write_tiny_model(tmp_path / "models" / "tiny" / "1")
    folders = {
        "HUELLA_DATA": str(tmp_path),
        "HUELLA_KEYS": str(keys),
        "HUELLA_REDIS_URL": redis_url,
        "HUELLA_CLASSIFIER_MODELS": str(tmp_path / "models"),
    }
    for name, value in (folders | SETTINGS).items():
        monkeypatch.setenv(name, value)
    migrate(Settings().database_url, MIGRATIONS)
    with ExitStack() as stack:
        started = []
        for number in range(WORKERS):
            started.append(Kept(tmp_path / f"worker-{number}.log", dict(os.environ)))
            stack.callback(started[-1].end)
        wait_until("the workers are ready", lambda: all(worker.ready() for worker in started), 120)
        yield started


@pytest.fixture
def client(workers: list[Kept]) -> Iterator[TestClient]:
    with TestClient(create_app(Settings())) as client:
        yield client


def zipped(files: dict[str, bytes]) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return body.getvalue()


def send(client: TestClient, name: str, body: bytes) -> str:
    """Send a batch as the client `name`; return its address."""
    token = Signer(Settings().keys_folder, "cli").mint(name, Role.OPERATOR, PEOPLE)
    client.headers["Authorization"] = f"Bearer {token}"
    answer = client.post("/v1/batches", content=body, headers={"Content-Type": "application/zip"})
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def ended(client: TestClient, batch: str) -> int:
    at = client.get(batch).json()
    return int(at["done"] + at["failed"])


def ended_after_the_last_of(database: Database, batch: str, other: str) -> int:
    """Return how many inputs of `batch` ended after the last of `other` did."""
    last = select(func.max(inputs.c.ended_at)).where(inputs.c.batch_id == other.rpartition("/")[2])
    number = select(func.count()).where(inputs.c.batch_id == batch.rpartition("/")[2])
    with database.read() as connection:
        return int(connection.scalar(number.where(inputs.c.ended_at > last.scalar_subquery())) or 0)


def test_all_workers_share_a_batch_a_small_one_does_not_wait_for_it_and_what_kills_them_is_one_bad_row(
    client: TestClient, workers: list[Kept]
) -> None:
    # Cameras' frames have the core when they come, whatever a batch is at: none of them is taken for a worker of those.
    with create_redis(Settings().broker_url, START_S) as redis:
        kinds = {"image_classifier": 0, WORKER_NAME: WORKERS}
        wait_until("all are counted", lambda: counted(redis, *kinds) == kinds, 60)
    large = photo("cat", size=(1600, 1200))
    files = {f"{n:03}.jpg": large for n in range(600)} | {"300.jpg": photo("dog", comment=POISON)}
    small = zipped({f"{n}.jpg": large for n in range(40)})
    many = send(client, "many", zipped(files))
    wait_until("it is worked on", lambda: ended(client, many) > 0, 60)
    few = send(client, "few", small)
    wait_until("the workers work", lambda: all(worker.niceness() == NICENESS for worker in workers), 60)
    for batch in (few, many):
        wait_until("it is done", lambda batch=batch: client.get(batch).json()["state"] == "done", 150)  # type: ignore[misc]  # bound now
    # By turns: one after the other, only what was in the workers' hands would be left (three chunks of eight).
    assert ended_after_the_last_of(client.app.state.database, many, few) > 24  # type: ignore[attr-defined]  # it is FastAPI's
    # How much of it each does is a matter of who is given a core.
    shares = [worker.predicted() for worker in workers]
    assert all(shares), shares
    assert sum(worker.deaths for worker in workers) == ATTEMPTS
    rows = []
    for page in range(3):
        query = {"limit": 200} | ({"cursor": str(200 * page)} if page else {})
        rows += client.get(f"{many}/predictions", params=query).json()["items"]
    assert [row["input"] for row in rows] == sorted(files)
    assert {row["input"]: row["error"] for row in rows if row["error"]} == {"300.jpg": gave_up(None)}
