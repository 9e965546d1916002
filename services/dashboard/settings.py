"""Settings of the dashboard: `HUELLA_DASHBOARD_<NAME>` in the environment, or `..._FILE` naming a file."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings, require_strong_password

URL = r"^https?://[^\s?#]*[^\s?#/]$"


def _port_after_base(number: int) -> Any:
    return lambda earlier: earlier["base_port"] + number


def _url_after_base(number: int) -> Any:
    return lambda earlier: f"http://127.0.0.1:{earlier['base_port'] + number}"


def _default_database(values: dict[str, Any]) -> str:
    return f"sqlite:///{values['data']}/dashboard/dashboard.db"


class Settings(ServiceSettings):
    """Everything that an operator can choose about the page; immutable, made once in `main.py`."""

    model_config = SettingsConfigDict(env_prefix="HUELLA_DASHBOARD_")

    port: int = Field(
        default_factory=_port_after_base(0), ge=1, le=65535, description="Port; by default `HUELLA_PORT`."
    )
    ingest_url: str = Field(
        default_factory=_url_after_base(1),
        validation_alias="HUELLA_INGEST_URL",
        pattern=URL,
        description="Where camera_ingest is.",
    )
    classifier_url: str = Field(
        default_factory=_url_after_base(2),
        validation_alias="HUELLA_CLASSIFIER_URL",
        pattern=URL,
        description="Where image_classifier is.",
    )
    aggregation_url: str = Field(
        default_factory=_url_after_base(3),
        validation_alias="HUELLA_AGGREGATION_URL",
        pattern=URL,
        description="Where aggregation is.",
    )
    database_url: str = Field(
        default_factory=_default_database,
        description="SQLite or PostgreSQL URL; by default a file under the data folder.",
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s/?#]+)?$",
        description="Address under which people open the page, such as `https://huella.example.org`; with `https` the "
        "log-in cookie is sent over TLS alone. Empty: whatever address the browser used.",
    )
    cameras_url: str = Field(
        "",
        pattern=r"^(https?://[^\s/?#]+)?$",
        description="Address that cameras send to, shown with a new secret. Empty: `public_url`, else ingest's.",
    )
    time_zone: str = Field("UTC", description="Zone in which the page tells times and days, such as `Europe/Madrid`.")

    session_idle_s: float = Field(12 * 3600, gt=0, description="Time without a request after which a log-in ends.")
    session_absolute_s: float = Field(7 * 86400, gt=0, description="Time after which a log-in ends in any case.")
    invitation_s: float = Field(
        3 * 86400, gt=0, description="Time for which an invitation (and the first link) is good."
    )

    request_timeout_s: float = Field(5, gt=0, description="Time that another service has to answer.")
    listeners: int = Field(
        200, ge=1, description="Open pages that are told of changes at once; more reload by themselves."
    )
    thumbnail_bytes: int = Field(200 * 1024 * 1024, ge=0, description="Most bytes of small pictures kept on disk.")
    thumbnail_s: float = Field(
        86400, gt=0, description="Time after which a small picture is removed and made anew if asked for."
    )

    @field_validator("database_url")
    @classmethod
    def _strong(cls, url: str) -> str:
        return require_strong_password(url)

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is not a time zone that this machine knows") from None
        return name

    @property
    def folder(self) -> Path:
        """The dashboard's own folder: its database by default, small pictures, the first link."""
        return self.data / "dashboard"

    @property
    def secure(self) -> bool:
        """Whether people reach the page over TLS."""
        return self.public_url.startswith("https://")

    @property
    def origin_for_cameras(self) -> str:
        """The address that is shown to whoever sets up a camera."""
        return self.cameras_url or self.public_url or self.ingest_url
