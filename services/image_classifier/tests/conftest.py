"""What several test files of the classifier ask for: settings with a model made in no time, and the database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.image_classifier.main import MIGRATIONS
from services.image_classifier.settings import Settings
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.database import Database
from shared.migrations import migrate


@pytest.fixture
def settings(tmp_path: Path, keys: Path, database_url: str) -> Settings:
    write_tiny_model(tmp_path / "models" / "tiny" / "1")
    return Settings(data=tmp_path, keys=keys, models=tmp_path / "models", model="tiny", database_url=database_url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    migrate(database_url, MIGRATIONS)
    opened = Database(database_url)
    yield opened
    opened.close()
