"""LitServe: its batching, a worker process a core."""

import argparse
import os
from pathlib import Path
from typing import Annotated, Any

import litserve
from fastapi import Depends, Request

from services.image_classifier.decode import Picture, decode
from services.image_classifier.model_version import ModelVersion, Prediction


async def body(request: Request) -> bytes:
    """Return the body as it is; LitServe itself takes JSON and forms only."""
    return await request.body()


class Api(litserve.LitAPI):  # type: ignore[misc]  # litserve is not in the environment that is type-checked
    """The four hooks."""

    def setup(self, device: str) -> None:
        """Load the model in each worker."""
        self.model = ModelVersion.load(Path(os.environ["BENCH_MODEL"]))

    def decode_request(self, request: Annotated[bytes, Depends(body)]) -> Picture:
        """Bytes to a picture."""
        return decode(request, self.model.manifest.input_size)

    def batch(self, inputs: list[Picture]) -> list[Picture]:
        """Leave a batch as it is."""
        return inputs

    def predict(self, pictures: list[Picture]) -> list[Prediction]:
        """Ask the model about a batch."""
        return self.model.predict(pictures)

    def unbatch(self, output: list[Prediction]) -> list[Prediction]:
        """Leave a batch as it is."""
        return output

    def encode_response(self, output: Prediction) -> dict[str, Any]:
        """Say what was predicted."""
        return {"label": output.label.value, "cat": output.probabilities.cat, "dog": output.probabilities.dog}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    litserve.LitServer(
        Api(max_batch_size=16, batch_timeout=0.002), accelerator="cpu", workers_per_device=os.cpu_count() or 1
    ).run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
