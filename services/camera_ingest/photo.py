"""What a photo's header says, and a photo without its metadata: by walking its parts, never by decoding.

Bytes come from strangers, so nothing here allocates by what they claim, and every offset is checked. Offsets are
those of ITU-T T.81 (JPEG), the PNG specification, the WebP container specification and TIFF 6.0 (for EXIF).

PhotoError
  NotAPhoto      none of the three formats
  BrokenPhoto    the header is not complete or contradicts itself
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

Buffer = bytes | mmap

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP sBIT bKGD pHYs acTL fcTL fdAT".split())
WEBP_KEPT = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
WEBP_EXIF_AND_XMP = 0x08 | 0x04

START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
STANDS_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))
START_OF_SCAN, END_OF_IMAGE, COMMENT, APP0 = 0xDA, 0xD9, 0xFE, 0xE0
MARKER = re.compile(b"\xff")
# A photo has some dozens, a progressive one with restarts some hundreds. Walking millions would hold up everyone.
MOST_SEGMENTS = 2000
# Ten megabytes of PNG in pieces of 4 kB, as some libraries write them, are 2600 chunks.
MOST_CHUNKS = 10_000
NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")

ORIENTATION, EXIF_FOLDER, TIME_ORIGINAL, OFFSET_ORIGINAL = 0x0112, 0x8769, 0x9003, 0x9011
EXIF_MAGIC = b"Exif\x00\x00"


class PhotoError(Exception):
    """The bytes are no photo that is taken here."""


class NotAPhoto(PhotoError):
    """The bytes are none of JPEG, PNG and WebP."""


class BrokenPhoto(PhotoError):
    """The bytes begin like a photo and do not go on like one."""


@dataclass(frozen=True)
class Exif:
    """The little that is read of EXIF; texts are as the camera wrote them, `orientation` is 1 to 8."""

    time_original: str | None = None
    offset_original: str | None = None
    orientation: int = 1


@dataclass(frozen=True)
class Photo:
    """What a photo's header says: media type, size in pixels, EXIF."""

    media_type: str
    width: int
    height: int
    exif: Exif


MAGIC_BYTES = 12


def begins_like_a_photo(head: bytes) -> bool:
    """Return whether these first MAGIC_BYTES bytes are those of one of the three formats."""
    return head[:3] == b"\xff\xd8\xff" or head[:8] == PNG_MAGIC or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def inspect(image: Buffer) -> Photo:
    """Return what the header says. Raises NotAPhoto or BrokenPhoto."""
    if image[:2] == b"\xff\xd8":
        return _inspect_jpeg(image)
    if image[:8] == PNG_MAGIC:
        return _inspect_png(image)
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return _inspect_webp(image)
    raise NotAPhoto("is not a JPEG, PNG or WebP image")


def without_metadata(image: bytes) -> Iterator[bytes]:
    """Return the photo's bytes in pieces, with only what a viewer needs: pixels, colour profile, orientation (JPEG).

    Raises NotAPhoto or BrokenPhoto, at the latest while it is consumed.
    """
    if image[:2] == b"\xff\xd8":
        return _strip_jpeg(image)
    if image[:8] == PNG_MAGIC:
        return _strip_png(image)
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return _strip_webp(image)
    raise NotAPhoto("is not a JPEG, PNG or WebP image")


# JPEG


