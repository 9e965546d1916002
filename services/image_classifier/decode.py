"""Image bytes to the square of pixels that a model sees: the one preprocessing, used by training and by serving."""

import re
import struct
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from services.image_classifier.domain import Quality
from services.image_classifier.exposure import exposed

MAX_PIXELS: Final = 40_000_000
# A progressive JPEG decodes every scan over the whole picture. Cameras write about ten; thousands are an attack.
MAX_JPEG_SCANS: Final = 64
START_OF_SCAN: Final = re.compile(b"\xff\xda")  # looks through a photo in a third of the time that bytes.count takes
FORMATS: Final = ("JPEG", "PNG", "WEBP")

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers raise on damaged bytes; SyntaxError is how its PNG reader reports a broken chunk.
# MemoryError is not among them: it says nothing of the image.
_DAMAGED: Final = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, struct.error)


class UndecodableImage(Exception):
    """The bytes are no image that we take; `reason` is one line fit for an operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What a model sees: `pixels`, uint8 RGB of shape (size, size, 3), upright; `quality` says if it can be judged.

    `mean` and `deviation` are those of the values as the camera gave them, 0 to 255.
    """

    pixels: npt.NDArray[np.uint8]
    quality: Quality
    mean: float = 0.0
    deviation: float = 0.0


def decode(data: bytes, size: int) -> Picture:
    """Decode JPEG, PNG or WebP bytes to a picture of `size` by `size` pixels.

    The whole image is squashed into the square: an animal at the edge of a wide camera's view must not be cropped away.
    A dark or hazy picture is made lighter and clearer, and one in coloured light grey.
    Raises UndecodableImage with the reason.
    """
    image = _open(data)
    try:
        # A JPEG is decoded at 1/2, 1/4 or 1/8 where that is still at least `size` on both sides: a third of the time.
        image.draft(None, (size, size))
        image.load()
        square = _flattened(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    except _DAMAGED as error:
        raise UndecodableImage(_damage(error)) from error
    seen = exposed(square.convert("RGB"))
    turn = _UPRIGHT.get(_orientation(image))
    upright = seen.picture if turn is None else seen.picture.transpose(turn)
    return Picture(np.asarray(upright), seen.quality, seen.mean, seen.deviation)


def _open(data: bytes) -> Image.Image:
    """Read the header alone and refuse what we don't take, before any pixel is decoded."""
    if not data:
        raise UndecodableImage("empty")
    if data.startswith(b"\xff\xd8") and _more_scans(data, MAX_JPEG_SCANS):
        raise UndecodableImage(f"more than {MAX_JPEG_SCANS} scans in a JPEG")
    too_large = f"more than {MAX_PIXELS // 1_000_000} megapixels"
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    # Pillow warns of a bomb from 89 megapixels and raises from 179. As the limit here is lower, either one is a
    # refusal, and nothing process-wide (warning filters, MAX_IMAGE_PIXELS) needs to be touched.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UndecodableImage(too_large) from error
    except _DAMAGED as error:
        ours = data.startswith((b"\xff\xd8", b"\x89PNG\r\n\x1a\n")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        raise UndecodableImage("truncated or damaged header" if ours else "not a JPEG, PNG or WebP image") from error
    if image.width * image.height > MAX_PIXELS:
        raise UndecodableImage(too_large)
    return image


def _more_scans(data: bytes, most: int) -> bool:
    return next(islice(START_OF_SCAN.finditer(data), most, None), None) is not None


def _damage(error: Exception) -> str:
    text = str(error)
    return "truncated" if "truncated" in text else f"damaged: {text[:120]}"


def _flattened(image: Image.Image) -> Image.Image:
    """Turn any mode that our formats have into one that can be resized and then made RGB."""
    if image.mode.startswith("I"):  # 16-bit grey: keep the high byte, where Pillow's own conversion would clip
        # In the array's own type: at 40 megapixels each copy in a wider one would be a third of a gigabyte.
        high = np.asarray(image) >> 8
        return Image.fromarray(np.clip(high, 0, 255, out=high).astype(np.uint8))
    if image.has_transparency_data:  # what was hidden under the transparency must not be seen
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, (128, 128, 128, 255)), clear).convert("RGB")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Read how the camera was held; broken EXIF is no reason to refuse the pixels and counts as upright."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:
        return 1
    return value if isinstance(value, int) else 1
