"""Settings: everything has a default that works on one machine, a description, and a place in the README."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.aggregation.settings import Settings

README = Path(__file__).parents[1] / "README.md"


def test_data_and_port_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_DATA", "/somewhere")
    monkeypatch.setenv("HUELLA_PORT", "9100")
    settings = Settings()
    assert (settings.port, settings.worker_metrics_port) == (9103, 9113)
    assert settings.database_url == "sqlite:////somewhere/aggregation/aggregation.db"
    assert settings.settle_url == "http://127.0.0.1:9101/v1/settlements"


def test_another_address_of_ingest_is_the_only_one_that_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_INGEST_URL", "http://ingest:8001/")
    assert Settings().settle_url == "http://ingest:8001/v1/settlements"


def test_a_weak_password_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_AGGREGATION_DATABASE_URL", "postgresql://huella:short@database/aggregation")
    with pytest.raises(ValidationError, match="under 16 characters"):
        Settings()


def test_every_setting_is_described_and_documented() -> None:
    readme = README.read_text()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        alias = field.validation_alias
        assert (alias if isinstance(alias, str) else f"HUELLA_AGGREGATION_{name.upper()}") in readme