def _segments(image: Buffer) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the segments after SOI up to and with EOI; a scan goes with its header."""
    position, length = 2, len(image)
    for _ in range(MOST_SEGMENTS):
        # Decoders skip what lies between segments; it belongs to none, so it goes.
        found = MARKER.search(image, position)
        if found is None:
            return
        start = position = found.start()
        while position < length and image[position] == 0xFF:
            position += 1
        if position >= length:
            raise BrokenPhoto("ends within its header")
        marker = image[position]
        position += 1
        if marker == END_OF_IMAGE or marker in STANDS_ALONE:
            yield marker, start, position
            if marker == END_OF_IMAGE:
                return
            continue
        if position + 2 > length:
            raise BrokenPhoto("ends within its header")
        (size,) = struct.unpack_from(">H", image, position)
        if size < 2 or position + size > length:
            raise BrokenPhoto("ends within its header")
        position += size
        if marker == START_OF_SCAN:
            found = NEXT_MARKER.search(image, position)
            position = found.start() if found else length
        yield marker, start, position
    raise BrokenPhoto(f"has more than {MOST_SEGMENTS} segments")


def _payload(image: Buffer, start: int, end: int) -> bytes:
    position = start
    while image[position] == 0xFF:
        position += 1
    return image[position + 3 : end]


def _inspect_jpeg(image: Buffer) -> Photo:
    exif = Exif()
    for marker, start, end in _segments(image):
        if marker == APP0 + 1 and _payload(image, start, end).startswith(EXIF_MAGIC):
            exif = _read_exif(_payload(image, start, end)[6:])
        elif marker in START_OF_FRAME:
            payload = _payload(image, start, end)
            if len(payload) < 6:
                break
            height, width = struct.unpack_from(">HH", payload, 1)
            return _photo(JPEG, width, height, exif)
        elif marker in (START_OF_SCAN, END_OF_IMAGE):
            break
    raise BrokenPhoto("has no frame header before its data")


def _strip_jpeg(image: bytes) -> Iterator[bytes]:
    yield b"\xff\xd8"
    for marker, start, end in _segments(image):
        if marker == COMMENT:
            continue
        if APP0 <= marker <= APP0 + 15:
            payload = _payload(image, start, end)
            if marker == APP0 + 1 and payload.startswith(EXIF_MAGIC):
                orientation = _read_exif(payload[6:]).orientation
                if orientation != 1:
                    yield _orientation_segment(orientation)
            if not _is_for_display(marker, payload):
                continue
        yield image[start:end]


def _is_for_display(marker: int, payload: bytes) -> bool:
    known = {APP0: b"JFIF\x00", APP0 + 2: b"ICC_PROFILE\x00", APP0 + 14: b"Adobe"}
    return marker in known and payload.startswith(known[marker])


def _orientation_segment(orientation: int) -> bytes:
    folder = struct.pack(">HHHIHHI", 1, ORIENTATION, 3, 1, orientation, 0, 0)
    exif = EXIF_MAGIC + b"MM\x00\x2a" + struct.pack(">I", 8) + folder
    return b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif


# PNG


def _png_chunks(image: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of the chunks up to and with IEND; `start` is that of the length field."""
    position, length = 8, len(image)
    for _ in range(MOST_CHUNKS):
        if position + 12 > length:
            return
        (size,) = struct.unpack_from(">I", image, position)
        end = position + 12 + size
        if end > length:
            return  # cut off within a chunk: what comes before is all there is
        kind = image[position + 4 : position + 8]
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end
    raise BrokenPhoto(f"has more than {MOST_CHUNKS} chunks")


def _inspect_png(image: Buffer) -> Photo:
    exif, size = Exif(), None
    for kind, start, end in _png_chunks(image):
        if size is None:
            if kind != b"IHDR" or end - start != 25 or zlib.crc32(image[start + 4 : end - 4]) != _crc(image, end):
                break
            size = struct.unpack_from(">II", image, start + 8)
        elif kind == b"eXIf":
            exif = _read_exif(image[start + 8 : end - 4])
        elif kind == b"IDAT":
            break
    if size is None:
        raise BrokenPhoto("has a broken header")
    return _photo(PNG, size[0], size[1], exif)


def _crc(image: Buffer, end: int) -> int:
    return int(struct.unpack_from(">I", image, end - 4)[0])


def _strip_png(image: bytes) -> Iterator[bytes]:
    yield PNG_MAGIC
    for kind, start, end in _png_chunks(image):
        if kind in PNG_KEPT:
            yield image[start:end]


