"""Drawn cats and dogs: the parts of a pose as a relief with a coat, whose slopes are shaded like a photo's."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deploy.local.poses import DARK, EYE, NOSE, PALE, POSES, PUPIL, TONGUE, Part, Species

Floats = NDArray[np.floating]

GRID = 300
SOFT = (0.04, 0.11, 0.21, 0.28, 0.21, 0.11, 0.04)
EXTENT = 2.7  # width and height, in units, of the square that holds an animal
GROUND = 0.22  # how much of the square lies below the animal's feet

COATS: dict[Species, list[tuple[int, int, int]]] = {
    "cat": [(146, 118, 84), (196, 132, 66), (112, 110, 110), (44, 42, 42), (214, 200, 178), (128, 104, 92)],
    "dog": [(168, 120, 68), (96, 62, 38), (50, 44, 40), (206, 176, 128), (152, 140, 128), (134, 84, 44)],
}
PATTERNS: dict[Species, list[str]] = {
    "cat": ["stripes", "stripes", "patches", "solid", "bib"],
    "dog": ["solid", "saddle", "patches", "bib", "solid"],
}


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Floats:
    """Return smooth noise from 0 to 1 with about `cells` features down and across."""
    coarse = Image.fromarray(rng.random(cells, dtype=np.float32))
    smooth: Floats = np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32)
    return smooth.clip(0, 1)


def soften(values: Floats) -> Floats:
    """Return `values` blurred with a kernel of seven by seven (Pillow's own blur takes no floats)."""
    for axis in (0, 1):
        around = [np.roll(values, shift, axis) * weight for shift, weight in zip(range(-3, 4), SOFT, strict=True)]
        values = np.sum(around, axis=0, dtype=np.float32)
    return values


def relief(parts: list[Part], x: Floats, y: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Return each point's height (-inf outside) and the tone of the part on top."""
    height = np.full(x.shape, -np.inf, dtype=np.float32)
    tone = np.zeros(x.shape, dtype=np.int8)
    for part in parts:
        reach = max(part.r0, part.r1)
        rows = np.flatnonzero((y[:, 0] >= min(part.y0, part.y1) - reach) & (y[:, 0] <= max(part.y0, part.y1) + reach))
        columns = np.flatnonzero((x[0] >= min(part.x0, part.x1) - reach) & (x[0] <= max(part.x0, part.x1) + reach))
        if not len(rows) or not len(columns):
            continue
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        dx, dy = part.x1 - part.x0, part.y1 - part.y0
        along = np.clip(((x[window] - part.x0) * dx + (y[window] - part.y0) * dy) / (dx * dx + dy * dy), 0, 1)
        radius = part.r0 + (part.r1 - part.r0) * along
        square = (x[window] - part.x0 - along * dx) ** 2 + (y[window] - part.y0 - along * dy) ** 2
        inside = square < radius**2
        z = part.z + np.sqrt(np.maximum(radius**2 - square, 0))
        top = inside & (z > height[window])
        height[window] = np.where(top, z, height[window])
        tone[window] = np.where(top, part.tone, tone[window])
    return height, tone


def coat(species: Species, rng: np.random.Generator, x: Floats, y: Floats, warp: Floats) -> tuple[Floats, Floats]:
    """Return the colour of the coat at each point (H x W x 3, 0 to 1) and the animal's pale colour (3)."""
    base = np.array(COATS[species][rng.integers(len(COATS[species]))], dtype=np.float32) / 255
    base = np.clip(base * rng.uniform(0.85, 1.15) + rng.normal(0, 0.015, 3), 0.06, 0.92).astype(np.float32)
    pale = np.clip(base * 0.35 + np.array([0.6, 0.58, 0.54], dtype=np.float32), 0, 0.95)
    pattern = PATTERNS[species][rng.integers(len(PATTERNS[species]))]
    colour = np.broadcast_to(base, (*x.shape, 3)).copy()
    if pattern == "stripes":
        wave = np.sin((x * 0.9 + warp * 0.55) * rng.uniform(26, 34) + 3 * y)
        colour *= (1 - 0.42 * np.clip(wave * 1.6 - 0.3, 0, 1))[..., None]
    elif pattern == "patches":
        white = np.clip((warp - rng.uniform(0.45, 0.55)) * 14, 0, 1)[..., None]
        colour = colour * (1 - white) + white * np.array([0.9, 0.88, 0.84], dtype=np.float32)
    elif pattern == "saddle":
        back = np.clip((y + 0.25 * warp - rng.uniform(0.75, 0.9)) * 7, 0, 1)[..., None]
        colour = colour * (1 - back * 0.72)
    elif pattern == "bib":
        white = np.clip((0.3 + 0.1 * warp - y) * 12, 0, 1)[..., None]
        colour = colour * (1 - white) + white * np.array([0.88, 0.86, 0.82], dtype=np.float32)
    return colour, pale


def draw_animal(species: Species, coat_seed: int, pose: np.random.Generator, light: float) -> Image.Image:
    """Return an animal on a transparent square of EXTENT units a side.

    `coat_seed` says which animal it is (its coat and build); `pose` where it looks and how it holds itself now;
    `light` is where light comes from, -1 (left) to 1 (right).
    """
    rng = np.random.default_rng([coat_seed, len(species), ord(species[0])])
    steps = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID * EXTENT
    y = np.broadcast_to((EXTENT - GROUND - steps)[:, None], (GRID, GRID))
    x = np.broadcast_to((steps - EXTENT / 2)[None, :], (GRID, GRID))
    flip = 1 if pose.random() < 0.5 else -1
    stout, lean = rng.uniform(0.92, 1.12), pose.uniform(-0.05, 0.05)
    shape = POSES[species][pose.integers(len(POSES[species]))]()
    ragged = noise(rng, (GRID, GRID), (90, 90)) - 0.5
    u, v = (x * flip) / stout + lean * y + 0.014 * ragged, y + 0.014 * ragged
    height, tone = relief(shape, u.astype(np.float32), v.astype(np.float32))
    mask = np.isfinite(height)
    height = np.where(mask, height, -0.1)
    smooth = soften(height)
    fur = noise(rng, (GRID, GRID), (110, 60))
    slope_y, slope_x = np.gradient(smooth + 0.006 * fur, EXTENT / GRID)
    facing = 1 / np.sqrt(slope_x**2 + slope_y**2 + 1)
    # slope_y grows downwards on the picture, so light from above brightens where it is positive.
    lit = np.clip((-light * 0.5 * slope_x + 0.62 * slope_y + 0.6) * facing, 0, 1.2)
    shade = 0.42 + 0.72 * lit
    colour, pale = coat(species, rng, u.astype(np.float32), v.astype(np.float32), noise(rng, (GRID, GRID), (9, 9)))
    mix = {
        DARK: colour * 0.62,
        PALE: colour * 0.35 + pale * 0.65,
        NOSE: np.array([0.72, 0.45, 0.42] if species == "cat" else [0.09, 0.08, 0.08]),
        EYE: np.array([[0.72, 0.76, 0.28], [0.85, 0.65, 0.2], [0.5, 0.75, 0.6]][rng.integers(3)]),
        PUPIL: np.array([0.05, 0.04, 0.04]),
        TONGUE: np.array([0.78, 0.5, 0.48]),
    }
    for which, paint in mix.items():
        colour = np.where((tone == which)[..., None], paint, colour)
    colour = colour * (shade * (0.88 + 0.24 * fur))[..., None]
    rgba = np.dstack([np.clip(colour, 0, 1), mask]) * 255
    return Image.fromarray(rgba.astype(np.uint8), "RGBA")
