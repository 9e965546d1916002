"""Rounded bodies as clouds of surface points: limbs that flow into each other, and turned things like bowls.

Lengths are metres; x points right, y up and z towards the front of a kennel. Arrays are float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Vector = tuple[float, float, float]
Ball = tuple[float, float, float, float]  # x, y, z and radius

STEPS = 4  # pieces of a limb between two of the balls that it is given by
REACH = 6.0  # how many times the blend a limb is felt beyond its skin


@dataclass(frozen=True)
class Limb:
    """A chain of balls with skin between them; hair lies in its direction.

    `flat` is an axis along which it is thinner by the factor `thin`; `hair` scales the length of its hair.
    """

    tag: str
    balls: tuple[Ball, ...]
    flat: Vector = (0.0, 0.0, 1.0)
    thin: float = 1.0
    hair: float = 1.0


@dataclass(frozen=True)
class Cloud:
    """Points on a surface, in random order, with what paints and lights them.

    All arrays have a row a point: `along` is 0 to 1 from a limb's beginning to its end and `run` the same in metres,
    `tags` an index of `names`, `open` 0 to 1 says how much of the surroundings the point sees, `hair` is metres,
    `gloss` and `shine` 0 to 1: mirrored light, and the glow of an eye in infrared. `spacing` is about how
    far points are from each other.
    """

    points: Floats
    normals: Floats
    flow: Floats
    along: Floats
    run: Floats
    tags: NDArray[np.int16]
    names: tuple[str, ...]
    open: Floats
    hair: Floats
    colour: Floats
    gloss: Floats
    shine: Floats
    spacing: float = 0.003

    def tagged(self, *names: str) -> NDArray[np.bool_]:
        """Return which points belong to limbs of one of the names (or of those that begin so, before a dash)."""
        wanted = [index for index, name in enumerate(self.names) if name in names or name.split("-")[0] in names]
        return np.isin(self.tags, wanted)

    def chosen(self, kept: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Cloud":
        """Return some of the points."""
        columns = ("points", "normals", "flow", "along", "run", "tags", "open", "hair", "colour", "gloss", "shine")
        return replace(self, **{column: getattr(self, column)[kept] for column in columns})

    def placed(self, yaw: float, scale: float, at: Vector) -> "Cloud":
        """Return the cloud turned by `yaw` radians from +x towards +z, scaled, and moved from the origin to `at`."""
        cosine, sine = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], dtype=np.float32)
        return replace(
            self,
            points=(self.points @ turn) * np.float32(scale) + np.array(at, dtype=np.float32),
            normals=self.normals @ turn,
            flow=self.flow @ turn,
            hair=self.hair * np.float32(scale),
            spacing=self.spacing * scale,
        )


def turned(limbs: Sequence[Limb], yaw: float, pitch: float, roll: float, at: Vector) -> list[Limb]:
    """Return limbs made round the origin turned (radians, nose up is a positive pitch) and moved to `at`."""
    rotation = matrix(yaw, pitch, roll)
    offset = np.array(at)
    result = []
    for limb in limbs:
        balls = tuple((*(rotation @ ball[:3] + offset).tolist(), ball[3]) for ball in limb.balls)
        flat = (rotation @ np.array(limb.flat)).tolist()
        result.append(replace(limb, balls=balls, flat=(flat[0], flat[1], flat[2])))
    return result


def matrix(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Return the rotation that rolls about x, then lifts the nose (+x) by pitch, then turns it by yaw towards +z."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cp, -sp, 0], [sp, cp, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    turned_by: NDArray[np.float64] = about_y @ about_z @ about_x
    return turned_by


def _smooth(balls: Sequence[Ball]) -> Floats:
    """Return the balls with STEPS pieces between neighbours, on a Catmull-Rom spline through them."""
    given = np.array(balls, dtype=np.float32)
    if len(given) == 1:
        return np.vstack([given, given + vector([1e-3, 0, 0, 0])])
    padded = np.vstack([2 * given[0] - given[1], given, 2 * given[-1] - given[-2]])
    padded[[0, -1], 3] = given[[0, -1], 3]
    t = (np.arange(STEPS) / STEPS)[:, None]
    pieces = [
        0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
        for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    chain = np.vstack([*pieces, given[-1:]]).astype(np.float32)
    chain[:, 3] = np.maximum(chain[:, 3], given[:, 3].min() * 0.8)
    return chain


@dataclass(frozen=True)
class _Chain:
    """A limb ready to be measured: its smooth balls, and the space in which its flattened cross-section is round."""

    balls: Floats
    round: Floats
    thin: float
    low: Floats
    high: Floats

    @classmethod
    def of(cls, limb: Limb, reach: float) -> "_Chain":
        balls = _smooth(limb.balls)
        axis = np.array(limb.flat, dtype=np.float32)
        axis /= np.linalg.norm(axis)
        space = (np.eye(3) + (1 / limb.thin - 1) * np.outer(axis, axis)).astype(np.float32)
        margin = balls[:, 3:].max() + reach
        return cls(balls, space, limb.thin, balls[:, :3].min(0) - margin, balls[:, :3].max(0) + margin)

    def measure(self, points: Floats) -> tuple[Floats, Floats]:
        """Return each point's signed distance to the limb's skin, and its gradient."""
        at = self.balls[:, :3] @ self.round
        q = points @ self.round
        best = np.full(len(points), np.inf, dtype=np.float32)
        away = np.zeros_like(points)
        for (start, end), (r0, r1) in zip(pairwise(at), pairwise(self.balls[:, 3]), strict=True):
            axis = end - start
            from_start = q - start
            t = np.clip(from_start @ axis / max(float(axis @ axis), 1e-12), 0, 1)
            off = from_start - t[:, None] * axis
            length = np.sqrt(np.einsum("ij,ij->i", off, off))
            distance = length - (r0 + (r1 - r0) * t)
            nearer = distance < best
            best = np.where(nearer, distance, best)
            away[nearer] = off[nearer] / (length[nearer, None] + 1e-9)
        return best * np.float32(self.thin), (away @ self.round) * np.float32(self.thin)


def _measure(chains: Sequence[_Chain], points: Floats, blend: float) -> tuple[Floats, Floats, NDArray[np.int16]]:
    """Return the signed distance to all limbs blended over `blend` metres, its gradient, and which limb is nearest."""
    best = np.full(len(points), np.inf, dtype=np.float32)
    nearest = np.full(len(points), -1, dtype=np.int16)
    total = np.full(len(points), 1e-12, dtype=np.float32)
    slope = np.zeros_like(points)
    for index, chain in enumerate(chains):
        near = np.flatnonzero(np.all((points > chain.low) & (points < chain.high), axis=1))
        if not len(near):
            continue
        distance, away = chain.measure(points[near])
        weight = np.exp(np.clip(-distance / blend, -60, 60))
        total[near] += weight
        slope[near] += weight[:, None] * away
        better = near[distance < best[near]]
        best[near] = np.minimum(best[near], distance)
        nearest[better] = index
    return -blend * np.log(total), slope / total[:, None], nearest


def grow(limbs: Sequence[Limb], number: int, blend: float, rng: np.random.Generator) -> Cloud:
    """Return about `number` points on the common skin of limbs that flow into each other over `blend` metres."""
    chains = [_Chain.of(limb, REACH * blend) for limb in limbs]
    areas = [_areas(chain) for chain in chains]
    total = sum(float(area.sum()) for area in areas)
    parts = [
        _scatter(chain, area, int(number * area.sum() / total) + 24, rng)
        for chain, area in zip(chains, areas, strict=True)
    ]
    tags = np.repeat(np.arange(len(limbs), dtype=np.int16), [len(part[0]) for part in parts])
    points, flow = (np.vstack([part[column] for part in parts]) for column in (0, 1))
    along, run = (np.concatenate([part[column] for part in parts]) for column in (2, 3))
    distance, slope, _ = _measure(chains, points, blend)
    # What lies well inside of another limb is not skin.
    kept = rng.permutation(np.flatnonzero(distance > -3.5 * blend))
    points, flow, along, run, tags = points[kept], flow[kept], along[kept], run[kept], tags[kept]
    distance, slope, nearest = distance[kept], slope[kept], tags
    for _ in range(2):
        points = points - (distance / np.maximum(np.einsum("ij,ij->i", slope, slope), 0.2))[:, None] * slope
        distance, slope, nearest = _measure(chains, points, blend)
    # Each limb paints only the skin that is nearest to it.
    own = nearest == tags
    points, flow, along, run, tags, slope = points[own], flow[own], along[own], run[own], tags[own], slope[own]
    normals = unit(slope)
    reach = 6 * blend
    free, _, _ = _measure(chains, points + normals * np.float32(reach), blend)
    hair = np.array([limb.hair for limb in limbs], dtype=np.float32)[tags]
    zeros = np.zeros(len(points), dtype=np.float32)
    return Cloud(
        points, normals, flow, along, run, tags, tuple(limb.tag for limb in limbs),
        np.clip(0.3 + 0.7 * free / reach, 0.2, 1).astype(np.float32), hair, np.ones_like(points), zeros, zeros,
        float(np.sqrt(total / number)),
    )  # fmt: skip


def _areas(chain: _Chain) -> Floats:
    """Return the surface of each piece of a chain, then of its two ends."""
    balls = chain.balls
    lengths = np.linalg.norm(np.diff(balls[:, :3], axis=0), axis=1)
    sides = 2 * np.pi * lengths * (balls[1:, 3] + balls[:-1, 3]) / 2
    ends = 2 * np.pi * balls[[0, -1], 3] ** 2
    areas: Floats = np.concatenate([sides, ends]).astype(np.float32)
    return areas


def _scatter(
    chain: _Chain, areas: Floats, number: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return points on a chain's own skin, the hair's direction there, and how far along they are (0 to 1, metres)."""
    balls, pieces = chain.balls, len(chain.balls) - 1
    chosen = rng.choice(len(areas), number, p=areas / areas.sum())
    end = chosen - pieces
    piece = np.where(end < 0, chosen, np.where(end == 0, 0, pieces - 1))
    t = np.where(end < 0, rng.random(number), np.where(end == 0, 0.0, 1.0)).astype(np.float32)
    start, stop = balls[piece], balls[piece + 1]
    centre = start + t[:, None] * (stop - start)
    axis = unit(stop[:, :3] - start[:, :3])
    out = unit(rng.standard_normal((number, 3), dtype=np.float32))
    lengthwise = np.einsum("ij,ij->i", out, axis)[:, None]
    side = unit(out - lengthwise * axis)
    cap = np.where(
        (end == 0)[:, None], out - 2 * np.maximum(lengthwise, 0) * axis, out - 2 * np.minimum(lengthwise, 0) * axis
    )
    out = np.where((end >= 0)[:, None], cap, side)
    lengths = np.linalg.norm(np.diff(balls[:, :3], axis=0), axis=1)
    before = np.concatenate([[0.0], np.cumsum(lengths)])
    run = (before[piece] + t * lengths[piece]).astype(np.float32)
    points = centre[:, :3] + centre[:, 3:] * (out @ np.linalg.inv(chain.round))
    return points.astype(np.float32), axis, run / np.float32(before[-1]), run


