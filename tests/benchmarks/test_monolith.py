"""Level 0 works, so that what is compared with it is compared with something."""

from pathlib import Path

import httpx

from services.image_classifier.model_version import ModelVersion
from services.image_classifier.tests.tiny_model import write_tiny_model
from tests.benchmarks.monolith import create_app
from tests.photos import solid


async def test_level_0_classifies_and_adds_up(tmp_path: Path) -> None:
    app = create_app(ModelVersion.load(write_tiny_model(tmp_path / "tiny")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for colour in [(255, 0, 0), (255, 0, 0), (0, 0, 255)]:
            answer = await client.post("/photos/k1", content=solid(colour=colour))
            assert answer.status_code == 200
        assert (await client.post("/photos/k1", content=b"no image")).status_code == 422
        assert (await client.get("/status")).json() == {"k1": {"occupancy": "dog", "labels": {"cat": 2, "dog": 1}}}
