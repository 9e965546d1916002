"""The classifier with small limits, an operator's client of it, and a worker: for all tests of the API of batches."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from services.image_classifier import images
from services.image_classifier.batches import work
from services.image_classifier.decode import decode
from services.image_classifier.main import MIGRATIONS, create_app
from services.image_classifier.model_version import ModelVersion
from services.image_classifier.settings import Settings
from services.image_classifier.tests.batch_api.bodies import GOOD
from services.image_classifier.tests.ingest_double import serve_ingest
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.database import Database
from shared.migrations import migrate
from shared.testing import TokenFor
from shared.tokens import ServiceToken, Signer


def receipts_of(request: httpx.Request) -> httpx.Response:
    """Answer as camera_ingest does: a camera named by a number has so many frames in any span."""
    asked = request.url.params
    every = [f"r-{n:04}" for n in range(int(asked["camera_id"]))]
    rest = [receipt for receipt in every if receipt > asked.get("cursor", "")]
    page = [{"receipt": receipt} for receipt in rest[:200]]
    return httpx.Response(200, json={"items": page, "next": rest[199] if len(rest) > 200 else None})


@pytest.fixture
def settings(tmp_path: Path, keys: Path) -> Settings:
    write_tiny_model(tmp_path / "models" / "tiny" / "1")
    settings = Settings(
        data=tmp_path,
        keys=keys,
        models=tmp_path / "models",
        model="tiny",
        batch_bytes=20_000_000,
        batch_jobs=3,
        image_bytes=1_000_000,
        batch_quota_bytes=30_000_000,
    )
    migrate(settings.database_url, MIGRATIONS)
    return settings


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = create_app(settings, ingest_transport=httpx.MockTransport(receipts_of))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI, token_for: TokenFor) -> AsyncIterator[httpx.AsyncClient]:
    """An operator's client of the app."""
    headers = {"Authorization": f"Bearer {token_for('operator')}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://classifier", headers=headers) as client:
        yield client


@pytest.fixture
def database(app: FastAPI) -> Database:
    found: Database = app.state.database
    return found


@pytest.fixture
def worker(settings: Settings, database: Database, keys: Path) -> Iterator[Callable[[], int]]:
    """A function that does what a worker does at each ring until nothing is left; returns how many inputs ended."""
    model = ModelVersion.load(settings.models / "tiny" / "1")
    token = ServiceToken(Signer(keys, "image_classifier"), "camera_ingest")
    with serve_ingest({"r-0000": GOOD, "r-0001": b"no photo"}) as url, images.create_client(5) as client:
        tools = work.Tools(
            model=lambda: model,
            decode=decode,
            fetch=lambda receipts: images.fetch(
                client, token, f"{url}/v1/images", receipts, deadline_s=10, image_bytes=1_000_000, settled=True
            ),
            chunk=32,
            lease=timedelta(seconds=20),
        )

        def run() -> int:
            ended = 0
            while now := work.classify_batches(database, tools):
                ended += now
            return ended

        yield run
