"""BentoML: a front that decodes, a process a core, and a service that asks the model in adaptive batches."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from anyio import to_thread
from fastapi import FastAPI, Request

from services.image_classifier.decode import Picture, decode
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import ModelVersion, read_manifest

front = FastAPI()


@bentoml.service(workers=1)
class Model:
    """Asks the model."""

    def __init__(self) -> None:
        self.model = ModelVersion.load(Path(os.environ["BENCH_MODEL"]))

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=1000)  # type: ignore[untyped-decorator]  # as above
    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Give the probabilities of a batch, (n, 2)."""
        chances = [one.probabilities for one in self.model.predict([Picture(one, Quality.OK) for one in pixels])]
        return np.array([[one.cat, one.dog] for one in chances])


@bentoml.service(workers=os.cpu_count() or 1)
@bentoml.asgi_app(front)
class Front:
    """Takes photos and decodes them."""

    model = bentoml.depends(Model)

    def __init__(self) -> None:
        self.size = read_manifest(Path(os.environ["BENCH_MODEL"])).input_size

    @front.post("/predictions")
    async def predictions(self, request: Request) -> dict[str, Any]:
        """Say what a photo shows."""
        picture = await to_thread.run_sync(decode, await request.body(), self.size)
        cat, dog = (await self.model.to_async.predict(picture.pixels[None]))[0].tolist()
        return {"label": "cat" if cat > dog else "dog", "cat": cat, "dog": dog}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    options = parser.parse_args()
    module = "tests.benchmarks.rival_servers.bentoml_server:Front"
    command = Path(sys.executable).parent / "bentoml"
    os.execv(command, [str(command), "serve", module, "--host", "127.0.0.1", "--port", options.port])
