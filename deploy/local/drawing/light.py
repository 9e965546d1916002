"""The hours of a day, and what a camera makes of them: exposure, colour, lens, grain, and infrared by night."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from deploy.local.drawing.shapes import Floats, vector
from deploy.local.drawing.stage import Layers

DAWN, DUSK, LIGHTS_OUT = 6.5, 19.5, 21.5
MIDDLE = 0.31


@dataclass(frozen=True)
class Light:
    """How strong and of what colour the lights are: `soft` and `hard` of Layers, `day` of what shines by itself."""

    soft: tuple[float, float, float]
    hard: tuple[float, float, float]
    day: float
    infrared: bool


def light_at(hour: float) -> Light:
    """Return the light at an hour (0 to 24): sun by day, lamps in the evening, a camera's own infrared by night."""
    day = float(np.clip(np.sin(np.pi * (hour - DAWN) / (DUSK - DAWN)), 0, 1)) if DAWN < hour < DUSK else 0.0
    if day == 0 and not DUSK <= hour < LIGHTS_OUT:
        return Light((0, 0, 0), (0, 0, 0), 0, True)
    sun = day**0.7
    low = (1 - day) ** 2  # red and yellow remain of a low sun
    lamp = 0.55 * float(np.clip((0.45 - day) / 0.3, 0, 1))
    return Light(
        (0.62 * sun + 1.0 * lamp, 0.65 * sun + 0.82 * lamp, 0.7 * sun + 0.56 * lamp),
        (2.1 * sun, (1.95 - 0.6 * low) * sun, (1.7 - 1.1 * low) * sun),
        sun,
        False,
    )


@dataclass(frozen=True)
class Exposed:
    """A picture as the lens gives it, before the sensor's grain of so many grey levels."""

    picture: Image.Image
    grain: float


def expose(layers: Layers, light: Light, width: int, height: int) -> Exposed:
    """Return what a camera's lens and automatic exposure make of the layers in a light."""
    if light.infrared:
        seen = 0.9 * layers.torch
    else:
        seen = layers.soft * vector(light.soft)
        seen += layers.hard * vector(light.hard)
        if light.day > 0:
            seen += layers.glow * np.float32(1.3 * light.day)
    # The camera's automatic exposure aims at a middle brightness, and does not quite reach it.
    gain = min((MIDDLE / max(float(np.mean(seen[::97])), 0.01)) ** 0.75, 6.0)
    seen *= np.float32(gain)
    # Bright parts bend into white as film does; then the screen's gamma.
    seen = np.sqrt(seen / (1 + 0.5 * seen) if light.infrared else seen * (1 + 0.12 * seen) / (1 + 0.62 * seen))
    down, across = (np.linspace(-1, 1, side, dtype=np.float32) for side in (height, width))
    vignette = (0.26 if light.infrared else 0.17) / 1.4 * (down[:, None, None] ** 2 + across[None, :, None] ** 2)
    pixels = seen.reshape(height, width, -1) * (1 - vignette) * np.float32(255)
    picture = Image.fromarray(np.squeeze(pixels.clip(0, 255).astype(np.uint8)))
    softened = picture.filter(ImageFilter.GaussianBlur(0.75 * height / 720 + 0.12))
    return Exposed(softened, 6.0 if light.infrared else float(np.clip(1.0 + 0.8 * gain, 1.5, 4.0)))


def take(exposed: Exposed, rng: np.random.Generator) -> Image.Image:
    """Return one photo of it, RGB: brightness wavers, and every photo has its own grain."""
    width, height = exposed.picture.size
    # A patch of noise shifted at random is as good as new noise, and cheaper.
    rows, columns = height // len(_noise()) + 1, width // len(_noise()) + 1
    noise = np.tile(np.roll(_noise(), tuple(rng.integers(0, len(_noise()), 2)), (0, 1)), (rows, columns))
    pixels = np.asarray(exposed.picture, dtype=np.float32) * np.float32(rng.uniform(0.96, 1.04))
    grain = noise[:height, :width] * np.float32(exposed.grain)
    pixels += grain if pixels.ndim == 2 else grain[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB")


@lru_cache(maxsize=1)
def _noise() -> Floats:
    """Return a square of noise with the coarse grain that a camera's own compression leaves."""
    white = np.random.default_rng(99).standard_normal((997, 997), dtype=np.float32)
    coarse: Floats = 0.75 * white + 0.45 * (np.roll(white, 1, 0) + np.roll(white, 1, 1))
    return coarse.astype(np.float32)
