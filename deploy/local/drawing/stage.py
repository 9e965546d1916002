"""A camera's view of a room with bodies in it, as layers that any light can be put on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from deploy.local.drawing import props, rooms
from deploy.local.drawing.bodies import Body, cloud_of
from deploy.local.drawing.rooms import Room
from deploy.local.drawing.shapes import Cloud, Floats, unit, vector
from deploy.local.drawing.view import View, look

CELLS = 440
CELL_M = 0.01  # the grid of shadows on the floor


@dataclass(frozen=True)
class Placed:
    """A body at x and z of a room, turned by `yaw`, its feet `lift` metres above the floor."""

    body: Body
    x: float
    z: float
    yaw: float
    lift: float = 0.0

    def cloud(self, detail: float) -> Cloud:
        return cloud_of(self.body, detail).placed(self.yaw, 1, (self.x, self.lift, self.z))


@dataclass(frozen=True)
class Layers:
    """A picture without its light, a row a pixel: colour times what arrives of each kind of light.

    `soft` is light from everywhere and `hard` the sun's or the lamp's (x 3 each), `torch` the camera's own infrared,
    `glow` what shines by itself by day.
    """

    soft: Floats
    hard: Floats
    torch: Floats
    glow: Floats

    def kept(self, kind: type[np.float16 | np.float32]) -> "Layers":
        """Return a copy in numbers of another kind: a stage that waits in the cache needs only half precision."""
        return Layers(self.soft.astype(kind), self.hard.astype(kind), self.torch.astype(kind), self.glow.astype(kind))


@dataclass(frozen=True)
class Stage:
    """A room as one camera sees it while nobody is there."""

    room: Room
    view: View
    layers: Layers
    depth: Floats
    under_sun: NDArray[np.int32]
    below: NDArray[np.int32]
    bars: tuple[Floats, Floats] | None


def camera_of(room: Room, side: int, width: int, height: int) -> View:
    """Return the camera at the front (side 0) or at the back (side 1) of a room."""
    rng = np.random.default_rng([24, room.seed, side])
    if side == 0:
        x, z = float(rng.uniform(-0.45, 0.45)), room.depth / 2 + float(rng.uniform(0.3, 0.45))
        return View((x, float(rng.uniform(1.0, 1.35)), z), (0.1 * x, 0.26, -0.08), 45.0, width, height)
    x = (room.width / 2 - 0.12) * (1 if room.sun[0] > 0 else -1)
    z = -room.depth / 2 + 0.12
    return View((x, float(rng.uniform(1.25, 1.5)), z), (0.0, 0.2, 0.12), 52.0, width, height)


@lru_cache(maxsize=10)
def furniture_of(room: Room) -> Cloud:
    """Return what stands in a room, made once for both of its cameras."""
    return props.furniture(room)


@lru_cache(maxsize=24)  # ten cameras, in two sizes
def stage_of(room: Room, side: int, width: int, height: int) -> Stage:
    """Return a room as a camera sees it; cached, since a fixed camera sees it all day."""
    view = camera_of(room, side, width, height)
    flat = rooms.surfaces(room, view)
    things = furniture_of(room)
    towards = unit(np.array([room.sun], dtype=np.float32))[0]
    hard = np.clip(flat.normals @ towards, 0, 1) * room.sunlit(flat.places)
    layers = Layers(
        flat.colour * (flat.open * (0.78 + 0.22 * flat.normals[:, 1]))[:, None],
        flat.colour * hard[:, None],
        flat.colour.mean(1) * _torch(view, flat.places, flat.normals),
        flat.glow,
    )
    under_sun, below = _cells(flat.places, towards), _cells(flat.places, vector([0, 1, 0]))
    under_sun = np.where(flat.normals[:, 1] < -0.5, 0, under_sun).astype(np.int32)
    depth = flat.depth.copy()
    stage = Stage(room, view, layers, depth.reshape(height, width), under_sun, below, None)
    _cast(layers, stage, things)
    _add(layers, stage, things, seed=room.seed)
    before: tuple[Floats, Floats] | None = None
    if room.barred:
        cover, light, way = rooms.bars(room, view)
        if side == 0:  # they stand before all that is in the room
            before = cover, light
        else:
            _bar(layers, np.where(way < depth, cover, 0).astype(np.float32), light)
    return replace(stage, layers=layers.kept(np.float16), bars=before)


def _torch(view: View, points: Floats, normals: Floats) -> Floats:
    """Return how much of the light at the camera comes back: by the angle, and by the square of the distance."""
    away: Floats = vector(view.position) - points
    square = np.einsum("ij,ij->i", away, away)
    facing = np.abs(np.einsum("ij,ij->i", away, normals)) / np.sqrt(square)
    torch: Floats = (0.25 + 0.75 * facing) * np.minimum(2.4 / square, 1.5)
    return torch.astype(np.float32)


def _cells(points: Floats, towards: Floats) -> NDArray[np.int32]:
    """Return the cell of the floor that each point's light would have reached; 0 is outside."""
    x = points[:, 0] - towards[0] / towards[1] * points[:, 1]
    z = points[:, 2] - towards[2] / towards[1] * points[:, 1]
    column, row = (x / CELL_M + CELLS / 2).astype(np.int32), (z / CELL_M + CELLS / 2).astype(np.int32)
    inside = (column > 0) & (column < CELLS) & (row > 0) & (row < CELLS)
    return np.where(inside, row * CELLS + column, 0).astype(np.int32)


def _blurred(cells: NDArray[np.int32], radius: float) -> Floats:
    """Return a grid with 1 where there are points, blurred over `radius` cells."""
    grid = np.zeros(CELLS * CELLS, dtype=np.uint8)
    grid[cells] = 255
    grid[0] = 0
    picture = Image.fromarray(grid.reshape(CELLS, CELLS))
    picture = picture.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(radius))
    blurred: Floats = np.asarray(picture, dtype=np.float32).ravel() / 255
    return blurred


