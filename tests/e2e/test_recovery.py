"""What stops or breaks comes back without anybody's help, and nothing that was accepted is given up meanwhile."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.local.system import REPOSITORY
from shared.broker import CLASSIFY_FRAMES, queue_length
from shared.testing import wait_until
from tests.cameras import flowing
from tests.photos import drawn, named, solid
from tests.system import SERVICES, System, running_system

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

PERIOD_S = 1.0
WORKER = "image_classifier_worker"
POISON = "huella-test-poison"


def photo(name: str) -> bytes:
    return named(drawn("cat"), name)


@pytest.mark.parametrize("program", SERVICES)
def test_a_service_is_restarted_alone_while_photos_flow(system: System, program: str) -> None:
    cameras = [system.camera(f"{program}-{n}".replace("_", "-"), "restarts") for n in range(2)]
    with flowing(cameras, photo) as accepted:
        wait_until("photos flow", lambda: accepted() > 5)
        before = system.pid(program)
        system.stop(program)
        system.start(program)
        assert system.pid(program) not in (0, before)
        still = accepted()
        wait_until("photos flow again", lambda: accepted() > still + 5)
    system.wait_settled(accepted())
    ledger = system.ledger(*cameras)
    assert not ledger.lost, ledger
    assert not ledger.doubled, ledger
    assert not {status for camera in cameras for status in camera.refusals} - {"away", "503"}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that offers a frame again after PERIOD_S seconds."""
    periods = {"HUELLA_INGEST_REOFFER_AFTER_S": str(PERIOD_S), "HUELLA_INGEST_REOFFER_EVERY_S": str(PERIOD_S)}
    with running_system(tmp_path_factory.mktemp("impatient"), periods) as system:
        yield system


def test_without_workers_nothing_is_rejected_and_all_is_counted_when_they_return(impatient: System) -> None:
    before = impatient.audit()
    camera = impatient.camera("patient", "waiting")
    impatient.stop(WORKER)
    receipts = [camera.put(f"{n}", photo(f"{n}")) for n in range(30)]
    until = time.monotonic() + 10 * PERIOD_S
    while time.monotonic() < until:
        audit = impatient.audit()
        assert audit["rejected"] == before["rejected"]
        assert audit["in_flight"] == len(receipts)
        time.sleep(PERIOD_S / 2)
    impatient.start(WORKER)
    audit = impatient.wait_settled(before["accepted"] + len(receipts))
    assert audit["rejected"] == before["rejected"]
    assert impatient.ledger(camera).kept


@contextmanager
def poisonable_worker(system: System) -> Iterator[list[int]]:
    """Run, in place of the stopped worker, one that POISON kills, restarted each time; gives its exit codes."""
    ended, codes = threading.Event(), list[int]()
    command = [sys.executable, "-m", "services.image_classifier.tests.poisonable_worker"]

    def keep_running() -> None:
        with (system.data / "poisonable.log").open("ab") as log:
            while not ended.is_set():
                worker = subprocess.Popen(command, env=system.environment, cwd=REPOSITORY, stdout=log, stderr=log)
                while worker.poll() is None and not ended.wait(0.05):
                    pass
                worker.terminate()
                codes.append(worker.wait(30))

    thread = threading.Thread(target=keep_running)
    thread.start()
    try:
        yield codes
    finally:
        ended.set()
        thread.join()
        system.start(WORKER)


def test_a_photo_that_kills_the_worker_each_time_is_rejected_and_no_other(impatient: System) -> None:
    before = impatient.audit()
    camera = impatient.camera("poisoned", "poisoned")
    impatient.stop(WORKER)
    # The first goes alone, since the queue is empty; the next sixteen make one chunk.
    good = [camera.put("first", photo("first"))]
    with impatient.redis() as redis:
        wait_until("the first is offered", lambda: queue_length(redis, CLASSIFY_FRAMES) == 1)
    good += [camera.put(f"{n}", photo(f"{n}")) for n in range(8)]
    poison = camera.put("poison", named(solid(), POISON))
    good += [camera.put(f"{n}", photo(f"{n}")) for n in range(8, 15)]
    with poisonable_worker(impatient) as codes:
        with flowing([impatient.camera("beside", "beside")], photo, every_s=0.5):
            wait_until("the poison is settled", lambda: impatient.receipt(poison)["state"] != "accepted", 90)
        impatient.wait_settled(before["accepted"] + len(good) + 1)
    answer = impatient.receipt(poison)
    assert (answer["state"], answer["attempts"]) == ("rejected", 3)
    assert "gave up" in answer["reason"]
    assert impatient.audit()["rejected"] == before["rejected"] + 1
    assert {impatient.receipt(receipt)["state"] for receipt in good} == {"counted"}
    assert codes.count(-9) >= 3
