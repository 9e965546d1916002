"""Small pictures for the page: made once of ingest's photos, kept on disk within bounds, never for strangers.

They are removed after a day at most, so that a photo which ingest's retention removed does not live on here.
"""

import io
import os
import re
import tempfile
import threading
import time
import warnings
from pathlib import Path

import structlog
from PIL import Image, ImageOps

log = structlog.get_logger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 40_000_000
WIDTH, HEIGHT = 480, 270
RECEIPT = re.compile(r"^[A-Za-z0-9-]{1,64}$")
SWEEP_EVERY_S = 300.0


UNSHOWABLE = b""  # what is kept of a photo that can't be decoded, so that it is not tried each time


class Unshowable(Exception):
    """The photo can't be decoded."""


def shrink(photo: bytes, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Return the photo as a JPEG within `width` x `height` pixels, turned upright, without metadata.

    Raises Unshowable if it is no JPEG, PNG or WebP, is broken, or has over 40 megapixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(photo), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Unshowable
                image.draft("RGB", (width * 2, height * 2))
                image.thumbnail((width * 2, height * 2))
                upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((width, height))
        small = io.BytesIO()
        upright.save(small, "JPEG", quality=80, progressive=True)
    except Unshowable:
        raise
    except Exception as error:  # noqa: BLE001 - a decoder fed by strangers may raise anything
        log.info("photo can't be shown", kind=type(error).__name__)
        raise Unshowable from None
    return small.getvalue()


class Thumbnails:
    """The kept small pictures: one file a receipt, at most `most_bytes` together, none older than `longest_s`."""

    def __init__(self, folder: Path, most_bytes: int, longest_s: float) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.longest_s = longest_s
        self._decoding = threading.Semaphore(2)  # each may hold a whole photo's pixels
        self._swept_at = float("-inf")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def kept(self, receipt: str) -> bytes | None:
        """Return the small picture of a receipt if there is one."""
        path = self._path(receipt)
        try:
            if time.time() - path.stat().st_mtime > self.longest_s:
                return None
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def make(self, receipt: str, photo: bytes) -> bytes:
        """Make, keep and return the small picture of a receipt, UNSHOWABLE if the photo can't be decoded."""
        path = self._path(receipt)
        with self._decoding:
            try:
                small = shrink(photo)
            except Unshowable:
                small = UNSHOWABLE
        # Written beside and moved: another thread or process never reads half a picture.
        descriptor, name = tempfile.mkstemp(dir=self.folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(small)
        os.replace(name, path)
        if time.monotonic() - self._swept_at > SWEEP_EVERY_S:
            self.sweep()
        return small

    def sweep(self) -> None:
        """Remove what is too old, and the oldest while all together is too large."""
        self._swept_at = time.monotonic()
        files = sorted(((path.stat(), path) for path in self._files()), key=lambda pair: pair[0].st_mtime)
        total = sum(stat.st_size for stat, _ in files)
        for stat, path in files:
            if total <= self.most_bytes and time.time() - stat.st_mtime <= self.longest_s:
                break
            path.unlink(missing_ok=True)
            total -= stat.st_size

    def _files(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.is_file()]

    def _path(self, receipt: str) -> Path:
        if not RECEIPT.match(receipt):
            raise ValueError("a receipt has letters, digits and dashes")
        return self.folder / f"{receipt}.jpg"
