"""A camera that looks at clouds: where their points fall on the picture, and which of them it sees."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deploy.local.drawing.shapes import Cloud, Floats, Vector, unit, vector

STRANDS = 6  # points of a hair


@dataclass(frozen=True)
class View:
    """A pinhole camera at `position` that looks at `target`; `opening` is its vertical angle in degrees."""

    position: Vector
    target: Vector
    opening: float
    width: int
    height: int

    @cached_property
    def axes(self) -> Floats:
        """Rows: right, up and forward, of length 1."""
        forward = unit(np.array([self.target], dtype=np.float32) - vector(self.position))[0]
        right = unit(np.cross(forward, vector([0, 1, 0]))[None])[0]
        return np.stack([right, np.cross(right, forward), forward]).astype(np.float32)

    @property
    def focal(self) -> float:
        """How many pixels a metre has at a distance of a metre."""
        return self.height / 2 / float(np.tan(np.radians(self.opening) / 2))

    def rays(self) -> Floats:
        """Return the direction in which each pixel looks, one metre forward (height x width x 3)."""
        across = (np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / self.focal
        down = (np.arange(self.height, dtype=np.float32) + 0.5 - self.height / 2) / self.focal
        right, up, forward = self.axes
        rays: Floats = across[None, :, None] * right - down[:, None, None] * up + forward
        return rays.astype(np.float32)

    def project(self, points: Floats) -> Floats:
        """Return x and y in pixels and the depth in metres of each point."""
        seen = (points - vector(self.position)) @ self.axes.T
        depth = np.maximum(seen[:, 2], 0.05)
        placed: Floats = np.stack(
            [
                self.width / 2 + self.focal * seen[:, 0] / depth,
                self.height / 2 - self.focal * seen[:, 1] / depth,
                depth,
            ],
            1,
        ).astype(np.float32)
        return placed

    def facing(self, points: Floats, normals: Floats) -> Floats:
        """Return the cosine between each point's normal and its way to the camera."""
        towards = unit(vector(self.position) - points)
        cosine: Floats = np.einsum("ij,ij->i", towards, normals)
        return cosine


@dataclass(frozen=True)
class Seen:
    """What a camera sees of a cloud: pixels (flat indices), the point at each, where on its hair (0 to 1), depth."""

    pixels: NDArray[np.intp]
    points: NDArray[np.intp]
    along: Floats
    depth: Floats


def look(view: View, cloud: Cloud, behind: Floats, seed: int = 0) -> Seen:
    """Return what of a cloud the camera sees before what is there already, `behind` (height x width, metres).

    The skin is laid down in blocks of pixels, nearest last; then each point's hair over it.
    """
    facing = view.facing(cloud.points, cloud.normals)
    rows = np.flatnonzero(facing > -0.3)
    placed = view.project(cloud.points[rows])
    # Blocks reach over the gaps between points.
    gap = cloud.spacing * view.focal / float(np.median(placed[:, 2])) if len(rows) else 0.0
    reach = int(np.clip(np.ceil(0.75 * gap), 1, 3))
    skin, skin_depth = _blocks(view, rows, placed, facing[rows] > -0.05, reach)
    skin, skin_depth = (
        np.repeat(np.repeat(grid, 2, 0), 2, 1)[: view.height, : view.width] for grid in (skin, skin_depth)
    )
    hidden = skin_depth >= behind
    seen = np.where(hidden, -1, skin * STRANDS).ravel()
    depth = np.where(hidden, behind, skin_depth).ravel().astype(np.float32)
    identity, pixel, at = _hair(view, cloud, rows, seed)
    near = at < np.minimum(depth[pixel] + 0.03, behind.ravel()[pixel])
    identity, pixel, at = identity[near], pixel[near], at[near]
    order = np.argsort(-at, kind="stable")
    seen[pixel[order]] = identity[order]
    depth[pixel[order]] = at[order]
    pixels = np.flatnonzero(seen >= 0)
    found = seen[pixels]
    return Seen(pixels, found // STRANDS, (found % STRANDS / (STRANDS - 1)).astype(np.float32), depth[pixels])


def _blocks(
    view: View, rows: NDArray[np.intp], placed: Floats, front: NDArray[np.bool_], reach: int
) -> tuple[NDArray[np.intp], Floats]:
    """Return, at half the size, the point at each pixel (-1: none) and its depth: a block round each point."""
    high, wide = (view.height + 1) // 2, (view.width + 1) // 2
    rows, placed = rows[front], placed[front]
    x, y = (placed[:, 0] / 2).astype(np.intp), (placed[:, 1] / 2).astype(np.intp)
    order = np.argsort(-placed[:, 2], kind="stable")
    x, y, rows, far = x[order], y[order], rows[order], placed[order, 2]
    point = np.full(high * wide, -1, dtype=np.intp)
    depth = np.full(high * wide, np.inf, dtype=np.float32)
    # All offsets of the farthest points before any of nearer ones: the nearest is written last.
    offsets = [(dx, dy) for dx in range(-reach, reach + 1) for dy in range(-reach, reach + 1)]
    xs = np.stack([x + dx for dx, _ in offsets], 1).ravel()
    ys = np.stack([y + dy for _, dy in offsets], 1).ravel()
    inside = (xs >= 0) & (xs < wide) & (ys >= 0) & (ys < high)
    pixel = ys[inside] * wide + xs[inside]
    point[pixel] = np.repeat(rows, len(offsets))[inside]
    depth[pixel] = np.repeat(far, len(offsets))[inside]
    return point.reshape(high, wide), depth.reshape(high, wide)


def _hair(
    view: View, cloud: Cloud, rows: NDArray[np.intp], seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return points along each hair: point x STRANDS + which of them, its pixel and its depth; only those in view."""
    rng = np.random.default_rng([9, seed])
    normals, lengths = cloud.normals[rows], cloud.hair[rows, None]
    lie = cloud.flow[rows] - np.einsum("ij,ij->i", cloud.flow[rows], normals)[:, None] * normals
    chance = rng.standard_normal(lie.shape, dtype=np.float32)
    way = unit(unit(lie) + np.float32(0.32) * normals + 0.38 * chance)
    # What has no hair gets points on its skin instead, over the gap to the next one.
    bare = lengths == 0
    across = unit(chance - np.einsum("ij,ij->i", chance, normals)[:, None] * normals)
    way = np.where(bare, across, way)
    lengths = np.where(bare, cloud.spacing, lengths) * rng.uniform(0.6, 1.25, lengths.shape).astype(np.float32)
    steps = np.arange(STRANDS, dtype=np.float32) / (STRANDS - 1)
    # Hair is straight at the root and sinks back to the skin at its tip.
    points = (
        cloud.points[rows, None, :]
        + way[:, None, :] * (lengths * steps)[:, :, None]
        - normals[:, None, :] * (np.where(bare, 0, 0.12) * lengths * steps**2)[:, :, None]
    ).reshape(-1, 3)
    placed = view.project(points)
    x, y = placed[:, 0].astype(np.intp), placed[:, 1].astype(np.intp)
    inside = (x >= 0) & (x < view.width) & (y >= 0) & (y < view.height) & (placed[:, 2] > 0.1)
    identity = (rows[:, None] * STRANDS + np.arange(STRANDS)).ravel()
    return identity[inside], (y * view.width + x)[inside], placed[inside, 2]
