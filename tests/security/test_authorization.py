"""Who may call what: every route of every service by every kind of caller; a route without a rule here fails."""

import base64
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from shared.database import migrate
from shared.testing import TokenFor
from shared.tokens import Role

# Callers by what they send. A camera's credentials mean something to camera_ingest alone.
ALL = {"anonymous", "camera", "viewer", "operator", "admin", "image_classifier", "aggregation"}
VIEWERS = {"viewer", "operator", "admin"}
OPERATORS = {"operator", "admin"}
ADMINS = {"admin"}
SERVICES = {"image_classifier", "aggregation"}
CAMERAS = {"camera"}

RULES: dict[str, dict[str, set[str]]] = {
    "camera_ingest": {
        "GET /v1/cameras": VIEWERS,
        "GET /v1/cameras/{camera_id}": VIEWERS,
        "PUT /v1/cameras/{camera_id}": ADMINS,
        "DELETE /v1/cameras/{camera_id}": ADMINS,
        "POST /v1/cameras/{camera_id}/secrets": ADMINS,
        "DELETE /v1/cameras/{camera_id}/secrets": ADMINS,
        "GET /v1/cameras/{camera_id}/latest-image": VIEWERS,
        "PUT /v1/cameras/{camera_id}/frames/{frame_id}": CAMERAS,
        "PUT /v1/cameras/{camera_id}/frame": CAMERAS,
        "POST /v1/cameras/{camera_id}/frame": CAMERAS,
        "PUT /v1/frames": CAMERAS,
        "POST /v1/frames": CAMERAS,
        # Nobody's header counts here: who may is said by the path, and "c1" is no camera's secret.
        "PUT /v1/frames/{secret}": set(),
        "POST /v1/frames/{secret}": set(),
        "GET /v1/receipts": VIEWERS | SERVICES,
        "GET /v1/receipts/{receipt}": VIEWERS | CAMERAS,
        "GET /v1/receipts/{receipt}/image": VIEWERS,
        "POST /v1/receipts/{receipt}/offers": OPERATORS,
        "GET /v1/audit": VIEWERS | SERVICES,
        "GET /v1/audit/hours": VIEWERS | SERVICES,
        "GET /v1/pipeline": VIEWERS,
        "GET /v1/retention": VIEWERS,
        "POST /v1/images": {"image_classifier"},
        "POST /v1/settlements": {"aggregation"},
    },
    "image_classifier": {
        "POST /v1/predictions": VIEWERS,
        "GET /v1/models": VIEWERS,
        "GET /v1/models/{name}/{version}": VIEWERS,
        "POST /v1/batches": OPERATORS,
        "GET /v1/batches": VIEWERS,
        "GET /v1/batches/{batch_id}": VIEWERS,
        "PATCH /v1/batches/{batch_id}": OPERATORS,
        "DELETE /v1/batches/{batch_id}": OPERATORS,
        "GET /v1/batches/{batch_id}/events": VIEWERS,
        "GET /v1/batches/{batch_id}/predictions": VIEWERS,
        "GET /v1/batches/{batch_id}/predictions/{number}/thumbnail": VIEWERS,
    },
    "aggregation": {
        "GET /v1/adoption-status": VIEWERS,
        "GET /v1/adoption-status/events": VIEWERS,
        "GET /v1/spaces": VIEWERS,
        "GET /v1/spaces/{space_id}": VIEWERS,
        "PUT /v1/spaces/{space_id}": ADMINS,
        "PATCH /v1/spaces/{space_id}": OPERATORS,
        "GET /v1/spaces/{space_id}/history": VIEWERS,
        "GET /v1/spaces/{space_id}/stays": VIEWERS,
        "GET /v1/spaces/{space_id}/estimates": VIEWERS,
        "GET /v1/stays": VIEWERS,
        "GET /v1/stays/{stay_id}": VIEWERS,
        "PATCH /v1/stays/{stay_id}": OPERATORS,
        "GET /v1/estimates/{receipt}": VIEWERS,
        "GET /v1/estimates/{receipt}/correction": VIEWERS,
        "PUT /v1/estimates/{receipt}/correction": OPERATORS,
        "DELETE /v1/estimates/{receipt}/correction": OPERATORS,
        "GET /v1/reviews": VIEWERS,
        "GET /v1/reconciliation": VIEWERS,
    },
    # The page knows people by their log-in, not by tokens: to it every one of these callers is a stranger.
    "dashboard": {
        "GET /login": ALL,
        "POST /login": ALL,
        "POST /logout": ALL,
        "GET /invitations/{secret}": ALL,
        "POST /invitations/{secret}": ALL,
        "POST /preferences": ALL,
        **{
            f"GET {path}": set()
            for path in (
                "/",
                "/events",
                "/spaces/{space_id}",
                "/review",
                "/try",
                "/history",
                "/history/days.csv",
                "/history/stays.csv",
                "/health",
                "/setup",
                "/cameras/{camera_id}",
                "/people",
                "/me",
                "/photos/{receipt}",
                "/photos/{receipt}/thumbnail",
            )
        },
        **{
            f"POST {path}": set()
            for path in (
                "/spaces/{space_id}/service",
                "/stays/{stay_id}",
                "/frames/{receipt}/correction",
                "/try",
                "/receipts/{receipt}/offers",
                "/setup/spaces",
                "/setup/cameras",
                "/cameras/{camera_id}/secrets",
                "/cameras/{camera_id}/removal",
                "/people/invitations",
                "/people/invitations/{digest}/withdrawal",
                "/people/{person}/role",
                "/people/{person}/removal",
                "/me/password",
                "/me/sessions",
            )
        },
    },
}
# It never ends, so a client that waits for its end would wait too; its guard is the same dependency as its neighbours'.
ENDLESS = {"GET /v1/adoption-status/events"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A data folder whose Redis does not answer: no route's rights depend on it."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "redis").write_text("nobody-listens-there")
    (folder / "keys").symlink_to(keys)
    return folder


@pytest.fixture(scope="module", params=sorted(RULES))
def served(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, TestClient]]:
    """A service and a client of its running app."""
    service: str = request.param
    settings = import_module(f"services.{service}.settings").Settings(data=folder, base_port=19000)
    main: Any = import_module(f"services.{service}.main")
    if hasattr(settings, "database_url"):
        migrate(settings.database_url, Path(main.__file__).parent / "migrations")
    if service == "camera_ingest":
        settings.images_folder.mkdir(parents=True, exist_ok=True)
    app: FastAPI = main.create_app(settings)
    headers = {"Origin": "http://testserver"}
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False, headers=headers) as client:
        yield service, client


