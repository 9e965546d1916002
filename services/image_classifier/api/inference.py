"""The Open Inference Protocol v2 over REST, for tools that speak it: the versions in force, by name and version.

One input, `image`: UINT8 (n, 3, size, size), RGB, squashed to the version's size, and taken as it is: photos are
levelled where they are decoded (exposure.py), tensors are not. One output, `probabilities`: FP32 (n, 2), calibrated, of
a cat and of a dog. Tensors are JSON or, by the extension `binary_tensor_data`, plain bytes.
Errors are problem documents that have the protocol's `error` too.
"""

from typing import Annotated

import structlog
from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from services.image_classifier.api.predictions import hold_place, read_body, serving
from services.image_classifier.api.problems import problems
from services.image_classifier.api.tensors import (
    BODY,
    EXTENSION,
    HEAD_LENGTH,
    InferenceAnswer,
    Tensor,
    read,
    written,
)
from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import ModelVersion
from services.image_classifier.serving import Serving
from shared.auth import Viewer
from shared.problem import Problem, unavailable

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

BODY_LIMIT = 8 * 1024 * 1024

Loaded = Annotated[Serving, Depends(serving)]


def tell_errors(app: FastAPI) -> None:
    """Give problem documents under /v2 the member `error`, which clients of the protocol read."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> JSONResponse:
        if request.url.path.startswith("/v2"):
            problem.extra |= {"error": problem.detail}
        return problem.response()


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
    return ServerMetadata(name="huella", version="1", extensions=[EXTENSION])


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
    response_model=InferenceAnswer,
    responses=problems(401, 403, 404, 408, 413, 422, 503),
    openapi_extra=BODY,
)
@router.post(
    "/models/{name}/versions/{version}/infer",
    name="infer_by_version",
    max_body_size=BODY_LIMIT,
    summary="Ask a version",
    response_model=InferenceAnswer,
    responses=problems(401, 403, 404, 408, 413, 422, 503),
    openapi_extra=BODY,
)
async def infer(request: Request, caller: Viewer, loaded: Loaded, name: str, version: str = "") -> Response:
    """Up to 16 pictures of the version's size; long tensors are shorter and faster in binary.

    They are taken as they are, where `POST /v1/predictions` makes a dark or hazy photo lighter and clearer.
    """
    async with hold_place(loaded):
        content = await read_body(request, loaded.settings.body_deadline_s)
        model = _champion(loaded, name, version)
        head_size = request.headers.get(HEAD_LENGTH)
        return await to_thread.run_sync(_answer, model, content, head_size, limiter=loaded.threads)


def _answer(model: ModelVersion, content: bytes, head_size: str | None) -> Response:
    asked, pixels = read(content, head_size, model.manifest.input_size)
    try:
        said = model.predict([Picture(one, Quality.OK) for one in pixels])
    except Exception as error:
        log.error("model failed", kind=type(error).__name__, error=str(error)[:200])
        raise unavailable("The model failed on these pictures. Ask again, or another version.") from error
    chances = [chance for one in said for chance in (one.probabilities.cat, one.probabilities.dog)]
    return written(asked, model.manifest.name, model.manifest.version, chances)


def _champion(loaded: Serving, name: str, version: str) -> ModelVersion:
    model = loaded.model
    if model.manifest.name != name or version not in ("", model.manifest.version):
        champion = f"{model.manifest.name}, version {model.manifest.version}"
        raise Problem(404, "not-found", f"No such model is in force; {champion} is. GET /v1/models lists all.")
    return model
