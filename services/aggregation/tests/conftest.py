"""What the tests of aggregation share: a migrated database, an app on it, and messages as the classifier makes them."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uuid_utils
from fastapi.testclient import TestClient

from services.aggregation.main import MIGRATIONS, create_app
from services.aggregation.settings import Settings
from services.aggregation.window import Windows
from services.aggregation.worker import record_estimates
from shared.database import Database
from shared.messages import isoformat
from shared.migrations import migrate
from shared.testing import TokenFor
from shared.tokens import Role

Record = Callable[..., Any]
As = Callable[[Role], TestClient]


def result(
    space: str = "k1",
    camera: str = "c1",
    at: datetime | None = None,
    *,
    cat: float = 0.02,
    dog: float = 0.02,
    image: str | None = None,
    receipt: str | None = None,
    quality: str = "ok",
) -> dict[str, Any]:
    """Return an estimate as the classifier sends it; a new image unless `image` names one."""
    receipt = receipt or str(uuid_utils.uuid7())
    digest = hashlib.sha256((image or receipt).encode()).hexdigest()
    return {
        "outcome": "estimate",
        "receipt": receipt,
        "camera_id": camera,
        "space_id": space,
        "observed_at": isoformat(at or datetime.now(UTC)),
        "sha256": digest,
        "probabilities": {"cat": cat, "dog": dog},
        "prior": {"cat": 0.5, "dog": 0.5},
        "label": "none",
        "quality": quality,
        "model": "huella",
        "version": "1",
        "variant": "champion",
    }


def message(settings: Settings, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a message of these results."""
    return {"schema": 1, "chunk": "chunk", "settle_url": settings.settle_url, "results": results}


def minutes_ago(minutes: float) -> datetime:
    """Return a whole bucket's start about `minutes` ago."""
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    return at.replace(second=at.second // 10 * 10, microsecond=0)


@pytest.fixture
def settings(database_url: str, keys: Path, tmp_path: Path) -> Settings:
    """Settings on a migrated database."""
    migrate(database_url, MIGRATIONS)
    return Settings(data=tmp_path, keys=keys, database_url=database_url)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """The database as a worker opens it."""
    database = Database(settings.database_url)
    yield database
    database.close()


@pytest.fixture
def record(database: Database, settings: Settings) -> Record:
    """A function that counts results as one message."""

    windows = Windows()

    def send(*results: dict[str, Any]) -> Any:
        return record_estimates(database, settings, message(settings, list(results)), windows)

    return send


@pytest.fixture
def ingest() -> list[httpx.Request]:
    """The requests that were sent to ingest."""
    return []


@pytest.fixture
def ingest_hours() -> list[dict[str, Any]]:
    """What ingest's audit answers."""
    return []


@pytest.fixture
def as_role(
    settings: Settings, token_for: TokenFor, ingest: list[httpx.Request], ingest_hours: list[dict[str, Any]]
) -> Iterator[As]:
    """A function that returns a client of the running app with the token of a role."""

    def answer(request: httpx.Request) -> httpx.Response:
        ingest.append(request)
        return httpx.Response(200, json={"items": ingest_hours})

    app = create_app(settings, ingest_transport=httpx.MockTransport(answer))
    with TestClient(app):

        def client(role: Role) -> TestClient:
            audience = "aggregation" if role is Role.SERVICE else None
            token = token_for(role, audience=audience, issuer="camera_ingest" if audience else None)
            return TestClient(app, headers={"Authorization": f"Bearer {token}"})

        yield client


@pytest.fixture
def viewer(as_role: As) -> TestClient:
    """A client with a viewer's token."""
    return as_role(Role.VIEWER)


@pytest.fixture
def operator(as_role: As) -> TestClient:
    """A client with an operator's token."""
    return as_role(Role.OPERATOR)


@pytest.fixture
def admin(as_role: As) -> TestClient:
    """A client with an admin's token."""
    return as_role(Role.ADMIN)
