"""The worker as a process of its own, over a real Redis."""

import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from services.image_classifier.classify import PublishFailed
from services.image_classifier.rollout import probation, store
from services.image_classifier.rollout.domain import single
from services.image_classifier.tests.ingest_double import chunk, photo, serve_ingest
from services.image_classifier.tests.poisonable_worker import POISON
from services.image_classifier.tests.rollout_worker import put_version
from services.image_classifier.tests.tiny_model import hanging_graph, write_tiny_model
from services.image_classifier.worker import MIGRATIONS, publisher
from shared.broker import (
    CLASSIFY_BATCHES,
    CLASSIFY_FRAMES,
    KEY_PREFIX,
    RECORD_ESTIMATES,
    create_celery,
    create_redis,
    queue_length,
)
from shared.database import Database, now
from shared.messages import EstimateResult, RecordEstimates
from shared.migrations import migrate
from shared.testing import START_S, free_port, wait_until
from shared.watchdog import EXIT_CODE

ROOT = Path(__file__).parents[3]
PHOTOS = {"r-cat": photo("cat"), "r-dog": photo("dog"), "r-bad": b"no photo"}


class Worker:
    """A worker process; `output` is the file that holds its standard output, which is its log."""

    def __init__(self, module: str, environment: dict[str, str], output: Path) -> None:
        self.output = output
        self.metrics_url = f"http://127.0.0.1:{environment['HUELLA_CLASSIFIER_WORKER_METRICS_PORT']}/metrics"
        with output.open("wb") as file, output.with_suffix(".err").open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module], env=environment, cwd=ROOT, stdout=file, stderr=errors
            )

    def lines(self) -> list[str]:
        return self.output.read_text().splitlines()

    def logged(self, text: str) -> bool:
        return any(text in line for line in self.lines())


@pytest.fixture
def start(tmp_path: Path, keys: Path, redis_url: str) -> Iterator[Callable[..., Worker]]:
    """A function that starts a worker, waits until it consumes, and ends it with the test."""
    with ExitStack() as stack:

        def start(ingest_url: str, module: str = "services.image_classifier.worker", **settings: str) -> Worker:
            write_tiny_model(tmp_path / "models" / "tiny" / "1")
            environment = os.environ | {
                "HUELLA_DATA": str(tmp_path),
                "HUELLA_KEYS": str(keys),
                "HUELLA_REDIS_URL": redis_url,
                "HUELLA_INGEST_URL": ingest_url,
                "HUELLA_CLASSIFIER_MODELS": str(tmp_path / "models"),
                "HUELLA_CLASSIFIER_MODEL": "tiny",
                "HUELLA_CLASSIFIER_WORKER_METRICS_PORT": str(free_port()),
                **settings,
            }
            worker = Worker(module, environment, tmp_path / "worker.log")
            stack.callback(worker.process.wait, timeout=30)
            stack.callback(worker.process.kill)
            wait_until("the worker is ready", lambda: worker.logged(" ready."))
            return worker

        yield start


def publish(redis_url: str, *messages: object) -> None:
    app = create_celery("tests", redis_url)
    for message in messages:
        app.send_task(CLASSIFY_FRAMES, args=[message])
    app.close()


def results(redis_url: str, number: int = 1) -> list[RecordEstimates]:
    """Wait for `number` messages in the queue to aggregation, and return them all, oldest first."""
    with create_redis(redis_url, START_S) as client:
        wait_until("results are published", lambda: queue_length(client, RECORD_ESTIMATES) >= number)
        raw: list[bytes] = client.lrange(KEY_PREFIX + RECORD_ESTIMATES, 0, -1)
    bodies = [json.loads(b64decode(json.loads(item)["body"])) for item in reversed(raw)]
    return [RecordEstimates.model_validate(body[0][0]) for body in bodies]


def test_a_chunk_in_the_queue_comes_out_as_estimates_for_aggregation(
    start: Callable[..., Worker], redis_url: str
) -> None:
    with serve_ingest(PHOTOS) as ingest_url:
        worker = start(ingest_url)
        publish(redis_url, chunk(PHOTOS, ingest_url))
        (message,) = results(redis_url)
    assert {result.receipt: result.outcome for result in message.results} == {
        "r-cat": "estimate",
        "r-dog": "estimate",
        "r-bad": "rejected",
    }
    assert message.settle_url == f"{ingest_url}/v1/settlements"
    metrics = httpx.get(worker.metrics_url, trust_env=False).text
    assert 'huella_classifier_frames_total{label="cat",outcome="estimate"} 1.0' in metrics


def test_what_rings_for_batches_is_left_to_their_own_workers(start: Callable[..., Worker], redis_url: str) -> None:
    app = create_celery("tests", redis_url)
    app.send_task(CLASSIFY_BATCHES, args=[{"schema": 1}])
    app.close()
    with serve_ingest(PHOTOS) as ingest_url, create_redis(redis_url, START_S) as redis:
        start(ingest_url)
        for _ in range(2):  # a worker takes one message after the other
            publish(redis_url, chunk(PHOTOS, ingest_url))
        results(redis_url, 2)
        assert queue_length(redis, CLASSIFY_BATCHES) == 1


