"""`/v1/feedback`: what people say of frames comes in from aggregation; quality, drift and a training set go out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from threading import BoundedSemaphore
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.image_classifier.api.database import Db
from services.image_classifier.api.problems import problems
from services.image_classifier.images import FetchFailed
from services.image_classifier.rollout import feedback
from services.image_classifier.rollout.export import Fetch, path_of, tarred
from services.image_classifier.rollout.store import WHOLE
from shared.auth import Aggregation, Viewer
from shared.database import EPOCH, microseconds, now
from shared.messages import Identifier, Probability, Receipt, isoformat
from shared.problem import Problem, unavailable

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1/feedback", tags=["feedback"])

EXPORTS = 2

BULK = 500
BIAS = (
    "People look at what strikes them, at what the model was unsure of, and at cameras that they know: these frames "
    "are not a fair sample, and the accuracy over all frames is likely to be higher."
)


@dataclass(frozen=True)
class Photos:
    """Where an export gets its photos, for a bounded number of exports at once."""

    fetch: Fetch
    places: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(EXPORTS))


class CountedEstimate(BaseModel):
    """What had been counted of the frame when the person looked at it."""

    label: Literal["cat", "dog", "both", "none", "unsure"]
    quality: Annotated[str, Field(max_length=32)]
    cat: Probability
    dog: Probability
    model: Identifier
    version: Identifier
    variant: Identifier
    revision: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class CorrectionOfFrame(BaseModel):
    """A person's word on a frame; a null label takes it back."""

    receipt: Receipt
    label: Literal["cat", "dog", "both", "none", "unsure"] | None
    by: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
    at: AwareDatetime
    camera_id: Identifier
    space_id: Identifier
    observed_at: AwareDatetime
    estimate: CountedEstimate


class Counted(BaseModel):
    """How many estimates of a version aggregation has counted since ever; numbers only grow.

    `stripe` is 1000000 for all its processes together, and lower for one of them, as earlier versions tell it: where
    the whole is told, the parts do not count.
    """

    revision: Annotated[int, Field(ge=0, le=2**31 - 1)]
    model: Identifier
    version: Identifier
    variant: Identifier
    stripe: Annotated[int, Field(ge=0, le=WHOLE)]
    number: Annotated[int, Field(ge=0)]


class Feedback(BaseModel):
    """A delivery; the same one twice changes nothing."""

    model_config = ConfigDict(json_schema_extra={"example": {"corrections": [], "counted": []}})

    corrections: Annotated[list[CorrectionOfFrame], Field(max_length=BULK)] = []
    counted: Annotated[list[Counted], Field(max_length=BULK)] = []


class Taken(BaseModel):
    """How much is durable now."""

    model_config = ConfigDict(json_schema_extra={"example": {"corrections": 1, "counted": 0}})

    corrections: int
    counted: int


class Quality(BaseModel):
    """Accuracy and calibration on the frames that people judged; `bias` says what that sample is not."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"frames": 0, "confirmed": 0, "by": {}, "calibration": [], "bias": BIAS}}
    )

    frames: int
    confirmed: int
    by: dict[str, list[dict[str, Any]]]
    calibration: list[dict[str, float]]
    bias: str


class Drift(BaseModel):
    """Cameras whose scores (`cat`, `dog`) or pictures (`brightness`, `contrast`) moved: the last day and the week
    before in ten bins, and their population stability index (over 0.25 is an alarm)."""

    model_config = ConfigDict(json_schema_extra={"example": {"alarms": []}})

    alarms: list[dict[str, Any]]


class Labelled(BaseModel):
    """A frame of the training set: `path` is where `make train` looks for its photo, `receipt` where ingest has it."""

    path: str
    label: str
    receipt: str
    camera_id: str
    observed_at: str


class LabelledPage(BaseModel):
    """A page of the training set; `next` is the cursor of the page after it, null at the end."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [], "next": "3"}})

    items: list[Labelled]
    next: str | None


