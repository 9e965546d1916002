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

MAX_PIXELS: Final = 40_000_000
# A progressive JPEG decodes every scan over the whole picture. Cameras write about ten; thousands are an attack.
MAX_JPEG_SCANS: Final = 64
START_OF_SCAN: Final = re.compile(b"\xff\xda")  # looks through a photo in a third of the time that bytes.count takes
FORMATS: Final = ("JPEG", "PNG", "WEBP")

# Limits on 8-bit luma, set on the training photos: they flag 1 photo in 1,000 or fewer, and nearly all of the same
# photos darkened to an eighth, burnt out, or smeared over a twelfth of their height.
DARK_BELOW: Final = 36  # the brightest twentieth of the picture is darker than this
BLOWN_OUT_ABOVE: Final = 236  # the darkest twentieth of the picture is brighter than this
BLURRED_BELOW: Final = 11  # of all steps between neighbouring pixels, even the largest are smaller than this ...
SHARPEST: Final = 0.003  # ... where the largest means this share: a hundred steps, an outline, at 128 pixels

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
    """What a model sees: `pixels`, uint8 RGB of shape (size, size, 3), upright; `quality` says if it can be judged."""

    pixels: npt.NDArray[np.uint8]
    quality: Quality


def decode(data: bytes, size: int) -> Picture:
    """Decode JPEG, PNG or WebP bytes to a picture of `size` by `size` pixels.

    The whole image is squashed into the square: an animal at the edge of a wide camera's view must not be cropped away.
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
    square = square.convert("RGB")
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        square = square.transpose(turn)
    return Picture(pixels=np.asarray(square), quality=_quality(square))


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


def _quality(square: Image.Image) -> Quality:
    luma_image = square.convert("L")
    # Pillow's and numpy's counting is 20 times faster here than numpy's percentile, and this runs for every frame.
    below = np.cumsum(luma_image.histogram())
    twentieth = int(below[-1]) // 20
    if int(np.searchsorted(below, below[-1] - twentieth)) < DARK_BELOW:
        return Quality.DARK
    if int(np.searchsorted(below, twentieth)) > BLOWN_OUT_ABOVE:
        return Quality.BLOWN_OUT
    luma = np.asarray(luma_image, dtype=np.int16)
    steps = np.cumsum(
        np.bincount(np.abs(np.diff(luma, axis=0)).ravel(), minlength=256)
        + np.bincount(np.abs(np.diff(luma, axis=1)).ravel(), minlength=256)
    )
    if int(np.searchsorted(steps, steps[-1] * (1 - SHARPEST))) < BLURRED_BELOW:
        return Quality.BLURRED
    return Quality.OK
