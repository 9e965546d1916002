"""The demo's story: which spaces there are, who is in each of them at any time, and what its cameras see."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from deploy.local.drawing.rooms import Room
from deploy.local.scenes import LABELS, Scene, draw_scene, posed, to_jpeg, who

EVENT_EVERY_S = 25.0
POSE_KEPT = 3  # photos for which an animal keeps still
OCCUPANCY = {"cat": "cat", "dog": "dog", "both": "both", "none": "empty"}
NEXT = {"cat": ("none", "both"), "dog": ("none", "both"), "both": ("cat", "dog"), "none": ("cat", "dog")}
PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}
LARGEST = (1280, 1280)
MAX_PHOTO_BYTES = 10_000_000


@dataclass(frozen=True)
class Space:
    """A space of the demo, who is in it at the beginning, and its cameras."""

    id: str
    name: str
    purpose: str
    first: str
    cameras: tuple[str, ...]


SPACES = (
    Space("k1", "Kennel 1", "adoption", "cat", ("k1-door",)),
    Space("k2", "Kennel 2", "adoption", "dog", ("k2-door",)),
    Space("k3", "Kennel 3", "adoption", "none", ("k3-door",)),
    Space("k4", "Kennel 4", "adoption", "dog", ("k4-door", "k4-wall")),
    Space("room", "Living room", "adoption", "both", ("room-door", "room-window")),
    Space("quarantine", "Quarantine", "quarantine", "cat", ("quarantine-door",)),
)


@dataclass(frozen=True)
class Chapter:
    """Who is in a space from `since_s` seconds after the start on.

    `seed` says which animals they are, and `somebody_left` that fewer species are there than before.
    """

    since_s: float
    label: str
    seed: int
    somebody_left: bool = False


class Story:
    """Arrivals and departures, one every EVENT_EVERY_S seconds somewhere, the same for the same seed.

    Only `labels` occur (those of which there are photos). Raises ValueError if there are none.
    """

    def __init__(self, spaces: Sequence[Space] = SPACES, labels: Sequence[str] = LABELS, seed: int = 0) -> None:
        if not labels:
            raise ValueError("a story needs photos of at least one label")
        self.spaces = tuple(spaces)
        self._labels = tuple(label for label in LABELS if label in labels)
        self._rng = np.random.default_rng(seed)
        self._chapters: dict[str, list[Chapter]] = {}
        for index, space in enumerate(self.spaces):
            first = space.first if space.first in self._labels else self._labels[index % len(self._labels)]
            self._chapters[space.id] = [Chapter(0, first, self._seed())]
        self._round: list[str] = []
        self._told_until = EVENT_EVERY_S

    def _seed(self) -> int:
        return int(self._rng.integers(1_000_000))

    def now(self, space_id: str, elapsed_s: float) -> Chapter:
        """Return who is in the space `elapsed_s` seconds after the start."""
        while self._told_until < elapsed_s:
            self._told_until += EVENT_EVERY_S
            self._tell()
        return next(chapter for chapter in reversed(self._chapters[space_id]) if chapter.since_s <= elapsed_s)

    def _tell(self) -> None:
        """Add the next event, in a space whose turn it is: each has one before any has its next."""
        if not self._round:
            self._round = [self.spaces[index].id for index in self._rng.permutation(len(self.spaces))]
        space_id = self._round.pop()
        before = self._chapters[space_id][-1].label
        possible = [label for label in NEXT[before] if label in self._labels]
        possible = possible or [label for label in self._labels if label != before]
        if possible:
            label = possible[self._rng.integers(len(possible))]
            left = before == "both" or label == "none" or {before, label} == {"cat", "dog"}
            self._chapters[space_id].append(Chapter(self._told_until, label, self._seed(), somebody_left=left))


class Photos(Protocol):
    """Where a camera's photos come from."""

    def take(self, camera_id: str, chapter: Chapter, moment: int) -> bytes:
        """Return the photo number `moment` of a camera, while `chapter` is going on in its space."""
        ...


class DrawnPhotos:
    """Photos that are drawn as they are taken."""

    def __init__(self, cameras: Sequence[str], size: tuple[int, int] = (1280, 720)) -> None:
        self._kennels = {camera_id: 11 + index for index, camera_id in enumerate(cameras)}
        self._size = size

    def take(self, camera_id: str, chapter: Chapter, moment: int) -> bytes:
        room = Room.of(self._kennels[camera_id])
        bodies = posed(room, who(chapter.label, chapter.seed), chapter.seed + moment // POSE_KEPT)
        return to_jpeg(draw_scene(Scene(room, bodies, 12.0), 0, moment, self._size))


class FolderPhotos:
    """Photos of a folder with a sub-folder a label, in turn in a shuffled order, each as if it were taken anew.

    A camera's photos are never equal byte for byte (Huella takes equal ones for a camera that hangs), so a photo is
    moved and lit a little differently each time. A file that can't be read as a photo is sent as it is.
    """

    def __init__(self, photos: Mapping[str, Sequence[Path]], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._photos: dict[str, Iterator[Path]] = {
            label: cycle([paths[index] for index in rng.permutation(len(paths))]) for label, paths in photos.items()
        }

    def take(self, camera_id: str, chapter: Chapter, moment: int) -> bytes:
        photo = next(self._photos[chapter.label]).read_bytes()
        rng = np.random.default_rng([*camera_id.encode(), moment])
        try:
            with Image.open(io.BytesIO(photo), formats=("JPEG", "PNG", "WEBP")) as opened:
                opened.draft("RGB", LARGEST)
                picture = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            return photo
        picture.thumbnail(LARGEST)
        left, top, right, bottom = rng.uniform(0, 0.03, 4)
        width, height = picture.size
        picture = picture.crop(
            (int(left * width), int(top * height), width - int(right * width), height - int(bottom * height))
        )
        return to_jpeg(ImageEnhance.Brightness(picture).enhance(rng.uniform(0.94, 1.06)))


def find_photos(folder: Path) -> dict[str, list[Path]]:
    """Return the photos of each label's sub-folder that has any. Raises ValueError if there are none at all."""
    found = {
        label: sorted(
            path
            for path in (folder / label).glob("*")
            if path.suffix.lower() in PHOTO_ENDINGS and path.stat().st_size <= MAX_PHOTO_BYTES
        )
        for label in LABELS
        if (folder / label).is_dir()
    }
    found = {label: paths for label, paths in found.items() if paths}
    if not found:
        raise ValueError(
            f"{folder} has no photos: put JPEG, PNG or WebP files into sub-folders named {', '.join(LABELS)}"
        )
    return found
