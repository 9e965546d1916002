"""Two ingest processes over one PostgreSQL and one folder of images, and one of them is killed."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from services.camera_ingest.main import MIGRATIONS
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.test_relay import waiting
from shared.broker import create_redis
from shared.migrations import migrate
from shared.receipts import given_at
from shared.testing import START_S, TokenFor, free_port, wait_until
from shared.tokens import Role

REPOSITORY = Path(__file__).parents[3]


@contextmanager
def process(environment: Mapping[str, str], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Run one ingest process until the end of the `with`; gives it with a client of it."""
    port = free_port()
    with log.open("wb") as output:
        ran = subprocess.Popen(
            [sys.executable, "-m", "services.camera_ingest.main"],
            env=dict(os.environ) | dict(environment) | {"HUELLA_INGEST_PORT": str(port)},
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
                wait_until("ingest is ready", lambda: ran.poll() is not None or _answers(client), within_s=60)
                assert ran.poll() is None, log.read_text()
                yield ran, client
        finally:
            ran.terminate()
            try:
                ran.wait(20)
            except subprocess.TimeoutExpired:
                ran.kill()
                ran.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def environment(tmp_path: Path, keys: Path, redis_url: str, database_url: str) -> dict[str, str]:
    return {
        "HUELLA_DATA": str(tmp_path / "data"),
        "HUELLA_KEYS": str(keys),
        "HUELLA_REDIS_URL": redis_url,
        "HUELLA_INGEST_DATABASE_URL": database_url,
        "HUELLA_INGEST_REOFFER_AFTER_S": "1",
        "HUELLA_INGEST_REOFFER_EVERY_S": "1",
    }


@pytest.fixture
def two(environment: dict[str, str], tmp_path: Path) -> Iterator[list[tuple[subprocess.Popen[bytes], httpx.Client]]]:
    with (
        process(environment, tmp_path / "first.log") as first,
        process(environment, tmp_path / "second.log") as second,
    ):
        yield [first, second]


def bearer(token_for: TokenFor, role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(role)}"}


def of_service(token_for: TokenFor, issuer: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(Role.SERVICE, audience='camera_ingest', issuer=issuer)}"}


def make_camera(client: httpx.Client, token_for: TokenFor) -> tuple[str, str]:
    made = client.put("/v1/cameras/c1", json={"space_id": "k1"}, headers=bearer(token_for, Role.ADMIN))
    return "c1", made.json()["secret"]


def settle_what_is_offered(redis: Redis, client: httpx.Client, token_for: TokenFor) -> Callable[[], bool]:
    """Return a step that fetches and settles all that is in the queue, and says whether nothing is in flight."""
    classifier, headers = of_service(token_for, "image_classifier"), of_service(token_for, "aggregation")

    def step() -> bool:
        receipts = waiting(redis)
        redis.flushall()
        for start in range(0, len(receipts), 16):
            chunk = list(dict.fromkeys(receipts[start : start + 16]))
            fetched = client.post("/v1/images", json={"receipts": chunk}, headers=classifier)
            assert fetched.status_code == 200, fetched.text
            settlements = [{"receipt": receipt, "state": "counted"} for receipt in chunk]
            settled = client.post("/v1/settlements", json={"settlements": settlements}, headers=headers)
            assert settled.status_code == 200, settled.text
        return bool(client.get("/v1/audit", headers=headers).json()["in_flight"] == 0)

    return step


def test_two_processes_share_cameras_frames_and_the_queue(
    two: list[tuple[subprocess.Popen[bytes], httpx.Client]], token_for: TokenFor, redis_url: str
) -> None:
    clients = [client for _, client in two]
    camera = make_camera(clients[0], token_for)

    def put(number: int) -> httpx.Response:
        """Send 30 frames by name, each to both processes at once, and 30 that have none."""
        path = f"frames/f{number // 2}" if number < 60 else "frame"
        return clients[number % 2].put(f"/v1/cameras/c1/{path}", content=photo(number // 2), auth=camera)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(put, range(120)))
    assert Counter(answer.status_code for answer in answers) == {201: 60, 200: 60}
    accepted = {answer.json()["receipt"] for answer in answers}
    assert len(accepted) == 60
    with create_redis(redis_url, START_S) as redis:
        step = settle_what_is_offered(redis, clients[1], token_for)
        wait_until("all is counted", step, within_s=60)
    books = [client.get("/v1/audit", headers=bearer(token_for, Role.VIEWER)).json() for client in clients]
    assert books == [{"accepted": 60, "counted": 60, "rejected": 0, "in_flight": 0}] * 2


def test_what_a_killed_process_accepted_is_kept_and_offered_by_the_other(
    two: list[tuple[subprocess.Popen[bytes], httpx.Client]], token_for: TokenFor, redis_url: str, tmp_path: Path
) -> None:
    """Killed without a word while frames flow: each 201 has its row and its bytes, and is counted in the end."""
    (victim, doomed), (_, survivor) = two
    camera = make_camera(survivor, token_for)

    def put(number: int) -> str | None:
        if number == 60:
            victim.send_signal(signal.SIGKILL)
        try:
            answer = doomed.put(f"/v1/cameras/c1/frames/f{number}", content=photo(number), auth=camera)
        except httpx.TransportError:
            return None
        return str(answer.json()["receipt"]) if answer.status_code == 201 else None

    with ThreadPoolExecutor(8) as pool:
        receipts = {receipt: n for n, receipt in enumerate(pool.map(put, range(120))) if receipt}
    assert 30 <= len(receipts) < 120
    folder = tmp_path / "data" / "camera_ingest" / "images"
    for receipt, number in receipts.items():
        given = given_at(receipt)
        assert (folder / f"{given:%Y-%m-%d}" / f"{given:%H}" / receipt).read_bytes() == photo(number)
    with create_redis(redis_url, START_S) as redis:
        wait_until("all is counted", settle_what_is_offered(redis, survivor, token_for), within_s=60)
    for receipt in receipts:
        body: dict[str, Any] = survivor.get(f"/v1/receipts/{receipt}", headers=bearer(token_for, Role.VIEWER)).json()
        assert body["state"] == "counted", json.dumps(body)
    books = survivor.get("/v1/audit", headers=of_service(token_for, "aggregation")).json()
    assert books["accepted"] == books["counted"] >= len(receipts)


def test_a_start_migrates_once_however_many_start_together(environment: dict[str, str]) -> None:
    url = environment["HUELLA_INGEST_DATABASE_URL"]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: migrate(url, MIGRATIONS), range(4))) == [None] * 4
