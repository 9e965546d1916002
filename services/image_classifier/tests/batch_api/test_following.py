"""A batch from its sending to its removal: progress, events, an early end, and who may do what."""

import json
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from services.image_classifier.api import batches as routes
from services.image_classifier.api.batch_shapes import Batching
from services.image_classifier.batches.rules import CANCELLED
from services.image_classifier.settings import Settings
from services.image_classifier.tests.batch_api.bodies import ZIP, left, many, problem, zipped
from shared.database import Database
from shared.testing import TokenFor


async def test_batches_are_listed_newest_first_in_pages(client: httpx.AsyncClient) -> None:
    made = [(await client.post("/v1/batches", json={"receipts": [f"r-{n}"]})).json()["id"] for n in range(3)]
    first = (await client.get("/v1/batches", params={"limit": 2})).json()
    second = (await client.get("/v1/batches", params={"limit": 2, "cursor": first["next"]})).json()
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None


async def test_progress_that_did_not_change_costs_no_body(client: httpx.AsyncClient, worker: Callable[[], int]) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(2)), headers=ZIP)).headers["Location"]
    etag = (await client.get(location)).headers["ETag"]
    assert (await client.get(location, headers={"If-None-Match": etag})).status_code == 304
    worker()
    assert (await client.get(location, headers={"If-None-Match": etag})).status_code == 200


async def events(client: httpx.AsyncClient, location: str, **headers: str) -> list[dict[str, str]]:
    text = (await client.get(f"{location}/events", headers=headers)).text
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append(fields)
    return found


async def test_progress_is_streamed_to_its_end_and_resumes_after_what_was_seen(
    client: httpx.AsyncClient, worker: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOOK_EVERY_S", 0.01)
    location = (await client.post("/v1/batches", content=zipped(many(2)), headers=ZIP)).headers["Location"]
    worker()
    (last,) = await events(client, location)
    assert (last["event"], json.loads(last["data"])["state"]) == ("progress", "done")
    assert await events(client, location, **{"Last-Event-ID": "queued-0-0"}) == [last]
    ended = await client.get(f"{location}/events", headers={"Last-Event-ID": last["id"]})
    assert (ended.status_code, ended.content) == (204, b"")


async def test_a_stream_ends_with_the_token_that_it_was_opened_with(
    client: httpx.AsyncClient, token_for: TokenFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOOK_EVERY_S", 0.01)
    location = (await client.post("/v1/batches", content=zipped(many(2)), headers=ZIP)).headers["Location"]
    token = {"Authorization": f"Bearer {token_for('viewer', lifetime_s=-5)}"}  # five seconds more, as clocks may differ
    (seen,) = await events(client, location, **token)
    assert json.loads(seen["data"])["state"] == "queued"


async def test_streams_beyond_their_number_are_a_503_and_places_come_back(
    app: FastAPI, client: httpx.AsyncClient, worker: Callable[[], int]
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP)).headers["Location"]
    worker()
    parts: Batching = app.state.batching
    for _ in range(parts.settings.batch_streams + 1):
        assert len(await events(client, location)) == 1
    for _ in range(parts.settings.batch_streams):
        await parts.streams.acquire()
    problem(await client.get(f"{location}/events"), 503, "unavailable")


async def test_a_cancelled_batch_ends_at_once_keeps_its_results_and_forgets_its_photos(
    client: httpx.AsyncClient, settings: Settings, database: Database, worker: Callable[[], int]
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(5)), headers=ZIP)).headers["Location"]
    answer = await client.patch(location, json={"state": "cancelled"})
    assert answer.json()["state"] == "cancelled"
    assert (answer.json()["done"], answer.json()["failed"]) == (0, 5)
    assert (await client.patch(location, json={"state": "cancelled"})).status_code == 200
    assert left(settings, database) == (1, 5, 0, [])
    assert worker() == 0
    rows = (await client.get(f"{location}/predictions")).json()["items"]
    assert [row["error"] for row in rows] == [CANCELLED] * 5
    done = (await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP)).headers["Location"]
    worker()
    problem(await client.patch(done, json={"state": "cancelled"}), 409, "already-ended")


async def test_a_removed_batch_is_gone_with_all_that_it_had(
    client: httpx.AsyncClient, settings: Settings, database: Database
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(5)), headers=ZIP)).headers["Location"]
    assert (await client.delete(location)).status_code == 204
    problem(await client.get(location), 404, "unknown-batch")
    problem(await client.delete(location), 404, "unknown-batch")
    assert left(settings, database) == (0, 0, 0, [])


@pytest.mark.parametrize("role", ["viewer"])
async def test_who_may_only_look_can_send_cancel_and_remove_nothing(
    app: FastAPI, client: httpx.AsyncClient, token_for: TokenFor, role: str
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP)).headers["Location"]
    headers = {"Authorization": f"Bearer {token_for(role)}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://classifier", headers=headers
    ) as viewer:
        assert (await viewer.get(location)).status_code == 200
        problem(await viewer.post("/v1/batches", content=b"", headers=ZIP), 403, "forbidden")
        problem(await viewer.patch(location, json={"state": "cancelled"}), 403, "forbidden")
        problem(await viewer.delete(location), 403, "forbidden")
