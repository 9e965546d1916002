"""Decoding photos once, into an array that epochs read at memory speed."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from inspect import getsource
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from services.image_classifier import decode as decoding
from services.image_classifier import exposure
from services.image_classifier.decode import UndecodableImage, decode
from services.image_classifier.training.photos import Photo, Photos, Pixels, read

CACHE_SIZE: Final = 192
"""Pixels a side in the cache: a little more than the model sees, so that crops keep detail."""

HOW: Final = hashlib.sha256("".join(map(getsource, (decoding, exposure))).encode()).hexdigest()
"""Names the code that decodes, as it is when this process begins: what another decoded is not taken for its own."""


def cached(data: Path, cache: Path, size: int, splits: frozenset[str]) -> Photos:
    """Give the photos of some splits, decoded to `size`, from the cache or, the first time, from `data`.

    The pixels are a read-only memory map. A photo that can't be decoded is left out and named on the progress bar.
    """
    fingerprint = _fingerprint(data, size, splits)
    pixels_path, index_path = cache / f"{fingerprint}.npy", cache / f"{fingerprint}.json"
    if not index_path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        number = sum(photo.split in splits for photo, _ in read(data))
        pixels = np.lib.format.open_memmap(pixels_path, mode="w+", dtype=np.uint8, shape=(number, size, size, 3))
        kept: list[Photo] = []
        wanted = ((photo, content) for photo, content in read(data) if photo.split in splits)
        with ThreadPoolExecutor(2) as pool, tqdm(total=number, desc=f"decode to {size} px", mininterval=2.0) as bar:
            while batch := list(islice(wanted, 256)):
                for (photo, _), picture in zip(batch, pool.map(lambda row: _decoded(row[1], size), batch), strict=True):
                    if isinstance(picture, str):
                        bar.write(f"{photo.name} is left out: {picture}")
                    else:
                        pixels[len(kept)] = picture
                        kept.append(photo)
                bar.update(len(batch))
        pixels.flush()
        partial = index_path.with_suffix(".partial")
        partial.write_text(json.dumps([asdict(photo) for photo in kept]), encoding="utf-8")
        partial.replace(index_path)  # the last step, so that what a killed process left is not taken for whole
    rows = json.loads(index_path.read_text(encoding="utf-8"))
    photos = [Photo(**{**row, "boxes": tuple(tuple(box) for box in row["boxes"])}) for row in rows]
    return Photos(photos, np.load(pixels_path, mmap_mode="r")[: len(photos)])


def _decoded(content: bytes, size: int) -> Pixels | str:
    try:
        return decode(content, size).pixels
    except UndecodableImage as refusal:
        return refusal.reason


def _fingerprint(data: Path, size: int, splits: frozenset[str]) -> str:
    """Name a cache by all that decides what is in it: the photos, how they are decoded, the size and the splits."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    described = [(str(path.relative_to(data)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([described, HOW, size, sorted(splits)]).encode()).hexdigest()[:16]
