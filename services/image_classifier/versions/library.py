"""Every model version that there is, shipped or uploaded, behind one door."""

from dataclasses import dataclass

from sqlalchemy import Connection

from services.image_classifier import shipped
from services.image_classifier.model_version import InvalidModelVersion, Manifest, read_graph
from services.image_classifier.settings import Settings
from services.image_classifier.versions import store
from services.image_classifier.versions.store import State


@dataclass(frozen=True, slots=True)
class Version:
    """A model version as people see it; shipped ones are always ready and are never changed."""

    manifest: Manifest
    size_bytes: int
    state: State
    reason: str
    shipped: bool
    frame_seconds: float | None = None


def find(settings: Settings, connection: Connection, name: str, version: str) -> Version | None:
    """Return a version, or None. Shipped ones hide uploaded ones, which can't be made under their names."""
    if not (shipped.NAME.fullmatch(name) and shipped.NAME.fullmatch(version)):
        return None  # no version can have it, and not every database takes every text
    found = shipped.find(settings.models, name, version)
    if found is not None:
        return Version(found.manifest, found.size_bytes, State.READY, "", shipped=True)
    uploaded = store.find(connection, name, version)
    return None if uploaded is None else _seen(uploaded)


def every(settings: Settings, connection: Connection) -> list[Version]:
    """Return all versions in the order of name and version."""
    found = {
        (one.manifest.name, one.manifest.version): Version(one.manifest, one.size_bytes, State.READY, "", shipped=True)
        for one in shipped.every(settings.models)
    }
    for uploaded in store.every(connection):
        found.setdefault((uploaded.manifest.name, uploaded.manifest.version), _seen(uploaded))
    return [found[key] for key in sorted(found)]


def graph_of(settings: Settings, connection: Connection, version: Version) -> bytes:
    """Return the bytes of a version's graph. Raises InvalidModelVersion if they are gone."""
    manifest = version.manifest
    if version.shipped:
        return read_graph(settings.models / manifest.name / manifest.version)
    content = store.graph(connection, manifest.digest)
    if content is None:
        raise InvalidModelVersion(f"the graph of {manifest.name}/{manifest.version} is gone")
    return content


def _seen(one: store.Uploaded) -> Version:
    return Version(one.manifest, one.size_bytes, one.state, one.reason, shipped=False, frame_seconds=one.frame_seconds)
