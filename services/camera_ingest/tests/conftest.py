"""Fixtures: settings without a broker, a running camera_ingest with a camera `c1`, a migrated database."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.camera_ingest.main import MIGRATIONS
from services.camera_ingest.settings import Settings
from services.camera_ingest.tests.running import NO_BROKER, Ingest, running
from shared.database import Database
from shared.migrations import migrate
from shared.testing import TokenFor, free_port

MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path, keys: Path) -> MakeSettings:
    """A function that makes settings of a service in a temporary folder, whose broker never answers unless given."""

    def make(**chosen: Any) -> Settings:
        values: dict[str, Any] = {"data": tmp_path, "keys": keys, "redis_url": NO_BROKER, "port": free_port()}
        return Settings(**(values | chosen))

    return make


@pytest.fixture
def ingest(make_settings: MakeSettings, token_for: TokenFor) -> Iterator[Ingest]:
    """A camera_ingest on SQLite with the camera `c1` of space `k1`."""
    with running(make_settings(), token_for) as ingest:
        ingest.make_camera()
        yield ingest


@pytest.fixture
def ingest_on_each(make_settings: MakeSettings, token_for: TokenFor, database_url: str) -> Iterator[Ingest]:
    """The same, on SQLite and on PostgreSQL."""
    with running(make_settings(database_url=database_url), token_for) as ingest:
        ingest.make_camera()
        yield ingest


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database without a service, on SQLite and on PostgreSQL."""
    migrate(database_url, MIGRATIONS)
    database = Database(database_url)
    yield database
    database.close()
