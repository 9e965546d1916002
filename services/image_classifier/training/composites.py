"""Whole frames of 16:9 with a small animal: a fixed set, made of boxes and empty scenes that no run was trained on."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

from services.image_classifier.training.augment import blend
from services.image_classifier.training.photos import DRAWN, Photo, Pixels

SHARES: Final = (0.05, 0.1, 0.2, 0.3, 0.4)
FRAMES: Final = 240
"""How many frames of each share there are."""
_WIDTH, _HEIGHT = 640, 360
_SCENES: Final = ("pl", "on", "co", "in", "ik", "sc")  # places and floors, where an animal could be
_ANYWHERE: Final = ("-",)
_LEAST_SIDE: Final = 56  # pixels of the photo that a cut-out animal has; below that it is a blot at 40 %

Row = tuple[Photo, bytes]


def frames(rows: Sequence[Row], number: int = FRAMES) -> Iterator[tuple[str, str, bytes]]:
    """Yield (kind, label, JPEG) of every frame: kind is the animal's share of the frame, `empty`, or `patch`.

    The same animals are put into the same scenes at every share, so that shares compare. `empty` are the scenes alone,
    and `patch` has a piece of another scene in place of an animal, at a fifth of the frame: what is said of them tells
    whether the pasting is what the model sees. The set depends on the photos alone, not on their order.
    """
    ordered = sorted((row for row in rows if row[0].source != DRAWN), key=lambda row: row[0].name)
    animals = [row for row in ordered if _fits(row)]
    scenes = [row for row in ordered if row[0].label == "none" and row[0].source in (*_SCENES, *_ANYWHERE)]
    if not animals or len(scenes) < 2:
        return
    random = np.random.default_rng(44)
    for one in range(number):
        species = ("cat", "dog")[one % 2]
        of_species = [row for row in animals if row[0].label == species] or animals
        animal = of_species[int(random.integers(len(of_species)))]
        first, other = (scenes[i] for i in random.choice(len(scenes), 2, replace=False))
        frame, patch = _wide(first[1]), _cut(animal)
        yield "empty", "none", _jpeg(frame)
        for share in SHARES:
            yield f"{share:.0%}", animal[0].label, _jpeg(_pasted(frame, patch, share, one))
        yield "patch", "none", _jpeg(_pasted(frame, _wide(other[1])[60:300, 160:480], 0.2, one))


def _fits(row: Row) -> bool:
    """Say if a photo has one animal whose box can take 40 % of a 16:9 frame without leaving it, and pixels for that."""
    photo, content = row
    if len(photo.boxes) != 1 or photo.label not in ("cat", "dog"):
        return False
    image = Image.open(BytesIO(content))
    _, left, top, right, bottom = photo.boxes[0]
    w, h = (right - left) * image.width, (bottom - top) * image.height
    most = SHARES[-1] * _WIDTH * _HEIGHT
    return min(w, h) >= _LEAST_SIDE and most * h / w <= _HEIGHT**2 and most * w / h <= _WIDTH**2


def _cut(row: Row) -> Pixels:
    photo, content = row
    image = Image.open(BytesIO(content)).convert("RGB")
    _, left, top, right, bottom = photo.boxes[0]
    w, h = image.size
    return np.asarray(image.crop((round(left * w), round(top * h), round(right * w), round(bottom * h))))


def _wide(content: bytes) -> Pixels:
    """Give the middle of a photo as a frame of 16:9."""
    image = Image.open(BytesIO(content)).convert("RGB")
    w, h = min(image.width, image.height * 16 / 9), min(image.height, image.width * 9 / 16)
    left, top = (image.width - w) / 2, (image.height - h) / 2
    box = (left, top, left + w, top + h)
    return np.asarray(image.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC, box=box))


def _pasted(frame: Pixels, patch: Pixels, share: float, seed: int) -> Pixels:
    scale = np.sqrt(share * _WIDTH * _HEIGHT / (patch.shape[0] * patch.shape[1]))
    w, h = min(_WIDTH, round(patch.shape[1] * scale)), min(_HEIGHT, round(patch.shape[0] * scale))
    return blend(np.random.default_rng([44, seed]), frame.copy(), patch, w, h)


def _jpeg(pixels: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()
