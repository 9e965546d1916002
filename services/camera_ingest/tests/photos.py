"""Photos for these tests: drawn by Pillow, or put together byte by byte where no tool would make them."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image

GPS_FOLDER = 0x8825


def photo(seed: int = 0, form: str = "JPEG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """Return a small photo; another seed gives other bytes, which follow the picture's end."""
    image = Image.new("RGB", size, (seed % 256, 80, 120))
    return encode(image, form, **options) + b"%d" % seed


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return `image` as JPEG, PNG or WebP."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(
    time: str | None = None, offset: str | None = None, orientation: int | None = None, position: bool = False
) -> bytes:
    """Return EXIF as a camera writes it, with a serial number and maybe a position that nobody should see."""
    made = Image.Exif()
    made[0x010F] = "SECRET-MAKER"
    if orientation is not None:
        made[0x0112] = orientation
    inner: Mapping[int, Any] = {0x9003: time, 0x9011: offset, 0xA431: "SECRET-SERIAL"}
    made._ifds[0x8769] = {tag: value for tag, value in inner.items() if value is not None}
    if position:
        made._ifds[GPS_FOLDER] = {1: "N", 2: (40.0, 25.0, 1.0), 3: "W", 4: (3.0, 42.0, 1.0)}
    return made.tobytes()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG of that size whose pixels are missing: 57 bytes that claim to be a bomb."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk with its length and check sum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
