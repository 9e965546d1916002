"""`/v1/models`: the model versions that there are, the card and the graph of each, and how one is added."""

import hashlib
import hmac
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from services.image_classifier import shipped
from services.image_classifier.api.database import Db
from services.image_classifier.api.predictions import serving
from services.image_classifier.api.problems import problems
from services.image_classifier.api.rollout_shapes import Word
from services.image_classifier.model_version import (
    MAX_MANIFEST_BYTES,
    Calibration,
    Manifest,
    ManifestThresholds,
    Priors,
)
from services.image_classifier.rollout import store as rollouts
from services.image_classifier.serving import Serving
from services.image_classifier.settings import Settings
from services.image_classifier.versions import library
from services.image_classifier.versions import store as versions
from services.image_classifier.versions.store import State
from shared.auth import Admin, Viewer
from shared.database import Database, now
from shared.problem import Problem

router = APIRouter(tags=["models"])

SUMMARY: dict[str, JsonValue] = {
    "name": "huella",
    "version": "1",
    "default": True,
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "size_bytes": 6153000,
    "state": "ready",
    "reason": "",
    "shipped": True,
    "frame_seconds": 0.003,
}
UPLOAD_LIMIT = 33 * 1024 * 1024
FILE = {"type": "string", "format": "binary"}
UPLOAD = {
    "requestBody": {
        "required": True,
        "description": "The manifest (JSON) and the graph (ONNX), 33 MB together.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["manifest", "graph"],
                    "properties": {"manifest": FILE, "graph": FILE},
                }
            }
        },
    }
}
THRESHOLDS: JsonValue = {"present_above": 0.7, "absent_below": 0.3}
CALIBRATION: JsonValue = {"temperature": 1.4, "bias": 0.0}
CARD: dict[str, JsonValue] = {
    **SUMMARY,
    "labels": ["cat", "dog"],
    "input_size": 128,
    "preprocessing": "squash-rgb-uint8-nchw",
    "thresholds": {"cat": THRESHOLDS, "dog": THRESHOLDS},
    "priors": {"cat": 0.35, "dog": 0.35},
    "calibration": {"cat": CALIBRATION, "dog": CALIBRATION},
    "trained_on": {"photos": 20000},
    "measured": {"accuracy": 0.9},
}


class ModelSummary(BaseModel):
    """One model version; `digest` is the SHA-256 of its graph, `default` says whether it is the champion.

    `state`: `received`, `ready`, `refused` with a `reason`, or `retired`. `frame_seconds`: what a frame took in proof.
    """

    model_config = ConfigDict(json_schema_extra={"example": SUMMARY})

    name: str
    version: str
    default: bool
    digest: str
    size_bytes: int
    state: State
    reason: str
    shipped: bool
    frame_seconds: float | None


class ModelCard(ModelSummary):
    """All that a model version says of itself: what it was trained and measured on, and how it decides."""

    model_config = ConfigDict(json_schema_extra={"example": CARD})

    labels: list[str]
    input_size: int
    preprocessing: str
    thresholds: ManifestThresholds
    priors: Priors
    calibration: Calibration
    trained_on: dict[str, JsonValue]
    measured: dict[str, JsonValue]


class StateChange(BaseModel):
    """What to make of a proven version."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"state": "retired"}})

    state: Literal["ready", "retired"]


class ModelPage(BaseModel):
    """A page of model versions; `next` is the cursor of the page after it, null at the end."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [SUMMARY], "next": "huella/1"}})

    items: list[ModelSummary]
    next: str | None


