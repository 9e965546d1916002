"""What the documents name exists, and the settings that exist are named."""

import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deploy.local.system import PROGRAMS, REPOSITORY
from shared.settings import ServiceSettings
from tests.contract.export import SERVICES, contracts

SUFFIXES = ("", "_total", "_bucket", "_count", "_sum", "_created")
# Where other variables of the environment get their meaning: the stack's own files and the Makefile.
CONFIGURATION = {".yml", ".yaml", ".sh", ".template", ".conf", ".example", ""}


def tracked() -> list[Path]:
    """Return the files that belong to the repository; all of them where there is no git."""
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return [path for path in REPOSITORY.rglob("*") if path.is_file() and ".venv" not in path.parts]
    return [path for name in listed.stdout.splitlines() if (path := REPOSITORY / name).is_file()]


FILES = tracked()
DOCUMENTS = [path for path in FILES if path.suffix == ".md"]
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))


def settings_of(service: str) -> Iterator[str]:
    """Give the environment's name of each setting that is this service's own."""
    settings = import_module(f"services.{service}.settings").Settings
    for name, field in settings.model_fields.items():
        if name not in ServiceSettings.model_fields:
            alias = field.validation_alias
            yield alias if isinstance(alias, str) else f"{settings.model_config['env_prefix']}{name}".upper()


def known_settings() -> set[str]:
    common = {str(field.validation_alias) for field in ServiceSettings.model_fields.values()}
    settings = common.union(
        *(settings_of(path.parent.name) for path in FILES if path.name == "settings.py" and is_service(path))
    )
    elsewhere = [path for path in FILES if path.suffix in CONFIGURATION]
    named = {name for path in elsewhere for name in re.findall(r"HUELLA_\w+", path.read_text(errors="ignore"))}
    return settings | {f"{name}_FILE" for name in settings} | named


def is_service(path: Path) -> bool:
    return path.parent.parent.name == "services"


def known_metrics() -> set[str]:
    for module in (*(program.module for program in PROGRAMS), "services.camera_agent.main"):
        import_module(module)
    return {family.name + suffix for family in REGISTRY.collect() for suffix in SUFFIXES}


ROUTES = {
    route for path, document in contracts().items() if path.endswith("openapi.json") for route in document["paths"]
}
ROUTE = re.compile("|".join(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route)) for route in ROUTES))


@every_document
def test_each_setting_that_a_document_names_exists(path: Path) -> None:
    named = {name for name in re.findall(r"\bHUELLA_[A-Z0-9_]+\b", path.read_text()) if not name.endswith("_")}
    assert named - known_settings() == set()


@every_document
def test_each_route_that_a_document_names_exists(path: Path) -> None:
    named = {name.rstrip(".,:;") for name in re.findall(r"/v1/[\w/{}.$:-]+", path.read_text())}
    assert {name for name in named if not ROUTE.fullmatch(name)} == set()


@every_document
def test_each_metric_that_a_document_names_exists(path: Path) -> None:
    named = set(re.findall(r"\bhuella_[a-z0-9_]+_(?:total|seconds|bytes|frames|flight|pending)\b", path.read_text()))
    assert named - known_metrics() == set()


@pytest.mark.parametrize("service", SERVICES)
def test_each_setting_is_named_by_its_services_page(service: str) -> None:
    page = (REPOSITORY / "services" / service / "README.md").read_text()
    assert [name for name in settings_of(service) if name not in page] == []
