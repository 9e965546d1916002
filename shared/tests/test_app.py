"""Every service answers alike: who may, how large, whether it is well, and what it counted."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.types import Message, Receive, Scope, Send

from shared import app as module
from shared.app import BODY_LIMIT, BodyDeadline, LimitRequests, create_service, serve
from shared.auth import Admin, Aggregation, ImageClassifier, Viewer, ViewerOrService
from shared.testing import TokenFor
from shared.tokens import Keyring, Role

WELL = {"now": True}
IMPATIENT_S = 0.1


@pytest.fixture
def app(keys: Path) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    def check() -> None:
        if not WELL["now"]:
            raise RuntimeError("the password is 12345")

    app = create_service(
        service="aggregation",
        title="T",
        description="D",
        keyring=Keyring(keys),
        checks={"database": check},
        lifespan=lifespan,
        own_deadlines={"patient"},
    )

    @app.get("/v1/things/{thing}")
    def thing(thing: str, caller: Viewer) -> dict[str, str]:
        return {"caller": caller.subject}

    @app.get("/v1/admins")
    def admins(caller: Admin) -> None: ...

    @app.get("/v1/aggregation")
    def aggregation(caller: Aggregation) -> None: ...

    @app.get("/v1/image-classifier")
    def image_classifier(caller: ImageClassifier) -> None: ...

    @app.get("/v1/both")
    def both(caller: ViewerOrService) -> None: ...

    failures = {
        "busy": OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked")),
        "lost": InterfaceError("SELECT", {}, sqlite3.InterfaceError("connection is locked")),
        "full": NoConnectionFree("QueuePool limit of size 8 overflow 8 reached, all are locked"),
    }

    @app.get("/v1/database/{failure}")
    def database(failure: str) -> None:
        raise failures[failure]

    @app.put("/v1/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    @app.put("/v1/json")
    def json_body(body: dict[str, int], caller: Viewer) -> None: ...

    @app.put("/v1/patient")
    async def patient(request: Request) -> str:
        try:
            async with asyncio.timeout(4 * IMPATIENT_S):
                await request.body()
        except TimeoutError:
            return "its own"
        return "not its own"

    return app


@pytest.fixture
def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [
        ("/v1/things/a", None, 401),
        ("/v1/things/a", "viewer", 200),
        ("/v1/things/a", "admin", 200),
        ("/v1/things/a", "service", 403),
        ("/v1/admins", "operator", 403),
        ("/v1/admins", "admin", 200),
        ("/v1/aggregation", "admin", 403),
        ("/v1/aggregation", "service", 200),
        ("/v1/image-classifier", "service", 403),  # the fixture's services are aggregation unless told otherwise
        ("/v1/both", "viewer", 200),
        ("/v1/both", "service", 200),
    ],
)
async def test_each_route_lets_in_whom_its_signature_names(
    client: httpx.AsyncClient, token_for: TokenFor, path: str, role: str | None, status: int
) -> None:
    headers = {}
    if role:
        audience = "aggregation" if role == "service" else None
        headers = {"Authorization": f"Bearer {token_for(Role(role), audience=audience)}"}
    answer = await client.get(path, headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="huella"'


async def test_a_bad_token_is_refused_and_not_repeated(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/things/a", headers={"Authorization": "Bearer abc.def.ghi"})
    assert answer.status_code == 401
    assert "abc" not in answer.text


async def test_a_body_past_the_limit_is_refused_with_or_without_a_length(client: httpx.AsyncClient) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(BODY_LIMIT // 1000 + 1):
            yield b"x" * 1000

    assert (await client.put("/v1/body", content=b"x" * BODY_LIMIT)).status_code == 200
    for content in (b"x" * (BODY_LIMIT + 1), stream()):
        answer = await client.put("/v1/body", content=content)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:huella:problem:content-too-large"


async def test_readiness_follows_the_checks_and_tells_no_details(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ok", "checks": {"database": "ok"}}
    monkeypatch.setitem(WELL, "now", False)
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "12345" not in answer.text
    assert (await client.get("/livez")).status_code == 200


async def test_metrics_name_routes_and_never_paths(client: httpx.AsyncClient, token_for: TokenFor) -> None:
    headers = {"Authorization": f"Bearer {token_for('viewer')}"}
    await client.get("/v1/things/very-secret", headers=headers)
    await client.get("/nowhere/very-secret")
    text = (await client.get("/metrics")).text
    assert 'huella_http_requests_total{method="GET",route="/v1/things/{thing}",status="200"}' in text
    assert 'route="unknown",status="404"' in text
    assert "very-secret" not in text


async def test_the_interactive_page_needs_no_other_machine(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "https://" not in page
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "T"


@pytest.mark.parametrize("failure", ["busy", "lost", "full"])
async def test_a_database_that_fails_is_told_as_a_problem_that_passes(client: httpx.AsyncClient, failure: str) -> None:
    answer = await client.get(f"/v1/database/{failure}")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 0
    assert "locked" not in answer.text


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_DEADLINE_S", IMPATIENT_S)


async def stalled() -> AsyncIterator[bytes]:
    yield b'{"a": '
    await asyncio.Event().wait()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["/v1/json", "/v1/body"])
async def test_a_body_that_stalls_is_ended_whoever_sends_it(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.put(path, content=stalled())
    assert (answer.status_code, answer.headers["content-type"]) == (408, "application/problem+json")
    assert answer.headers["connection"] == "close"
    assert answer.json()["type"] == "urn:huella:problem:request-timeout"


@pytest.mark.usefixtures("impatient")
async def test_a_route_with_a_deadline_of_its_own_keeps_it(client: httpx.AsyncClient) -> None:
    assert (await client.put("/v1/patient", content=stalled())).json() == "its own"


async def test_once_the_answer_began_a_body_that_stalls_is_a_client_that_left() -> None:
    received: list[str] = []

    async def answers_first(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        received.append((await receive())["type"])

    async def nothing() -> Message:
        return await asyncio.Future()

    async def drop(_: Message) -> None: ...

    scope = {"type": "http", "headers": [(b"content-length", b"9")]}
    await BodyDeadline(answers_first, IMPATIENT_S, frozenset())(scope, nothing, drop)
    assert received == ["http.disconnect"]


async def test_the_end_of_a_connection_may_be_waited_for_past_the_deadline() -> None:
    messages = asyncio.Queue[Message]()
    messages.put_nowait({"type": "http.request", "body": b"whole", "more_body": False})
    received: list[str] = []

    async def listens(_: Scope, receive: Receive, send: Send) -> None:
        received.append((await receive())["type"])
        asyncio.get_running_loop().call_later(3 * IMPATIENT_S, messages.put_nowait, {"type": "http.disconnect"})
        received.append((await receive())["type"])

    async def drop(_: Message) -> None: ...

    scope = {"type": "http", "headers": [(b"content-length", b"5")]}
    await BodyDeadline(listens, IMPATIENT_S, frozenset())(scope, messages.get, drop)
    assert received == ["http.request", "http.disconnect"]


async def test_one_request_too_many_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch, app: FastAPI) -> None:
    inside, goes_on = asyncio.Event(), asyncio.Event()

    @app.get("/v1/slow")
    async def slow() -> None:
        inside.set()
        await goes_on.wait()

    served: list[LimitRequests] = []
    monkeypatch.setattr(module, "collect_rarely", lambda: None)
    monkeypatch.setattr("uvicorn.run", lambda served_app, **_: served.append(served_app))
    serve(app, "127.0.0.1", 1, limit_concurrency=1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served[0]), base_url="http://test") as client:
        first = asyncio.create_task(client.get("/v1/slow"))
        await inside.wait()
        refused = await client.get("/livez")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert int(refused.headers["Retry-After"]) > 0
        goes_on.set()
        assert (await first).status_code == 200
        assert (await client.get("/livez")).status_code == 200
