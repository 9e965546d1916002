"""How drawn cats and dogs hold themselves: lists of rounded parts.

An animal stands on y = 0 and looks along +x; one unit is about the height of a dog's shoulder and y points up. A part
is a capsule between two discs, with a height towards the viewer.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Species = Literal["cat", "dog"]

BASE, DARK, PALE, NOSE, EYE, PUPIL, TONGUE = range(7)


@dataclass(frozen=True)
class Part:
    """A capsule from the disc (x0, y0, r0) to the disc (x1, y1, r1), `z` units nearer than the body's middle."""

    x0: float
    y0: float
    r0: float
    x1: float
    y1: float
    r1: float
    z: float = 0.0
    tone: int = BASE


def chain(points: list[tuple[float, float, float]], z: float = 0.0, tone: int = BASE) -> list[Part]:
    """Return capsules along `points` (x, y, radius)."""
    return [Part(*first, *second, z=z, tone=tone) for first, second in pairwise(points)]


def disc(x: float, y: float, r: float, z: float, tone: int = BASE) -> Part:
    return Part(x, y, r, x + 1e-3, y, r, z, tone)


def cat_face(x: float, y: float, s: float, z: float) -> list[Part]:
    """A round face with pointed ears, seen from the front; `s` is half its width."""
    parts = [Part(x - 0.3 * s, y, 0.78 * s, x + 0.3 * s, y, 0.78 * s, z)]
    for side in (-1, 1):
        ear = x + side * 0.62 * s
        parts += chain(
            [(ear, y + 0.45 * s, 0.42 * s), (ear + side * 0.14 * s, y + 1.0 * s, 0.2 * s),
             (ear + side * 0.22 * s, y + 1.45 * s, 0.02 * s)], z - 0.02,
        )  # fmt: skip
        parts += chain(
            [(ear, y + 0.65 * s, 0.2 * s), (ear + side * 0.18 * s, y + 1.15 * s, 0.03 * s)], z + 0.14, TONGUE
        )
        parts.append(disc(x + side * 0.2 * s, y - 0.38 * s, 0.3 * s, z + 0.55 * s, PALE))
        parts.append(
            Part(x + side * 0.36 * s, y + 0.1 * s, 0.19 * s, x + side * 0.46 * s, y + 0.14 * s, 0.15 * s, z + s, EYE)
        )
        parts.append(
            Part(
                x + side * 0.41 * s,
                y + 0.02 * s,
                0.05 * s,
                x + side * 0.41 * s,
                y + 0.22 * s,
                0.05 * s,
                z + 1.6 * s,
                PUPIL,
            )
        )
    parts.append(Part(x - 0.06 * s, y - 0.14 * s, 0.07 * s, x + 0.06 * s, y - 0.14 * s, 0.07 * s, z + 1.3 * s, NOSE))
    return parts


def cat_standing() -> list[Part]:
    parts = chain([(-0.46, 0.5, 0.17), (-0.1, 0.48, 0.15), (0.26, 0.5, 0.16)])
    parts += chain([(0.28, 0.54, 0.14), (0.42, 0.66, 0.12)])
    for x, z in ((0.27, 0.1), (0.17, -0.12)):
        parts += chain([(x, 0.44, 0.09), (x, 0.22, 0.055), (x + 0.01, 0.05, 0.05), (x + 0.06, 0.04, 0.05)], z)
    for x, z in ((-0.44, 0.1), (-0.53, -0.12)):
        parts += chain(
            [
                (x, 0.46, 0.14),
                (x + 0.05, 0.28, 0.08),
                (x - 0.05, 0.17, 0.05),
                (x, 0.05, 0.045),
                (x + 0.05, 0.04, 0.045),
            ],
            z,
        )
    parts += chain(
        [(-0.58, 0.56, 0.055), (-0.76, 0.6, 0.05), (-0.9, 0.76, 0.046), (-0.9, 0.98, 0.042), (-0.8, 1.1, 0.035)], -0.02
    )
    return parts + cat_face(0.47, 0.74, 0.2, 0.14)