def lathe(
    tag: str, profile: Sequence[tuple[float, float]], number: int, rng: np.random.Generator, square: float = 0.0
) -> Cloud:
    """Return points on the surface that a profile of (radius, height) describes round the vertical axis.

    The profile runs so that outside is on its right. `square` from 0 to 1 makes the round thing a rounded square.
    """
    line = np.array(profile, dtype=np.float32)
    deltas = np.diff(line, axis=0)
    lengths = np.linalg.norm(deltas, axis=1)
    weights = lengths * (line[1:, 0] + line[:-1, 0] + 1e-3)
    piece = rng.choice(len(lengths), number, p=weights / weights.sum())
    t = rng.random(number, dtype=np.float32)[:, None]
    at = line[piece] + t * deltas[piece]
    out = unit(np.stack([deltas[piece, 1], -deltas[piece, 0]], axis=1))
    angle = (rng.random(number, dtype=np.float32) * 2 * np.pi).astype(np.float32)
    cosine, sine = np.cos(angle), np.sin(angle)
    stretch = 1 + square * (1 / np.maximum(np.abs(cosine), np.abs(sine)) - 1) * 0.75
    points = np.stack([at[:, 0] * cosine * stretch, at[:, 1], at[:, 0] * sine * stretch], axis=1)
    normals = np.stack([out[:, 0] * cosine, out[:, 1], out[:, 0] * sine], axis=1)
    zeros = np.zeros(number, dtype=np.float32)
    before = np.concatenate([[0.0], np.cumsum(lengths)])
    run = (before[piece] + t[:, 0] * lengths[piece]).astype(np.float32)
    flow = np.stack([-sine, zeros, cosine], axis=1)
    return Cloud(
        points.astype(np.float32), unit(normals), flow, run / np.float32(before[-1]), run,
        np.zeros(number, dtype=np.int16), (tag,), np.ones(number, dtype=np.float32), zeros,
        np.ones_like(points), zeros, zeros,
        float(np.sqrt(2 * np.pi * weights.sum() / number)),
    )  # fmt: skip


def together(clouds: Sequence[Cloud], rng: np.random.Generator) -> Cloud:
    """Return several clouds as one, in random order; tags keep their names."""
    names = tuple(name for cloud in clouds for name in cloud.names)
    shifts = np.cumsum([0, *(len(cloud.names) for cloud in clouds)])
    tags = np.concatenate([cloud.tags + shift for cloud, shift in zip(clouds, shifts, strict=False)]).astype(np.int16)
    order = rng.permutation(len(tags))
    columns = ("points", "normals", "flow", "along", "run", "open", "hair", "colour", "gloss", "shine")
    joined = {column: np.concatenate([getattr(cloud, column) for cloud in clouds])[order] for column in columns}
    return Cloud(tags=tags[order], names=names, spacing=max(cloud.spacing for cloud in clouds), **joined)


def vector(values: Sequence[float]) -> Floats:
    """Return numbers as an array."""
    return np.array(values, dtype=np.float32)


def unit(vectors: Floats) -> Floats:
    """Return the vectors (rows) with length 1."""
    scaled: Floats = vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + np.float32(1e-9))
    return scaled.astype(np.float32)