def test_no_message_however_wrong_stops_the_worker(start: Callable[..., Worker], redis_url: str) -> None:
    good = chunk({"r-cat": PHOTOS["r-cat"]}, "http://127.0.0.1:9")
    with serve_ingest(PHOTOS) as ingest_url:
        worker = start(ingest_url)
        publish(redis_url, None, "text", {}, good | {"schema": 2}, good)  # the last names another origin
        app = create_celery("tests", redis_url)
        app.send_task(CLASSIFY_FRAMES, args=[1, 2, 3], kwargs={"more": True})
        app.send_task("no_such_task", args=[], queue=CLASSIFY_FRAMES)
        app.close()
        with create_redis(redis_url, START_S) as client:
            client.lpush(KEY_PREFIX + CLASSIFY_FRAMES, json.dumps(envelope(b"not JSON")))
        publish(redis_url, chunk(PHOTOS, ingest_url))
        (message,) = results(redis_url)
    assert len(message.results) == len(PHOTOS)
    metrics = httpx.get(worker.metrics_url, trust_env=False).text
    assert 'huella_classifier_chunks_total{outcome="refused"} 5.0' in metrics


def envelope(body: bytes) -> dict[str, object]:
    """Return what Celery puts around a task, with this body."""
    return {
        "body": b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": CLASSIFY_FRAMES, "id": "1", "lang": "py"},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": CLASSIFY_FRAMES},
            "delivery_mode": 2,
            "delivery_tag": "1",
        },
    }


def test_sigterm_lets_the_chunk_in_hand_end_and_then_the_worker(start: Callable[..., Worker], redis_url: str) -> None:
    fetching, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        fetching.set()
        assert go_on.wait(30)

    with serve_ingest(PHOTOS, hold) as ingest_url:
        worker = start(ingest_url)
        publish(redis_url, chunk(PHOTOS, ingest_url))
        assert fetching.wait(30)
        worker.process.send_signal(signal.SIGTERM)
        go_on.set()
        assert worker.process.wait(timeout=30) == 0
    (message,) = results(redis_url)
    assert len(message.results) == len(PHOTOS)


def test_an_idle_worker_ends_on_sigterm_and_has_logged_json(start: Callable[..., Worker]) -> None:
    worker = start("http://127.0.0.1:9")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=30) == 0
    # The one line that Celery prints past every logger.
    lines = [line for line in worker.lines() if line not in ("", "worker: Warm shutdown (MainProcess)")]
    assert {json.loads(line)["service"] for line in lines} == {"image_classifier"}


def test_without_ingest_the_worker_goes_on(start: Callable[..., Worker], redis_url: str) -> None:
    worker = start("http://127.0.0.1:9")
    publish(redis_url, chunk(PHOTOS, "http://127.0.0.1:9"))
    wait_until("the chunk is left to the relay", lambda: worker.logged("chunk left to the relay"))
    assert worker.process.poll() is None


def test_a_poison_photo_ends_the_test_worker_and_a_fresh_one_goes_on(
    start: Callable[..., Worker], redis_url: str
) -> None:
    photos = {"r-cat": photo("cat"), "r-poison": photo("dog", comment=POISON)}
    with serve_ingest(photos) as ingest_url:
        module = "services.image_classifier.tests.poisonable_worker"
        worker = start(ingest_url, module)
        publish(redis_url, chunk(photos, ingest_url))
        assert worker.process.wait(timeout=30) == -signal.SIGKILL
        publish(redis_url, chunk({"r-cat": photos["r-cat"]}, ingest_url))
        start(ingest_url, module)
        (message,) = results(redis_url)
    assert [result.receipt for result in message.results] == ["r-cat"]


def test_a_task_past_its_deadline_ends_the_worker(start: Callable[..., Worker], redis_url: str) -> None:
    go_on = threading.Event()

    def hold(_: object) -> None:
        go_on.wait(60)

    with serve_ingest(PHOTOS, hold) as ingest_url:
        worker = start(ingest_url, HUELLA_CLASSIFIER_TASK_DEADLINE_S="0.5")
        publish(redis_url, chunk(PHOTOS, ingest_url))
        assert worker.process.wait(timeout=30) == EXIT_CODE
        go_on.set()
    assert worker.logged("a task passed its deadline")


def test_a_champion_that_hangs_ends_the_worker_and_a_fresh_one_does_the_rest(
    start: Callable[..., Worker], redis_url: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/classifier.db"
    migrate(url, MIGRATIONS)
    database = Database(url)
    put_version(database, "2", hanging_graph())
    database.write(lambda connection: store.add(connection, single("tiny", "2"), "tests", "at once", now()))
    with serve_ingest(PHOTOS) as ingest_url:
        settings = {"HUELLA_CLASSIFIER_DATABASE_URL": url, "HUELLA_CLASSIFIER_ANSWER_DEADLINE_S": "5"}
        worker = start(ingest_url, **settings)
        publish(redis_url, chunk(PHOTOS, ingest_url))
        assert worker.process.wait(timeout=60) == EXIT_CODE
        assert worker.logged("tiny/2 did not answer within 5 s")
        with database.read() as connection:
            assert len(probation.deaths(connection, 1, now())) == 1, "at once"
        # The relay offers what hangs alone then, and the rest together.
        publish(redis_url, chunk({"r-dog": PHOTOS["r-dog"]}, ingest_url))
        start(ingest_url, **settings)
        (message,) = results(redis_url)
    assert [(one.receipt, one.version) for one in message.results if isinstance(one, EstimateResult)] == [
        ("r-dog", "2")
    ]
    database.close()


def test_a_broker_that_is_gone_fails_publishing_instead_of_hanging() -> None:
    app = create_celery("tests", f"redis://:secret@127.0.0.1:{free_port()}/0")
    with pytest.raises(PublishFailed) as caught:
        publisher(app)({"schema": 1})
    assert "secret" not in str(caught.value)
    app.close()
