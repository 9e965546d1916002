"""How light, clear and sharp a picture came: whether it can be judged, and what is done to it before a model sees it.

How light a picture is, and whether it shows anything, is told without its lightest and darkest twentieth, since a lamp,
a burnt-in clock or a gap at the rim of a cloth is not the scene; what is done to it crushes no more than a hundredth at
either end, since that may be the animal (docs/adr/0018).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter

from services.image_classifier.domain import Quality

# Limits on 8-bit values. They set aside 1 photo in 1,000 or fewer, and nearly all of the same photos darkened to a
# sixteenth, burnt out, or smeared over a twelfth of their height.
DULL_BELOW: Final = 24  # a picture that spans less, in every channel, shows a lens that is covered and its noise
DARK_BELOW: Final = 36  # it goes no higher than this
BLOWN_OUT_ABOVE: Final = 236  # it goes no lower than this
BLURRED_BELOW: Final = 11  # even the largest steps between neighbouring pixels are smaller than this, once levelled ...
NOISE_BELOW: Final = 6  # ... or than this as they came
SHARPEST: Final = 0.003  # the largest are this share of all steps: a hundred, an outline, at 128 pixels

LIGHT_FROM: Final = 140  # a picture that goes no higher is made lighter until it does
CLEAR_FROM: Final = 130  # one that spans less, but for a hundredth at either end, is spread until a channel does
GRAIN_FROM: Final = 1.5  # where that takes values so many times as large, so is the sensor's noise: it is smoothed
SMOOTH: Final = ImageFilter.GaussianBlur(0.7)
ONE_COLOUR: Final = 0.5  # a lamp's colour is all there is where the other channels go no higher than this share of one


@dataclass(frozen=True, slots=True, eq=False)
class Exposed:
    """A picture as a model is to see it, whether it can be judged, and how light and clear it came.

    `mean` and `deviation` are those of its values as they came, 0 to 255, all channels together.
    """

    picture: Image.Image
    quality: Quality
    mean: float
    deviation: float


def exposed(picture: Image.Image) -> Exposed:
    """Judge a picture in mode RGB, and level it if it can be judged."""
    # Counting by Pillow is 20 times faster here than numpy's percentile, and this runs for every frame.
    counts = np.reshape(picture.histogram(), (3, 256))
    seen, quality = _levelled(picture, counts.cumsum(axis=1))
    values, number = np.arange(256), counts.sum()
    mean = float((counts @ values).sum() / number)
    variance = float((counts @ values**2).sum() / number) - mean**2
    return Exposed(seen, quality, mean, max(0.0, variance) ** 0.5)


def _levelled(picture: Image.Image, below: npt.NDArray[np.int_]) -> tuple[Image.Image, Quality]:
    deepest, low, high, top = (_reached(below, share) for share in (0.01, 0.05, 0.95, 0.99))
    lamp = int(top.argmax())
    if sorted(top)[1] < ONE_COLOUR * top[lamp]:
        picture = Image.merge("RGB", [picture.getchannel(lamp)] * 3)
        deepest, low, high, top = (values[[lamp] * 3] for values in (deepest, low, high, top))
    lightest = high.max()
    lighter = max(1.0, min(LIGHT_FROM / max(1.0, lightest), 255 / max(1.0, top.max())))
    if (high - low).max() < DULL_BELOW or lighter * lightest < DARK_BELOW:
        if lightest < DARK_BELOW:
            return picture, Quality.DARK
        return picture, Quality.BLOWN_OUT if low.min() > BLOWN_OUT_ABOVE else Quality.BLURRED
    scale = max(lighter, CLEAR_FROM / (top - deepest).max())
    if scale > 1:
        # Each channel's middle becomes as much lighter, as far as the scene stays between 0 and 255.
        middle = (low + high) / 2
        moved = np.clip(lighter * middle, scale * (middle - deepest), 255 - scale * (top - middle))
        table = np.rint(scale * (np.arange(256) - middle[:, None]) + moved[:, None])
        picture = picture.point(table.clip(0, 255).astype(int).ravel().tolist())
    if scale >= GRAIN_FROM:
        picture = picture.filter(SMOOTH)
    sharp = _largest_step(picture.convert("L")) >= max(BLURRED_BELOW, scale * NOISE_BELOW)
    return picture, Quality.OK if sharp else Quality.BLURRED


def _reached(below: npt.NDArray[np.int_], share: float) -> npt.NDArray[np.float64]:
    """Give of each channel the value that a share of its pixels do not pass."""
    return np.array([np.searchsorted(channel, share * channel[-1]) for channel in below], dtype=np.float64)


def _largest_step(luma: Image.Image) -> int:
    width, height = luma.size
    beside = luma.crop((0, 0, width - 1, height)), luma.crop((1, 0, width, height))
    below = luma.crop((0, 0, width, height - 1)), luma.crop((0, 1, width, height))
    counts = [ImageChops.difference(*pair).histogram() for pair in (beside, below)]
    steps = np.cumsum(np.sum(counts, axis=0))
    return int(np.searchsorted(steps, steps[-1] * (1 - SHARPEST)))
