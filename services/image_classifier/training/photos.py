"""Labelled photos: what is known of each, and finding them in a folder."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

LABELS: Final = {"cat": (True, False), "dog": (False, True), "both": (True, True), "none": (False, False)}
DRAWN: Final = "drawn"
"""The source of scenes that the demo's renderer drew; they are trained on, but tell nothing about photos."""
Pixels = npt.NDArray[np.uint8]
Box = tuple[str, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Photo:
    """A labelled photo; `split` is train, calibration or val; `boxes`: species, left, top, right, bottom in 0 to 1."""

    name: str
    label: str
    source: str
    split: str
    boxes: tuple[Box, ...] = ()

    @property
    def truth(self) -> tuple[bool, bool]:
        """Whether a cat, and whether a dog, is in the photo."""
        return LABELS[self.label]


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos with their pixels, uint8 of shape (number, size, size, 3), in the same order."""

    photos: list[Photo]
    pixels: Pixels

    @property
    def truths(self) -> npt.NDArray[np.bool_]:
        """Cat and dog, shape (number, 2)."""
        return np.array([photo.truth for photo in self.photos], dtype=bool).reshape(-1, 2)

    def of(self, chosen: npt.NDArray[np.intp]) -> Self:
        """Give some of the photos, in the order of their indices."""
        return type(self)([self.photos[i] for i in chosen], self.pixels[chosen])


def read(folder: Path, calibration_percent: int = 6) -> Iterator[tuple[Photo, bytes]]:
    """Yield every labelled photo of a folder with its bytes.

    The folder holds tars named after their split (train-*.tar, val-*.tar, with photos as `<label>/<source>_<n>.jpg`
    and perhaps detection.jsonl beside them), or a sub-folder for each label. Part of the training photos, chosen by
    the hash of their name, is set aside for calibration; of plain sub-folders a tenth is val. Raises ValueError if
    the folder has neither.
    """
    tars = [path for path in sorted(folder.glob("*.tar")) if path.name.startswith(("train", "val"))]
    if tars:
        boxes = _boxes(folder / "detection.jsonl")
        for path in tars:
            with tarfile.open(path) as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if content is not None and member.name.split("/")[0] in LABELS:
                        split = "val" if path.name.startswith("val") else _split(member.name, calibration_percent, 0)
                        yield _photo(member.name, split, boxes), content.read()
        return
    labels = [label for label in LABELS if (folder / label).is_dir()]
    if not labels:
        raise ValueError(f"{folder} has neither train-*.tar nor val-*.tar nor a sub-folder cat, dog, both or none")
    for label in labels:
        for path in sorted(p for p in (folder / label).iterdir() if p.is_file()):
            name = f"{label}/{path.name}"
            yield _photo(name, _split(name, calibration_percent, 10), {}), path.read_bytes()


def _photo(name: str, split: str, boxes: dict[str, tuple[Box, ...]]) -> Photo:
    label, _, file = name.partition("/")
    source = file.split("_")[0] if "_" in file else "-"
    return Photo(name, label, source, split, boxes.get(name, ()))


def _split(name: str, calibration_percent: int, val_percent: int) -> str:
    percent = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % 100
    if percent < calibration_percent:
        return "calibration"
    return "val" if percent < calibration_percent + val_percent else "train"


def _boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        w, h = row["width"], row["height"]
        found[row["file"]] = tuple(
            (b["label"], b["x"] / w, b["y"] / h, min(1.0, (b["x"] + b["w"]) / w), min(1.0, (b["y"] + b["h"]) / h))
            for b in row["boxes"]
        )
    return found
