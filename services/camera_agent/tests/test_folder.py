"""Folders, watched and replayed."""

import os
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.camera_agent.sources import folder
from services.camera_agent.sources.photos import Photos, SourceFailure
from services.camera_agent.tests.cameras import MORNING, camera, scene


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    (tmp_path / "state").mkdir()
    return path


def put(photos: Path, name: str, after_s: float = 0, image: bytes | None = None) -> Path:
    path = photos / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(image or scene(len(name)))
    moment_ns = int((MORNING + timedelta(seconds=after_s)).timestamp()) * 10**9 + int(after_s % 1 * 10**9)
    os.utime(path, ns=(moment_ns, moment_ns))
    return path


def source(photos: Path, stopped: threading.Event | None = None, **keys: Any) -> Photos:
    one = camera(f"folder:{photos}", folder=photos, **keys)
    return folder.photos(one, photos.parent / "state", stopped or threading.Event(), look_s=0.01)


def test_photos_come_in_the_order_of_their_times_from_folders_below_too(photos: Path) -> None:
    put(photos, "b.jpg", 2)
    put(photos, "2026-11-22/a.JPG", 3)
    put(photos, "c.png", 1.25)
    put(photos, "notes.txt", 0)
    put(photos, ".c.jpg.part.jpg", 0)
    (photos / "link.jpg").symlink_to("/etc/hostname")
    given = source(photos)
    assert [next(given).captured_at - MORNING for _ in range(3)] == [
        timedelta(seconds=1.25),
        timedelta(seconds=2),
        timedelta(seconds=3),
    ]


