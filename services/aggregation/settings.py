"""Settings of aggregation: `HUELLA_AGGREGATION_<NAME>` in the environment, or `..._FILE` naming a file."""

from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.aggregation.occupancy import Rules
from shared.settings import ServiceSettings, require_strong_password


def _database_url(values: dict[str, Any]) -> str:
    return f"sqlite:///{values['data']}/aggregation/aggregation.db"


def _ingest_url(values: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{values['base_port'] + 1}"


class Settings(ServiceSettings):
    """Everything about aggregation that may differ from one shelter to the next."""

    model_config = SettingsConfigDict(env_prefix="HUELLA_AGGREGATION_")

    database_url: str = Field(
        default_factory=_database_url, description="SQLite or PostgreSQL URL; a file in the data folder by default."
    )
    port: int = Field(
        default_factory=lambda values: values["base_port"] + 3, ge=1, le=65535, description="Port of the HTTP process."
    )
    worker_metrics_port: int = Field(
        default_factory=lambda values: values["base_port"] + 13,
        ge=1,
        le=65535,
        description="Port of the worker's metrics.",
    )
    ingest_url: str = Field(
        default_factory=_ingest_url,
        validation_alias="HUELLA_INGEST_URL",
        description="The one address under which ingest is known inside the system.",
    )
    classifier_url: str = Field(
        default_factory=lambda values: f"http://127.0.0.1:{values['base_port'] + 2}",
        validation_alias="HUELLA_CLASSIFIER_URL",
        description="Where the classifier is; it is told what people say of frames.",
    )
    stale_after_s: int = Field(
        600, ge=1, le=604800, description="Seconds without evidence until a space that appeared by itself is stale."
    )
    scene_memory_s: float = Field(
        60.0, gt=0, le=3600, description="Seconds in which a camera that repeats itself says little new."
    )
    redraw_s: float = Field(
        7200.0, ge=60, le=604800, description="Seconds after which who is in a space is likely to have changed."
    )
    grace_s: int = Field(120, ge=0, le=86400, description="Seconds a species is confidently gone until its stay ends.")
    estimate_days: int = Field(400, ge=1, description="Days that estimates are kept before only their totals are.")
    change_days: int = Field(30, ge=1, description="Days that changes are kept for event streams to resume by.")
    listeners: int = Field(100, ge=1, le=150, description="Event streams that one process serves at once.")
    task_deadline_s: float = Field(30.0, gt=0, description="Seconds after which a worker whose task hangs ends itself.")
    worker_memory_mb: int = Field(512, ge=64, description="Resident megabytes at which a worker ends itself.")
    deaf_s: float = Field(30.0, gt=0, description="Seconds that messages may wait unread until a worker ends itself.")

    @field_validator("database_url")
    @classmethod
    def _strong(cls, url: str) -> str:
        return require_strong_password(url)

    @field_validator("ingest_url", "classifier_url")
    @classmethod
    def _bare(cls, url: str) -> str:
        return url.rstrip("/")

    @property
    def settle_url(self) -> str:
        """The only address that settlements are sent to."""
        return f"{self.ingest_url}/v1/settlements"

    @property
    def rules(self) -> Rules:
        """The numbers of the occupancy model."""
        return Rules(scene_memory_s=self.scene_memory_s, redraw_s=self.redraw_s, grace_s=self.grace_s)
