"""Whatever goes wrong, a client gets a problem document that says what to do."""

from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from shared import problem
from shared.problem import MEDIA_TYPE, Problem, unavailable


@pytest.fixture
async def client() -> httpx.AsyncClient:
    app = FastAPI()
    problem.install(app)

    @app.get("/problem")
    def told() -> None:
        raise Problem(409, "other-content", "Use another id.", headers={"X-Seen": "1"}, receipt="r1")

    @app.get("/busy")
    def busy() -> None:
        raise unavailable("Send it again shortly.", 7)

    @app.get("/typed")
    def typed(n: Annotated[int, Query(ge=0)]) -> PlainTextResponse:
        return PlainTextResponse(str(n))

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("the secret is 12345")

    @app.get("/teapot")
    def teapot() -> None:
        raise HTTPException(418, "Pour elsewhere.")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "says"),
    [
        ("GET", "/problem", 409, "other-content", "Use another id."),
        ("GET", "/busy", 503, "unavailable", "again"),
        ("GET", "/typed?n=-1", 422, "invalid-request", "query.n"),
        ("GET", "/typed", 422, "invalid-request", "query.n"),
        ("GET", "/nowhere", 404, "not-found", "/docs"),
        ("PUT", "/typed", 405, "method-not-allowed", "PUT"),
        ("GET", "/teapot", 418, "i'm-a-teapot", "Pour elsewhere."),
        ("GET", "/broken", 500, "internal-error", "fault of ours"),
    ],
)
async def test_every_error_is_a_problem_document(
    client: httpx.AsyncClient, method: str, path: str, status: int, kind: str, says: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert body["type"] == f"urn:huella:problem:{kind}"
    assert body["status"] == status
    assert body["title"]
    assert says in body["detail"]


async def test_a_problem_carries_its_headers_and_more(client: httpx.AsyncClient) -> None:
    answer = await client.get("/problem")
    assert answer.headers["x-seen"] == "1"
    assert answer.json()["receipt"] == "r1"
    assert (await client.get("/busy")).headers["retry-after"] == "7"


async def test_an_unexpected_error_tells_nothing_of_itself(client: httpx.AsyncClient) -> None:
    assert "12345" not in (await client.get("/broken")).text


async def test_a_long_list_of_mistakes_is_cut(client: httpx.AsyncClient) -> None:
    answer = await client.get("/typed?n=" + "x" * 5000)
    assert len(answer.text) < 1000
