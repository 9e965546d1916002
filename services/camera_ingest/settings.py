"""Settings of camera_ingest. Each may be given as HUELLA_INGEST_<NAME>, a secret one as HUELLA_INGEST_<NAME>_FILE."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings, require_strong_password


def _default_port(values: dict[str, Any]) -> int:
    return int(values["base_port"]) + 1


def _default_url(values: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{values['base_port'] + 1}"


def _default_database(values: dict[str, Any]) -> str:
    return f"sqlite:///{values['data']}/camera_ingest/camera_ingest.db"


class Settings(ServiceSettings):
    """Everything that an operator can choose about camera_ingest; immutable, made once in `main.py`."""

    model_config = SettingsConfigDict(env_prefix="HUELLA_INGEST_")

    port: int = Field(default_factory=_default_port, ge=1, le=65535, description="Port; by default `HUELLA_PORT` + 1.")
    ingest_url: str = Field(
        default_factory=_default_url,
        validation_alias="HUELLA_INGEST_URL",
        pattern=r"^https?://[^/?#]+$",
        description="Origin under which the other services reach this one; by default this machine's.",
    )
    database_url: str = Field(
        default_factory=_default_database,
        description="SQLite or PostgreSQL URL; by default a file under the data folder.",
    )
    connections: int = Field(500, ge=10, description="Connections served at once; more are answered 503.")

    frame_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="Most bytes of one frame; more is answered 413.")
    frame_pixels: int = Field(40_000_000, ge=1, description="Most pixels of one frame; more is answered 422.")
    body_deadline_s: float = Field(30, gt=0, description="Time that a camera has to send a whole frame; then 408.")
    camera_timezone: str = Field(
        "UTC", description="Zone of EXIF times that don't say theirs, such as `Europe/Madrid`."
    )
    max_in_flight: int = Field(100_000, ge=1, description="Most unsettled frames kept; at that number PUT answers 503.")

    quota_bytes: int = Field(20 * 10**9, ge=10**6, description="Most bytes of image files kept.")
    free_bytes: int = Field(10**9, ge=0, description="Bytes that always stay free on the disk of the image files.")
    image_days: float = Field(30, gt=0, description="Days after which a settled frame's image file is removed.")
    row_days: float = Field(
        400, gt=0, description="Days after which a settled frame's row is removed; its counts stay."
    )
    janitor_every_s: float = Field(60, gt=0, description="Time between two rounds of the janitor.")

    chunk: int = Field(16, ge=1, le=64, description="Most frames in one message to the classifier.")
    max_chunks: int = Field(4, ge=1, description="Messages in the classifier's queue at which it counts as full.")
    window: int = Field(512, ge=1, description="Most frames that are offered and not settled at a time.")
    reoffer_after_s: float = Field(15, gt=0, description="Time from a frame's first offer to its second.")
    reoffer_every_s: float = Field(30, gt=0, description="Time between the offers after that.")

    @field_validator("database_url")
    @classmethod
    def _strong(cls, url: str) -> str:
        return require_strong_password(url)

    @field_validator("camera_timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is not a time zone that this machine knows") from None
        return name

    @property
    def images_folder(self) -> Path:
        """Folder of the image files."""
        return self.data / "camera_ingest" / "images"
