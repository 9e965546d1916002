"""Settings come from the environment or from files, and a weak password stops the start."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings, require_strong_password


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="HUELLA_TEST_")

    secret: str = Field("", description="A secret.")
    size: int = Field(3, ge=1, description="A size.")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HUELLA_DATA", "HUELLA_PORT", "HUELLA_REDIS_URL", "HUELLA_KEYS", "HUELLA_HOST", "HUELLA_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults_need_nothing_and_listen_on_loopback() -> None:
    settings = Settings()
    assert (settings.host, settings.base_port, settings.data) == ("127.0.0.1", 8000, Path(".huella"))
    assert settings.keys_folder == Path(".huella/keys")


def test_environment_sets_common_and_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_PORT", "9100")
    monkeypatch.setenv("HUELLA_TEST_SIZE", "5")
    monkeypatch.setenv("HUELLA_KEYS", "elsewhere")
    settings = Settings()
    assert (settings.base_port, settings.size, settings.keys_folder) == (9100, 5, Path("elsewhere"))


@pytest.mark.parametrize("name", ["HUELLA_TEST_SECRET", "HUELLA_REDIS_URL"])
def test_a_file_holds_a_secret_and_wins(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv(name, "from the environment")
    settings = Settings()
    assert (settings.secret if name.endswith("SECRET") else settings.redis_url) == "from the file"


def test_a_file_that_is_not_there_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_TEST_SECRET_FILE", "nowhere")
    with pytest.raises(FileNotFoundError):
        Settings()


def test_settings_are_checked_and_never_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError):
        Settings().size = 4  # type: ignore[misc]  # that it can't be done is what is proven
    monkeypatch.setenv("HUELLA_TEST_SIZE", "0")
    with pytest.raises(ValidationError):
        Settings()


def test_the_broker_of_this_machine_is_found_by_its_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUELLA_DATA", str(tmp_path))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "redis").write_text("word\n")
    assert Settings().broker_url == "redis://:word@127.0.0.1:8004/0"


def test_a_weak_broker_password_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_REDIS_URL", "redis://:short@queue.example/0")
    with pytest.raises(ValueError, match=r"queue\.example"):
        _ = Settings().broker_url


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("sqlite:////somewhere/a.db", True),
        ("redis://:x@127.0.0.1:1/0", True),
        ("redis://localhost:1/0", True),
        ("redis://[::1]:1/0", True),
        ("postgresql://u:sixteen-letters!@db/huella", True),
        ("postgresql://u:fifteen-letters@db/huella", False),
        ("postgresql://u@db/huella", False),
        ("redis://10.0.0.9/0", False),
        ("redis://127.0.0.1.example/0", False),
    ],
)
def test_passwords_to_other_machines_are_long(url: str, taken: bool) -> None:
    if taken:
        assert require_strong_password(url) == url
    else:
        with pytest.raises(ValueError, match="under 16 characters") as refused:
            require_strong_password(url)
        assert "letters" not in str(refused.value)
