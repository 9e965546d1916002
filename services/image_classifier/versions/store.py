"""Uploaded model versions in the database; each function runs inside one transaction and takes the connection first."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.image_classifier.model_version import Manifest
from services.image_classifier.tables import graphs, versions

ATTEMPTS = 3
ROW_BYTES = 10_000
"""What a version counts beside its graph and manifest: no number of tiny ones is free."""


class State(StrEnum):
    """`received` is not proven yet; only what is `ready` may be in a rollout."""

    RECEIVED = "received"
    READY = "ready"
    REFUSED = "refused"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An uploaded version; `frame_seconds` is what a frame took when it was proven, None before."""

    manifest: Manifest
    size_bytes: int
    state: State
    reason: str
    frame_seconds: float | None
    uploaded_by: str
    uploaded_at: datetime


def _uploaded(row: RowMapping) -> Uploaded:
    return Uploaded(
        Manifest.model_validate_json(row["manifest"]),
        row["size_bytes"],
        State(row["state"]),
        row["reason"],
        row["frame_seconds"],
        row["uploaded_by"],
        row["uploaded_at"],
    )


def _written(manifest: Manifest) -> str:
    return manifest.model_dump_json(by_alias=True)


def _here(name: str, version: str) -> Any:
    return (versions.c.name == name) & (versions.c.version == version)


def find(connection: Connection, name: str, version: str) -> Uploaded | None:
    """Return an uploaded version, or None."""
    row = connection.execute(select(versions).where(_here(name, version))).mappings().first()
    return None if row is None else _uploaded(row)


def every(connection: Connection) -> list[Uploaded]:
    """Return all uploaded versions, in the order of name and version."""
    rows = connection.execute(select(versions).order_by(versions.c.name, versions.c.version)).mappings()
    return [_uploaded(row) for row in rows]


def used_bytes(connection: Connection) -> int:
    """Return the bytes that all versions take, their manifests and rows included."""
    size = versions.c.size_bytes + func.length(versions.c.manifest) + ROW_BYTES
    return int(connection.execute(select(func.coalesce(func.sum(size), 0))).scalar_one())


def graph(connection: Connection, digest: str) -> bytes | None:
    """Return the bytes of a graph, or None."""
    content: bytes | None = connection.execute(select(graphs.c.content).where(graphs.c.digest == digest)).scalar()
    return content


def put(connection: Connection, manifest: Manifest, content: bytes, by: str, at: datetime) -> str:
    """Keep an upload; return `new`, `same`, or `other` if there is another version of that name and number."""
    before = find(connection, manifest.name, manifest.version)
    if before is not None:
        return "same" if before.manifest == manifest else "other"
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(
        make(graphs).on_conflict_do_nothing(index_elements=["digest"]), {"digest": manifest.digest, "content": content}
    )
    row = {
        "name": manifest.name,
        "version": manifest.version,
        "state": State.RECEIVED,
        "reason": "",
        "manifest": _written(manifest),
        "digest": manifest.digest,
        "size_bytes": len(content),
        "attempts": 0,
        "uploaded_by": by,
        "uploaded_at": at,
        "changed_at": at,
    }
    connection.execute(insert(versions), row)
    return "new"


def anything_to_prove(connection: Connection) -> bool:
    """Return whether a version waits to be proven."""
    waiting = select(versions.c.name).where(versions.c.state == State.RECEIVED).limit(1)
    return connection.execute(waiting).first() is not None


def begin_proof(connection: Connection, at: datetime) -> tuple[Uploaded, bytes] | None:
    """Take the oldest version that is not proven, count the attempt, and give it with its graph; None if there is none.

    One that was tried `ATTEMPTS` times without an end (it took its prover down) is refused.
    """
    row = (
        connection.execute(
            select(versions).where(versions.c.state == State.RECEIVED).order_by(versions.c.uploaded_at).limit(1)
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    if row["attempts"] >= ATTEMPTS:
        finish_proof(connection, _uploaded(row).manifest, State.REFUSED, "proving it ended the prover", None, at)
        return None
    connection.execute(update(versions).where(_here(row["name"], row["version"])).values(attempts=row["attempts"] + 1))
    content = graph(connection, row["digest"])
    if content is None:
        finish_proof(connection, _uploaded(row).manifest, State.REFUSED, "its graph is missing", None, at)
        return None
    return _uploaded(row), content


def finish_proof(
    connection: Connection,
    manifest: Manifest,
    state: State,
    reason: str,
    frame_seconds: float | None,
    at: datetime,
) -> None:
    """Write what the proof of a version came to, unless it changed meanwhile: another may have come in its place."""
    connection.execute(
        update(versions)
        .where(_here(manifest.name, manifest.version), versions.c.state == State.RECEIVED)
        .where(versions.c.digest == manifest.digest, versions.c.manifest == _written(manifest))
        .values(state=state, reason=reason[:500], frame_seconds=frame_seconds, changed_at=at)
    )


def set_state(connection: Connection, name: str, version: str, state: State, at: datetime) -> bool:
    """Make a proven version ready or retired; return whether it was one of the two."""
    changed = connection.execute(
        update(versions)
        .where(_here(name, version), versions.c.state.in_([State.READY, State.RETIRED]))
        .values(state=state, changed_at=at)
    )
    return changed.rowcount == 1


def remove(connection: Connection, name: str, version: str) -> bool:
    """Remove a version, and its graph if no other has it; return whether it was there."""
    found = find(connection, name, version)
    if found is None:
        return False
    connection.execute(delete(versions).where(_here(name, version)))
    digest = found.manifest.digest
    shared = connection.execute(select(versions.c.name).where(versions.c.digest == digest).limit(1)).first()
    if shared is None:
        connection.execute(delete(graphs).where(graphs.c.digest == digest))
    return True
