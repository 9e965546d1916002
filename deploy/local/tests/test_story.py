import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.local.scenes import LABELS, draw, to_jpeg
from deploy.local.story import EVENT_EVERY_S, SPACES, Chapter, DrawnPhotos, FolderPhotos, Story, find_photos


def told(story: Story, until_s: float) -> dict[str, list[Chapter]]:
    """Each space's chapters up to a time, looked at every second."""
    chapters: dict[str, list[Chapter]] = {space.id: [] for space in story.spaces}
    for second in range(int(until_s)):
        for space_id, seen in chapters.items():
            chapter = story.now(space_id, second)
            if not seen or seen[-1] != chapter:
                seen.append(chapter)
    return chapters


def test_the_story_starts_as_the_spaces_say_and_each_space_changes_in_its_turn() -> None:
    chapters = told(Story(), EVENT_EVERY_S * (2 * len(SPACES) + 2))
    assert [seen[0].label for seen in chapters.values()] == [space.first for space in SPACES]
    assert {len(seen) for seen in chapters.values()} == {3}
    for seen in chapters.values():
        assert all(first.label != second.label for first, second in pairwise(seen))


def test_the_same_seed_tells_the_same_story_whoever_asks_first() -> None:
    one, other = Story(seed=4), Story(seed=4)
    late = {space.id: one.now(space.id, 500) for space in reversed(SPACES)}
    assert told(other, 501).keys() == late.keys()
    assert {space_id: other.now(space_id, 500) for space_id in late} == late
    assert told(Story(seed=5), 501) != told(Story(seed=4), 501)


def test_only_labels_with_photos_occur() -> None:
    chapters = told(Story(labels=["none", "dog"]), 400)
    assert {chapter.label for seen in chapters.values() for chapter in seen} == {"none", "dog"}
    assert {len(seen) for seen in told(Story(labels=["cat"]), 400).values()} == {1}
    with pytest.raises(ValueError, match="at least one label"):
        Story(labels=[])


def test_a_chapter_says_whether_somebody_left() -> None:
    species = {"none": set(), "cat": {"cat"}, "dog": {"dog"}, "both": {"cat", "dog"}}
    for labels in (("cat", "dog", "none", "both"), ("cat", "dog")):
        for seen in told(Story(labels=labels), 600).values():
            assert not seen[0].somebody_left
            for before, after in pairwise(seen):
                assert after.somebody_left == bool(species[before.label] - species[after.label])


def test_two_spaces_have_two_cameras_and_no_camera_has_two_spaces() -> None:
    cameras = [camera for space in SPACES for camera in space.cameras]
    assert len(cameras) == len(set(cameras)) == 8
    assert sum(len(space.cameras) == 2 for space in SPACES) == 2


def test_drawn_photos_never_repeat_a_byte_for_byte_photo() -> None:
    photos = DrawnPhotos(["a", "b"], (160, 90))
    chapter = Chapter(0, "dog", 3)
    taken = [photos.take(camera, chapter, moment) for camera in ("a", "b") for moment in range(8)]
    assert len(set(taken)) == len(taken)
    assert DrawnPhotos(["a", "b"], (160, 90)).take("b", chapter, 7) == taken[-1]


def test_photos_of_a_folder_are_all_taken_before_one_comes_again(tmp_path: Path) -> None:
    for label in ("cat", "none"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.JPG").write_bytes(
                to_jpeg(Image.new("RGB", (64, 64), (60 * number + 40,) * 3))
            )
    (tmp_path / "cat" / "notes.txt").write_text("not a photo")
    (tmp_path / "dog").mkdir()
    found = find_photos(tmp_path)
    assert {label: len(paths) for label, paths in found.items()} == {"cat": 3, "none": 3}
    photos = FolderPhotos(found)
    seen = [brightness(photos.take("any", Chapter(0, "cat", 1), moment)) for moment in range(6)]
    originals = [brightness(path.read_bytes()) for path in found["cat"]]
    for turn in (seen[:3], seen[3:]):
        assert sorted(turn) == pytest.approx(sorted(originals), rel=0.15)


def brightness(photo: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(photo))).mean())


def test_a_photo_of_a_folder_is_never_sent_twice_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.png").write_bytes(to_jpeg(draw("dog", 1, (160, 90))))
    photos = FolderPhotos(find_photos(tmp_path))
    taken = {photos.take(camera, Chapter(0, "dog", 1), moment) for camera in ("a", "b") for moment in range(5)}
    assert len(taken) == 10


def test_a_file_that_is_no_photo_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.jpg").write_bytes(b"not a photo")
    assert FolderPhotos(find_photos(tmp_path)).take("a", Chapter(0, "dog", 1), 1) == b"not a photo"


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_photos_is_told_how_it_should_look(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "photos"
    if make:
        folder.mkdir()
    with pytest.raises(ValueError, match=", ".join(LABELS)):
        find_photos(folder)