@router.get("/v1/models", summary="List the model versions", responses=problems(401, 403, 422))
def list_models(
    caller: Viewer,
    loaded: Annotated[Serving, Depends(serving)],
    db: Db,
    limit: Annotated[int, Query(ge=1, le=200, description="Most items of a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
) -> ModelPage:
    """In the order of name and version."""
    with db.read() as connection:
        found = library.every(loaded.settings, connection)
    keys = [f"{version.manifest.name}/{version.manifest.version}" for version in found]
    start = next((n for n, key in enumerate(keys) if cursor is None or key > cursor), len(keys))
    items = [ModelSummary(**_summary(version, loaded)) for version in found[start : start + limit]]
    more = start + limit < len(found)
    return ModelPage(items=items, next=keys[start + limit - 1] if more else None)


@router.get(
    "/v1/models/{name}/{version}", summary="The card of a model version", responses=problems(401, 403, 404, 422)
)
def get_model(
    name: str, version: str, caller: Viewer, loaded: Annotated[Serving, Depends(serving)], db: Db
) -> ModelCard:
    """What it was trained and measured on, its thresholds, priors, digest and size."""
    return _card(_found(loaded, db, name, version), loaded)


@router.put(
    "/v1/models/{name}/{version}",
    max_body_size=UPLOAD_LIMIT,
    summary="Upload a model version",
    status_code=201,
    responses=problems(401, 403, 409, 413, 422) | {200: {"model": ModelCard, "description": "It is the same again."}},
    openapi_extra=UPLOAD,
)
async def put_model(
    name: Word,
    version: Word,
    request: Request,
    response: Response,
    caller: Admin,
    loaded: Annotated[Serving, Depends(serving)],
    db: Db,
) -> ModelCard:
    """Send `manifest` and `graph` as files of a form (`curl -F manifest=@manifest.json -F graph=@model.onnx`).

    It is `received` until it has proven in a process of its own that it serves, then `ready`, or `refused` with a
    reason. Nothing of it is ever run as code: a graph is data.
    """
    manifest, graph = await _upload(request)
    if (manifest.name, manifest.version) != (name, version):
        raise Problem(422, "invalid-model", "The manifest names another version than the address. Send it there.")
    outcome = await run_in_threadpool(_keep, loaded.settings, db, manifest, graph, caller.subject)
    if outcome == "other":
        raise Problem(409, "other-model", "Another model has this name and version. Versions never change: count on.")
    response.status_code = 201 if outcome == "new" else 200
    return _card(await run_in_threadpool(_found, loaded, db, name, version), loaded)


@router.patch(
    "/v1/models/{name}/{version}",
    summary="Retire a version, or take it back",
    responses=problems(401, 403, 404, 409, 422),
)
def patch_model(
    name: str, version: str, caller: Admin, body: StateChange, loaded: Annotated[Serving, Depends(serving)], db: Db
) -> ModelCard:
    """Only what is `ready` can be put in a rollout. 409 while the rollout in force uses it."""
    found = _changeable(loaded, db, name, version)

    def change(connection: Connection) -> bool:
        _refuse_if_used(connection, name, version)
        return versions.set_state(connection, name, version, State(body.state), now())

    if not db.write(change):
        raise Problem(409, "not-proven", f"This version is {found.state.value}; only a proven one can be changed.")
    return _card(_found(loaded, db, name, version), loaded)


@router.delete(
    "/v1/models/{name}/{version}",
    status_code=204,
    summary="Remove a version",
    responses=problems(401, 403, 404, 409, 422),
)
def delete_model(name: str, version: str, caller: Admin, loaded: Annotated[Serving, Depends(serving)], db: Db) -> None:
    """409 while the rollout in force uses it, and for those that the service is shipped with."""
    _changeable(loaded, db, name, version)

    def change(connection: Connection) -> bool:
        _refuse_if_used(connection, name, version)
        return versions.remove(connection, name, version)

    db.write(change)


@router.get(
    "/v1/models/{name}/{version}/artifact",
    summary="The graph of a version",
    responses=problems(401, 403, 404, 422)
    | {200: {"content": {"application/octet-stream": {}}}, 304: {"description": "The caller has it."}},
    response_class=Response,
)
def get_artifact(
    name: str, version: str, caller: Viewer, request: Request, loaded: Annotated[Serving, Depends(serving)], db: Db
) -> Response:
    """The ONNX file, with its SHA-256 as ETag: a device asks with `If-None-Match` whether it has the newest."""
    found = _found(loaded, db, name, version)
    headers = {"ETag": f'"{found.manifest.digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
    had = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if headers["ETag"] in had:
        return Response(status_code=304, headers=headers)
    with db.read() as connection:
        graph = library.graph_of(loaded.settings, connection, found)
    return Response(graph, headers=headers, media_type="application/octet-stream")


async def _upload(request: Request) -> tuple[Manifest, bytes]:
    """Return what a form holds; the caller is known by now, so strangers can't fill the disk."""
    try:
        async with request.form(max_files=2, max_fields=0) as form:
            files = {name: form.get(name) for name in ("manifest", "graph")}
            content = {name: await file.read() for name, file in files.items() if isinstance(file, UploadFile)}
    except MultiPartException as error:
        raise Problem(422, "invalid-model", f"The form can't be read: {error.message}.") from None
    if len(content) != 2 or len(content["manifest"]) > MAX_MANIFEST_BYTES:
        raise Problem(422, "invalid-model", "Send a form of two files, `manifest` (up to 1 MB) and `graph`.")
    try:
        return Manifest.model_validate_json(content["manifest"]), content["graph"]
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5])
        raise Problem(422, "invalid-model", f"The manifest is not valid: {wrong}") from None


def _keep(settings: Settings, db: Database, manifest: Manifest, graph: bytes, by: str) -> str:
    def keep(connection: Connection) -> str:
        outcome = versions.put(connection, manifest, graph, by[:200], now())
        if outcome == "new" and versions.used_bytes(connection) > settings.versions_bytes:
            raise Problem(409, "versions-full", "Uploaded versions take all the room that they may. DELETE old ones.")
        return outcome

    if not hmac.compare_digest(hashlib.sha256(graph).hexdigest(), manifest.digest):
        raise Problem(422, "invalid-model", "The graph's SHA-256 is not the manifest's `digest`. Send both again.")
    if shipped.find(settings.models, manifest.name, manifest.version) is not None:
        raise Problem(409, "other-model", "The service is shipped with this version, and it never changes. Count on.")
    return db.write(keep)


def _found(loaded: Serving, db: Database, name: str, version: str) -> library.Version:
    with db.read() as connection:
        found = library.find(loaded.settings, connection, name, version)
    if found is None:
        raise Problem(404, "not-found", "There is no such model version. /v1/models lists those that there are.")
    return found


def _changeable(loaded: Serving, db: Database, name: str, version: str) -> library.Version:
    found = _found(loaded, db, name, version)
    if found.shipped:
        raise Problem(409, "shipped", "The service is shipped with this version, which never changes.")
    return found


def _refuse_if_used(connection: Connection, name: str, version: str) -> None:
    rollouts.lock(connection)
    if rollouts.in_use(connection, name, version):
        raise Problem(409, "in-use", "The rollout in force uses this version. PUT /v1/rollout another one first.")


def _card(found: library.Version, loaded: Serving) -> ModelCard:
    card = found.manifest.model_dump(include=set(ModelCard.model_fields))
    return ModelCard.model_validate(card | _summary(found, loaded))


def _summary(found: library.Version, loaded: Serving) -> dict[str, Any]:
    manifest, champion = found.manifest, loaded.lineup.now.champion_variant
    return {
        "name": manifest.name,
        "version": manifest.version,
        "default": (manifest.name, manifest.version) == champion.key,
        "digest": manifest.digest,
        "size_bytes": found.size_bytes,
        "state": found.state.value,
        "reason": found.reason,
        "shipped": found.shipped,
        "frame_seconds": found.frame_seconds,
    }