def cat_sitting() -> list[Part]:
    parts = chain([(0.0, 0.24, 0.25), (0.0, 0.42, 0.21), (0.0, 0.62, 0.15)])
    parts += chain(
        [(0.2, 0.07, 0.055), (0.42, 0.07, 0.052), (0.58, 0.14, 0.048), (0.62, 0.3, 0.042), (0.55, 0.42, 0.034)], -0.05
    )
    for side in (-1, 1):
        parts.append(Part(side * 0.2, 0.2, 0.15, side * 0.24, 0.07, 0.08, -0.02))
        parts += chain([(side * 0.08, 0.48, 0.08), (side * 0.085, 0.2, 0.06), (side * 0.09, 0.05, 0.062)], 0.16)
    parts.append(Part(0, 0.58, 0.1, 0, 0.42, 0.08, 0.14, PALE))
    return parts + cat_face(0.0, 0.82, 0.23, 0.12)


def cat_lying() -> list[Part]:
    parts = chain([(-0.42, 0.2, 0.2), (-0.1, 0.23, 0.21), (0.24, 0.2, 0.18)])
    parts.append(Part(-0.44, 0.16, 0.16, -0.3, 0.08, 0.09, 0.1))
    parts += chain([(0.25, 0.12, 0.09), (0.42, 0.06, 0.055), (0.58, 0.05, 0.05)], 0.14)
    parts += chain(
        [(-0.6, 0.12, 0.055), (-0.78, 0.07, 0.05), (-0.72, 0.04, 0.046), (-0.5, 0.03, 0.042), (-0.32, 0.03, 0.036)],
        0.16,
    )
    return parts + cat_face(0.38, 0.4, 0.2, 0.18)


def dog_head_side(x: float, y: float, s: float, z: float) -> list[Part]:
    """A head in profile with a long muzzle and a hanging ear; `s` is the skull's radius."""
    parts = [disc(x, y, s, z)]
    parts += chain(
        [
            (x + 0.45 * s, y - 0.2 * s, 0.7 * s),
            (x + 1.35 * s, y - 0.42 * s, 0.48 * s),
            (x + 1.75 * s, y - 0.46 * s, 0.42 * s),
        ],
        z,
    )
    parts.append(disc(x + 2.1 * s, y - 0.28 * s, 0.21 * s, z + 0.6 * s, NOSE))
    parts += chain([(x + 1.0 * s, y - 0.72 * s, 0.05 * s), (x + 1.9 * s, y - 0.68 * s, 0.05 * s)], z + 0.75 * s, PUPIL)
    parts += chain(
        [
            (x - 0.35 * s, y + 0.55 * s, 0.3 * s),
            (x - 0.6 * s, y - 0.1 * s, 0.42 * s),
            (x - 0.55 * s, y - 0.75 * s, 0.36 * s),
        ],
        z + 0.9 * s,
        DARK,
    )
    parts.append(disc(x + 0.5 * s, y + 0.3 * s, 0.15 * s, z + 1.3 * s, PUPIL))
    return parts


