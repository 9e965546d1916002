"""The classifier's settings; see shared/settings.py for the common ones and for how they are read."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings, require_strong_password


def _port_after_base(number: int) -> Any:
    return lambda earlier: earlier["base_port"] + number


def _database_url(earlier: dict[str, Any]) -> str:
    return f"sqlite:///{earlier['data']}/image_classifier/image_classifier.db"


class Settings(ServiceSettings):
    """Settings of the classifier's two processes."""

    model_config = SettingsConfigDict(env_prefix="HUELLA_CLASSIFIER_")

    database_url: str = Field(
        default_factory=_database_url, description="SQLite or PostgreSQL URL; a file in the data folder by default."
    )

    port: int = Field(
        default_factory=_port_after_base(2), ge=1, le=65535, description="Port of the HTTP service; base port + 2."
    )
    worker_metrics_port: int = Field(
        default_factory=_port_after_base(12), ge=1, le=65535, description="Port of a worker's metrics; base port + 12."
    )
    batch_metrics_port: int = Field(
        default_factory=_port_after_base(14),
        ge=1,
        le=65535,
        description="Port of the metrics of a worker of batches; base port + 14.",
    )
    ingest_url: str = Field(
        default_factory=lambda earlier: f"http://127.0.0.1:{earlier['base_port'] + 1}",
        validation_alias="HUELLA_INGEST_URL",
        pattern=r"^https?://[^\s?#]*[^\s?#/]$",
        max_length=400,
        description="Where camera_ingest is; images are fetched from there and from nowhere else.",
    )
    models: Path = Field(
        Path(__file__).parent / "models", description="Folder of model versions: `<name>/<version>/manifest.json`."
    )
    model: str = Field("huella", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the default model.")
    version: str = Field("1", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Its version.")
    threads: int = Field(
        1, ge=1, le=64, description="Threads of one forward pass; a process is meant to use one core: add processes."
    )

    fetch_timeout_s: float = Field(10.0, gt=0, description="Longest silence of camera_ingest while images are fetched.")
    fetch_deadline_s: float = Field(30.0, gt=0, description="Longest time that fetching and decoding a chunk may take.")
    image_bytes: int = Field(
        10 * 1024 * 1024, ge=1024, description="Most bytes of one image of a chunk: no less than camera_ingest takes."
    )
    answer_deadline_s: float = Field(
        15.0,
        gt=0,
        le=120,  # under probation.YOUNG: a hang at the start counts, also where the death can not be written down
        description="A process, the HTTP service or a worker, whose model version takes longer for a forward pass ends "
        "itself; five ends within a day are too many for an uploaded version.",
    )
    task_deadline_s: float = Field(60.0, gt=0, description="A worker whose task takes longer ends itself.")
    memory_limit_bytes: int = Field(
        1_500_000_000, gt=0, description="A worker whose resident memory is larger ends itself."
    )
    deaf_s: float = Field(
        30.0, gt=0, description="A worker that consumes nothing for this long while messages wait ends itself."
    )

    body_deadline_s: float = Field(15.0, gt=0, description="Longest time in which a caller may send an image.")
    predictions_at_once: int = Field(
        32, ge=1, le=1000, description="Images held in memory at once by the HTTP service; more are answered 503."
    )
    predictors: int = Field(
        2, ge=1, le=64, description="Threads of the HTTP service that decode and predict: a core each."
    )
    batch_limit: int = Field(8, ge=1, le=64, description="Most images of one forward pass of the HTTP service.")

    batch_bytes: int = Field(
        512_000_000, ge=1_000_000, le=1_000_000_000, description="Most bytes of a batch's upload, also unpacked."
    )
    batch_deadline_s: float = Field(600.0, gt=0, description="Longest time in which a caller may send a batch.")
    batch_uploads: int = Field(4, ge=1, le=100, description="Batches received at once; more are answered 503.")
    batch_jobs: int = Field(10, ge=1, description="Unfinished batches of one client; more are answered 429.")
    batch_inputs: int = Field(10_000, ge=1000, description="Unfinished inputs of one client; more are answered 429.")
    batch_quota_bytes: int = Field(
        4_000_000_000, ge=1_000_000, description="Bytes of all unfinished batches; more are answered 429."
    )
    batch_days: int = Field(30, ge=1, description="Days that an ended batch and its results are kept.")
    batch_kept: int = Field(
        200_000,
        ge=1000,
        description="Results of ended batches that are kept, half of them of one client; then the oldest batches go.",
    )
    batch_chunk: int = Field(64, ge=1, le=256, description="Inputs that a worker takes at a time.")
    batch_bells: int = Field(
        8, ge=1, le=1000, description="Messages kept in the queue of batches while there is work: two a worker or more."
    )
    batch_lease_s: float = Field(
        20.0, ge=1, description="Time after which what a worker took and did not finish is taken by another."
    )
    batch_streams: int = Field(50, ge=1, le=150, description="Streams of progress that one process serves at once.")
    candidate_deadline_s: float = Field(
        1.0,
        gt=0,
        le=30,
        description="A candidate that is silent for so long, and three times as long as the champion takes, is late; "
        "its frames go to the champion.",
    )
    candidate_memory_bytes: int = Field(
        2_000_000_000, ge=500_000_000, description="Address space of a candidate's process, and of one that is proven."
    )
    proof_deadline_s: float = Field(
        60.0, gt=0, le=600, description="Longest time, and processor time, in which an upload must be proven."
    )
    versions_bytes: int = Field(
        1_000_000_000, ge=1, description="Most bytes of all uploaded graphs; more are answered 409."
    )
    decision_days: int = Field(14, ge=1, description="Days that each frame's decisions are kept.")
    feedback_days: int = Field(730, ge=90, description="Days that what people said of frames is kept.")
    feedback_kept: int = Field(
        500_000, ge=10_000, description="Most frames of which is kept what people said; then the oldest go."
    )

    @field_validator("database_url")
    @classmethod
    def _strong(cls, url: str) -> str:
        return require_strong_password(url)

    @property
    def scratch(self) -> Path:
        """The folder in which a batch's body lies while it is received, in files without names."""
        return self.data / "image_classifier" / "scratch"
