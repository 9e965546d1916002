"""A batch sent again under its key is the same batch."""

import time
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
import uuid_utils
from fastapi import FastAPI

from services.image_classifier.batches import store
from services.image_classifier.batches.rules import Quota
from services.image_classifier.settings import Settings
from services.image_classifier.tests.batch_api.bodies import GOOD, SPAN, ZIP, left, many, problem, zipped
from services.image_classifier.tests.ingest_double import photo
from shared.database import Database, now
from shared.tokens import PEOPLE, Role, Signer


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid_utils.uuid7())}


def key_of(seconds: float) -> str:
    """Return a UUID of version 7 that was made at a time since 1970."""
    return str(UUID(int=int(seconds * 1000) << 80 | 7 << 76 | 2 << 62))


async def test_the_same_key_and_content_is_the_same_batch_whatever_it_is_at_by_then(
    client: httpx.AsyncClient, database: Database, settings: Settings, worker: Callable[[], int]
) -> None:
    key = new_key()
    span = {"camera_id": "3", **SPAN}
    ways: list[Callable[[], Any]] = [
        lambda: client.post("/v1/batches", content=zipped(many(3)), headers=ZIP | key),
        lambda: client.post("/v1/batches", content=zipped(many(3), zipfile.ZIP_DEFLATED), headers=ZIP | key),
        # each time with another boundary
        lambda: client.post("/v1/batches", files=[("p", item) for item in many(3).items()], headers=key),
    ]
    for send in ways:
        first = await send()
        assert first.status_code == 202, first.text
        assert first.json() == {"id": key["Idempotency-Key"], "state": "queued", "total": 3}
        assert (await send()).json() == first.json()
        assert left(settings, database)[:2] == (1, 3)
    worker()
    again = await ways[0]()
    assert (again.status_code, again.json()["state"]) == (202, "done")
    assert again.headers["Location"] == f"/v1/batches/{key['Idempotency-Key']}"
    key = new_key()
    for _ in range(2):
        answer = await client.post("/v1/batches", json=span, headers=key)
        assert answer.json() == {"id": key["Idempotency-Key"], "state": "queued", "total": 3}
    assert left(settings, database)[0] == 2


async def test_a_key_is_for_one_batch_of_one_client(
    app: FastAPI, client: httpx.AsyncClient, settings: Settings, database: Database
) -> None:
    key = new_key()
    (await client.post("/v1/batches", content=zipped(many(3)), headers=ZIP | key)).raise_for_status()
    for other in (many(2), many(3) | {"2.jpg": photo("dog")}, {f"x{name}": GOOD for name in many(3)}):
        answer = await client.post("/v1/batches", content=zipped(other), headers=ZIP | key)
        assert "other content" in problem(answer, 409, "key-taken")["detail"]
    problem(await client.post("/v1/batches", json={"receipts": ["r-0001"]}, headers=key), 409, "key-taken")
    headers = {"Authorization": f"Bearer {Signer(settings.keys_folder, 'cli').mint('somebody', Role.OPERATOR, PEOPLE)}"}
    answer = await client.post("/v1/batches", content=zipped(many(3)), headers=ZIP | key | headers)
    assert "another client" in problem(answer, 409, "key-taken")["detail"]
    assert left(settings, database)[:2] == (1, 3)


@pytest.mark.parametrize(
    "key", ["x", str(uuid_utils.uuid4()), "0" * 32, key_of(time.time() + 2 * 86_400), "f" * 36], ids=range(5)
)
async def test_a_key_that_is_no_fresh_uuid_is_refused(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP | {"Idempotency-Key": key})
    problem(answer, 422, "invalid-key")


async def test_a_key_answers_though_the_quota_is_full_and_may_be_used_again_when_its_batch_is_removed(
    client: httpx.AsyncClient, worker: Callable[[], int]
) -> None:
    keys = [new_key() for _ in range(3)]
    sends = [partial(client.post, "/v1/batches", content=zipped(many(1)), headers=ZIP | key) for key in keys]
    for send in sends * 2:
        assert (await send()).status_code == 202
    problem(await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP | new_key()), 429, "too-many-batches")
    assert (await client.delete(f"/v1/batches/{keys[0]['Idempotency-Key']}")).status_code == 204
    assert (await sends[0]()).json()["state"] == "queued"
    assert worker() == 3


async def test_while_a_batch_is_still_received_its_key_is_told_to_wait(
    client: httpx.AsyncClient, database: Database
) -> None:
    key = new_key()
    new = store.NewBatch(key["Idempotency-Key"], "cli:tests", store.UPLOAD, ["0.jpg"], 1, now())
    database.write(lambda c: store.create(c, new, Quota(10, 1000, 1000)))
    answer = await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP | key)
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
