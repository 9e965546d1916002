"""Photos come as sketches until they are drawn whole, and nobody waits for that."""

import io
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deploy.local import sketches
from deploy.local.drawing.light import Exposed
from deploy.local.photos import DrawnPhotos
from deploy.local.scenes import Scene, exposed
from deploy.local.sketches import Apart, SketchedPhotos
from deploy.local.story import SPACES, Chapter, Shot
from shared.testing import wait_until

SIZE = (320, 180)
SHOT = Shot(Chapter(0, "none", 3), visitor=False, hour=12.0, pose=1, moment=0)


class Painter:
    """Draws whole pictures when told to; says which were asked for."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.asked: list[float] = []

    def __call__(self, scene: Scene, side: int, size: tuple[int, int]) -> Exposed:
        self.asked.append(scene.hour)
        assert self.may.wait(60)
        return exposed(scene, side, size)


@pytest.fixture
def painter() -> Painter:
    return Painter()


@pytest.fixture
def photos(painter: Painter) -> Iterator[SketchedPhotos]:
    photos = SketchedPhotos(SPACES, painter, SIZE)
    yield photos
    painter.may.set()
    photos.close()


def pixels(photo: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(Image.open(io.BytesIO(photo)).convert("L"), dtype=np.float64)


def test_a_sketch_has_the_size_and_the_scene_of_the_whole_picture_that_takes_its_place(
    photos: SketchedPhotos, painter: Painter
) -> None:
    whole = DrawnPhotos(SPACES, SIZE).take("k4-front", SHOT)
    sketch = photos.take("k4-front", SHOT)
    assert pixels(sketch).shape == pixels(whole).shape == (180, 320)
    assert sketch != whole
    assert np.abs(pixels(sketch) - pixels(whole)).mean() < 12
    painter.may.set()
    wait_until("it is drawn whole", lambda: photos.take("k4-front", SHOT) == whole)


def test_of_what_a_camera_saw_meanwhile_only_the_last_is_drawn_whole(photos: SketchedPhotos, painter: Painter) -> None:
    for hour in (10.0, 11.0, 12.0, 13.0):
        photos.take("k4-front", replace(SHOT, hour=hour))
        wait_until("the first is being drawn", lambda: painter.asked[:1] == [10.0])
    painter.may.set()
    wait_until("the last is drawn too", lambda: painter.asked == [10.0, 13.0])


def test_the_first_photos_are_sketched_before_they_are_asked_for(photos: SketchedPhotos, painter: Painter) -> None:
    photos.prepare({"k3-front": SHOT, "k4-front": SHOT})
    assert photos.prepared(60)
    assert len(photos._kept) == 2
    photos.take("k3-front", SHOT)
    assert len(photos._kept) == 2


def test_a_photo_waits_for_no_sketch_but_its_own(photos: SketchedPhotos, monkeypatch: pytest.MonkeyPatch) -> None:
    photos.take("k3-front", SHOT)
    drawing, may = threading.Event(), threading.Event()

    def slow(scene: Scene, side: int, size: tuple[int, int]) -> Exposed:
        drawing.set()
        assert may.wait(60)
        return exposed(scene, side, size)

    monkeypatch.setattr(sketches, "exposed", slow)
    photos.prepare({"k4-front": SHOT})
    assert drawing.wait(60)
    other = threading.Thread(target=photos.take, args=("k3-front", SHOT))
    other.start()
    other.join(60)
    assert not other.is_alive()
    may.set()
    assert photos.prepared(60)


def test_what_is_kept_is_bounded(photos: SketchedPhotos, painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketches, "KEPT", 4)
    painter.may.set()
    for hour in range(8, 18):
        photos.take("k4-front", replace(SHOT, hour=float(hour)))
    assert len(photos._kept) <= 4


def test_whole_pictures_are_drawn_in_a_process_that_ends_when_it_is_told_to() -> None:
    seen = DrawnPhotos(SPACES, SIZE).scene("k4-front", SHOT)
    draw = Apart()
    drawn = draw(*seen, SIZE)
    assert drawn.picture.tobytes() == exposed(*seen, SIZE).picture.tobytes()
    draw.close()
    assert draw._process.exitcode is not None
    with pytest.raises((EOFError, OSError)):
        draw(*seen, SIZE)
