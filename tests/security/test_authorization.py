"""Who may call what: every route of every service by every kind of caller; a route without a rule here fails."""

import base64
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.dashboard.access import cookie_name
from shared.database import now
from shared.migrations import migrate
from shared.testing import TokenFor
from shared.tokens import RANK, Role

# Callers by what they send. A camera's credentials mean something to camera_ingest alone.
ALL = {"anonymous", "camera", "viewer", "operator", "admin", "image_classifier", "aggregation"}
VIEWERS = {"viewer", "operator", "admin"}
OPERATORS = {"operator", "admin"}
ADMINS = {"admin"}
SERVICES = {"image_classifier", "aggregation"}
CAMERAS = {"camera"}

# What each log-in may do on the page, by the least role that may.
PAGE: dict[str, Role | None] = {
    "GET /login": None,
    "POST /login": None,
    "POST /logout": None,
    "GET /invitations/{secret}": None,
    "POST /invitations/{secret}": None,
    "POST /preferences": None,
    "GET /": Role.VIEWER,
    "GET /events": Role.VIEWER,
    "GET /spaces/{space_id}": Role.VIEWER,
    "GET /review": Role.VIEWER,
    "GET /try": Role.VIEWER,
    "POST /try": Role.VIEWER,
    "GET /batches": Role.VIEWER,
    "POST /batches": Role.OPERATOR,
    "GET /batches/{batch_id}": Role.VIEWER,
    "GET /batches/{batch_id}/results.csv": Role.VIEWER,
    "GET /batches/{batch_id}/pictures/{number}": Role.VIEWER,
    "POST /batches/{batch_id}/cancellation": Role.OPERATOR,
    "POST /batches/{batch_id}/removal": Role.OPERATOR,
    "GET /history": Role.VIEWER,
    "GET /history/days.csv": Role.VIEWER,
    "GET /history/lengths.csv": Role.VIEWER,
    "GET /history/stays.csv": Role.VIEWER,
    "GET /health": Role.VIEWER,
    "GET /models": Role.VIEWER,
    "POST /models/rollout": Role.ADMIN,
    "POST /models/undo": Role.ADMIN,
    "GET /setup": Role.VIEWER,
    "GET /cameras/{camera_id}": Role.VIEWER,
    "GET /photos/{receipt}": Role.VIEWER,
    "GET /photos/{receipt}/thumbnail": Role.VIEWER,
    "GET /me": Role.VIEWER,
    "POST /me/password": Role.VIEWER,
    "POST /spaces/{space_id}/service": Role.OPERATOR,
    "POST /stays/{stay_id}": Role.OPERATOR,
    "POST /frames/{receipt}/correction": Role.OPERATOR,
    "POST /receipts/{receipt}/offers": Role.OPERATOR,
    "POST /setup/spaces": Role.ADMIN,
    "POST /setup/cameras": Role.ADMIN,
    "POST /cameras/{camera_id}/secrets": Role.ADMIN,
    "POST /cameras/{camera_id}/removal": Role.ADMIN,
    "GET /people": Role.ADMIN,
    "POST /people/invitations": Role.ADMIN,
    "POST /people/invitations/{digest}/withdrawal": Role.ADMIN,
    "POST /people/{person}/role": Role.ADMIN,
    "POST /people/{person}/removal": Role.ADMIN,
    "POST /me/sessions": Role.VIEWER,
}

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
        "GET /v1/models/{name}/{version}/artifact": VIEWERS,
        "PUT /v1/models/{name}/{version}": ADMINS,
        "PATCH /v1/models/{name}/{version}": ADMINS,
        "DELETE /v1/models/{name}/{version}": ADMINS,
        "GET /v1/rollout": VIEWERS,
        "PUT /v1/rollout": ADMINS,
        "PATCH /v1/rollout": ADMINS,
        "POST /v1/rollout/undo": ADMINS,
        "GET /v1/rollout/revisions": VIEWERS,
        "GET /v1/rollout/report": VIEWERS,
        "POST /v1/feedback": {"aggregation"},
        "GET /v1/feedback/quality": VIEWERS,
        "GET /v1/feedback/drift": VIEWERS,
        "GET /v1/feedback/export": VIEWERS,
        **{
            f"{method} /v2{path}": VIEWERS
            for method, path in (
                ("GET", ""),
                ("GET", "/health/live"),
                ("GET", "/health/ready"),
                ("GET", "/models/{name}"),
                ("GET", "/models/{name}/ready"),
                ("POST", "/models/{name}/infer"),
                ("GET", "/models/{name}/versions/{version}"),
                ("GET", "/models/{name}/versions/{version}/ready"),
                ("POST", "/models/{name}/versions/{version}/infer"),
            )
        },
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
    # The page knows people by their log-in, not by tokens: to it every one of these callers is a stranger. Its own
    # rules are in PAGE.
    "dashboard": {route: ALL if least is None else set() for route, least in PAGE.items()},
}
UNSAID = {
    *("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/static-offline-docs"),
    "/static",
}
# They never end for who is let in, so a client that waits for their end would wait too: only who is not is tried.
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


