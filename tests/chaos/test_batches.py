"""A batch of a thousand while its workers are killed and Redis is wiped: a thousand rows, no more, no fewer."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.testing import wait_until
from tests import batches
from tests.system import System, running_system

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

NUMBER = int(os.environ.get("TEST_CHAOS_PHOTOS", "1000"))
WORKER, HTTP = "image_classifier_batch_worker", "image_classifier"
SETTINGS = {
    # Short, so that what a dead worker held is taken again within the test's time.
    "HUELLA_CLASSIFIER_BATCH_LEASE_S": "4",
    # Few, so that a batch is not soon over while the HTTP service, which sends them, is away.
    "HUELLA_CLASSIFIER_BATCH_BELLS": "2",
}


def kill(system: System, program: str) -> None:
    before = system.pid(program)
    system.kill(program)
    wait_until(f"{program} is another process", lambda: system.pid(program) not in (0, before), 30)
    system.wait_ready()


def wipe(system: System) -> None:
    with system.redis() as redis:
        redis.flushall()


def test_a_thousand_photos_are_a_thousand_rows_whatever_is_killed_and_wiped(tmp_path: Path) -> None:
    files = batches.small(NUMBER)
    with running_system(tmp_path / "data", SETTINGS) as system:
        batch = batches.send(system, files)
        faults: list[Callable[[], None]] = [
            lambda: kill(system, WORKER),
            lambda: wipe(system),
            lambda: kill(system, WORKER),
            lambda: kill(system, HTTP),
            lambda: kill(system, "redis"),
            lambda: wipe(system),
        ]
        for number, fault in enumerate(faults):
            reached = number * NUMBER // (len(faults) + 1)
            wait_until("more has ended", lambda reached=reached: batches.ended(system, batch) >= reached, 120)  # type: ignore[misc]  # bound now
            assert batches.ended(system, batch) < NUMBER, "it was over before all was broken"
            fault()
        rows = batches.rows(system, batch, within_s=200)
        final = batches.progress(system, batch)
    assert sorted(row["input"] for row in rows) == sorted(files)
    assert (final["total"], final["done"], final["failed"]) == (NUMBER, NUMBER, 0)
    assert {row["error"] for row in rows} == {None}