def test_every_route_has_a_rule_and_every_rule_a_route(served: tuple[str, TestClient]) -> None:
    service, client = served
    app: Any = client.app
    routes = {f"{method.upper()} {path}" for path, item in app.openapi()["paths"].items() for method in item}
    assert routes == set(RULES[service])


def test_each_route_lets_in_whom_its_rule_names(served: tuple[str, TestClient], token_for: TokenFor) -> None:
    service, client = served
    wrong = []
    for route, allowed in RULES[service].items():
        if route in ENDLESS:
            continue
        method, path = route.split()
        for caller in sorted(ALL):
            authorization = _authorization(client, service, caller, token_for)
            answer = client.request(method, re.sub(r"{\w+}", "c1", path), headers=authorization)
            guessed = "too-many-wrong-secrets" in answer.text
            let_in = not guessed and _let_in(answer.status_code, answer.headers.get("location", ""))
            if let_in != (caller in allowed):
                wrong.append(f"{route} by {caller}: {answer.status_code}")
    assert wrong == []


def _let_in(status: int, location: str) -> bool:
    return status not in (401, 403) and not location.startswith("/login?next=")


def _authorization(client: TestClient, service: str, caller: str, token_for: TokenFor) -> dict[str, str]:
    if caller == "anonymous":
        return {}
    if caller == "camera":
        secret = "0123456789abcdef"
        if service == "camera_ingest":
            # Afresh each time: a rule's own call may have removed the camera.
            admin = {"Authorization": f"Bearer {token_for(Role.ADMIN)}"}
            client.delete("/v1/cameras/c1", headers=admin)
            secret = client.put("/v1/cameras/c1", json={"space_id": "k1"}, headers=admin).json()["secret"]
        return {"Authorization": "Basic " + base64.b64encode(f"c1:{secret}".encode()).decode()}
    if caller in SERVICES:
        return {"Authorization": f"Bearer {token_for(Role.SERVICE, audience=service, issuer=caller)}"}
    return {"Authorization": f"Bearer {token_for(caller)}"}
