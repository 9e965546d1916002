"""Settings: what a process runs with when only the two of the whole system are given, and what it refuses."""

import pytest
from pydantic import ValidationError

from services.image_classifier.settings import Settings


def test_the_first_port_decides_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_PORT", "9000")
    settings = Settings()
    assert (settings.port, settings.worker_metrics_port, settings.batch_metrics_port) == (9002, 9012, 9014)
    assert settings.ingest_url == "http://127.0.0.1:9001"


def test_each_setting_of_its_own_has_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_CLASSIFIER_PORT", "7000")
    monkeypatch.setenv("HUELLA_CLASSIFIER_MODEL", "other")
    monkeypatch.setenv("HUELLA_INGEST_URL", "https://ingest.example/huella")
    settings = Settings()
    assert (settings.port, settings.model, settings.ingest_url) == (7000, "other", "https://ingest.example/huella")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HUELLA_INGEST_URL", "http://ingest:8001/"),  # receipts' URLs are made by adding a path
        ("HUELLA_INGEST_URL", "ftp://ingest"),
        ("HUELLA_CLASSIFIER_MODEL", "../keys"),
        ("HUELLA_CLASSIFIER_VERSION", ".."),
        ("HUELLA_CLASSIFIER_THREADS", "0"),
        ("HUELLA_CLASSIFIER_BATCH_LIMIT", "65"),
        ("HUELLA_CLASSIFIER_ANSWER_DEADLINE_S", "121"),  # a process that hangs is to die young (probation.YOUNG)
    ],
)
def test_a_setting_that_can_not_be_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()