def test_what_no_document_tells_is_what_every_service_has_for_its_operation(served: tuple[str, TestClient]) -> None:
    app: Any = served[1].app
    assert set(unsaid(app.routes)) <= UNSAID


def unsaid(routes: Iterable[Any]) -> Iterator[str]:
    """Give the paths that the OpenAPI leaves out, those of included routers too."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from unsaid(route.original_router.routes)
        elif not getattr(route, "include_in_schema", False):
            yield route.path


def test_each_route_lets_in_whom_its_rule_names(served: tuple[str, TestClient], token_for: TokenFor) -> None:
    service, client = served
    wrong = []
    for route, allowed in RULES[service].items():
        method, path = route.split()
        for caller in sorted(ALL - allowed if route in ENDLESS else ALL):
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


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[TestClient]:
    """A browser on the page, whose neighbours do not answer: whom a page lets in is decided before it asks them."""
    main: Any = import_module("services.dashboard.main")
    settings = import_module("services.dashboard.settings").Settings(data=folder, base_port=19100)
    migrate(settings.database_url, Path(main.__file__).parent / "migrations")
    headers = {"Origin": "http://testserver", "Accept": "text/html"}
    with TestClient(main.create_app(settings), raise_server_exceptions=False, follow_redirects=False) as client:
        client.headers.update(headers)
        yield client


def log_in(client: TestClient, role: Role) -> str:
    """Log in as a new person of the role, and return the token that the forms of this log-in carry."""
    app: Any = client.app
    parts, moment = app.state.parts, now()
    name = f"{role.value}{secrets.token_hex(4)}"
    parts.store.accept(parts.store.invite(role, "tests", moment + timedelta(hours=1)), name, "no hash", moment)
    secret, session = parts.store.begin_session(name, moment)
    client.cookies.clear()
    client.cookies.set(cookie_name(parts.settings), secret)
    return str(session.csrf)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
def test_each_page_lets_in_the_log_ins_that_its_rule_names_and_only_their_own_forms(
    page: TestClient, role: Role
) -> None:
    wrong = []
    token = log_in(page, role)
    for route, least in PAGE.items():
        if route == "GET /events":  # never ends for who is let in
            continue
        method, path = route.split()
        # What ends a log-in begins another.
        if page.get("/me").status_code != 200:
            token = log_in(page, role)
        address = re.sub(r"{\w+}", "c1", path)
        if method == "POST":
            foreign = page.post(address, data={"csrf": "another's"}).status_code
            if foreign != 403:
                wrong.append(f"{route} by {role} with a foreign token: {foreign}")
        # In the address too, for the one form whose body goes on unread.
        own = {"csrf": token} if method == "POST" else None
        answer = page.request(method, address, params=own, data=own)
        allowed = least is None or RANK[role] >= RANK[least]
        if _let_in(answer.status_code, answer.headers.get("location", "")) != allowed:
            wrong.append(f"{route} by {role}: {answer.status_code}")
    assert wrong == []
