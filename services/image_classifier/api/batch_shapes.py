"""What the routes of batches answer with, and the parts of the service that they use."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import Row

from services.image_classifier.api.predictions import Chances
from services.image_classifier.batches import views
from services.image_classifier.batches.bell import Bell
from services.image_classifier.batches.ingest import IngestReceipts
from services.image_classifier.batches.rules import BatchState
from services.image_classifier.domain import Label, Quality
from services.image_classifier.settings import Settings
from shared.database import Database
from shared.messages import isoformat
from shared.problem import Problem

ID = "01990c9e-6f00-7000-8000-000000000000"
BATCH: dict[str, JsonValue] = {
    "id": ID,
    "state": "running",
    "total": 603,
    "done": 412,
    "failed": 2,
    "client": "cli:cli",
    "created_at": "2026-11-22T10:00:00.000000Z",
    "finished_at": None,
}
PREDICTED: dict[str, JsonValue] = {
    "number": 1,
    "input": "kennels/k1.jpg",
    "label": "cat",
    "probabilities": {"cat": 0.98, "dog": 0.01},
    "quality": "ok",
    "model": "huella",
    "version": "1",
    "error": None,
    "thumbnail": f"/v1/batches/{ID}/predictions/1/thumbnail",
}


@dataclass(frozen=True, slots=True)
class Batching:
    """The parts that batches need; `streams` bounds those that are watched.

    `uploads` bounds the bodies received at once, `uploading` counts them by client.
    """

    settings: Settings
    database: Database
    bell: Bell
    receipts: IngestReceipts
    uploads: asyncio.Semaphore
    streams: asyncio.Semaphore
    uploading: Counter[str] = field(default_factory=Counter)


async def _batching(request: Request) -> Batching:
    batching: Batching = request.app.state.batching
    return batching


Parts = Annotated[Batching, Depends(_batching)]
BatchId = Annotated[str, Path(min_length=1, max_length=36, pattern=r"^[0-9a-z-]+$", description="A batch's id.")]


class BatchCreated(BaseModel):
    """A batch that was taken; `Location` is where its progress is."""

    model_config = ConfigDict(json_schema_extra={"example": {"id": ID, "state": "queued", "total": 603}})

    id: str
    state: BatchState
    total: int


class Batch(BatchCreated):
    """What a batch is at: of `total` inputs, `done` have a prediction and `failed` an error."""

    model_config = ConfigDict(json_schema_extra={"example": BATCH})

    done: int
    failed: int
    client: str = Field(description="Who sent it: the issuer of the token, and whom it speaks for.")
    created_at: str
    finished_at: str | None


class BatchPage(BaseModel):
    """Batches, the newest first; `next` is the cursor of the next page."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [BATCH], "next": None}})

    items: list[Batch]
    next: str | None


class BatchChange(BaseModel):
    """What can be changed of a batch: it can be cancelled."""

    model_config = ConfigDict(json_schema_extra={"example": {"state": "cancelled"}}, extra="forbid")

    state: Literal["cancelled"]


class BatchPrediction(BaseModel):
    """What became of one input: a prediction, or an `error` with all else null."""

    model_config = ConfigDict(json_schema_extra={"example": PREDICTED})

    number: int = Field(description="Its place in the batch, from 1.")
    input: str = Field(description="Its name in the zip or the multipart body, or its receipt.")
    label: Label | None
    probabilities: Chances | None
    quality: Quality | None
    model: str | None
    version: str | None
    error: str | None
    thumbnail: str | None = Field(description="Where what the model saw is, as a small JPEG.")


class BatchPredictions(BaseModel):
    """Inputs that ended, in their order; `next` is the cursor of the next page."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [PREDICTED], "next": "1"}})

    items: list[BatchPrediction]
    next: str | None


def described(row: Row[Any]) -> Batch:
    """Return a batch's row as it is shown."""
    return Batch(
        id=row.id,
        state=BatchState(row.state),
        total=row.total,
        done=row.done,
        failed=row.failed,
        client=row.client,
        created_at=isoformat(row.created_at),
        finished_at=None if row.finished_at is None else isoformat(row.finished_at),
    )


def predicted(row: Row[Any]) -> BatchPrediction:
    """Return an ended input's row as it is shown."""
    return BatchPrediction(
        number=row.number,
        input=row.name,
        label=None if row.label is None else Label(row.label),
        probabilities=None if row.label is None else Chances(cat=row.cat, dog=row.dog),
        quality=None if row.quality is None else Quality(row.quality),
        model=row.model,
        version=row.version,
        error=row.error,
        thumbnail=f"/v1/batches/{row.batch_id}/predictions/{row.number}/thumbnail" if row.pictured else None,
    )


def tag(batch: Batch) -> str:
    """Return what changes whenever a batch is seen to change: its ETag, and the id of its events."""
    return f"{batch.state.value}-{batch.done}-{batch.failed}"


def find(database: Database, batch_id: str) -> Batch:
    """Return a batch. Raises Problem 404."""
    with database.read() as connection:
        row = views.find(connection, batch_id)
    if row is None:
        raise Problem(404, "unknown-batch", "There is no such batch, or it was removed. GET /v1/batches lists them.")
    return described(row)