@router.post("", max_body_size=1024 * 1024, responses=problems(401, 403, 413, 422), summary="Take what people say")
def post_feedback(caller: Aggregation, body: Feedback, db: Db) -> Taken:
    """Aggregation delivers corrections until this answers; the newest word on a receipt is believed."""
    arrived = now()
    corrections = [_row(one, arrived) for one in body.corrections]
    counted = [one.model_dump() for one in body.counted]
    db.write(lambda connection: feedback.take(connection, corrections, counted))
    return Taken(corrections=len(corrections), counted=len(counted))


@router.get("/quality", responses=problems(401, 403, 422), summary="How good the estimates were")
def get_quality(caller: Viewer, db: Db, days: Annotated[int, Query(ge=1, le=90)] = 30) -> Quality:
    """On what people judged in the last days, by version, camera and hour of the day."""
    with db.read() as connection:
        found = feedback.quality(connection, now() - timedelta(days=days))
    return Quality(**found, bias=BIAS)


@router.get("/drift", responses=problems(401, 403, 422), summary="Which cameras have changed")
def get_drift(caller: Viewer, db: Db) -> Drift:
    """The last day against the week before, for cameras with 200 frames in each."""
    with db.read() as connection:
        return Drift(alarms=feedback.drift(connection, now()))


@router.get(
    "/export",
    response_model=LabelledPage,
    responses=problems(401, 403, 422, 503)
    | {200: {"content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}}},
    summary="A training set",
)
def export(
    caller: Viewer,
    db: Db,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most items of a page.")] = 200,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
    format: Annotated[Literal["json", "tar"], Query(description="A list, or the photos themselves.")] = "json",
) -> Any:
    """Corrected frames in the order in which people said so. A tar has their photos where `make train` reads them,
    `<label>/<receipt>.jpg`, but those that are no longer kept; its header `Link` has the address of the next page."""
    with db.read() as connection:
        rows = feedback.labelled(connection, _place(cursor), limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = f"{microseconds(last['at'])}.{last['receipt']}" if last else None
    if format == "tar":
        headers = {}
        if following:
            headers["Link"] = f'<{request.url.path}?format=tar&limit={limit}&cursor={following}>; rel="next"'
        pieces = _begun(request.app.state.photos, [(row["receipt"], row["label"]) for row in rows[:limit]])
        return StreamingResponse(pieces, headers=headers, media_type="application/x-tar")
    items = [
        Labelled(
            path=path_of(row["label"], row["receipt"]),
            label=row["label"],
            receipt=row["receipt"],
            camera_id=row["camera_id"],
            observed_at=isoformat(row["observed_at"]),
        )
        for row in rows[:limit]
    ]
    return LabelledPage(items=items, next=following)


def _begun(photos: Photos, labels: list[tuple[str, str]]) -> Iterator[bytes]:
    """Return the pieces of a tar whose first photos are there, so that a failure to get them is still told."""
    if not photos.places.acquire(blocking=False):
        raise unavailable("Two exports run already. Send it again when one has ended.", 30)
    pieces = _placed(photos, labels)
    try:
        return chain([next(pieces)], pieces)
    except FetchFailed as error:
        log.warning("photos can't be had from camera_ingest", error=str(error))
        raise unavailable("camera_ingest does not give its photos just now. Send it again later.", 10) from None


def _placed(photos: Photos, labels: list[tuple[str, str]]) -> Iterator[bytes]:
    try:
        yield from tarred(labels, photos.fetch)
    finally:
        photos.places.release()


def _place(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    moment, _, receipt = cursor.partition(".")
    if not (moment.isascii() and moment.isdigit() and len(moment) < 18 and receipt.isprintable()):
        raise Problem(422, "bad-cursor", "`cursor` is not one that we gave. Leave it out to begin again.")
    return EPOCH + timedelta(microseconds=int(moment)), receipt


def _row(one: CorrectionOfFrame, arrived: datetime) -> dict[str, Any]:
    said = one.estimate
    return {
        "receipt": one.receipt,
        "label": one.label,
        "by": one.by,
        "at": one.at,
        "received_at": arrived,
        "camera_id": one.camera_id,
        "space_id": one.space_id,
        "observed_at": one.observed_at,
        "revision": said.revision,
        "model": said.model,
        "version": said.version,
        "variant": said.variant,
        "estimate": said.label,
        "quality": said.quality,
        "cat": said.cat,
        "dog": said.dog,
    }