def _cast(layers: Layers, stage: Stage, cloud: Cloud) -> None:
    """Darken what lies in the shadow of a cloud, in place: sharp near its feet and soft farther away."""
    towards = unit(np.array([stage.room.sun], dtype=np.float32))[0]
    cells, height = _cells(cloud.points, towards), cloud.points[:, 1]
    shadow = np.maximum(_blurred(cells[height < 0.2], 1.6), _blurred(cells, 3.5))
    down = _cells(cloud.points, vector([0, 1, 0]))
    contact = _blurred(down[height < 0.09], 2.2)
    around = _blurred(down[height < 0.6], 11)
    layers.hard[:] *= (1 - 0.92 * shadow[stage.under_sun])[:, None]
    # Only the floor and what lies on it: a wall's points are above the same cells.
    floor = (1 - 0.62 * contact[stage.below]) * (1 - 0.5 * around[stage.below])
    layers.soft[:] *= floor[:, None]
    layers.torch[:] *= 1 - 0.45 * contact[stage.below]


def _lit(stage: Stage, cloud: Cloud) -> tuple[Floats, Floats, Floats, Floats]:
    """Return of each point: soft, hard and torch light, and the mirrored part of the hard and soft light."""
    room, view = stage.room, stage.view
    towards = unit(np.array([room.sun], dtype=np.float32))[0]
    cells = _cells(cloud.points, towards)
    above = cloud.points @ towards
    coarse = (cells // CELLS // 2) * CELLS + cells % CELLS // 2
    top = np.full(CELLS * CELLS, -np.inf, dtype=np.float32)
    np.maximum.at(top, coarse, above)
    lit = np.clip(1 - (top[coarse] - above - 0.02) / 0.05, 0, 1)
    hairy = cloud.hair > 0.006
    cosine = cloud.normals @ towards
    wrapped = np.where(hairy, np.clip((cosine + 0.25) / 1.25, 0, 1), np.clip(cosine, 0, 1))
    hard = wrapped * lit * room.sunlit(cloud.points)
    ground = np.clip(0.72 + 0.28 * np.clip(cloud.points[:, 1] / 0.25, 0, 1), 0, 1)
    # Light from everywhere comes mostly from above and from the window's or lamp's side.
    soft = cloud.open * ground * (0.66 + 0.24 * cloud.normals[:, 1] + 0.26 * cosine)
    eye = unit(vector(view.position) - cloud.points)
    half = unit(eye + vector([0.2 * np.sign(room.sun[0]), 0.9, 0.25]))
    mirror = cloud.gloss * np.clip(np.einsum("ij,ij->i", half, cloud.normals), 0, 1) ** 30
    return (
        soft.astype(np.float32),
        hard.astype(np.float32),
        _torch(view, cloud.points, cloud.normals) * cloud.open,
        mirror,
    )


def _add(layers: Layers, stage: Stage, cloud: Cloud, seed: int) -> None:
    """Put what the camera sees of a cloud into the layers and the depth, in place."""
    seen = look(stage.view, cloud, stage.depth, seed)
    soft, hard, torch, mirror = _lit(stage, cloud)
    rng = np.random.default_rng([25, seed])
    # Each hair has its own brightness; its root lies in the shade of the others.
    own = (1 + 0.13 * rng.standard_normal(len(soft), dtype=np.float32))[seen.points]
    hairy = np.clip(cloud.hair[seen.points] / 0.012, 0, 1)
    tone = np.clip(1 + hairy * (own * (0.72 + 0.42 * seen.along) - 1), 0.3, 1.7)
    colour = cloud.colour[seen.points] * tone[:, None]
    glint = mirror[seen.points][:, None]
    layers.soft[seen.pixels] = colour * soft[seen.points][:, None] + 0.9 * glint
    layers.hard[seen.pixels] = colour * hard[seen.points][:, None] + 0.4 * glint
    eyes = (
        1.6 * cloud.shine[seen.points] * np.clip(stage.view.facing(cloud.points, cloud.normals)[seen.points], 0, 1) ** 2
    )
    layers.torch[seen.pixels] = colour.mean(1) * torch[seen.points] * 1.15 + eyes + 0.5 * mirror[seen.points]
    layers.glow[seen.pixels] = 0
    stage.depth.ravel()[seen.pixels] = seen.depth


def _bar(layers: Layers, cover: Floats, light: Floats) -> None:
    """Put bars before the layers, in place."""
    steel = vector([0.3, 0.31, 0.33])
    for layer, share in ((layers.soft, 0.55), (layers.hard, 0.12)):
        layer[:] = layer * (1 - cover)[:, None] + steel * (share * light * cover)[:, None]
    layers.torch[:] = layers.torch * (1 - cover) + 0.5 * light * cover
    layers.glow[:] *= (1 - cover)[:, None]


def with_bodies(stage: Stage, bodies: Sequence[Placed]) -> Layers:
    """Return the stage's layers with bodies and their shadows, behind the bars if it has any."""
    layers = stage.layers.kept(np.float32)
    there = replace(stage, layers=layers, depth=stage.depth.copy(), bars=None)
    detail = 1.0 if stage.view.height > 540 else 0.55 if stage.view.height > 260 else 0.25
    clouds = [placed.cloud(detail) for placed in bodies]
    for cloud in clouds:
        _cast(layers, there, cloud)
    for placed, cloud in zip(bodies, clouds, strict=True):
        _add(layers, there, cloud, placed.body.seed)
    if stage.bars:
        _bar(layers, *stage.bars)
    return layers