def dog_face(x: float, y: float, s: float, z: float) -> list[Part]:
    """A face from the front: broad skull, muzzle towards us, hanging ears, perhaps a tongue."""
    parts = [disc(x, y, s, z), Part(x, y + 0.25 * s, 0.8 * s, x, y - 0.5 * s, 0.62 * s, z)]
    parts.append(Part(x, y - 0.3 * s, 0.46 * s, x, y - 0.62 * s, 0.46 * s, z + 0.75 * s, PALE))
    parts.append(Part(x - 0.12 * s, y - 0.26 * s, 0.19 * s, x + 0.12 * s, y - 0.26 * s, 0.19 * s, z + 1.5 * s, NOSE))
    parts.append(Part(x, y - 0.95 * s, 0.2 * s, x, y - 1.2 * s, 0.17 * s, z + 0.95 * s, TONGUE))
    parts += chain(
        [(x - 0.3 * s, y - 0.86 * s, 0.05 * s), (x, y - 0.76 * s, 0.05 * s), (x + 0.3 * s, y - 0.86 * s, 0.05 * s)],
        z + 1.4 * s,
        PUPIL,
    )
    for side in (-1, 1):
        parts += chain(
            [
                (x + side * 0.68 * s, y + 0.62 * s, 0.3 * s),
                (x + side * 1.1 * s, y + 0.1 * s, 0.36 * s),
                (x + side * 1.12 * s, y - 0.6 * s, 0.33 * s),
            ],
            z + 0.35 * s,
            DARK,
        )
        parts.append(disc(x + side * 0.4 * s, y + 0.18 * s, 0.14 * s, z + 1.4 * s, PUPIL))
    return parts


def dog_standing() -> list[Part]:
    parts = chain([(-0.5, 0.74, 0.19), (-0.1, 0.72, 0.18), (0.3, 0.72, 0.24)])
    parts += chain([(0.36, 0.82, 0.19), (0.56, 1.06, 0.15)])
    for x, z in ((0.36, 0.14), (0.22, -0.16)):
        parts += chain([(x, 0.64, 0.14), (x, 0.36, 0.08), (x + 0.01, 0.08, 0.07), (x + 0.09, 0.06, 0.065)], z)
    for x, z in ((-0.52, 0.14), (-0.64, -0.16)):
        parts += chain(
            [
                (x, 0.68, 0.18),
                (x + 0.06, 0.44, 0.11),
                (x - 0.1, 0.28, 0.068),
                (x - 0.05, 0.07, 0.062),
                (x + 0.04, 0.06, 0.06),
            ],
            z,
        )
    parts += chain([(-0.64, 0.84, 0.08), (-0.82, 0.98, 0.07), (-0.92, 1.18, 0.05)], -0.02)
    return parts + dog_head_side(0.64, 1.16, 0.18, 0.06)


def dog_sitting() -> list[Part]:
    parts = chain([(0.0, 0.34, 0.3), (0.0, 0.6, 0.26), (0.0, 0.86, 0.2), (0.0, 1.02, 0.17)])
    parts += chain([(-0.26, 0.12, 0.08), (-0.5, 0.1, 0.07), (-0.72, 0.2, 0.05)], -0.1)
    for side in (-1, 1):
        parts.append(Part(side * 0.3, 0.26, 0.2, side * 0.34, 0.09, 0.1, -0.02))
        parts += chain([(side * 0.13, 0.7, 0.12), (side * 0.14, 0.32, 0.085), (side * 0.15, 0.07, 0.09)], 0.2)
    parts.append(Part(0, 0.84, 0.13, 0, 0.62, 0.1, 0.18, PALE))
    return parts + dog_face(0.0, 1.26, 0.25, 0.16)


def dog_lying() -> list[Part]:
    parts = chain([(-0.62, 0.27, 0.25), (-0.15, 0.27, 0.23), (0.26, 0.3, 0.26)])
    parts += chain([(0.3, 0.4, 0.2), (0.48, 0.56, 0.16)])
    parts += chain([(0.3, 0.16, 0.13), (0.55, 0.08, 0.08), (0.92, 0.07, 0.075)], 0.16)
    parts += chain([(-0.6, 0.26, 0.22), (-0.4, 0.13, 0.12), (-0.15, 0.07, 0.07)], 0.12)
    parts += chain([(-0.84, 0.16, 0.075), (-1.05, 0.08, 0.065), (-1.2, 0.07, 0.045)])
    return parts + dog_head_side(0.56, 0.64, 0.19, 0.1)


POSES = {"cat": [cat_sitting, cat_standing, cat_lying], "dog": [dog_standing, dog_sitting, dog_lying]}
