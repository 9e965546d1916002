"""A camera_ingest behind a real socket, for simulated cameras."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.camera_ingest.settings import Settings
from services.camera_ingest.tests.running import NO_BROKER, Ingest, serving
from shared.testing import TokenFor, free_port


@pytest.fixture
def ingest(tmp_path: Path, keys: Path, token_for: TokenFor) -> Iterator[Ingest]:
    settings = Settings(data=tmp_path, base_port=8000, keys=keys, redis_url=NO_BROKER, port=free_port())
    with serving(settings, token_for) as ingest:
        yield ingest
