"""The model versions that come with the service: folders `<name>/<version>/` with `model.onnx` and `manifest.json`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from services.image_classifier.model_version import InvalidModelVersion, Manifest, ModelVersion, Watch, read_manifest
from services.image_classifier.settings import Settings

log = structlog.get_logger(__name__)

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A model version on disk; `size_bytes` is that of its graph."""

    manifest: Manifest
    size_bytes: int


def load_default(settings: Settings, watch: Watch) -> ModelVersion:
    """Load the model version that the settings name, ready to serve. Raises InvalidModelVersion."""
    return ModelVersion.load(settings.models / settings.model / settings.version, settings.threads, watch)


def find(models: Path, name: str, version: str) -> StoredVersion | None:
    """Return one stored version, or None if there is none of that name and version that could serve."""
    if not (NAME.fullmatch(name) and NAME.fullmatch(version)):
        return None
    folder = models / name / version
    if not folder.is_dir():
        return None
    try:
        stored = StoredVersion(read_manifest(folder), (folder / "model.onnx").stat().st_size)
    except (InvalidModelVersion, OSError) as error:
        log.warning("a model version can't be read", model=name, version=version, error=str(error)[:300])
        return None
    if (stored.manifest.name, stored.manifest.version) != (name, version):
        log.warning("a model version is in another's folder", model=name, version=version)
        return None
    return stored


def every(models: Path) -> Iterator[StoredVersion]:
    """Give every stored version that could serve, in the order of name and version."""
    for path in sorted(models.glob("*/*/manifest.json"), key=lambda path: path.parts[-3:-1]):
        stored = find(models, path.parts[-3], path.parts[-2])
        if stored is not None:
            yield stored
