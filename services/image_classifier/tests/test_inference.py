"""The Open Inference Protocol v2: pictures as JSON or as bytes, chances back, and errors that its clients read."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.main import MIGRATIONS, create_app
from services.image_classifier.model_version import ModelVersion
from services.image_classifier.settings import Settings
from services.image_classifier.tests.tiny_model import SIZE, write_tiny_model
from shared.migrations import migrate
from shared.testing import TokenFor

HEAD = "Inference-Header-Content-Length"
PIXELS = np.random.default_rng(1).integers(0, 256, (2, 3, SIZE, SIZE), dtype=np.uint8)
URL = "/v2/models/tiny/infer"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "models" / "tiny" / "1")


@pytest.fixture
async def client(folder: Path, tmp_path: Path, keys: Path, token_for: TokenFor) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(data=tmp_path, keys=keys, models=tmp_path / "models", model="tiny")
    migrate(settings.database_url, MIGRATIONS)
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {token_for('viewer')}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://classifier", headers=headers) as client,
    ):
        yield client


def asked(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(PIXELS.shape), "data": PIXELS.ravel().tolist()}
    return {"id": "7", "inputs": [tensor | changes]}


def said(folder: Path) -> list[float]:
    pictures = [Picture(planes.transpose(1, 2, 0), Quality.OK) for planes in PIXELS]
    found = ModelVersion.load(folder).predict(pictures)
    return [chance for one in found for chance in (one.probabilities.cat, one.probabilities.dog)]


async def test_tensors_in_json_flat_or_in_rows_get_what_the_model_says(client: httpx.AsyncClient, folder: Path) -> None:
    for data in (PIXELS.ravel().tolist(), PIXELS.tolist()):
        answer = (await client.post(URL, json=asked(data=data))).json()
        (output,) = answer["outputs"]
        assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "1", "7")
        assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 2])
        assert output["data"] == pytest.approx(said(folder))


@pytest.mark.parametrize("wish", [{"parameters": {"binary_data_output": True}}, {"outputs": [
    {"name": "probabilities", "parameters": {"binary_data": True}}]}])  # fmt: skip
async def test_tensors_in_bytes_get_bytes_if_they_want_them(
    client: httpx.AsyncClient, folder: Path, wish: dict[str, Any]
) -> None:
    head = json.dumps(asked(data=[], parameters={"binary_data_size": PIXELS.size}) | wish).encode()
    answer = await client.post(URL, content=head + PIXELS.tobytes(), headers={HEAD: str(len(head))})
    assert answer.status_code == 200, answer.text
    end = int(answer.headers[HEAD])
    (output,) = json.loads(answer.content[:end])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(answer.content[end:], "<f4") == pytest.approx(said(folder))


SHORT = asked(data=[], parameters={"binary_data_size": PIXELS.size})


@pytest.mark.parametrize(
    ("body", "head", "what"),
    [
        (b"{", None, "JSON"),
        (b"{}", None, "inputs"),
        (json.dumps(asked(datatype="FP32")).encode(), None, "datatype"),
        (json.dumps(asked(shape=[17, 3, SIZE, SIZE])).encode(), None, "has the shape"),
        (json.dumps(asked(shape=[1, 3, 2, 2])).encode(), None, "has the shape"),
        (json.dumps(asked(data=[1, 2])).encode(), None, "whole numbers"),
        (json.dumps(asked(data=["x"])).encode(), None, "whole numbers"),
        (json.dumps(asked(data=[256] * PIXELS.size)).encode(), None, "0 to 255"),
        (json.dumps(SHORT).encode() + b"short", str(len(json.dumps(SHORT))), "behind the JSON"),
        (b"{}", "minus one", "number of bytes"),
        (b"{}", "9" * 12, "number of bytes"),
    ],
)
async def test_what_can_not_be_read_is_told_in_the_protocols_way_too(
    client: httpx.AsyncClient, body: bytes, head: str | None, what: str
) -> None:
    answer = await client.post(URL, content=body, headers={HEAD: head} if head else {})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert what in answer.json()["error"]
    assert answer.json()["error"] == answer.json()["detail"]


async def test_another_model_than_the_one_in_force_is_not_found(client: httpx.AsyncClient) -> None:
    for path in ("other/infer", "tiny/versions/9/infer"):
        answer = await client.post(f"/v2/models/{path}", json=asked())
        assert (answer.status_code, "is" in answer.json()["error"]) == (404, True)
    assert (await client.get("/v2/models/tiny/versions/1/ready")).json() == {"ready": True}
    assert "error" not in (await client.get("/v1/models/other/1")).json()
