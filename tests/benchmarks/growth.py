"""Item 6 of the bench: what a PUT and the adoption status cost as cameras and stored frames grow.

History is written straight into the databases of a running system, as settled frames and counted estimates would be,
since sending a million photos would take an hour and prove the same.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, create_engine, insert
from uuid_utils import UUID

from services.aggregation import tables as counted
from services.aggregation.occupancy import Rules
from services.aggregation.store import put_space
from services.camera_ingest import tables as accepted
from services.camera_ingest.ledger import add
from services.camera_ingest.registry import put_camera
from shared.database import Database, now
from shared.receipts import hour_of
from tests.benchmarks.contenders import cameras
from tests.benchmarks.cost import cpu_s
from tests.benchmarks.load import Job, Load
from tests.system import System

CAMERAS = (10, 100, 500, 1000)
FRAMES = (1_000, 100_000)
FRAMES_FULL = 1_000_000
AT_ONCE = 5_000
PUT_S = 2.0
LOOKS = 15


@dataclass(frozen=True)
class Point:
    """What a PUT and a look at the status cost with so many cameras (each with a space of its own) and frames."""

    cameras: int
    frames: int
    put_cpu_ms: float
    put_median_ms: float
    status_median_ms: float
    status_kb: float


def grow(system: System, load: Load, *, full: bool) -> Iterator[Point]:
    """Measure as cameras grow, then as frames grow with all cameras there."""
    target = cameras(system, 10, "growth")
    for number in CAMERAS:
        _add_cameras(system, number)
        _add_frames(system, FRAMES[0], number)
        yield _measure(system, load, target, number)
    for number in (*FRAMES[1:], *((FRAMES_FULL,) if full else ())):
        _add_frames(system, number, CAMERAS[-1])
        yield _measure(system, load, target, CAMERAS[-1])


def fill(system: System, number: int, frames: int) -> None:
    """Add so many cameras, each with a space of its own, and bring the stored frames to `frames`."""
    _add_cameras(system, number)
    _add_frames(system, frames, number)


def _measure(system: System, load: Load, target: Any, number: int) -> Point:
    ingest = [system.pid("camera_ingest")]
    system.wait_settled(0)
    before = cpu_s(ingest)
    outcome = load.send(Job(target, 2, PUT_S))
    system.wait_settled(0)
    used = cpu_s(ingest) - before
    looks = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        answer = system.aggregation.get("/v1/adoption-status")
        looks.append(1000 * (time.perf_counter() - started))
    return Point(
        cameras=number,
        frames=system.audit()["accepted"],
        put_cpu_ms=1000 * used / outcome.good,
        put_median_ms=1000 * statistics.median(outcome.latencies),
        status_median_ms=statistics.median(looks),
        status_kb=len(answer.content) / 1000,
    )


def _databases(system: System) -> tuple[str, str]:
    return tuple(f"sqlite:///{system.data}/{name}/{name}.db" for name in ("camera_ingest", "aggregation"))  # type: ignore[return-value]  # two of them


def _name(number: int) -> str:
    return f"grown-{number}"


def _add_cameras(system: System, number: int) -> None:
    """Make cameras and their spaces through the services' own functions."""
    ingest, aggregation = (Database(url) for url in _databases(system))
    described = {"purpose": "adoption", "stale_after_s": 600, "in_service": True}
    for index in range(number):
        name = _name(index)
        ingest.submit(lambda c, name=name: put_camera(c, name, name, now()))  # type: ignore[misc]  # bound now
        aggregation.submit(lambda c, name=name: put_space(c, name, {"name": name, **described}, now(), Rules()))  # type: ignore[misc]  # bound now
    ingest.close()
    aggregation.close()


def _add_frames(system: System, number: int, spaces: int) -> None:
    """Bring the number of stored frames to `number`, over the last days, all counted."""
    have = system.audit()["accepted"]
    urls = _databases(system)
    for start in range(have, number, AT_ONCE):
        at = now() - timedelta(days=2) + timedelta(milliseconds=start * 100)
        rows = [_frame(index, at, spaces) for index in range(start, min(start + AT_ONCE, number))]
        _insert(urls[0], accepted.frames, rows)
        _insert(urls[1], counted.estimates, [_estimate(row) for row in rows])
        ledgers = Database(urls[0])
        ledgers.write(lambda c, rows=rows: add(c, hour_of(rows[0]["receipt"]), accepted=len(rows), counted=len(rows)))  # type: ignore[misc]  # bound now
        ledgers.close()


def _insert(url: str, table: Table, rows: list[dict[str, Any]]) -> None:
    engine = create_engine(url, connect_args={"timeout": 30})
    with engine.begin() as connection:
        connection.execute(insert(table), rows)
    engine.dispose()


def _frame(index: int, start: datetime, spaces: int) -> dict[str, Any]:
    at = start + timedelta(milliseconds=100 * (index % AT_ONCE))
    name = _name(index % spaces)
    digest = f"{index:064x}"
    return {
        "receipt": _receipt(at, index),
        "camera_id": name,
        "frame_id": f"frame-{index}",
        "space_id": name,
        "received_at": at,
        "observed_at": at,
        "sha256": digest,
        "size": 150_000,
        "media_type": "image/jpeg",
        "width": 1280,
        "height": 720,
        "state": "counted",
        "offers": 1,
        "offered_at": at,
        "attempts": 0,
        "settled_at": at,
        "image_removed_at": at,
    }


def _receipt(at: datetime, index: int) -> str:
    """Return a UUIDv7 of that time (RFC 9562, 5.7) with the index in its random bits."""
    return str(UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | index))


def _estimate(frame: dict[str, Any]) -> dict[str, Any]:
    kept = ("receipt", "space_id", "camera_id", "observed_at", "sha256")
    return {
        **{name: frame[name] for name in kept},
        "recorded_at": frame["observed_at"],
        "hour": hour_of(frame["receipt"]),
        "cat": 0.9,
        "dog": 0.1,
        "prior_cat": 0.4,
        "prior_dog": 0.4,
        "label": "cat",
        "quality": "ok",
        "model": "huella",
        "version": "1",
        "variant": "champion",
        "late": False,
    }
