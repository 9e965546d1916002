"""One camera at work: what it takes, sends, keeps through a cut, and gives up."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest

from services.camera_agent import losses
from services.camera_agent.domain import name_frame
from services.camera_agent.ingest import Ingest
from services.camera_agent.sources.photos import Photo, SourceFailure
from services.camera_agent.spool import Kept
from services.camera_agent.tests.cameras import MORNING, SECRET, giving, grainy, minutes, scene
from services.camera_agent.tests.works import Told, Works, away, counted, lines
from shared.testing import wait_until


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
    assert passed.wait(110)
    assert len(spool) >= 480
    cut.clear()
    wait_until("all are taken", lambda: len(works.double.taken) == 600)
    assert works.taken() == [photo.captured_at for photo in story]
    assert counted("huella_agent_dropped_frames_total", "cam1", reason="bound") == 0


def test_beyond_the_bound_the_oldest_are_dropped_counted_and_told(
    works: Works, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "TELL_EVERY_S", 0.0)
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


def test_what_was_dropped_is_told_once_a_minute_of_a_clock_that_nobody_puts_back(
    told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 130.0, 161.0])
    monkeypatch.setattr(losses, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    lost = losses.Losses("back")
    for _ in range(3):
        lost.add("bound", Kept("", name_frame(MORNING, "ab" * 32), 0))
        lost.tell()
    assert [line["frames"] for line in lines(told, "frames dropped")] == [1, 2]
