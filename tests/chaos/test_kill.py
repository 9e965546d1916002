"""Accepted means counted: while photos flow, everything is killed, wiped and cut in turn, and the ledgers agree."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.broker import CLASSIFY_FRAMES, queue_length
from shared.testing import wait_until
from tests.cameras import flowing
from tests.photos import drawn, named
from tests.proxy import Proxy
from tests.system import SERVICES, System, free_base_port, redis_secret, running_system

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

REOFFER_S = 8
CUT_S = 8
AT_ONCE = {
    "HUELLA_INGEST_REOFFER_AFTER_S": str(REOFFER_S),
    "HUELLA_INGEST_REOFFER_EVERY_S": str(REOFFER_S),
}
Fault = Callable[[System, Proxy, Proxy], None]


def photo(name: str) -> bytes:
    return named(drawn("dog", size=(320, 240)), name)


@contextmanager
def proxied_system(data: Path, environment: dict[str, str]) -> Iterator[tuple[System, Proxy, Proxy]]:
    """Run a system whose way to ingest's service addresses, and to Redis, leads through a proxy each."""
    base_port = free_base_port()
    with Proxy(base_port + 1) as to_ingest, Proxy(base_port + 4) as to_redis:
        routes = {
            "HUELLA_INGEST_URL": f"http://127.0.0.1:{to_ingest.port}",
            "HUELLA_REDIS_URL": f"redis://:{redis_secret(data)}@127.0.0.1:{to_redis.port}/0",
        }
        with running_system(data, environment | routes, base_port) as system:
            yield system, to_ingest, to_redis


def kill(program: str) -> Fault:
    def fault(system: System, _: Proxy, __: Proxy) -> None:
        before = system.pid(program)
        system.kill(program)
        wait_until(f"{program} is another process", lambda: system.pid(program) not in (0, before), 30)

    return fault


def wipe(system: System, _: Proxy, __: Proxy) -> None:
    with system.redis() as redis:
        redis.flushall()


def cut_from_ingest(_: System, to_ingest: Proxy, __: Proxy) -> None:
    _cut(to_ingest)


def cut_from_redis(_: System, __: Proxy, to_redis: Proxy) -> None:
    _cut(to_redis)


def _cut(proxy: Proxy) -> None:
    proxy.cut()
    time.sleep(CUT_S)  # not a wait for anything: it is how long the cable is out
    proxy.reset()
    proxy.restore()


FAULTS: dict[str, Fault] = {
    **{f"kill -9 {program}": kill(program) for program in (*SERVICES, "redis")},
    "FLUSHALL": wipe,
    "cable to ingest pulled": cut_from_ingest,
    "cable to Redis pulled": cut_from_redis,
}


def wait_for_more(accepted: Callable[[], int], after: str) -> None:
    before = accepted()
    wait_until(f"photos are taken after {after}", lambda: accepted() > before + 10, 60)


def test_whatever_is_killed_wiped_or_cut_each_accepted_photo_is_counted_once(tmp_path: Path) -> None:
    report = []
    with proxied_system(tmp_path, AT_ONCE) as (system, to_ingest, to_redis):
        # A little slowness, so that there is always something under way to be hit.
        to_ingest.delay_s = 0.02
        cameras = [system.camera(f"camera-{n}", f"space-{n % 2}") for n in range(4)]
        with flowing(cameras, photo, every_s=0.2) as accepted:
            wait_until("photos flow", lambda: accepted() > 20)
            for name, fault in FAULTS.items():
                wait_until("frames are in flight", lambda: system.audit()["in_flight"] > 0)
                hit, started = system.audit()["in_flight"], time.monotonic()
                fault(system, to_ingest, to_redis)
                system.wait_ready()
                wait_for_more(accepted, name)
                report.append(f"{name}: {hit} in flight, {time.monotonic() - started:.1f} s")
        to_ingest.delay_s = 0.0
        ended = time.monotonic()
        system.wait_settled(accepted(), within_s=60)
        report.append(f"settled {time.monotonic() - ended:.1f} s after the end")
        ledger = system.ledger(*cameras)
        offers = [system.receipt(receipt)["offers"] for camera in cameras for _, receipt in camera.log]
        report += [str(ledger), f"offered more than once: {sum(number > 1 for number in offers)}"]
        print("\n".join(report))
        assert ledger.kept, report
        assert ledger.acknowledged == ledger.attempted
        assert max(offers) > 1, report
        audit = system.audit()
        assert (audit["rejected"], audit["in_flight"]) == (0, 0)
        assert audit["accepted"] == audit["counted"] == ledger.counted
        assert system.reconciliation()["agrees"]


def test_without_offering_again_a_wiped_queue_loses_frames_and_the_ledger_says_so(tmp_path: Path) -> None:
    """The test above can fail: here the one thing that saves frames is switched off."""
    never = {"HUELLA_INGEST_REOFFER_AFTER_S": "1000000", "HUELLA_INGEST_REOFFER_EVERY_S": "1000000"}
    with running_system(tmp_path, never) as system, system.redis() as redis:
        camera = system.camera("camera", "space")
        system.stop("image_classifier_worker")
        for number in range(40):
            camera.put(f"{number}", photo(f"{number}"))
        wait_until("chunks are in the queue", lambda: queue_length(redis, CLASSIFY_FRAMES) >= 2)
        redis.flushall()
        system.start("image_classifier_worker")
        with pytest.raises(TimeoutError):
            system.wait_settled(40, within_s=10)
        ledger = system.ledger(camera)
        assert ledger.lost, ledger
        assert not ledger.kept
