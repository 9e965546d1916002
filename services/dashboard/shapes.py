"""What the page reads of the other services' answers; fields that it does not know are ignored."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Species = Literal["cat", "dog"]
State = Literal["available", "reserved", "adopted", "not_available"]


class Shape(BaseModel):
    """Base of every shape: immutable, tolerant of additions."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Space(Shape):
    """A space as aggregation shows it."""

    id: str
    name: str
    purpose: str = "adoption"
    stale_after_s: int = 600
    in_service: bool = True
    occupancy: str
    probability: float = 0.0
    since: datetime | None = None
    last_evidence_at: datetime | None = None
    frames: int = 0
    probabilities: dict[str, float] = {}

    @property
    def likeliest(self) -> str | None:
        """What the space most likely holds, however unsure that is."""
        return max(self.probabilities, key=self.probabilities.__getitem__, default=None)


class Stay(Shape):
    """A span in which a space held one species."""

    id: str
    space_id: str
    species: Species
    from_: datetime = Field(alias="from")
    until: datetime | None = None
    state: State
    number_of_animals: int = 1
    note: str = ""
    version: int = 0
    decided_by: str | None = None
    decided_at: datetime | None = None


class Change(Shape):
    """Something that changed; what else it says depends on its kind."""

    sequence: int
    written_at: datetime
    kind: str
    space_id: str
    occupancy: str | None = None
    species: Species | None = None
    state: str | None = None
    label: str | None = None


class Batch(Shape):
    """A batch as the classifier tells it: of `total` photos, `done` have a prediction and `failed` an error."""

    id: str
    state: str
    total: int
    done: int
    failed: int
    client: str = ""
    created_at: datetime
    finished_at: datetime | None = None

    @property
    def ended(self) -> int:
        """How many photos are through."""
        return self.done + self.failed

    @property
    def unfinished(self) -> bool:
        """Whether workers are still at it."""
        return self.state in ("queued", "running")


class BatchSent(Shape):
    """A batch that was just taken."""

    id: str


class BatchPage(Shape):
    """A page of batches."""

    items: list[Batch]
    next: str | None = None


class BatchPrediction(Shape):
    """What became of one photo of a batch."""

    number: int
    input: str
    label: str | None = None
    probabilities: dict[str, float] | None = None
    quality: str | None = None
    model: str | None = None
    version: str | None = None
    error: str | None = None
    thumbnail: str | None = None


class BatchPredictions(Shape):
    """A page of them."""

    items: list[BatchPrediction]
    next: str | None = None


class UpForAdoption(Shape):
    """Animals of open stays that are available."""

    cats: int = 0
    dogs: int = 0


class Totals(Shape):
    """The shelter in numbers."""

    up_for_adoption: UpForAdoption = UpForAdoption()
    spaces_free: int = 0


class Status(Shape):
    """The adoption status."""

    as_of: datetime
    spaces: list[Space]
    stays: list[Stay]
    totals: Totals
    changes: list[Change]


class Reviewed(Shape):
    """A frame that a person should look at, and why."""

    estimate: "Estimate"
    reasons: list[str]


class Probabilities(Shape):
    """What a model says of a photo."""

    cat: float
    dog: float


class Correction(Shape):
    """What a person said of a photo."""

    label: str
    by: str = ""
    at: datetime | None = None


class Estimate(Shape):
    """What a model version said of a frame, and what a person said of it."""

    receipt: str
    space_id: str = ""
    camera_id: str
    observed_at: datetime
    label: str
    probabilities: Probabilities
    quality: str = "ok"
    model: str = ""
    version: str = ""
    variant: str = ""
    correction: Correction | None = None


class Span(Shape):
    """A time in which a space showed one occupancy; `until` is absent while it lasts."""

    occupancy: str
    probability: float = 0.0
    from_: datetime = Field(alias="from")
    until: datetime | None = None


class Camera(Shape):
    """A camera as ingest knows it."""

    camera_id: str
    space_id: str
    created_at: datetime | None = None
    last_frame_at: datetime | None = None
    last_receipt: str | None = None
    secrets: int = 1
    authentication: str = "basic"
    mac: str | None = None
    channel: int | None = None
    secret_in_path: bool = False
    always_200: bool = False
    refused: int = 0
    last_refusal: str | None = None


class Receipt(Shape):
    """A frame's fate."""

    receipt: str
    camera_id: str
    frame_id: str = ""
    space_id: str = ""
    state: str
    reason: str | None = None
    attempts: int = 0
    received_at: datetime
    observed_at: datetime | None = None


class Audit(Shape):
    """Ingest's books."""

    accepted: int
    counted: int
    rejected: int
    in_flight: int


class Ledger(Shape):
    """How many frames of an hour one service holds, and their digest."""

    number: int
    digest: str


class HourCompared(Shape):
    """An hour in both services' books."""

    hour: datetime
    ingest: Ledger
    aggregation: Ledger
    awaiting_settlement: int = 0
    agrees: bool


class Reconciliation(Shape):
    """Whether both services' books agree."""

    agrees: bool
    hours: list[HourCompared]

    @property
    def on_the_way(self) -> bool:
        """Whether all that differs is photos that aggregation counts and is about to settle."""
        return all(hour.agrees or hour.awaiting_settlement for hour in self.hours)


class Prediction(Shape):
    """What the model says of a photo that was tried."""

    label: str
    probabilities: Probabilities
    quality: str
    model: str
    version: str


class Pipeline(Shape):
    """How frames flow: messages that wait, workers, the oldest unsettled frame, time from accepted to settled."""

    queues: dict[str, int | None] = {}
    workers: dict[str, int] | None = None
    unsettled: int = 0
    oldest_unsettled_s: float | None = None
    last_settled_at: datetime | None = None
    settle_seconds: dict[str, float] | None = None


class Retention(Shape):
    """For how long photos and what is known of them are kept."""

    image_days: float
    row_days: float


class Rollout(Shape):
    """A revision of the rollout."""

    revision: int
    strategy: str
    author: str
    reason: str
    since: datetime | None = None


class VariantReport(Shape):
    """What a version in use did."""

    model: str
    version: str
    role: str
    share: float
    decisions: int = 0
    counted: int = 0
    errors: int = 0
    late: int = 0
    agreement: float | None = None
    corrections: int = 0
    correct: int = 0
    latency_p95_seconds: float | None = None


class RolloutReport(Shape):
    """The evidence of the rollout in force, and what follows from it."""

    variants: list[VariantReport]
    reason: str


class ModelVersion(Shape):
    """A model version; `default` is the one that is trusted."""

    name: str
    version: str
    state: str = "ready"
    default: bool = False
