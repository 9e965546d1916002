"""The shapes that this service takes and gives; fields may be added, these stay."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.aggregation.domain import AdoptionState, Label, Occupancy, Purpose, Species
from services.aggregation.reviews import Reason

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
# PostgreSQL keeps no NUL in text.
Note = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]


class SpaceDescription(BaseModel):
    """What an admin says of a space."""

    model_config = ConfigDict(extra="forbid", use_enum_values=True)

    name: Annotated[Name, Field(pattern=r"^[^\x00-\x1f]*$")]
    purpose: Purpose = Purpose.ADOPTION
    stale_after_s: Annotated[int, Field(ge=1, le=604800)] = 600
    in_service: bool = True


class SpaceChange(BaseModel):
    """What an operator says of a space."""

    model_config = ConfigDict(extra="forbid")

    in_service: bool


class Space(BaseModel):
    """A space and what is believed of it; for `unsure` and `stale`, `probability` is that of the likeliest state."""

    id: str
    name: str
    purpose: Purpose
    occupancy: Occupancy
    probability: float
    since: str
    last_evidence_at: str | None
    last_frame_at: str | None
    frames: int
    stale_after_s: int
    in_service: bool
    probabilities: dict[str, float]


class Stay(BaseModel):
    """A span in which a space held one species; `until` is null while it goes on."""

    id: str
    space_id: str
    species: Species
    from_: str = Field(alias="from")
    until: str | None
    state: AdoptionState
    number_of_animals: int
    note: str
    version: int
    decided_by: str | None
    decided_at: str | None


class SpaceWithStays(Space):
    """A space with its open stays."""

    stays: list[Stay]


class SpacePage(BaseModel):
    """A page of spaces."""

    items: list[Space]
    next: str | None


class StayPage(BaseModel):
    """A page of stays."""

    items: list[Stay]
    next: str | None


class StayDecision(BaseModel):
    """What an operator decides of a stay; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", use_enum_values=True)

    state: AdoptionState | None = None
    number_of_animals: Annotated[int, Field(ge=1, le=1000)] | None = None
    note: Note | None = None


class Correction(BaseModel):
    """What a person says of a frame, who, and when."""

    label: Label
    by: str
    at: str


class PastCorrection(BaseModel):
    """What a person once said of a frame; no label means that the correction was undone."""

    label: Label | None
    by: str
    at: str


class CorrectionOfFrame(BaseModel):
    """The correction of a frame, null if there is none, and what was said before, newest first."""

    receipt: str
    correction: Correction | None
    history: list[PastCorrection]


class CorrectionRequest(BaseModel):
    """What an operator sees in a frame."""

    model_config = ConfigDict(extra="forbid")

    label: Label


class Probabilities(BaseModel):
    """Calibrated probabilities, independent of each other."""

    cat: float
    dog: float


class Estimate(BaseModel):
    """What a model version said of a frame; `late` frames came after the horizon and never changed the present."""

    receipt: str
    space_id: str
    camera_id: str
    observed_at: str
    recorded_at: str
    label: str
    probabilities: Probabilities
    quality: str
    model: str
    version: str
    variant: str
    late: bool
    correction: Correction | None


class EstimatePage(BaseModel):
    """A page of estimates."""

    items: list[Estimate]
    next: str | None


class Review(BaseModel):
    """A frame that a person should look at, and why."""

    estimate: Estimate
    reasons: list[Reason]


class ReviewPage(BaseModel):
    """A page of frames to look at."""

    items: list[Review]
    next: str | None


class Span(BaseModel):
    """A span of time in which one occupancy was shown."""

    occupancy: Occupancy
    from_: str = Field(alias="from")
    until: str | None
    probability: float


class SpanPage(BaseModel):
    """A page of spans."""

    items: list[Span]
    next: str | None


class UpForAdoption(BaseModel):
    """Animals of open stays that people made available, in spaces in service."""

    cats: int
    dogs: int


class Totals(BaseModel):
    """Spaces in service by occupancy, and what that means for adoption."""

    cat: int
    dog: int
    both: int
    empty: int
    unsure: int
    stale: int
    up_for_adoption: UpForAdoption
    spaces_free: int


class Change(BaseModel):
    """One change, with further fields by its kind."""

    model_config = ConfigDict(extra="allow")

    sequence: int
    written_at: str
    kind: Literal[
        "occupancy",
        "space",
        "correction",
        "stay_opened",
        "stay_added",
        "stay_closed",
        "stay_revised",
        "stay_withdrawn",
        "stay_decided",
    ]
    space_id: str


class AdoptionStatus(BaseModel):
    """The whole shelter at one moment."""

    as_of: str
    spaces: list[Space]
    stays: list[Stay]
    totals: Totals
    changes: list[Change]


class LedgerHour(BaseModel):
    """How many receipts of an hour a ledger counts, and their digest."""

    number: int
    digest: str


class ReconciledHour(BaseModel):
    """One hour in both ledgers."""

    hour: str
    ingest: LedgerHour
    aggregation: LedgerHour
    awaiting_settlement: int
    agrees: bool


class Reconciliation(BaseModel):
    """Whether both ledgers hold the same receipts, hour by hour."""

    agrees: bool
    hours: list[ReconciledHour]
