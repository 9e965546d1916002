"""The worker as a process of its own, over a real Redis."""

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

from services.image_classifier.tests.ingest_double import chunk, photo, serve_ingest
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.broker import CLASSIFY_FRAMES, KEY_PREFIX, RECORD_ESTIMATES, create_celery, create_redis, queue_length
from shared.messages import RecordEstimates
from shared.testing import free_port, wait_until

ROOT = Path(__file__).parents[3]
PHOTOS = {"r-cat": photo("cat"), "r-dog": photo("dog"), "r-bad": b"no photo"}


class Worker:
    """A worker process; `output` is the file that holds its log."""

    def __init__(self, module: str, environment: dict[str, str], output: Path) -> None:
        self.output = output
        self.metrics_url = f"http://127.0.0.1:{environment['HUELLA_CLASSIFIER_WORKER_METRICS_PORT']}/metrics"
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module], env=environment, cwd=ROOT, stdout=file, stderr=file
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
    with create_redis(redis_url) as client:
        wait_until("results are published", lambda: queue_length(client, RECORD_ESTIMATES) >= number)
        raw: list[bytes] = client.lrange(KEY_PREFIX + RECORD_ESTIMATES, 0, -1)
    bodies = [json.loads(b64decode(json.loads(item)["body"])) for item in reversed(raw)]
    return [RecordEstimates.model_validate(body[0][0]) for body in bodies]


def test_a_chunk_in_the_queue_comes_out_as_estimates_for_aggregation(
    start: Callable[..., Worker], redis_url: str
) -> None:
    callers: list[str] = []
    with serve_ingest(PHOTOS, callers.append) as ingest_url:
        worker = start(ingest_url)
        publish(redis_url, chunk(PHOTOS, ingest_url))
        (message,) = results(redis_url)
    assert {result.receipt: result.outcome for result in message.results} == {
        "r-cat": "estimate",
        "r-dog": "estimate",
        "r-bad": "rejected",
    }
    assert message.settle_url == f"{ingest_url}/v1/settlements"
    assert callers[0].startswith("Bearer ")
    with urlopen(worker.metrics_url, timeout=10) as answer:
        assert b'huella_classifier_frames_total{label="cat",outcome="estimate"} 1.0' in answer.read()
