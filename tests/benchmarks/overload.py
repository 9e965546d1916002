"""`OVERLOAD=1 make bench`: three times what the system carries, for a minute, and what is left of it afterwards."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from shared.testing import wait_until
from tests.benchmarks.contenders import cameras, roots_of
from tests.benchmarks.cost import memory_bytes
from tests.benchmarks.load import Job, Load
from tests.system import System

SECONDS = 60.0
DRAIN_S = 600.0
CLIENTS = 64
# Smaller than the defaults, so that a minute is enough to meet them.
BOUNDS = {"HUELLA_INGEST_MAX_IN_FLIGHT": "2000", "HUELLA_INGEST_QUOTA_BYTES": "1000000000"}


@dataclass(frozen=True)
class Survival:
    """What became of an overload; `refused` counts the answers other than 2xx by status."""

    asked_rate: float
    accepted: int
    refused: dict[str, int]
    silent_refusals: int
    unsent: int
    memory_before: int
    memory_peak: int
    disk_peak: int
    drained_s: float
    counted: int
    rejected: int


def overload(system: System, load: Load, capacity: float) -> Survival:
    """Send three times `capacity` frames a second for a minute, wait until all is settled, and say what was seen."""
    roots, images = roots_of(system), system.data / "camera_ingest" / "images"
    target, before, audit = cameras(system, 10, "overload"), memory_bytes(roots), system.audit()
    peaks, ended = {"memory": before, "disk": 0}, threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            peaks["memory"] = max(peaks["memory"], memory_bytes(roots))
            peaks["disk"] = max(peaks["disk"], _bytes_in(images))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outcome = load.send(Job(target, CLIENTS, SECONDS, 3 * capacity))
        stopped = time.perf_counter()
        wait_until("all is settled", lambda: system.audit()["in_flight"] == 0, DRAIN_S, every_s=0.5)
        drained = time.perf_counter() - stopped
    finally:
        ended.set()
        watcher.join()
    after = system.audit()
    return Survival(
        asked_rate=3 * capacity,
        accepted=outcome.good,
        refused={status: number for status, number in sorted(outcome.status.items()) if not status.startswith("2")},
        silent_refusals=outcome.silent_refusals,
        unsent=outcome.unsent,
        memory_before=before,
        memory_peak=peaks["memory"],
        disk_peak=peaks["disk"],
        drained_s=drained,
        counted=after["counted"] - audit["counted"],
        rejected=after["rejected"] - audit["rejected"],
    )


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:  # the janitor was quicker
            continue
    return total
