"""`POST /v1/predictions`: one image in, what the default model version says of it out. Nothing is kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect

from services.image_classifier.api.problems import problems
from services.image_classifier.decode import UndecodableImage
from services.image_classifier.domain import Label, Quality
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.serving import Serving
from shared.auth import Viewer
from shared.messages import Probability
from shared.problem import Problem, unavailable

router = APIRouter(tags=["predictions"])

BODY_LIMIT = 10 * 1024 * 1024
# Of decode's reasons, those that a 415 tells; all others are a 422.
NOT_AN_IMAGE = ("empty", "not a JPEG, PNG or WebP image")

IMAGE = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a JPEG, PNG or WebP image, up to 10 MB and 40 megapixels, as any content type.",
        "content": dict.fromkeys(("image/jpeg", "image/png", "image/webp", "application/octet-stream"), IMAGE),
    }
}


class Chances(BaseModel):
    """Calibrated probabilities of a cat and of a dog being in the picture, independent of each other."""

    cat: Probability
    dog: Probability


class PredictionAnswer(BaseModel):
    """What a model version says of one image."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "label": "cat",
                "probabilities": {"cat": 0.98, "dog": 0.01},
                "quality": "ok",
                "model": "huella",
                "version": "1",
            }
        }
    )

    label: Label
    probabilities: Chances
    quality: Quality
    model: str
    version: str


async def serving(request: Request) -> Serving:
    """Return what the app loaded at its start; async, because a plain function would cost a change of threads."""
    loaded: Serving = request.app.state.serving
    return loaded


@router.post(
    "/v1/predictions",
    max_body_size=BODY_LIMIT,
    summary="Say what an image shows",
    response_description="What the default model version says of the image.",
    responses=problems(401, 403, 408, 413, 415, 422, 503),
    openapi_extra=BODY,
)
async def create_prediction(
    request: Request, caller: Viewer, loaded: Annotated[Serving, Depends(serving)]
) -> PredictionAnswer:
    """Send an image's bytes as the body. The answer is not stored and changes no adoption status."""
    async with hold_place(loaded):
        content = await read_body(request, loaded.settings.body_deadline_s)
        model = loaded.model
        prediction = await _predict(loaded, model, content)
    manifest = model.manifest
    return PredictionAnswer(
        label=prediction.label,
        probabilities=Chances(cat=prediction.probabilities.cat, dog=prediction.probabilities.dog),
        quality=prediction.quality,
        model=manifest.name,
        version=manifest.version,
    )


@asynccontextmanager
async def hold_place(loaded: Serving) -> AsyncIterator[None]:
    """Hold one of the places for images in memory, or answer 503 at once."""
    if loaded.places.locked():
        raise unavailable("Too many images are being worked on. Send it again shortly.", 1)
    async with loaded.places:
        yield


async def read_body(request: Request, deadline_s: float) -> bytes:
    """Return a body that arrives in time. Raises Problem 408 or 400."""
    try:
        async with asyncio.timeout(deadline_s):
            parts = [part async for part in request.stream()]
    except TimeoutError:
        detail = f"The image did not arrive within {deadline_s:g} s. Send it again over a faster connection."
        raise Problem(408, "request-timeout", detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        # Nobody hears this answer; it only keeps a caller's hanging up from looking like our fault.
        raise Problem(400, "client-disconnected", "The connection ended before the image did.") from None
    return b"".join(parts)


async def _predict(loaded: Serving, model: ModelVersion, content: bytes) -> Prediction:
    try:
        return await loaded.batcher.submit((model, content))
    except UndecodableImage as error:
        if error.reason in NOT_AN_IMAGE:
            detail = f"The body is {error.reason}. Send a JPEG, PNG or WebP image: content decides, not the header."
            raise Problem(415, "unsupported-media-type", detail) from None
        detail = f"The image can't be decoded: {error.reason}. Send a whole image of up to 40 megapixels."
        raise Problem(422, "undecodable-image", detail) from None
    except MemoryError:
        raise unavailable("There is no memory for this image now. Send it again shortly.") from None
