"""Drawn kennels as fixed cameras see them, for the demo, for tests and beside photos in training.

The same arguments give the same picture. `python -m deploy.local.scenes OUT --number N` writes a folder a label.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import typer
from PIL import Image

from deploy.local.drawing import props
from deploy.local.drawing.bodies import POSES, Body, Kind
from deploy.local.drawing.light import Exposed, expose, light_at, take
from deploy.local.drawing.rooms import Room
from deploy.local.drawing.stage import Placed, stage_of, with_bodies

LABELS = ("cat", "dog", "none", "both")
SIZE = (1280, 720)
ASIDE = 0.3  # metres from the middle of a room, on the side where the bed is not
CURLED_TURN = (-1.5, 0.4)  # radians from where the front camera is
SCENES_A_ROOM = 8  # of draw(): a room is much of the work

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Somebody:
    """An animal or a visitor who can be seen again and again: `seed` is coat or clothes, and build."""

    kind: Kind
    seed: int


@dataclass(frozen=True)
class Scene:
    """A room with those who are in it now, at an hour (0 to 24)."""

    room: Room
    bodies: tuple[Placed, ...]
    hour: float


def who(label: str, seed: int, *, visitor: bool = False) -> tuple[Somebody, ...]:
    """Return who is there when the truth is `label` (one of LABELS). Raises ValueError for another label."""
    if label not in LABELS:
        raise ValueError(f"label is {label!r}, but must be one of {', '.join(LABELS)}")
    there = tuple(Somebody(kind, seed) for kind in get_args(Kind) if label in (kind, "both") and kind != "person")
    return (*there, Somebody("person", seed)) if visitor else there


def posed(room: Room, somebody: Sequence[Somebody], seed: int) -> tuple[Placed, ...]:
    """Return everybody at a place of the room, in a pose; the same for the same seed."""
    rng = np.random.default_rng([6, room.seed, seed])
    number = len(somebody)
    places = (
        rng.permutation(np.linspace(-0.18, 0.18, number) * number) if number > 1 else rng.uniform(-0.3, 0.3, number)
    )
    return _apart([_posed(room, one, float(x), rng) for one, x in zip(somebody, places, strict=True)])


def _apart(everybody: list[Placed]) -> tuple[Placed, ...]:
    """Return the same, but nobody on the floor stands where they would hide who is in the bed."""
    beds = [one.x for one in everybody if one.lift > 0]
    if not beds:
        return tuple(everybody)
    side = -float(np.sign(beds[0]))
    return tuple(one if one.lift > 0 else replace(one, x=side * max(abs(one.x), ASIDE)) for one in everybody)


def _posed(room: Room, one: Somebody, x: float, rng: np.random.Generator) -> Placed:
    pose = str(rng.choice(POSES[one.kind]))
    turn = float(rng.normal(0, 0.75)) if rng.random() < 0.8 else float(rng.uniform(-np.pi, np.pi))
    # Mostly they look where the front camera is, which is where people come from.
    gaze = float(np.clip(-turn * rng.uniform(0.3, 1) + rng.normal(0, 0.2), -0.95, 0.95))
    if pose == "curled":  # from behind it would be a ball of fur that nobody knows
        turn = float(np.clip(turn - 0.4, *CURLED_TURN))
    z, lift = float(rng.uniform(-0.15, 0.4)), 0.0
    if one.kind == "person":
        z = float(rng.uniform(-0.5, -0.1))
    elif one.kind == "cat" and pose in ("curled", "lying") and rng.random() < 0.6:
        (x, z), lift = props.bed_of(room), props.BED_HEIGHT
    return Placed(Body(one.kind, one.seed, pose, gaze), x, z, np.pi / 2 + turn, lift)


def draw_scene(scene: Scene, side: int, moment: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return what the camera at the front (side 0) or back (1) sees, `size` pixels wide and high, RGB.

    `moment` is the seed of what differs between two photos of the same: brightness and grain.
    """
    return photo_of(exposed(scene, side, size), scene, side, moment)


def photo_of(seen: Exposed, scene: Scene, side: int, moment: int) -> Image.Image:
    """Return one photo of a scene that was drawn, RGB, with the brightness and grain of its `moment`."""
    return take(seen, np.random.default_rng([2, scene.room.seed, side, moment]))


@lru_cache(maxsize=24)
def exposed(scene: Scene, side: int, size: tuple[int, int]) -> Exposed:
    """Return a scene before the sensor: while nobody moves, it stays the same."""
    layers = with_bodies(stage_of(scene.room, side, *size), scene.bodies)
    return expose(layers, light_at(scene.hour), *size)


def draw(label: str, seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a scene for one of LABELS, at any hour, by either camera. Raises ValueError for another label."""
    rng = np.random.default_rng([1, seed])
    room = Room.of(seed // SCENES_A_ROOM)
    visitor = bool(rng.random() < (0.35 if label == "none" else 0.12))
    chance = rng.random()
    hour = rng.uniform(8, 18) if chance < 0.62 else rng.choice([7.3, 18.7, 20.5]) if chance < 0.78 else 2.0
    scene = Scene(room, posed(room, who(label, seed, visitor=visitor), seed), float(hour))
    return draw_scene(scene, int(rng.random() < 0.3), seed, size)


def to_jpeg(picture: Image.Image, quality: int = 85) -> bytes:
    """Return the picture as a camera would send it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@app.command()
def write(
    out: Annotated[Path, typer.Argument(help="Folder for the sub-folders cat, dog, none and both.")],
    number: Annotated[int, typer.Option(help="Pictures to draw, shared out among the labels.", min=1)] = 100,
    size: Annotated[str, typer.Option(help="Width x height in pixels.")] = "1280x720",
    seed: Annotated[int, typer.Option(help="Seed of the first picture.", min=0)] = 0,
) -> None:
    """Write drawn scenes as JPEG files, named by their seed."""
    try:
        width, height = (int(part) for part in size.lower().split("x"))
    except ValueError:
        raise typer.BadParameter(f"--size is {size!r}; write it like 1280x720") from None
    if not (64 <= width <= 8000 and 64 <= height <= 8000):
        raise typer.BadParameter("--size must be from 64x64 to 8000x8000")
    for index in range(number):
        label = LABELS[index % len(LABELS)]
        path = out / label / f"scene-{seed + index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_jpeg(draw(label, seed + index, (width, height))))


if __name__ == "__main__":
    app()
