"""One camera at work: what it takes, sends, keeps through a cut, and gives up."""

import errno
import os
import threading
import time
from collections.abc import Iterator, MutableMapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from prometheus_client import REGISTRY

from services.camera_agent import camera as module
from services.camera_agent.camera import CameraAtWork
from services.camera_agent.domain import Verdict, name_frame, time_of_frame, wait_s
from services.camera_agent.ingest import Ingest
from services.camera_agent.sources import Source
from services.camera_agent.sources.photos import Photo, SourceFailure
from services.camera_agent.spool import Kept, Spool
from services.camera_agent.tests.cameras import (
    MORNING,
    SECRET,
    IngestDouble,
    camera,
    config,
    giving,
    grainy,
    minutes,
    scene,
)
from shared.testing import wait_until


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits after failures take no time; the list has how long they would have been."""
    waits: list[float] = []
    real = wait_s

    def wait(failures: int, luck: float, asked_s: float = 0.0) -> float:
        waits.append(real(failures, luck, asked_s))
        return 0.002

    monkeypatch.setattr(module, "wait_s", wait)
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    return waits


Told = MutableMapping[str, Any]


@pytest.fixture
def told() -> Iterator[list[Told]]:
    """Every line of the log."""
    with structlog.testing.capture_logs() as lines:
        yield lines


class Works:
    """Starts cameras for a test, and ends them after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.double = IngestDouble()
        self._cameras: list[CameraAtWork] = []
        self._ingest = Ingest(config(), httpx.MockTransport(self.double))

    def start(self, source: Source, camera_id: str = "cam1", most_bytes: int = 10**8, **keys: Any) -> Spool:
        spool = Spool(self.folder / camera_id, most_bytes)
        one = CameraAtWork(camera(camera_id=camera_id, **keys), source, spool, self._ingest)
        self._cameras.append(one)
        one.start()
        return spool

    def stop(self) -> None:
        for one in self._cameras:
            one.stop()
        for one in self._cameras:
            one.join(time.monotonic() + 5)

    def dead(self) -> list[str]:
        return [name for one in self._cameras for name in one.dead()]

    def taken(self, camera_id: str = "cam1") -> list[datetime]:
        return [time_of_frame(name) for owner, name, _ in self.double.taken if owner == camera_id]


@pytest.fixture
def works(tmp_path: Path, quickly: list[float]) -> Iterator[Works]:
    works = Works(tmp_path)
    yield works
    works.stop()


def counted(name: str, camera_id: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"camera": camera_id, **labels}) or 0.0


def lines(told: list[Told], event: str, least: str = "warning") -> list[Told]:
    levels = ("debug", "info", "warning", "error")
    return [line for line in told if line["event"] == event and levels.index(line["log_level"]) >= levels.index(least)]


def away(number: int, path: str) -> httpx.Response:
    raise httpx.ConnectError("the network is cut")


def test_photos_arrive_with_their_times_names_and_the_cameras_credentials(works: Works) -> None:
    works.start(giving(minutes(3)))
    wait_until("all are taken", lambda: len(works.double.taken) == 3)
    assert works.double.headers[0]["captured-at"] == "2026-11-22T10:00:00Z"
    assert works.double.headers[0]["authorization"] == httpx.BasicAuth("cam1", SECRET)._auth_header
    assert works.taken() == [MORNING + timedelta(seconds=n) for n in range(3)]
    assert [image for _, _, image in works.double.taken] == [photo.image for photo in minutes(3)]


def test_a_cut_of_minutes_loses_nothing_within_the_bound_and_keeps_the_order(works: Works) -> None:
    cut = threading.Event()
    passed = threading.Event()
    story = minutes(600)  # ten minutes, a photo a second; the cut lasts from the second minute to the ninth

    def source(stopped: threading.Event) -> Iterator[Photo]:
        for photo in story:
            at = (photo.captured_at - MORNING).total_seconds()
            if at == 60:
                cut.set()
            if at == 540:
                passed.set()
                wait_until("it was told that all is well again", lambda: not cut.is_set())
            yield photo

    works.double.answers = lambda number, path: away(number, path) if cut.is_set() else None
    spool = works.start(source)
    assert passed.wait(60)
    assert len(spool) >= 480
    cut.clear()
    wait_until("all are taken", lambda: len(works.double.taken) == 600)
    assert works.taken() == [photo.captured_at for photo in story]
    assert counted("huella_agent_dropped_frames_total", "cam1", reason="bound") == 0


