"""What the spool keeps, drops and survives."""

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from services.camera_agent.spool import Spool, Torn
from services.camera_agent.tests.cameras import MORNING


def filled(folder: Path, number: int, most_bytes: int = 10**6) -> Spool:
    spool = Spool(folder, most_bytes)
    for n in range(number):
        assert spool.add(MORNING + timedelta(seconds=n), b"%03d" % n * 100) == []
    return spool


def drain(spool: Spool) -> list[bytes]:
    images = []
    while (kept := spool.next_to_send(0)) is not None:
        images.append(spool.read(kept)[:3])
        spool.remove(kept)
    return images


def numbers(*which: int) -> list[bytes]:
    return [b"%03d" % n for n in which]


def test_frames_come_out_in_the_order_in_which_they_went_in(tmp_path: Path) -> None:
    spool = filled(tmp_path, 12)
    spool.add(MORNING - timedelta(days=1), b"012" * 100)  # the clock was put back; the order is that of coming
    assert drain(spool) == numbers(*range(13))
    assert list(tmp_path.iterdir()) == []
    assert spool.bytes == 0


def test_an_agent_that_starts_again_goes_on_where_the_other_one_was(tmp_path: Path) -> None:
    first = filled(tmp_path, 3)
    names = [first.oldest()]
    second = Spool(tmp_path, 10**6)
    assert [second.oldest()] == names
    second.add(MORNING + timedelta(hours=1), b"003" * 100)
    assert second.bytes == 4 * 300
    assert drain(second) == numbers(0, 1, 2, 3)


def test_beyond_the_bound_the_oldest_go_and_are_named(tmp_path: Path) -> None:
    spool = filled(tmp_path, 10, most_bytes=3000)
    dropped = spool.add(MORNING + timedelta(minutes=1), b"010" * 200)
    assert [kept.captured_at for kept in dropped] == [MORNING, MORNING + timedelta(seconds=1)]
    assert spool.bytes == 3000
    assert drain(spool) == numbers(*range(2, 11))


def test_the_frame_that_is_being_sent_is_not_dropped_under_the_senders_hands(tmp_path: Path) -> None:
    spool = filled(tmp_path, 10, most_bytes=3000)
    sending = spool.next_to_send(0)
    assert sending is not None
    dropped = spool.add(MORNING, b"010" * 100)
    assert [kept.captured_at for kept in dropped] == [MORNING + timedelta(seconds=1)]
    assert spool.read(sending)[:3] == b"000"
    spool.hold()
    assert spool.add(MORNING, b"011" * 100) == [sending]


def test_a_frame_larger_than_the_bound_is_dropped_itself_and_no_other(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3, most_bytes=1000)
    assert [kept.size for kept in spool.add(MORNING, bytes(1001))] == [1001]
    assert drain(spool) == numbers(0, 1, 2)


def test_half_written_files_of_a_killed_agent_are_cleared_away(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    (tmp_path / "000000000007_20261122T100000000000Z-abababababab.part").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("somebody else's")
    spool = Spool(tmp_path, 10**6)
    assert drain(spool) == numbers(0, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_frame_whose_bytes_a_power_cut_took_is_told_from_a_whole_one(tmp_path: Path) -> None:
    spool = filled(tmp_path, 2)
    torn = spool.next_to_send(0)
    assert torn is not None
    (tmp_path / torn.name).write_bytes(b"")
    with pytest.raises(Torn, match="other bytes"):
        spool.read(torn)
    (tmp_path / torn.name).unlink()
    with pytest.raises(Torn, match="gone"):
        spool.read(torn)
    spool.remove(torn)
    assert drain(spool) == numbers(1)


def test_while_all_is_well_nothing_is_synced_and_from_the_first_failure_on_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    spool = filled(tmp_path, 2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert synced == []
    spool.next_to_send(0)
    spool.hold()
    assert synced == [*names, tmp_path.name]
    spool.hold()
    assert len(synced) == 3
    spool.add(MORNING, b"new")
    assert synced[3].endswith(".part")
    assert synced[4] == tmp_path.name
    drain(spool)
    spool.add(MORNING, b"all is well again")
    assert len(synced) == 5


def test_a_disk_that_takes_no_more_leaves_the_spool_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path, 2)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="No space"):
            spool.add(MORNING, b"more")
    assert spool.bytes == 600
    assert len(list(tmp_path.iterdir())) == 2
    victim = spool.drop_oldest()
    assert victim is not None
    assert victim.captured_at == MORNING
    assert drain(spool) == numbers(1)
    assert spool.drop_oldest() is None


def test_a_failed_write_costs_no_other_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path, 3, most_bytes=900)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="No space"):
            spool.add(MORNING, b"003" * 100)
    assert drain(spool) == numbers(0, 1, 2)


def test_a_frame_that_the_disk_does_not_let_go_is_still_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path, 1)

    def read_only(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", read_only)
        with pytest.raises(OSError, match="Read-only"):
            spool.drop_oldest()
    assert (len(spool), spool.bytes) == (1, 300)
    assert drain(spool) == numbers(0)


def test_while_many_frames_are_synced_the_camera_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path, 3)
    added: list[int] = []

    def slow(descriptor: int) -> None:
        if not added:
            added.append(descriptor)
            other = threading.Thread(target=spool.add, args=(MORNING, b"new"))
            other.start()
            other.join(10)
            assert not other.is_alive()

    monkeypatch.setattr(os, "fsync", slow)
    spool.hold()
    assert len(spool) == 4


def test_what_could_not_be_synced_is_synced_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path, 2)
    synced: list[int] = []

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        spool.hold()
    monkeypatch.setattr(os, "fsync", synced.append)
    spool.hold()
    assert len(synced) == 3
    spool.hold()
    assert len(synced) == 3
