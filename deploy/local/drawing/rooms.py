"""Kennels and living rooms: walls, floor, window and bars, and how light falls on them.

A room reaches from -width/2 to width/2 in x and from its back wall at z = -depth/2 to its front at +depth/2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.local.drawing.coats import Colour, linear
from deploy.local.drawing.shapes import Floats, Vector, unit, vector
from deploy.local.drawing.view import View

CORRIDOR = 1.3
HEIGHT = 2.5
BAR_EVERY = 0.115
WALLS: tuple[tuple[Colour, Colour], ...] = (
    ((226, 220, 206), (168, 188, 186)), ((222, 226, 220), (158, 182, 164)), ((230, 224, 212), (206, 176, 140)),
    ((224, 228, 232), (164, 180, 200)), ((232, 226, 212), (214, 200, 166)),
)  # fmt: skip
FLOORS: tuple[Colour, ...] = ((176, 170, 160), (160, 152, 144), (188, 174, 156), (150, 156, 160))
WOODS: tuple[Colour, ...] = ((168, 122, 80), (142, 98, 64), (188, 148, 104))


@dataclass(frozen=True)
class Room:
    """A room: `home` is a living room with wooden floor and no bars; `sun` is where the sun stands (towards it)."""

    seed: int
    width: float
    depth: float
    home: bool
    barred: bool
    window: bool
    sun: Vector

    @classmethod
    def of(cls, seed: int, *, home: bool | None = None) -> "Room":
        """Return the room of a seed; a third of rooms are living rooms unless `home` says."""
        rng = np.random.default_rng([21, seed])
        lived_in = bool(rng.random() < 0.3) if home is None else home
        window = bool(rng.random() < 0.7) or lived_in
        side = 1.0 if rng.random() < 0.5 else -1.0
        sun = (side * float(rng.uniform(0.7, 0.95)), float(rng.uniform(0.75, 0.95)), float(rng.uniform(-0.25, 0.25)))
        if not window:
            sun = (side * float(rng.uniform(0.2, 0.5)), 1.0, float(rng.uniform(-0.1, 0.5)))
        return cls(
            seed, float(rng.uniform(2.5, 3.0)) + 0.5 * lived_in, float(rng.uniform(2.4, 2.8)), lived_in,
            bool(rng.random() < 0.65) and not lived_in, window, sun,
        )  # fmt: skip

    def sunlit(self, points: Floats) -> Floats:
        """Return how much direct light reaches each point, 0 to 1: through the window, or under the lamp."""
        towards = unit(np.array([self.sun], dtype=np.float32))[0]
        if not self.window:
            away = np.hypot(points[..., 0] - 0.15 * self.sun[0], points[..., 2])
            pool: Floats = np.exp(-((away / 1.25) ** 2)) * np.float32(0.75)
            return pool
        wall = np.sign(self.sun[0]) * self.width / 2
        way = (wall - points[..., 0]) / towards[0]
        height, along = points[..., 1] + way * towards[1], points[..., 2] + way * towards[2]
        soft = np.float32(0.02) + 0.012 * way
        lit = _band(along, -0.55, 0.55, soft) * _band(height, 0.75, 2.0, soft)
        mullion = 1 - _band(along, -0.03, 0.03, soft) - _band(height, 1.36, 1.42, soft)
        return (lit * np.clip(mullion, 0, 1)).astype(np.float32)


def _band(value: Floats, low: float, high: float, soft: Floats | float) -> Floats:
    """Return 1 where the value is between low and high, falling to 0 over `soft`."""
    band: Floats = np.clip((value - low) / soft + 0.5, 0, 1) * np.clip((high - value) / soft + 0.5, 0, 1)
    return band.astype(np.float32)


@dataclass(frozen=True)
class Surfaces:
    """What each pixel shows, flat: colour as light, the place, the normal, the depth and how open it lies (0 to 1).

    `glow` is what shines by itself by day: a window.
    """

    colour: Floats
    places: Floats
    normals: Floats
    depth: Floats
    open: Floats
    glow: Floats


def surfaces(room: Room, view: View) -> Surfaces:
    """Return what a camera sees of the bare room, and of the corridor before it."""
    rays = view.rays().reshape(-1, 3)
    low = vector([-room.width / 2, 0, -room.depth / 2])
    high = vector([room.width / 2, HEIGHT, room.depth / 2 + CORRIDOR])
    origin = vector(view.position)
    ways = np.where(rays > 0, high - origin, low - origin) / np.where(
        rays > 0, np.maximum(rays, 1e-6), np.minimum(rays, -1e-6)
    )
    face = ways.argmin(1)
    way = ways.min(1)
    places = origin + rays * way[:, None]
    normals = np.zeros_like(rays)
    chosen = np.arange(len(rays))
    normals[chosen, face] = -np.sign(rays[chosen, face])
    # How far from the nearest edges: corners are darker, since less light reaches them.
    gaps = np.minimum(places - low, high - places)
    gaps[chosen, face] = 9
    corner = 1 - 0.42 * np.exp(-gaps / 0.16) - 0.16 * np.exp(-gaps / 0.6)
    colour, glow = _painted(room, places, face, way)
    return Surfaces(
        colour, places.astype(np.float32), normals.astype(np.float32), way.astype(np.float32),
        corner.prod(1).astype(np.float32), glow,
    )  # fmt: skip


def _painted(room: Room, places: Floats, face: NDArray[np.intp], way: Floats) -> tuple[Floats, Floats]:
    rng = np.random.default_rng([22, room.seed])
    upper, lower = (linear(colour) for colour in WALLS[rng.integers(len(WALLS))])
    ground = linear(WOODS[rng.integers(len(WOODS))] if room.home else FLOORS[rng.integers(len(FLOORS))])
    x, y, z = places.T
    thin = 0.004 + 0.0022 * way  # lines are as wide as a pixel at least
    across = np.where(face == 0, z, x)
    # Walls: two paints with a line between them, blocks under the paint.
    border = 0.95 if room.home else 1.1
    wall = np.where((y < border)[:, None], lower, upper)
    if room.home:
        panel = _line(np.mod(across, 0.32), 0.32, thin) * (y < border)
        wall = wall * (1 - 0.22 * np.maximum(panel, _band(y, border - 0.02, border + 0.02, 0.01)))[:, None]
    else:
        course = np.floor(y / 0.2)
        joint = np.maximum(
            _line(np.mod(y, 0.2), 0.2, thin), _line(np.mod(across + 0.2 * np.mod(course, 2), 0.4), 0.4, thin)
        )
        wall = wall * (1 - 0.14 * joint)[:, None]
        scuffed = np.clip(0.5 - y, 0, 1) * np.clip(_grain(places, 0.5, rng), 0, 1)
        wall = wall * (1 - 0.35 * scuffed)[:, None]
    wall = np.where((y < 0.09)[:, None], linear((92, 88, 84) if not room.home else (226, 220, 208)), wall)
    # Floor: boards or tiles, or poured concrete with a drain's stain.
    if room.home:
        board = np.floor(z / 0.13)
        tone = 1 + 0.2 * np.sin(board * 12.9898 + np.floor((x + 0.37 * board) / 1.1) * 78.233)
        grain = 0.1 * np.sin(x * 9 + board * 5 + 3 * _grain(places, 0.4, rng)) * np.sin(z * 220 + board)
        floor = ground * (tone + grain)[:, None] * (1 - 0.5 * _line(np.mod(z, 0.13), 0.13, thin))[:, None]
    elif rng.random() < 0.5:
        size = float(rng.choice([0.3, 0.4]))
        joint = np.maximum(_line(np.mod(x, size), size, thin), _line(np.mod(z, size), size, thin))
        tone = 1 + 0.05 * np.sin(np.floor(x / size) * 12.9 + np.floor(z / size) * 78.2)
        floor = ground * (tone * (1 - 0.3 * joint))[:, None]
    else:
        floor = ground * (1 + 0.1 * _grain(places, 0.9, rng) + 0.06 * _grain(places, 0.12, rng))[:, None]
    floor = floor * (1 - 0.12 * np.clip(_grain(places, 0.7, rng), 0, 1))[:, None]
    ceiling = (face == 1) & (y > 1)
    colour = np.where((face == 1)[:, None], floor, wall)
    colour[ceiling] = linear((206, 206, 202))
    corridor = (z > room.depth / 2 + 0.01) & ~ceiling
    colour[corridor] *= np.float32(0.75)
    glow = np.zeros_like(colour)
    if room.window:
        sill = (face == 0) & (np.sign(x) == np.sign(room.sun[0]))
        pane = _band(z, -0.55, 0.55, 0.01) * _band(y, 0.75, 2.0, 0.01) * sill
        frame = _band(z, -0.61, 0.61, 0.01) * _band(y, 0.69, 2.06, 0.01) * sill
        bars = np.maximum(_band(z, -0.025, 0.025, 0.01), _band(y, 1.37, 1.41, 0.01)) * pane
        colour = colour * (1 - frame)[:, None] + linear((232, 228, 220)) * frame[:, None]
        glass = np.clip(pane - bars, 0, 1)[:, None]
        sky = np.where((y > 1.15)[:, None], vector([0.95, 1.05, 1.2]), vector([0.42, 0.6, 0.32]))
        glow = (glass * sky).astype(np.float32)
        colour = colour * (1 - 0.9 * glass)
    return np.clip(colour, 0.004, 1).astype(np.float32), glow


def _line(at: Floats, period: float, thin: Floats) -> Floats:
    """Return 1 on the line at 0 of something that repeats after `period`, thin and soft."""
    gap = np.minimum(at, period - at)
    line: Floats = np.clip(1.5 - gap / thin, 0, 1) * np.clip(0.006 / thin + 0.45, 0, 1)
    return line


def _grain(places: Floats, size: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise of about -1 to 1 over places, with features of `size` metres."""
    waves = unit(rng.standard_normal((5, 3)).astype(np.float32)) * (2 * np.pi / size * rng.uniform(0.4, 1.3, (5, 1)))
    value: Floats = np.sin(places @ waves.T.astype(np.float32) + rng.uniform(0, 7, 5).astype(np.float32)).sum(1) / 2.2
    return value


