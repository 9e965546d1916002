"""What a full or failing disk costs: no kept frame but for want of room, and never the sender."""

import errno
import os
import threading
from datetime import timedelta

import pytest

from services.camera_agent import camera as module
from services.camera_agent.spool import Kept, Spool
from services.camera_agent.tests.cameras import MORNING, giving, minutes
from services.camera_agent.tests.works import Told, Works, away, counted, lines
from shared.testing import wait_until


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
