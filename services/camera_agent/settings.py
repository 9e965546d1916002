"""Where and how the agent runs, each as HUELLA_AGENT_<NAME>; which cameras there are is in its YAML file."""

from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


def _default_port(values: dict[str, Any]) -> int:
    return int(values["base_port"]) + 5


class Settings(ServiceSettings):
    """Everything that an operator can choose about the agent's process; immutable, made once in `main.py`."""

    model_config = SettingsConfigDict(env_prefix="HUELLA_AGENT_")

    port: int = Field(
        default_factory=_default_port,
        ge=1,
        le=65535,
        description="Port of health and metrics; by default `HUELLA_PORT` + 5.",
    )

    @property
    def folder(self) -> Path:
        """Where frames wait for ingest, and what sources remember."""
        return self.data / "camera_agent"
