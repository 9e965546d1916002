"""The photos that the demo's cameras take: drawn ones, or those of a folder."""

import io
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from deploy.local.drawing.light import light_at
from deploy.local.drawing.rooms import Room
from deploy.local.scenes import LABELS, SIZE, Scene, draw_scene, posed, to_jpeg, who
from deploy.local.story import Shot, Space

PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}
LARGEST = (1280, 1280)
MAX_PHOTO_BYTES = 10_000_000
POSES_KEPT = 3  # an animal has so many poses in a chapter: new ones cost half a second of processor time each
# Rooms that suit the demo's spaces: kennels with and without bars, living rooms with a sofa.
ROOMS = {"k1": 2, "k2": 4, "k3": 1, "k4": 8, "k5": 6, "cattery": 12, "room": 2, "quarantine": 5}
HOMES = ("cattery", "room")


class Photos(Protocol):
    """Where a camera's photos come from."""

    def take(self, camera_id: str, shot: Shot) -> bytes:
        """Return the photo that a camera takes of what is before it."""
        ...


class DrawnPhotos:
    """Photos that are drawn as they are taken; the same shot is the same photo.

    One is drawn at a time: it is the processor that they wait for, and what a drawing needs of memory is needed once.
    """

    def __init__(self, spaces: Sequence[Space], size: tuple[int, int] = SIZE) -> None:
        self._size = size
        self._drawing = threading.Lock()
        self._cameras: dict[str, tuple[Room, int]] = {}
        for index, space in enumerate(spaces):
            room = Room.of(ROOMS.get(space.id, index), home=space.id in HOMES)
            self._cameras |= {camera: (room, side) for side, camera in enumerate(space.cameras)}

    def scene(self, camera_id: str, shot: Shot) -> tuple[Scene, int]:
        """Return what a camera has before it, and from which side it looks."""
        room, side = self._cameras[camera_id]
        somebody = who(shot.chapter.label, shot.chapter.seed, visitor=shot.visitor)
        bodies = posed(room, somebody, shot.chapter.seed * POSES_KEPT + shot.pose % POSES_KEPT)
        return Scene(room, bodies, shot.hour), side

    def take(self, camera_id: str, shot: Shot) -> bytes:
        scene, side = self.scene(camera_id, shot)
        with self._drawing:
            return to_jpeg(draw_scene(scene, side, shot.moment, self._size))


class FolderPhotos:
    """Photos of a folder with a sub-folder a label, in turn in a shuffled order, each as if it were taken anew.

    A camera's photos are never equal byte for byte (Huella takes equal ones for a camera that hangs), so a photo is
    moved and lit a little differently each time; by night it is grey. A file that can't be read as a photo is sent as
    it is.
    """

    def __init__(self, photos: Mapping[str, Sequence[Path]], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._photos: dict[str, list[Path]] = {
            label: [paths[index] for index in rng.permutation(len(paths))] for label, paths in photos.items()
        }
        self._taken: dict[tuple[str, str], int] = {}

    def take(self, camera_id: str, shot: Shot) -> bytes:
        paths = self._photos[shot.chapter.label]
        rng = np.random.default_rng([*camera_id.encode(), shot.moment])
        # Each camera begins elsewhere in the folder and goes through all of it; no other camera's thread changes that.
        turn = self._taken.get((camera_id, shot.chapter.label), sum(camera_id.encode()))
        self._taken[camera_id, shot.chapter.label] = turn + 1
        photo = paths[turn % len(paths)].read_bytes()
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
        if light_at(shot.hour).infrared:
            picture = picture.convert("L").convert("RGB")
        return to_jpeg(ImageEnhance.Brightness(picture).enhance(rng.uniform(0.94, 1.06)))


def covered(camera_id: str, moment: int, size: tuple[int, int] = SIZE) -> bytes:
    """Return the photo of a camera that sees nothing: black, with a little of the sensor's noise."""
    rng = np.random.default_rng([*camera_id.encode(), moment, 1])
    noise = rng.normal(2.5, 1.2, (size[1] // 2, size[0] // 2)).clip(0, 8).astype(np.uint8)
    return to_jpeg(Image.fromarray(noise).resize(size).convert("RGB"))


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
