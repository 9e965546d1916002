"""What the tests of the dashboard share: the app on a fresh database, between fake services, and people's browsers."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.dashboard import passwords
from services.dashboard.main import FOLDER, create_app
from services.dashboard.settings import Settings
from services.dashboard.tests.fake_services import AGGREGATION, CLASSIFIER, INGEST, FakeServices
from shared.database import Database, now
from shared.migrations import migrate
from shared.tokens import Keyring, Role

ORIGIN = "http://testserver"
PASSWORD = "four warm paws here"
BROWSER = {"Accept": "text/html", "Origin": ORIGIN}

Browser = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hashing cost little: its strength is Argon2's to prove."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", cheap)
    monkeypatch.setattr(passwords, "_nobody", cheap.hash("nobody's"))


@pytest.fixture
def settings(keys: Path, tmp_path: Path) -> Settings:
    """Settings on a migrated database."""
    made = Settings(
        data=tmp_path,
        base_port=8000,
        keys=keys,
        ingest_url=f"http://127.0.0.1:{INGEST}",
        classifier_url=f"http://127.0.0.1:{CLASSIFIER}",
        aggregation_url=f"http://127.0.0.1:{AGGREGATION}",
    )
    migrate(made.database_url, FOLDER / "migrations")
    return made


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database without the app, on SQLite and on PostgreSQL."""
    migrate(database_url, FOLDER / "migrations")
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def services(keys: Path) -> FakeServices:
    """The other services."""
    return FakeServices(Keyring(keys))


@pytest.fixture
def app(settings: Settings, services: FakeServices) -> Iterator[FastAPI]:
    """The running app."""
    app = create_app(settings, services.transport())
    with TestClient(app):
        yield app


def csrf_of(page: str) -> str:
    """Return the token that a page's forms carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found, "the page has no form of a log-in"
    return found[1]


@pytest.fixture
def browser(app: FastAPI) -> Browser:
    """A function that returns a browser, logged in as a new person of the role if one is given."""

    def open_browser(role: Role | None = None, name: str = "") -> TestClient:
        client = TestClient(app, base_url=ORIGIN, headers=BROWSER, follow_redirects=False)
        if role is not None:
            store, moment = app.state.parts.store, now()
            store.accept(
                store.invite(role, "tests", moment + timedelta(days=365)),
                name or role.value,
                passwords.make_hash(PASSWORD),
                moment,
            )
            answer = client.post("/login", data={"name": name or role.value, "password": PASSWORD})
            assert answer.status_code == 303
        return client

    return open_browser


def post(client: TestClient, path: str, **fields: str) -> str:
    """Send a form as its page would; return where it led to, or the status."""
    token = csrf_of(client.get("/me").text)
    answer = client.post(path, data={"csrf": token, **fields})
    return answer.headers["location"] if answer.status_code == 303 else str(answer.status_code)
