"""Every service answers alike: who may, how large, whether it is well, and what it counted."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from sqlalchemy.exc import OperationalError

from shared.app import BODY_LIMIT, create_service
from shared.auth import Admin, Service, Viewer, ViewerOrService
from shared.testing import TokenFor
from shared.tokens import Keyring, Role

WELL = {"now": True}


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
    )

    @app.get("/v1/things/{thing}")
    def thing(thing: str, caller: Viewer) -> dict[str, str]:
        return {"caller": caller.subject}

    @app.get("/v1/admins")
    def admins(caller: Admin) -> None: ...

    @app.get("/v1/services")
    def services(caller: Service) -> None: ...

    @app.get("/v1/both")
    def both(caller: ViewerOrService) -> None: ...

    @app.get("/v1/database")
    def database() -> None:
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked"))

    @app.put("/v1/body")
    async def body(request: Request) -> int:
        return len(await request.body())

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
        ("/v1/services", "admin", 403),
        ("/v1/services", "service", 200),
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


async def test_a_database_that_fails_is_told_as_a_problem_that_passes(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/database")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 0
    assert "locked" not in answer.text