# WebP


def _webp_chunks(image: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of the chunks; `end` is before the padding byte."""
    position = 12
    (size,) = struct.unpack_from("<I", image, 4)
    length = min(len(image), 8 + size)
    for _ in range(MOST_CHUNKS):
        if position + 8 > length:
            return
        (size,) = struct.unpack_from("<I", image, position + 4)
        end = position + 8 + size
        if end > length:
            return  # cut off within a chunk: what comes before is all there is
        yield image[position : position + 4], position, end
        position = end + size % 2
    raise BrokenPhoto(f"has more than {MOST_CHUNKS} chunks")


def _inspect_webp(image: Buffer) -> Photo:
    if len(image) < 30:
        raise BrokenPhoto("ends within its header")
    kind, size = image[12:16], None
    if kind == b"VP8X":
        size = (1 + int.from_bytes(image[24:27], "little"), 1 + int.from_bytes(image[27:30], "little"))
    elif kind == b"VP8L" and image[20] == 0x2F:
        bits = int.from_bytes(image[21:25], "little")
        size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    elif kind == b"VP8 " and image[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", image, 26)
        size = (width & 0x3FFF, height & 0x3FFF)
    if size is None:
        raise BrokenPhoto("has a broken header")
    exif = Exif()
    if kind == b"VP8X":
        for name, start, end in _webp_chunks(image):
            if name == b"EXIF":
                exif = _read_exif(image[start + 8 : end].removeprefix(EXIF_MAGIC))
    return _photo(WEBP, size[0], size[1], exif)


def _strip_webp(image: bytes) -> Iterator[bytes]:
    pieces = []
    for kind, start, end in _webp_chunks(image):
        if kind not in WEBP_KEPT:
            continue
        piece = bytearray(image[start:end])
        if kind == b"VP8X":
            if len(piece) < 18:
                raise BrokenPhoto("has a broken header")
            piece[8] &= ~WEBP_EXIF_AND_XMP
        pieces.append(bytes(piece) + b"\x00" * (len(piece) % 2))
    body = b"WEBP" + b"".join(pieces)
    yield b"RIFF" + struct.pack("<I", len(body))
    yield body


# EXIF


def _read_exif(tiff: bytes) -> Exif:
    """Return what is known of a TIFF structure; what does not fit is as if it were missing."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return Exif()
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    top = _read_folder(tiff, order, first)
    inner = top.get(EXIF_FOLDER)
    exif = _read_folder(tiff, order, inner) if isinstance(inner, int) else {}
    time, offset, orientation = exif.get(TIME_ORIGINAL), exif.get(OFFSET_ORIGINAL), top.get(ORIENTATION)
    return Exif(
        time if isinstance(time, str) else None,
        offset if isinstance(offset, str) else None,
        orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
    )


def _read_folder(tiff: bytes, order: str, start: int) -> dict[int, int | str]:
    if start + 2 > len(tiff):
        return {}
    found: dict[int, int | str] = {}
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for position in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, position)
        if tag in (TIME_ORIGINAL, OFFSET_ORIGINAL) and kind == 2 and count <= 64:
            (at,) = (position + 8,) if count <= 4 else struct.unpack_from(order + "I", tiff, position + 8)
            found[tag] = tiff[at : at + count].split(b"\x00")[0].decode("ascii", "replace").strip()
        elif tag == EXIF_FOLDER and kind in (4, 13):
            (found[tag],) = struct.unpack_from(order + "I", tiff, position + 8)
        elif tag == ORIENTATION and kind == 3:
            (found[tag],) = struct.unpack_from(order + "H", tiff, position + 8)
    return found


def _photo(media_type: str, width: int, height: int, exif: Exif) -> Photo:
    if width < 1 or height < 1:
        raise BrokenPhoto("has no pixels")
    return Photo(media_type, width, height, exif)