def bars(room: Room, view: View) -> tuple[Floats, Floats, Floats]:
    """Return how much of a bar each pixel shows (0 to 1), how round it looks there (light, 0 to 1), and its depth."""
    rays = view.rays().reshape(-1, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        way = (room.depth / 2 - view.position[2]) / rays[:, 2]
    way = np.where((way > 0.05) & np.isfinite(way), way, np.inf).astype(np.float32)
    there = np.isfinite(way)
    places = vector(view.position) + rays * np.where(there, way, 0)[:, None]
    radius = np.float32(0.0062)
    off = np.mod(places[:, 0] + BAR_EVERY / 2 + 0.02, BAR_EVERY) - BAR_EVERY / 2
    rail = np.minimum(np.abs(places[:, 1] - 0.06), np.abs(places[:, 1] - 1.5))
    soft = np.float32(1.6 / view.focal) * np.where(there, way, 1) + np.float32(
        0.004 if abs(view.position[2] - room.depth / 2) < 0.8 else 0
    )
    upright = np.clip((radius - np.abs(off)) / soft + 0.5, 0, 1)
    level = np.clip((0.014 - rail) / soft + 0.5, 0, 1)
    cover = np.where(there & (places[:, 1] < 2.4), np.maximum(upright, level), 0).astype(np.float32)
    light = np.where(upright >= level, 0.65 + 0.35 * np.clip(1 - np.abs(off + 0.003) / radius, 0, 1), 0.8)
    return cover, light.astype(np.float32), way
