"""The two messages that services exchange over the queue.

A message is JSON, validated when written and when read. Within a schema number fields are only added, with a
default; readers ignore what they don't know, so writer and reader may be of different age.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

SCHEMA: Literal[1] = 1
CHUNK_LIMIT = 64

Receipt = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Reason = Annotated[str, Field(min_length=1, max_length=200)]


class Message(BaseModel):
    """Base of every message and of its parts: immutable, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class FrameToClassify(Message):
    """One frame of a chunk: `receipt` is its only key, `sha256` the digest of the bytes as the camera sent them."""

    receipt: Receipt
    camera_id: Identifier
    space_id: Identifier
    observed_at: AwareDatetime
    sha256: Digest


class ClassifyFrames(Message):
    """A chunk of frames that `camera_ingest` offers; the bytes are fetched from `images_url` in one request."""

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    chunk: Identifier
    offered_at: AwareDatetime
    images_url: Annotated[str, Field(max_length=500)]
    frames: Annotated[list[FrameToClassify], Field(min_length=1, max_length=CHUNK_LIMIT)]
    traceparent: Annotated[str, Field(max_length=64)] | None = None


class SpeciesProbabilities(Message):
    """Calibrated probabilities of a cat and of a dog being in the picture, independent of each other."""

    cat: Probability
    dog: Probability


class EstimateResult(Message):
    """What a model version says of a frame; `prior` is what the probabilities were calibrated on, `revision` that of
    the rollout which chose the version (0: nobody chose)."""

    outcome: Literal["estimate"]
    receipt: Receipt
    camera_id: Identifier
    space_id: Identifier
    observed_at: AwareDatetime
    sha256: Digest
    probabilities: SpeciesProbabilities
    prior: SpeciesProbabilities
    label: Literal["cat", "dog", "both", "none", "unsure"]
    quality: Annotated[str, Field(max_length=32)]
    model: Identifier
    version: Identifier
    variant: Identifier
    revision: Annotated[int, Field(ge=0)] = 0


class RejectedResult(Message):
    """A frame that can never be estimated (say, bytes that don't decode)."""

    outcome: Literal["rejected"]
    receipt: Receipt
    reason: Reason


class RetryResult(Message):
    """A frame that could not be estimated this time; ingest will offer it again by itself."""

    outcome: Literal["retry"]
    receipt: Receipt
    reason: Reason


Result = Annotated[EstimateResult | RejectedResult | RetryResult, Field(discriminator="outcome")]


class RecordEstimates(Message):
    """The results of one chunk, every frame listed, for `aggregation` to count and then to settle at `settle_url`."""

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    chunk: Identifier
    settle_url: Annotated[str, Field(max_length=500)]
    results: Annotated[list[Result], Field(min_length=1, max_length=CHUNK_LIMIT)]
    traceparent: Annotated[str, Field(max_length=64)] | None = None


MESSAGES: dict[str, type[ClassifyFrames] | type[RecordEstimates]] = {
    "classify_frames": ClassifyFrames,
    "record_estimates": RecordEstimates,
}


def to_wire(message: ClassifyFrames | RecordEstimates) -> dict[str, object]:
    """Return the message as plain JSON values, times as RFC 3339 in UTC."""
    return message.model_dump(mode="json", by_alias=True, exclude_none=True)


def isoformat(moment: datetime) -> str:
    """Return an aware time as RFC 3339 UTC with `Z` and microseconds, as every answer and message writes it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
