import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.local.photos import DrawnPhotos, FolderPhotos, covered, find_photos
from deploy.local.scenes import LABELS, draw, to_jpeg
from deploy.local.story import SPACES, Chapter, Shot

SMALL = (160, 90)
DOG = Shot(Chapter(0, "dog", 3), visitor=False, hour=12.0, pose=1, moment=0)


def brightness(photo: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(photo))).mean())


def labelled(label: str, moment: int = 0) -> Shot:
    return replace(DOG, chapter=Chapter(0, label, 1), moment=moment)


def test_drawn_photos_never_repeat_a_photo_and_the_same_shot_is_the_same_photo() -> None:
    photos = DrawnPhotos(SPACES, SMALL)
    taken = [
        photos.take(camera, replace(DOG, moment=moment)) for camera in ("k4-front", "k4-back") for moment in range(6)
    ]
    assert len(set(taken)) == len(taken)
    assert DrawnPhotos(SPACES, SMALL).take("k4-back", replace(DOG, moment=5)) == taken[-1]


def test_every_camera_of_the_demo_draws_a_visitor_who_is_no_animal() -> None:
    photos = DrawnPhotos(SPACES, SMALL)
    for space in SPACES:
        for camera in space.cameras:
            nobody = labelled("none")
            assert brightness(photos.take(camera, nobody)) > 20
            assert photos.take(camera, replace(nobody, visitor=True)) != photos.take(camera, nobody)


def test_a_covered_camera_sends_black_that_differs_from_photo_to_photo() -> None:
    first, second = (covered("k5-front", moment, SMALL) for moment in (1, 2))
    assert first != second
    assert brightness(first) < 8


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
    seen = [brightness(photos.take("any", labelled("cat", moment))) for moment in range(6)]
    originals = [brightness(path.read_bytes()) for path in found["cat"]]
    for turn in (seen[:3], seen[3:]):
        assert sorted(turn) == pytest.approx(sorted(originals), rel=0.15)


def test_a_photo_of_a_folder_is_never_sent_twice_byte_for_byte_and_is_grey_by_night(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.png").write_bytes(to_jpeg(draw("dog", 5, SMALL)))
    photos = FolderPhotos(find_photos(tmp_path))
    taken = {photos.take(camera, labelled("dog", moment)) for camera in ("a", "b") for moment in range(5)}
    assert len(taken) == 10
    night = Image.open(io.BytesIO(photos.take("a", replace(labelled("dog"), hour=2.0))))
    assert np.ptp(np.asarray(night.convert("RGB"), dtype=int), axis=2).max() <= 2


def test_a_file_that_is_no_photo_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.jpg").write_bytes(b"not a photo")
    assert FolderPhotos(find_photos(tmp_path)).take("a", labelled("dog")) == b"not a photo"


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_photos_is_told_how_it_should_look(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "photos"
    if make:
        folder.mkdir()
    with pytest.raises(ValueError, match=", ".join(LABELS)):
        find_photos(folder)
