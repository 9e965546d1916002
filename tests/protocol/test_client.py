"""A public client of the Open Inference Protocol v2 asks the classifier, and gets what a model version says."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from deploy.local.system import REPOSITORY
from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.main import MIGRATIONS, create_app
from services.image_classifier.model_version import DEFAULT_FOLDER, ModelVersion
from services.image_classifier.settings import Settings
from shared.migrations import migrate
from shared.testing import TokenFor, free_port, wait_until

PYTHON = REPOSITORY / ".venv-protocol" / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no public client: `make test-protocol` installs one")


@pytest.fixture
def address(tmp_path: Path, keys: Path) -> Iterator[str]:
    settings = Settings(data=tmp_path, keys=keys)
    migrate(settings.database_url, MIGRATIONS)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until("the server listens", lambda: server.started)
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def test_a_public_client_asks_in_bytes_and_in_json(address: str, token_for: TokenFor, tmp_path: Path) -> None:
    model = ModelVersion.load(DEFAULT_FOLDER)
    size = model.manifest.input_size
    pixels = np.random.default_rng(3).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    command = [str(PYTHON), "tests/protocol/client.py", address, token_for("viewer"), str(tmp_path / "pixels.npy")]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    said = model.predict([Picture(planes.transpose(1, 2, 0), Quality.OK) for planes in pixels])
    chances = [[one.probabilities.cat, one.probabilities.dog] for one in said]
    for way in ("bytes", "json", "default"):
        assert np.allclose(found[way], chances, atol=1e-5), way
    assert (found["live"], found["ready"], found["model_ready"], found["other_ready"]) == (True, True, True, False)
    assert found["input"] == {"name": "image", "shape": [-1, 3, size, size], "datatype": "UINT8", "data": []}
    assert (found["id"], found["extensions"]) == ("7", ["binary_tensor_data"])
    assert "has the shape" in found["error"]