def test_a_file_is_taken_once_it_is_no_longer_written_to(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    one = camera(f"folder:{photos}", folder=photos)
    given = folder.Given(photos.parent / "state" / "given", photos)
    growing = put(photos, "a.jpg", 1, b"half")
    watched = folder._watched(one, given, stopped, 0)
    looks: list[int] = []
    real = folder.look

    def looking(path: Path) -> list[folder.Found]:
        # It grows three times between looks, and then rests.
        if len(looks) < 3:
            put(photos, "a.jpg", len(looks) + 2, b"half" * (len(looks) + 2))
        looks.append(len(looks))
        return real(path)

    monkeypatch.setattr(folder, "look", looking)
    found, captured_at = next(watched)
    given.close()
    assert len(looks) == 4
    assert found.size == growing.stat().st_size == 16
    assert captured_at == MORNING + timedelta(seconds=4)


def test_after_a_restart_each_photo_was_given_once_and_one_that_was_written_again_is_new(photos: Path) -> None:
    for n in range(4):
        put(photos, f"{n}.jpg", n)
    first = source(photos)
    images = [next(first).image for _ in range(2)]
    first.close()  # whoever took the second photo had not come back for more: it is given again
    second = source(photos)
    images += [next(second).image for _ in range(3)]
    assert images == [scene(5)] * 5
    second.close()
    remembered = (photos.parent / "state" / "given").read_text()
    assert [f'"{n}.jpg"' in remembered for n in range(4)] == [True, True, True, False]
    put(photos, "0.jpg", 9, scene(77))
    third = source(photos)
    assert [next(third).image for _ in range(2)] == [scene(5), scene(77)]
    third.close()


def test_the_memory_forgets_files_that_are_gone_and_a_torn_line(photos: Path) -> None:
    for n in range(3):
        put(photos, f"{n}.jpg", n)
    state = photos.parent / "state" / "given"
    given = folder.Given(state, photos)
    for found in folder.look(photos):
        given.add(found)
    given.close()
    (photos / "0.jpg").unlink()
    with state.open("a") as file:
        file.write('["2.jpg", 17')
    again = folder.Given(state, photos)
    again.close()
    assert [found in again for found in folder.look(photos)] == [True, True]
    assert len(state.read_text().splitlines()) == 2


def test_the_memory_of_a_folder_that_others_empty_stays_small(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "SPARE", 3)
    given = source(photos)
    for n in range(12):
        path = put(photos, f"{n}.jpg", n)
        assert next(given).captured_at == MORNING + timedelta(seconds=n)
        path.unlink()
    given.close()
    assert len((photos.parent / "state" / "given").read_text().splitlines()) <= 6


def test_a_photo_is_deleted_where_that_is_asked_for_once_it_was_kept(photos: Path) -> None:
    first, second = put(photos, "a.jpg", 1), put(photos, "b.jpg", 2)
    given = source(photos, delete=True)
    next(given)
    assert first.exists()
    next(given)
    assert not first.exists()
    assert second.exists()
    given.close()


@pytest.mark.parametrize("times", ["original", "now"])
def test_a_replay_tells_the_folders_own_story_at_its_speed_and_ends(photos: Path, times: str) -> None:
    for n, after_s in enumerate((0, 60, 180, 300)):
        put(photos, f"{n}.jpg", after_s)
    started = datetime.now(UTC)
    story = list(source(photos, replay={"speed": 1000, "times": times}))
    took = datetime.now(UTC) - started
    gaps = [later.captured_at - earlier.captured_at for earlier, later in pairwise(story)]
    assert took >= timedelta(seconds=0.3)
    if times == "original":
        assert story[0].captured_at == MORNING
        assert gaps == [timedelta(seconds=s) for s in (60, 120, 120)]
    else:
        assert started <= story[0].captured_at <= started + took
        assert gaps == [timedelta(seconds=s / 1000) for s in (60, 120, 120)]


def test_a_replay_that_is_stopped_ends_at_once_and_goes_on_after_a_restart(photos: Path) -> None:
    put(photos, "a.jpg", 0)
    put(photos, "b.jpg", 3600)
    stopped = threading.Event()
    given = source(photos, stopped, replay={"speed": 1})
    assert next(given).captured_at == MORNING
    threading.Timer(0.2, stopped.set).start()
    assert list(given) == []
    assert [photo.captured_at for photo in source(photos, replay={"speed": 1})] == [MORNING + timedelta(hours=1)]


def test_a_folder_that_is_gone_is_a_failure_that_says_so(photos: Path) -> None:
    photos.rmdir()
    with pytest.raises(SourceFailure, match="No such file"):
        next(source(photos))


def test_a_file_that_is_no_whole_photo_is_never_deleted_and_is_a_new_one_once_it_has_grown(photos: Path) -> None:
    half, whole = put(photos, "a.jpg", 1, b"half"), put(photos, "b.jpg", 2)
    given = source(photos, delete=True)
    next(given).unreadable.set()
    assert next(given).image == whole.read_bytes()
    put(photos, "a.jpg", 3, b"half and half")
    assert next(given).image == b"half and half"
    given.close()
    assert half.read_bytes() == b"half and half"
    assert not whole.exists()


def test_a_file_that_is_not_ours_to_read_or_from_no_time_stops_no_other(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(photos, "a.jpg", 1)
    put(photos, "b.jpg", 2)
    os.utime(put(photos, "z.jpg"), ns=(-(10**18), -(10**18)))
    real = folder._read
    hidden = {"a.jpg"}

    def read(path: Path) -> bytes:
        if path.name in hidden:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(folder, "_read", read)
    with structlog.testing.capture_logs() as lines:
        given = source(photos)
        assert next(given).captured_at == MORNING + timedelta(seconds=2)
        put(photos, "c.jpg", 3)
        assert next(given).captured_at == MORNING + timedelta(seconds=3)
    assert [(line["path"], line["error"]) for line in lines] == [("a.jpg", "Permission denied")]
    hidden.clear()
    assert next(given).captured_at == MORNING + timedelta(seconds=1)
    given.close()


def test_a_file_that_was_written_to_while_it_was_taken_is_not_deleted(photos: Path) -> None:
    path = put(photos, "a.jpg", 1, b"first")
    given = source(photos, delete=True)
    assert next(given).image == b"first"
    put(photos, "a.jpg", 2, b"second")
    assert next(given).image == b"second"
    given.close()
    assert path.exists()
