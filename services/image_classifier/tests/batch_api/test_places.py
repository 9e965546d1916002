"""How much may be sent and wait at once: places for uploads, and quotas."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI

from services.image_classifier.api.batch_shapes import Batching
from services.image_classifier.main import create_app
from services.image_classifier.settings import Settings
from services.image_classifier.tests.batch_api.bodies import GOOD, SPAN, ZIP, left, many, problem, zipped
from shared.testing import TokenFor
from shared.tokens import PEOPLE, Role, Signer


async def dripping() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await asyncio.sleep(0.02)


async def test_a_body_that_drips_is_cut_off(settings: Settings, token_for: TokenFor) -> None:
    app = create_app(settings.model_copy(update={"body_deadline_s": 0.2}))
    headers = {"Authorization": f"Bearer {token_for('operator')}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://c", headers=headers) as client,
    ):
        problem(await client.post("/v1/batches", content=dripping(), headers=ZIP), 408, "request-timeout")


async def test_one_client_takes_half_of_the_places_at_most(app: FastAPI, client: httpx.AsyncClient) -> None:
    parts: Batching = app.state.batching
    places = parts.settings.batch_uploads // 2
    held = [asyncio.create_task(client.post("/v1/batches", content=dripping(), headers=ZIP)) for _ in range(places)]
    async with asyncio.timeout(30):
        while parts.uploading.total() < places:  # noqa: ASYNC110 - what counts is the app's own number
            await asyncio.sleep(0.01)
    problem(await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP), 429, "too-many-batches")
    assert not parts.uploads.locked()
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert (await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP)).status_code == 202


async def test_spans_that_are_looked_up_have_places_as_uploads_do(app: FastAPI, client: httpx.AsyncClient) -> None:
    parts: Batching = app.state.batching
    for _ in range(parts.settings.batch_uploads):
        await parts.uploads.acquire()
    problem(await client.post("/v1/batches", json={"camera_id": "3", **SPAN}), 503, "unavailable")
    parts.uploads.release()
    assert (await client.post("/v1/batches", json={"camera_id": "3", **SPAN})).status_code == 202


async def test_what_waits_is_bounded_and_the_answer_says_when_to_come_again(
    client: httpx.AsyncClient, app: FastAPI, token_for: TokenFor, worker: Callable[[], int]
) -> None:
    content = zipped(many(1))
    for _ in range(3):
        assert (await client.post("/v1/batches", content=content, headers=ZIP)).status_code == 202
    answer = await client.post("/v1/batches", content=content, headers=ZIP)
    assert problem(answer, 429, "too-many-batches")["what"] == "jobs"
    assert int(answer.headers["Retry-After"]) > 0
    worker()
    assert (await client.post("/v1/batches", content=content, headers=ZIP)).status_code == 202


@pytest.mark.parametrize(
    ("limits", "another", "photos", "what"),
    [
        ({"batch_inputs": 3}, False, 2, "inputs"),
        ({"batch_quota_bytes": 3 * len(GOOD)}, False, 1, "own_bytes"),
        ({"batch_quota_bytes": 3 * len(GOOD)}, True, 2, "bytes"),
    ],
)
async def test_what_is_over_a_quota_is_named_and_nothing_of_it_is_left(
    settings: Settings, limits: dict[str, int], another: bool, photos: int, what: str
) -> None:
    app = create_app(settings.model_copy(update=limits))

    def headers(client: str) -> dict[str, str]:
        token = Signer(settings.keys_folder, "cli").mint(client, Role.OPERATOR, PEOPLE)
        return ZIP | {"Authorization": f"Bearer {token}"}

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://c") as client,
    ):
        first = await client.post("/v1/batches", content=zipped(many(2)), headers=headers("one"))
        assert first.status_code == 202, first.text
        before = left(settings, app.state.database)
        second = headers("another" if another else "one")
        answer = await client.post("/v1/batches", content=zipped(many(photos)), headers=second)
        assert problem(answer, 429, "too-many-batches")["what"] == what
        assert int(answer.headers["Retry-After"]) > 0
        assert left(settings, app.state.database) == before
