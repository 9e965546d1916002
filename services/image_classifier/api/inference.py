"""The Open Inference Protocol v2 over REST, for tools that speak it: the versions in force, by name and version.

One input, `image`: UINT8 (n, 3, size, size), RGB, squashed to the version's size. One output, `probabilities`: FP32
(n, 2), calibrated, of a cat and of a dog. Tensors are JSON; the binary extension is not offered.
"""

from typing import Annotated, Any, Literal

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from services.image_classifier.api.predictions import serving
from services.image_classifier.api.problems import problems
from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import Manifest, ModelVersion
from services.image_classifier.serving import Serving
from shared.auth import Viewer
from shared.problem import Problem

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

BODY_LIMIT = 8 * 1024 * 1024
BATCH = 16

Loaded = Annotated[Serving, Depends(serving)]


class Tensor(BaseModel):
    """A tensor, its data in rows or flat."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] = []


class Input(Tensor):
    """The pixels."""

    name: Literal["image"]
    datatype: Literal["UINT8"]
    shape: Annotated[list[int], Field(min_length=4, max_length=4)]


class InferenceRequest(BaseModel):
    """One input; of what else the protocol knows, nothing is needed."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 3, 128, 128]}]}}
    )

    id: Annotated[str | None, Field(max_length=200)] = None
    inputs: Annotated[list[Input], Field(min_length=1, max_length=1)]


class InferenceAnswer(BaseModel):
    """One output."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model_name": "huella", "model_version": "1", "id": "7", "outputs": []}}
    )

    model_name: str
    model_version: str
    id: str | None
    outputs: list[Tensor]


class ModelMetadata(BaseModel):
    """What a version takes and gives."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "huella", "versions": ["1"], "platform": "onnx_onnxv1", "inputs": [], "outputs": []}
        }
    )

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class ServerMetadata(BaseModel):
    """Who answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "huella", "version": "1", "extensions": []}})

    name: str
    version: str
    extensions: list[str]


class Ready(BaseModel):
    """It can be asked."""

    model_config = ConfigDict(json_schema_extra={"example": {"ready": True}})

    ready: bool


@router.get("", summary="Who answers", responses=problems(401, 403, 422))
def server_metadata(caller: Viewer) -> ServerMetadata:
    """Name and extensions of the server."""
    return ServerMetadata(name="huella", version="1", extensions=[])


@router.get("/health/live", summary="It runs", responses=problems(401, 403, 422))
def server_live(caller: Viewer) -> Ready:
    """It answers, so it runs."""
    return Ready(ready=True)


@router.get("/health/ready", summary="A version is loaded", responses=problems(401, 403, 422))
def server_ready(caller: Viewer, loaded: Loaded) -> Ready:
    """The champion is loaded before the service takes requests."""
    return Ready(ready=loaded.model is not None)


@router.get("/models/{name}", summary="What a model takes and gives", responses=problems(401, 403, 404, 422))
@router.get(
    "/models/{name}/versions/{version}",
    name="version_metadata",
    summary="What a version takes and gives",
    responses=problems(401, 403, 404, 422),
)
def model_metadata(caller: Viewer, loaded: Loaded, name: str, version: str = "") -> ModelMetadata:
    """Of the version in force."""
    manifest = _champion(loaded, name, version).manifest
    return ModelMetadata(
        name=manifest.name,
        versions=[manifest.version],
        platform="onnx_onnxv1",
        inputs=[Tensor(name="image", datatype="UINT8", shape=[-1, 3, manifest.input_size, manifest.input_size])],
        outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, 2])],
    )


@router.get("/models/{name}/ready", summary="A model can be asked", responses=problems(401, 403, 404, 422))
@router.get(
    "/models/{name}/versions/{version}/ready",
    name="version_ready",
    summary="A version can be asked",
    responses=problems(401, 403, 404, 422),
)
def model_ready(caller: Viewer, loaded: Loaded, name: str, version: str = "") -> Ready:
    """The version in force can."""
    _champion(loaded, name, version)
    return Ready(ready=True)


@router.post(
    "/models/{name}/infer",
    max_body_size=BODY_LIMIT,
    summary="Ask a model",
    responses=problems(401, 403, 404, 413, 422, 503),
)
@router.post(
    "/models/{name}/versions/{version}/infer",
    name="infer_by_version",
    max_body_size=BODY_LIMIT,
    summary="Ask a version",
    responses=problems(401, 403, 404, 413, 422, 503),
)
async def infer(
    caller: Viewer, loaded: Loaded, name: str, body: InferenceRequest, version: str = ""
) -> InferenceAnswer:
    """Up to 16 pictures of the version's size."""
    model = _champion(loaded, name, version)
    pictures = _pictures(body.inputs[0], model.manifest)
    said = await to_thread.run_sync(model.predict, pictures, limiter=loaded.decoders)
    chances = [chance for one in said for chance in (one.probabilities.cat, one.probabilities.dog)]
    output = Tensor(name="probabilities", datatype="FP32", shape=[len(said), 2], data=chances)
    return InferenceAnswer(
        model_name=model.manifest.name, model_version=model.manifest.version, id=body.id, outputs=[output]
    )


def _champion(loaded: Serving, name: str, version: str) -> ModelVersion:
    model = loaded.model
    if model.manifest.name != name or version not in ("", model.manifest.version):
        champion = f"{model.manifest.name}, version {model.manifest.version}"
        raise Problem(404, "not-found", f"No such model is in force; {champion} is. GET /v1/models lists all.")
    return model


def _pictures(tensor: Input, manifest: Manifest) -> list[Picture]:
    size = manifest.input_size
    number = tensor.shape[0]
    if tensor.shape[1:] != [3, size, size] or not 1 <= number <= BATCH:
        raise Problem(422, "invalid-tensor", f"`image` has the shape [1 to {BATCH}, 3, {size}, {size}].")
    try:
        values = np.asarray(tensor.data, dtype=np.int64).reshape(tensor.shape)
    except (ValueError, TypeError, OverflowError):
        raise Problem(422, "invalid-tensor", "`data` does not hold the whole numbers that `shape` says.") from None
    if values.min() < 0 or values.max() > 255:
        raise Problem(422, "invalid-tensor", "UINT8 is 0 to 255.")
    pixels = np.ascontiguousarray(values.astype(np.uint8).transpose(0, 2, 3, 1))
    return [Picture(one, Quality.OK) for one in pixels]