def test_beyond_the_bound_the_oldest_are_dropped_counted_and_told(
    works: Works, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TELL_EVERY_S", 0.0)
    story = minutes(100)
    size = len(story[50].image)
    works.double.answers = away
    spool = works.start(giving(story), "bounded", most_bytes=30 * size + 1)
    wait_until("all are captured", lambda: counted("huella_agent_photos_total", "bounded", outcome="kept") == 100)
    wait_until("the sender rests", lambda: len(spool) == 30)
    works.double.answers = lambda number, path: None
    wait_until("what was kept is taken", lambda: len(works.double.taken) == 30)
    # The frame that was being sent at the moment when the spool was full may have stayed in the place of the next one.
    assert works.taken("bounded")[1:] == [photo.captured_at for photo in story[71:]]
    said = lines(told, "frames dropped")
    assert sum(int(str(line["frames"])) for line in said) == 70
    assert {line["reason"] for line in said} == {"bound"}
    assert min(str(line["captured_from"]) for line in said)[:16] == "2026-11-22T10:00"
    assert counted("huella_agent_dropped_frames_total", "bounded", reason="bound") == 70


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_a_frame_that_ingest_will_never_take_is_dropped_once_and_the_reason_told(
    works: Works, told: list[Told], status: int
) -> None:
    name = f"refused-{status}"
    refused = minutes(3)[1]

    def answers(number: int, path: str) -> httpx.Response | None:
        if "T100001" in path:
            return httpx.Response(status, json={"detail": "The image is broken. Send it whole."})
        return None

    works.double.answers = answers
    spool = works.start(giving(minutes(3)), name)
    wait_until("the others are taken", lambda: len(works.double.taken) == 2 and len(spool) == 0)
    wait_until("it is told", lambda: bool(lines(told, "frames dropped")))
    assert works.double.asked == 3
    assert refused.captured_at not in works.taken(name)
    (said,) = lines(told, "frames dropped")
    assert said["said"] == f"answered {status}: The image is broken. Send it whole."
    assert counted("huella_agent_dropped_frames_total", name, reason="refused") == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_secret_or_id_keeps_every_frame_and_says_what_to_correct(
    works: Works, told: list[Told], quickly: list[float], status: int
) -> None:
    name = f"wrong-{status}"
    works.double.answers = lambda number, path: httpx.Response(status, json={"detail": "Send the camera's secret."})
    spool = works.start(giving(minutes(5)), name)
    wait_until("it asked again and again", lambda: works.double.asked >= 9)
    assert len(spool) == 5
    said = lines(told, "ingest takes no frames")
    assert "Send the camera's secret." in str(said[0]["ingest"])
    assert "correct the camera's id and secret" in str(said[0]["hint"])
    assert len(said) < works.double.asked
    assert max(quickly) >= 30
    assert SECRET not in str(told)
    works.double.answers = lambda number, path: None
    wait_until("all are taken", lambda: len(works.double.taken) == 5)
    assert counted("huella_agent_dropped_frames_total", name, reason="refused") == 0


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(works: Works, quickly: list[float], status: int) -> None:
    works.double.answers = lambda number, path: (
        httpx.Response(status, headers={"Retry-After": "90"}) if number <= 2 else None
    )
    works.start(giving(minutes(1)))
    wait_until("it is taken", lambda: len(works.double.taken) == 1)
    assert quickly == [90, 90]


def test_an_answer_that_was_lost_does_not_make_a_second_frame(works: Works) -> None:
    double = works.double

    def answers(number: int, path: str) -> httpx.Response | None:
        if number == 1:
            double.taken.append(("cam1", path.rpartition("/")[2], b""))
            raise httpx.ReadTimeout("the answer was lost")
        return None

    double.answers = answers
    spool = works.start(giving(minutes(2)))
    wait_until("both are taken", lambda: len(double.taken) == 2 and len(spool) == 0)
    assert len({name for _, name, _ in double.taken}) == 2


def test_unchanged_photos_are_skipped_but_for_a_heartbeat(works: Works) -> None:
    still = [Photo(MORNING + timedelta(seconds=10 * n), grainy(n, (640, 360))) for n in range(25)]
    moved = Photo(MORNING + timedelta(seconds=95), scene(200))
    works.start(giving([*still[:10], moved, *still[10:]]), "still", heartbeat_s=60)
    wait_until(
        "all are seen",
        lambda: sum(counted("huella_agent_photos_total", "still", outcome=o) for o in ("kept", "unchanged")) == 26,
    )
    expected = [0, 60, 95, 100, 160, 220]
    wait_until("all are taken", lambda: len(works.double.taken) == len(expected))
    assert [(moment - MORNING).total_seconds() for moment in works.taken("still")] == expected
    assert counted("huella_agent_photos_total", "still", outcome="unchanged") == 20


def test_what_is_no_photo_is_counted_and_not_sent(works: Works) -> None:
    page, photo = Photo(MORNING, b"<html>log in first</html>"), minutes(1)[0]
    works.start(giving([page, photo]), "html")
    wait_until("the photo is taken", lambda: len(works.double.taken) == 1)
    assert counted("huella_agent_photos_total", "html", outcome="unreadable") == 1
    assert (page.unreadable.is_set(), photo.unreadable.is_set()) == (True, False)


def test_a_source_that_fails_is_asked_again_with_longer_and_longer_pauses(works: Works, quickly: list[float]) -> None:
    tries: list[int] = []

    def source(stopped: threading.Event) -> Iterator[Photo]:
        tries.append(1)
        if len(tries) <= 8:
            raise SourceFailure("unreachable", "it can't be reached")
        yield from minutes(1)

    works.start(source, "flaky")
    wait_until("it gives photos again", lambda: len(works.double.taken) == 1)
    assert [wait >= 2**n / 2 for n, wait in enumerate(quickly[:6])] == [True] * 6
    assert counted("huella_agent_source_failures_total", "flaky", reason="unreachable") == 8
    assert counted("huella_agent_source_up", "flaky") == 1


@pytest.mark.parametrize("trouble", ["hangs", "raises", "gives nonsense"])
def test_one_bad_source_stops_no_other(works: Works, told: list[Told], trouble: str) -> None:
    def bad(stopped: threading.Event) -> Iterator[Photo]:
        if trouble == "hangs":
            stopped.wait()
        elif trouble == "raises":
            raise ZeroDivisionError("rtsp://viewer:hunter2-hunter2@10.0.0.1")
        else:
            yield from (Photo(MORNING, b"nonsense") for _ in range(10))

    works.start(bad, "bad")
    works.start(giving(minutes(20)), "good")
    wait_until("the good one's are taken", lambda: len(works.taken("good")) == 20)
    assert works.dead() == []
    assert "hunter2" not in str(told)


def test_a_fault_of_ours_while_sending_is_logged_and_the_frame_kept(
    works: Works, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    put, faults = Ingest.put, iter([True, True, False])

    def faulty(self: Ingest, *arguments: object) -> object:
        if next(faults, False):
            raise ZeroDivisionError
        return put(self, *arguments)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(Ingest, "put", faulty)
    works.start(giving(minutes(2)))
    wait_until("both are taken", lambda: len(works.double.taken) == 2)
    assert works.dead() == []
    assert "could not be asked: ZeroDivisionError at faulty" in str(told)


def test_on_a_full_disk_the_oldest_frames_give_way(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works.double.answers = away
    room = 5
    add = Spool._write

    def tight(self: Spool, *arguments: object) -> None:
        if len(self) >= room:
            raise OSError(28, "No space left on device")
        add(self, *arguments)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(Spool, "_write", tight)
    spool = works.start(giving(minutes(12)), "full")
    wait_until("all are captured", lambda: counted("huella_agent_photos_total", "full", outcome="kept") == 12)
    assert len(spool) == room
    assert counted("huella_agent_dropped_frames_total", "full", reason="disk") == 7


def test_a_frame_torn_by_a_power_cut_is_told_and_the_next_one_sent(works: Works) -> None:
    spool = Spool(works.folder / "torn", 10**6)
    for photo in minutes(2):
        spool.add(photo.captured_at, photo.image)
    torn = spool.oldest()
    assert torn is not None
    (works.folder / "torn" / torn.name).write_bytes(b"")
    works.start(giving([]), "torn")
    wait_until("the whole one is taken", lambda: works.taken("torn") == [MORNING + timedelta(seconds=1)])
    assert counted("huella_agent_dropped_frames_total", "torn", reason="torn") == 1


def test_an_answer_that_is_no_problem_document_is_understood_too() -> None:
    ingest = Ingest(config(), httpx.MockTransport(lambda request: httpx.Response(503, text="<html>busy</html>")))
    answer = ingest.put(camera(), Kept("", name_frame(MORNING, "ab" * 32), 0), b"")
    assert (answer.verdict, answer.said) == (Verdict.LATER, "answered 503: Service Unavailable")


@pytest.mark.parametrize(
    ("answer", "verdict", "status", "said"),
    [
        ({"text": "<html>log in to the Wi-Fi</html>"}, Verdict.MISCONFIGURED, 200, "no ingest"),
        ({"content": b""}, Verdict.MISCONFIGURED, 200, "no ingest"),
        ({"json": ["receipt", "frame_id"]}, Verdict.MISCONFIGURED, 200, "no ingest"),
        ({"json": {"status": "ok"}}, Verdict.MISCONFIGURED, 200, "no ingest"),
        ({"json": {"receipt": "r-1", "frame_id": "another"}}, Verdict.MISCONFIGURED, 200, "no ingest"),
        (
            {"json": {"status": 503, "detail": "The disk is full."}},
            Verdict.LATER,
            503,
            "answered 503: The disk is full.",
        ),
        (
            {"json": {"status": 401, "detail": "Wrong secret."}},
            Verdict.MISCONFIGURED,
            401,
            "answered 401: Wrong secret.",
        ),
        ({"json": {"status": 409, "receipt": "r-1"}}, Verdict.REFUSED, 409, "answered 409"),
    ],
)
def test_a_200_without_this_frames_receipt_has_not_taken_it(
    answer: dict[str, Any], verdict: Verdict, status: int, said: str
) -> None:
    ingest = Ingest(config(), httpx.MockTransport(lambda request: httpx.Response(200, **answer)))
    found = ingest.put(camera(), Kept("", name_frame(MORNING, "ab" * 32), 0), b"")
    assert (found.verdict, found.status, said in found.said) == (verdict, status, True), found


def test_a_portal_that_says_200_to_everything_takes_no_frame_from_the_spool(works: Works, told: list[Told]) -> None:
    works.double.answers = lambda number, path: httpx.Response(200, text="<html>") if number <= 5 else None
    works.start(giving(minutes(3)), "portal")
    wait_until("all are taken", lambda: len(works.taken("portal")) == 3)
    assert "correct `ingest` in the file" in str(lines(told, "ingest takes no frames")[0]["ingest"])


@pytest.mark.parametrize("fault", [errno.EMFILE, errno.EACCES, errno.EIO, errno.ENAMETOOLONG])
def test_what_dropping_frames_does_not_cure_costs_no_kept_frame(
    works: Works, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    name = f"fault-{fault}"
    kept = Spool(works.folder / name, 10**8)
    for photo in minutes(30):
        kept.add(photo.captured_at, photo.image)

    def faulty(self: Spool, *arguments: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(Spool, "_write", faulty)
    works.double.answers = away
    spool = works.start(giving(minutes(1, first=30)), name)
    wait_until("it is told", lambda: counted("huella_agent_source_failures_total", name, reason="disk") >= 2)
    assert len(spool) == 30
    assert counted("huella_agent_dropped_frames_total", name, reason="disk") == 0


def test_a_disk_that_stays_full_costs_each_photo_no_more_than_its_own_size(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Spool, *arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = Spool(works.folder / "stays-full", 10**8)
    for photo in minutes(30):
        kept.add(photo.captured_at, photo.image)
    monkeypatch.setattr(Spool, "_write", full)
    monkeypatch.setattr(module, "wait_s", lambda *_: 3600.0)
    works.double.answers = away
    spool = works.start(giving(minutes(1, first=30)), "stays-full")
    wait_until("it is told", lambda: counted("huella_agent_source_failures_total", "stays-full", reason="disk") == 1)
    assert 28 <= len(spool) <= 29


def test_a_disk_that_fails_while_a_frame_is_read_and_synced_does_not_end_the_sender(
    works: Works, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    broken.set()
    read, fsync = Spool.read, os.fsync

    def reading(self: Spool, kept: Kept) -> bytes:
        if broken.is_set():
            raise OSError(errno.EMFILE, "Too many open files")
        return read(self, kept)

    def syncing(descriptor: int) -> None:
        if broken.is_set():
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(Spool, "read", reading)
    monkeypatch.setattr(os, "fsync", syncing)
    kept = Spool(works.folder / "broken", 10**8)
    for photo in minutes(2):
        kept.add(photo.captured_at, photo.image)
    works.start(giving([]), "broken")
    wait_until("it is told", lambda: len(lines(told, "frames can't be synced to the disk")) >= 2)
    assert works.dead() == []
    broken.clear()
    wait_until("both are taken", lambda: len(works.taken("broken")) == 2)
