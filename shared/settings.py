"""The settings that every service has, and how settings are read.

A setting comes from the environment (`HUELLA_REDIS_URL`) or, for secrets, from a file that the environment names
(`HUELLA_REDIS_URL_FILE`). A service's own settings carry its own prefix (`HUELLA_INGEST_...`).
"""

import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

WEAKEST_PASSWORD = 16
LOOPBACK = {None, "", "localhost", "127.0.0.1", "::1"}


class FileSource(PydanticBaseSettingsSource):
    """Reads a setting from the file that `<NAME>_FILE` names; a file that can't be read stops the start."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        alias = field.validation_alias
        name = alias if isinstance(alias, str) else f"{self.config.get('env_prefix', '')}{field_name}"
        path = os.environ.get(f"{name.upper()}_FILE")
        return (
            (Path(path).read_text().strip() if path else None),
            alias if isinstance(alias, str) else field_name,
            False,
        )

    def __call__(self) -> dict[str, Any]:
        values = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                values[key] = value
        return values


class ServiceSettings(BaseSettings):
    """Base of each service's settings; immutable, made once in `main.py` and passed on."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    data: Path = Field(
        Path(".huella"), validation_alias="HUELLA_DATA", description="Folder of everything that is kept."
    )
    base_port: int = Field(
        8000, ge=1, le=65000, validation_alias="HUELLA_PORT", description="First of the system's ports on one machine."
    )
    redis_url: str = Field(
        "", validation_alias="HUELLA_REDIS_URL", description="Broker; by default the one of `make up`."
    )
    keys: Path | None = Field(
        None,
        validation_alias="HUELLA_KEYS",
        description="Folder of keys: `private/` and `trusted/`; default `<data>/keys`.",
    )
    host: str = Field("127.0.0.1", validation_alias="HUELLA_HOST", description="Address that the service listens on.")
    log_format: Literal["json", "console"] = Field(
        "json", validation_alias="HUELLA_LOG_FORMAT", description="`json` for machines, `console` for people."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="HUELLA_LOG_LEVEL", description="Least level that is logged."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, FileSource(settings_cls), env_settings

    @property
    def keys_folder(self) -> Path:
        return self.keys or self.data / "keys"

    @property
    def broker_url(self) -> str:
        """The broker's URL; without a setting, the Redis that `make up` runs on the fifth port.

        Raises ValueError if the password is weak and the broker is not on this machine.
        """
        if self.redis_url:
            return require_strong_password(self.redis_url)
        password = (self.data / "secrets" / "redis").read_text().strip()
        return f"redis://:{password}@127.0.0.1:{self.base_port + 4}/0"


def require_strong_password(url: str) -> str:
    """Return `url` unless it reaches another machine with a missing or short password (under 16 characters).

    Raises ValueError that names the host and never the password.
    """
    parts = urlsplit(url)
    if parts.scheme.startswith("sqlite") or parts.hostname in LOOPBACK:
        return url
    if len(parts.password or "") < WEAKEST_PASSWORD:
        raise ValueError(f"The password for {parts.scheme}://{parts.hostname} has under {WEAKEST_PASSWORD} characters.")
    return url
