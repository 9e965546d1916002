"""The HTTP service, in process and, where the socket matters, behind a real one."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.image_classifier.main import create_app
from services.image_classifier.settings import Settings
from services.image_classifier.tests.ingest_double import photo
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.testing import TokenFor


@pytest.fixture
def settings(tmp_path: Path, keys: Path) -> Settings:
    write_tiny_model(tmp_path / "tiny" / "1")
    write_tiny_model(tmp_path / "tiny" / "2", version="2")
    return Settings(data=tmp_path, keys=keys, models=tmp_path, model="tiny")


@pytest.fixture
async def client(settings: Settings, token_for: TokenFor) -> AsyncIterator[httpx.AsyncClient]:
    """A viewer's client of the app."""
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {token_for('viewer')}"}
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://classifier", headers=headers) as client:
            yield client


@pytest.mark.parametrize("label", ["cat", "dog", "both", "none"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_an_image_is_answered_with_label_probabilities_quality_and_model(
    client: httpx.AsyncClient, label: str, kind: str
) -> None:
    answer = await client.post("/v1/predictions", content=photo(label, kind=kind))
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"label", "probabilities", "quality", "model", "version"}
    assert (body["label"], body["quality"], body["model"], body["version"]) == (label, "ok", "tiny", "1")
    assert (body["probabilities"]["cat"] > 0.5, body["probabilities"]["dog"] > 0.5) == (
        label in ("cat", "both"),
        label in ("dog", "both"),
    )
