"""The colours of coats, eyes and clothes, painted on a cloud's points."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from deploy.local.drawing.cats import Eye
from deploy.local.drawing.shapes import Cloud, Floats, unit

Colour = tuple[int, int, int]

WHITE: Colour = (236, 230, 220)
BLACK: Colour = (38, 35, 36)
CREAM: Colour = (226, 206, 176)


@dataclass(frozen=True)
class Coat:
    """A coat: its pattern (a function's name below), two colours, the hair's length in metres and the eyes' colour."""

    pattern: str
    first: Colour
    second: Colour
    hair: float
    eyes: Colour


CATS = (
    Coat("tabby", (156, 128, 98), (66, 52, 42), 0.014, (158, 176, 72)),
    Coat("tabby", (222, 150, 82), (176, 96, 42), 0.016, (206, 160, 60)),
    Coat("tabby", (158, 156, 152), (70, 70, 74), 0.015, (130, 178, 110)),
    Coat("tuxedo", BLACK, WHITE, 0.014, (196, 180, 70)),
    Coat("calico", (206, 128, 62), BLACK, 0.018, (150, 176, 84)),
    Coat("points", (222, 204, 178), (76, 58, 48), 0.014, (92, 150, 206)),
    Coat("solid", (112, 116, 124), (112, 116, 124), 0.013, (214, 150, 50)),
    Coat("patches", WHITE, (196, 132, 70), 0.018, (132, 180, 110)),
    Coat("patches", WHITE, (74, 70, 70), 0.016, (176, 186, 90)),
)
DOGS = (
    Coat("solid", (206, 164, 104), (230, 202, 156), 0.022, (58, 36, 22)),
    Coat("saddle", (186, 134, 80), (48, 42, 40), 0.03, (72, 44, 24)),
    Coat("hound", (178, 112, 60), (46, 40, 38), 0.016, (66, 40, 24)),
    Coat("patches", WHITE, (132, 84, 52), 0.022, (72, 48, 30)),
    Coat("patches", (232, 228, 222), (52, 48, 48), 0.03, (92, 66, 40)),
    Coat("solid", (96, 64, 44), (112, 78, 54), 0.018, (110, 74, 38)),
    Coat("solid", (54, 50, 52), (66, 62, 62), 0.02, (66, 42, 26)),
    Coat("bib", (152, 98, 56), WHITE, 0.024, (68, 42, 26)),
    Coat("solid", (224, 200, 160), (238, 222, 192), 0.036, (60, 38, 24)),
)


def linear(colour: Colour) -> Floats:
    """Return an sRGB colour as light, 0 to 1."""
    light: Floats = (np.array(colour, dtype=np.float32) / 255) ** np.float32(2.2)
    return light


def blotches(points: Floats, size: float, rng: np.random.Generator) -> Floats:
    """Return a smooth random value (about -1 to 1) at each point, with features of `size` metres."""
    waves = unit(rng.standard_normal((7, 3)).astype(np.float32)) * (2 * np.pi / size * rng.uniform(0.35, 1, (7, 1)))
    phase = rng.uniform(0, 2 * np.pi, 7).astype(np.float32)
    value: Floats = np.sin(points @ waves.T.astype(np.float32) + phase).sum(1) / np.float32(2.6)
    return value


def _mix(under: Floats, over: Floats, share: Floats) -> Floats:
    part = np.clip(share, 0, 1)[:, None]
    return under * (1 - part) + over * part


def tabby(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """Bands round body, legs and tail, and a pale underside."""
    banded = cloud.tagged("body", "leg", "tail", "thigh", "neck")
    wave = np.sin(cloud.run * rng.uniform(105, 135) + 1.3 * blotches(cloud.points, 0.12, rng))
    head = cloud.tagged("head")
    crown = np.sin(cloud.points[:, 2] * 190) * (cloud.normals[:, 1] > 0.45)
    dark = np.where(banded, 0.8 * np.clip(wave * 1.8 + 0.1, 0, 1), np.where(head, 0.75 * np.clip(crown * 1.5, 0, 1), 0))
    back = 0.35 * np.clip(cloud.normals[:, 1] - 0.5, 0, 1) * cloud.tagged("body", "neck")
    colour = _mix(np.broadcast_to(first, cloud.points.shape), second, dark + back)
    pale = first * 0.35 + linear(WHITE) * 0.65
    below = np.clip(-1.4 * cloud.normals[:, 1] - 0.25, 0, 0.8) * cloud.tagged("body", "neck", "thigh")
    return _mix(colour, pale, below + 0.9 * cloud.tagged("muzzle", "chin"))


def solid(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """One colour, a little paler below and where hair is long."""
    below = (
        np.clip(-cloud.normals[:, 1], 0, 1) * 0.7 + 0.7 * cloud.tagged("tail", "chest") + 0.5 * cloud.tagged("cheek")
    )
    return _mix(np.broadcast_to(first, cloud.points.shape), second, below)


def tuxedo(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """Dark, with white feet, chest, muzzle and belly."""
    ragged = 0.08 * blotches(cloud.points, 0.05, rng)
    feet = cloud.tagged("leg") * ((cloud.along + ragged > 0.62) * 1.0)
    chest = (
        cloud.tagged("neck", "body")
        * (cloud.along + ragged < 0.4)
        * (cloud.normals[:, 0] - 0.6 * cloud.normals[:, 1] > 0.45)
    )
    below = cloud.tagged("body") * (cloud.normals[:, 1] < -0.55)
    return _mix(
        np.broadcast_to(first, cloud.points.shape),
        second,
        1.0 * (feet + chest + below) + cloud.tagged("muzzle", "chin", "nose"),
    )


def bib(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """One colour with white chest, feet, tail's tip and blaze."""
    blaze = cloud.tagged("head") * (np.abs(cloud.points[:, 2]) < 0.02) * 0.9
    tip = cloud.tagged("tail") * (cloud.along > 0.75)
    return _mix(tuxedo(cloud, first, second, rng), second, blaze + tip)


def calico(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """Orange and black patches on white."""
    patch = blotches(cloud.points, 0.22, rng)
    colour = _mix(np.broadcast_to(linear(WHITE), cloud.points.shape), first, (patch - 0.1) * 14)
    colour = _mix(colour, second, (blotches(cloud.points, 0.2, rng) - 0.3) * 14)
    low = 1.0 * (cloud.tagged("leg") * (cloud.along > 0.5) + cloud.tagged("muzzle", "chin", "nose"))
    return _mix(colour, linear(WHITE), low)


def patches(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """Large patches on a light ground; ears and crown have the patches' colour, muzzle and feet have not."""
    shift = rng.uniform(-0.1, 0.25)
    size = max(0.2, float(np.ptp(cloud.points[:, 0])) * 0.55)
    patch = (blotches(cloud.points, size, rng) - shift) * 16 * ~cloud.tagged("head", "leg")
    mask = cloud.tagged("ear", "cheek") * 1.0 + cloud.tagged("head") * (np.abs(cloud.points[:, 2]) > 0.022)
    return _mix(
        np.broadcast_to(first, cloud.points.shape), second, np.clip(patch, 0, 1) * ~cloud.tagged("muzzle") + mask
    )


def saddle(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """A dark back, muzzle and ears on tan."""
    ragged = 0.2 * blotches(cloud.points, 0.08, rng)
    back = cloud.tagged("body", "neck", "tail") * (cloud.normals[:, 1] + ragged + 0.1) * 5
    dark = (
        np.clip(back, 0, 0.95) + 0.75 * cloud.tagged("muzzle", "jaw") * (cloud.along < 0.75) + 0.6 * cloud.tagged("ear")
    )
    return _mix(np.broadcast_to(first, cloud.points.shape), second, dark)


def hound(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """A dark saddle, tan head and thighs, white muzzle, chest, feet and tail's tip."""
    ragged = 0.25 * blotches(cloud.points, 0.1, rng)
    back = cloud.tagged("body") * (cloud.normals[:, 1] + ragged - 0.1) * 6 + cloud.tagged("tail") * (cloud.along < 0.6)
    colour = _mix(np.broadcast_to(first, cloud.points.shape), second, np.clip(back, 0, 0.95))
    white = (
        cloud.tagged("muzzle", "jaw") * 1.0
        + cloud.tagged("leg") * (cloud.along > 0.4)
        + cloud.tagged("tail") * (cloud.along > 0.7)
    )
    chest = cloud.tagged("neck", "body") * (cloud.normals[:, 0] - 0.7 * cloud.normals[:, 1] > 0.5)
    return _mix(colour, linear(WHITE), white + chest)


def points(cloud: Cloud, first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """Cream, dark at face, ears, feet and tail."""
    dark = 0.95 * cloud.tagged("ear", "nose", "muzzle", "chin", "tail") + cloud.tagged("leg") * (cloud.along - 0.35) * 2
    dark = dark + cloud.tagged("head") * np.clip(0.9 - 1.6 * cloud.along, 0, 0.8)
    return _mix(np.broadcast_to(first, cloud.points.shape), second, dark)


Pattern = Callable[[Cloud, Floats, Floats, np.random.Generator], Floats]
PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern for pattern in (tabby, solid, tuxedo, bib, calico, patches, saddle, hound, points)
}


def paint(cloud: Cloud, coat: Coat, rng: np.random.Generator) -> Cloud:
    """Return the cloud with a coat's colours and its hair at length."""
    tint = np.float32(1) + rng.normal(0, 0.04, 3).astype(np.float32)
    colour = PATTERNS[coat.pattern](cloud, linear(coat.first) * tint, linear(coat.second) * tint, rng)
    colour = colour * (1 + 0.12 * blotches(cloud.points, 0.04, rng)[:, None])
    return replace(cloud, colour=np.clip(colour, 0.004, 1).astype(np.float32), hair=cloud.hair * np.float32(coat.hair))


def eyeballs(eyes: list[Eye], colour: Colour, *, slit: bool, asleep: bool, rng: np.random.Generator) -> Cloud:
    """Return eyes as points: iris, pupil and a dark rim; closed ones are a dark line."""
    number = 900
    rows = []
    for eye in eyes:
        out = unit(rng.standard_normal((number, 3)).astype(np.float32))
        look = unit(np.array([eye.look], dtype=np.float32))[0]
        across = unit(np.array([[-look[2], 0, look[0]]], dtype=np.float32))[0]
        upward = np.cross(look, across).astype(np.float32)
        out = np.where((out @ look)[:, None] < 0, -out, out)
        aside, above = out @ across, out @ upward
        middle = np.hypot(aside / (0.3 if slit else 0.62), above / (0.8 if slit else 0.62))
        tint = np.broadcast_to(linear(colour), out.shape).copy()
        tint[middle < 1] = 0.003
        rim = np.hypot(aside, above) > (0.84 if slit else 0.8)
        tint[rim] = 0.006
        points = np.array(eye.at, dtype=np.float32) + out * np.float32(eye.radius)
        shut = np.abs(above + 0.25 * (1 - aside**2)) < 0.16
        rows.append((points, out, tint, ~rim, shut))
    points, normals, tint = (np.vstack([row[column] for row in rows]) for column in range(3))
    seen, shut = (np.concatenate([row[column] for row in rows]) for column in (3, 4))
    kept = shut if asleep else np.ones(len(points), dtype=bool)
    tint = np.full_like(tint, 0.006) if asleep else tint
    zeros = np.zeros(len(points), dtype=np.float32)
    shine = seen.astype(np.float32) * np.float32(not asleep)
    eyes_only = Cloud(
        points, normals, normals, zeros, zeros, np.zeros(len(points), dtype=np.int16), ("eye",), zeros + 1,
        # A trace of hair: points of eyes stay where they are, while those of bare skin are spread.
        zeros + np.float32(1e-6), tint.astype(np.float32),
        zeros + np.float32(0 if asleep else 1), shine,
    )  # fmt: skip
    return eyes_only.chosen(kept)
