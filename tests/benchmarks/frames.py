"""The photos of the bench: drawn kennels of 1280x720 with the grain of a cheap sensor, about 150 kB each."""

import io
from functools import cache

import numpy as np
from PIL import Image

from deploy.local.scenes import LABELS, draw

NUMBER = 24
GRAIN = 6.0
"""Standard deviation of the grain in grey levels: what makes a drawn picture weigh as much as a photograph."""
QUALITY = 80


@cache
def frames(number: int = NUMBER) -> list[bytes]:
    """Return JPEGs of 1280x720, the same each time; the mean of their sizes is between 130 and 170 kB."""
    return [_grained(draw(LABELS[seed % len(LABELS)], seed), seed) for seed in range(number)]


def _grained(picture: Image.Image, seed: int) -> bytes:
    chance = np.random.default_rng([7, seed])
    pixels = np.asarray(picture) + chance.normal(0, GRAIN, (picture.height, picture.width, 1))
    output = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(output, "JPEG", quality=QUALITY)
    return output.getvalue()
