"""Level 0: the proof of concept that Huella replaces, as one would first write it. Benchmarks compare against it.

One process receives a photo, decodes it, asks the model and adds it up in a dictionary, one photo after the other. It
forgets everything when it ends, answers only when all is done, and knows neither cameras' secrets nor repeats.

    python -m tests.benchmarks.monolith --model services/image_classifier/models/huella/1 --port 8100
"""

import argparse
import io
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from PIL import Image

from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import ModelVersion

DEFAULT_MODEL = Path("services/image_classifier/models/huella/1")


def create_app(model: ModelVersion) -> FastAPI:
    """Return the whole system as one app: `POST /photos/{space_id}` with an image, `GET /status`."""
    app = FastAPI(title="Level 0")
    labels: defaultdict[str, Counter[str]] = defaultdict(Counter)
    latest: dict[str, str] = {}

    @app.post("/photos/{space_id}")
    async def classify(space_id: str, request: Request) -> dict[str, object]:
        try:
            image = Image.open(io.BytesIO(await request.body())).convert("RGB")
        except OSError as error:
            raise HTTPException(422, "not an image") from error
        size = model.manifest.input_size
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
        prediction = model.predict([Picture(pixels, Quality.OK)])[0]
        labels[space_id][prediction.label.value] += 1
        latest[space_id] = prediction.label.value
        return {
            "label": prediction.label.value,
            "cat": prediction.probabilities.cat,
            "dog": prediction.probabilities.dog,
        }

    @app.get("/status")
    async def status() -> dict[str, object]:
        return {space: {"occupancy": latest[space], "labels": dict(labels[space])} for space in latest}

    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Level 0 of Huella: one process, one photo at a time.")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="folder of a model version")
    parser.add_argument("--port", type=int, default=8100)
    arguments = parser.parse_args()
    uvicorn.run(create_app(ModelVersion.load(arguments.model)), port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
