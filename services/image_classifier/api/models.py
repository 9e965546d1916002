"""`/v1/models`: the model versions that there are, and the card of each."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, JsonValue

from services.image_classifier import shipped
from services.image_classifier.api.predictions import serving
from services.image_classifier.api.problems import problems
from services.image_classifier.model_version import Calibration, ManifestThresholds, Priors
from services.image_classifier.serving import Serving
from services.image_classifier.settings import Settings
from shared.auth import Viewer
from shared.problem import Problem

router = APIRouter(tags=["models"])

SUMMARY: dict[str, JsonValue] = {
    "name": "huella",
    "version": "1",
    "default": True,
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "size_bytes": 6153000,
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
    """One model version; `digest` is the SHA-256 of its graph, `default` says whether it is the one in use."""

    model_config = ConfigDict(json_schema_extra={"example": SUMMARY})

    name: str
    version: str
    default: bool
    digest: str
    size_bytes: int


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


class ModelPage(BaseModel):
    """A page of model versions; `next` is the cursor of the page after it, null at the end."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [SUMMARY], "next": "huella/1"}})

    items: list[ModelSummary]
    next: str | None


@router.get("/v1/models", summary="List the model versions", responses=problems(401, 403, 422))
def list_models(
    caller: Viewer,
    loaded: Annotated[Serving, Depends(serving)],
    limit: Annotated[int, Query(ge=1, le=200, description="Most items of a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
) -> ModelPage:
    """In the order of name and version."""
    versions = list(shipped.every(loaded.settings.models))
    keys = [f"{version.manifest.name}/{version.manifest.version}" for version in versions]
    start = next((n for n, key in enumerate(keys) if cursor is None or key > cursor), len(keys))
    items = [ModelSummary(**_summary(version, loaded.settings)) for version in versions[start : start + limit]]
    more = start + limit < len(versions)
    return ModelPage(items=items, next=keys[start + limit - 1] if more else None)


@router.get(
    "/v1/models/{name}/{version}", summary="The card of a model version", responses=problems(401, 403, 404, 422)
)
def get_model(name: str, version: str, caller: Viewer, loaded: Annotated[Serving, Depends(serving)]) -> ModelCard:
    """What it was trained and measured on, its thresholds, priors, digest and size."""
    found = shipped.find(loaded.settings.models, name, version)
    if found is None:
        raise Problem(404, "not-found", "There is no such model version. /v1/models lists those that there are.")
    card = found.manifest.model_dump(include=set(ModelCard.model_fields))
    return ModelCard.model_validate(card | _summary(found, loaded.settings))


def _summary(found: shipped.StoredVersion, settings: Settings) -> dict[str, str | int | bool]:
    manifest = found.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "default": (manifest.name, manifest.version) == (settings.model, settings.version),
        "digest": manifest.digest,
        "size_bytes": found.size_bytes,
    }
