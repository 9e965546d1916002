"""Drawn kennels as a fixed camera sees them, for the demo, for tests and beside photos in training.

The same arguments give the same picture. `python -m deploy.local.scenes OUT --number N` writes a folder a label.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFilter

from deploy.local.animals import EXTENT, GROUND, Floats, draw_animal, noise
from deploy.local.poses import Species

LABELS = ("cat", "dog", "none", "both")
WALLS = [(176, 182, 178), (150, 164, 170), (196, 186, 162), (128, 146, 132), (205, 205, 200), (160, 140, 122)]
FLOORS = [(122, 118, 112), (146, 132, 116), (98, 100, 104), (150, 150, 146), (116, 92, 74)]
CLOTHS = [(92, 62, 58), (64, 84, 112), (120, 110, 92), (84, 98, 74), (148, 128, 104)]
Colour = tuple[int, int, int]

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Animal:
    """One animal that can be seen again and again: `seed` is its coat and build."""

    species: Species
    seed: int


def animals_of(label: str, seed: int) -> tuple[Animal, ...]:
    """Return who is there when the truth is `label` (one of LABELS). Raises ValueError for another label."""
    if label not in LABELS:
        raise ValueError(f"label is {label!r}, but must be one of {', '.join(LABELS)}")
    return tuple(Animal(species, seed) for species in get_args(Species) if label in (species, "both"))


def draw_scene(
    kennel: int, animals: Sequence[Animal], moment: int, size: tuple[int, int] = (1280, 720), pose: int | None = None
) -> Image.Image:
    """Return what the camera of `kennel` sees at `moment`, `size` pixels wide and high, RGB.

    Kennel, moment and pose are seeds. Animals hold themselves anew at every moment, unless the same `pose` is given
    for several: then only light and noise differ, and drawing is quicker.
    """
    quiet = _at_rest(kennel, tuple(animals), moment if pose is None else pose, size)
    now = np.random.default_rng([2, kennel, moment])
    return _expose(quiet, now, night=now.random() < 0.04)


@lru_cache(maxsize=16)
def _at_rest(kennel: int, animals: tuple[Animal, ...], pose: int, size: tuple[int, int]) -> Image.Image:
    """The room with its animals, before the camera's own traits."""
    room = np.random.default_rng([1, kennel])
    held = np.random.default_rng([6, kennel, pose])
    light, floor_at, barred = room.uniform(-1, 1), room.uniform(0.36, 0.5), room.random() < 0.4
    picture = _room(kennel, size, light, floor_at).copy()
    between, play = (0.21, 0.05) if len(animals) > 1 else (0, 0.1)
    places = np.linspace(0.5 - between, 0.5 + between, len(animals))
    # The dog first, so that a small cat is not hidden behind it.
    for animal, place in zip(reversed(animals), held.permutation(places), strict=True):
        _place(picture, animal, float(place + held.uniform(-play, play)), floor_at, light, held)
    if barred:
        _bars(picture, kennel)
    return picture


def draw(label: str, seed: int, size: tuple[int, int] = (1280, 720)) -> Image.Image:
    """Return a scene of its own kennel for one of LABELS. Raises ValueError for another label."""
    return draw_scene(seed, animals_of(label, seed), seed, size)


def to_jpeg(picture: Image.Image, quality: int = 85) -> bytes:
    """Return the picture as a camera would send it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _tint(colour: Sequence[float], factor: float) -> Colour:
    red, green, blue = (int(min(255, max(0, part * factor))) for part in colour)
    return red, green, blue


@lru_cache(maxsize=32)
def _room(kennel: int, size: tuple[int, int], light: float, floor_at: float) -> Image.Image:
    """Walls, floor and furniture with their light; cached, since a fixed camera sees them all day."""
    rng = np.random.default_rng([3, kennel])
    width, height = size
    wall = WALLS[rng.integers(len(WALLS))]
    floor = FLOORS[rng.integers(len(FLOORS))]
    horizon = int(floor_at * height)
    left, right = int(rng.uniform(0.08, 0.2) * width), int(rng.uniform(0.8, 0.92) * width)
    picture = Image.new("RGB", size, floor)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((left, 0, right, horizon), wall)
    pen.polygon([(0, 0), (left, 0), (left, horizon), (0, height)], _tint(wall, 0.78 - 0.1 * light))
    pen.polygon([(width, 0), (right, 0), (right, horizon), (width, height)], _tint(wall, 0.78 + 0.1 * light))
    if rng.random() < 0.6:  # blocks or tiles
        rows, columns = rng.integers(5, 9), rng.integers(8, 14)
        for row in range(1, rows):
            pen.line((left, row * horizon / rows, right, row * horizon / rows), _tint(wall, 0.86), max(1, width // 500))
            for column in range(columns + 1):
                at = left + (column + row % 2 / 2) * (right - left) / columns
                if at < right:
                    pen.line((at, (row - 1) * horizon / rows, at, row * horizon / rows), _tint(wall, 0.88))
    else:  # two paints
        pen.rectangle((left, horizon * 0.55, right, horizon), _tint(wall, 0.7))
    pen.line((left, horizon, right, horizon), _tint(floor, 0.5), max(2, height // 120))
    if rng.random() < 0.5:  # tiles on the floor
        for step in range(1, 9):
            at = horizon + (height - horizon) * (step / 9) ** 1.7
            pen.line((0, at, width, at), _tint(floor, 0.86), max(1, height // 300))
        for step in range(-4, 15):
            pen.line(
                (left + (right - left) * step / 10, horizon, width * (step - 5) / 5 + width / 2, height),
                _tint(floor, 0.86),
            )
    _furnish(pen, rng, size, (left, right, horizon))
    picture = picture.filter(ImageFilter.GaussianBlur(max(0.6, width / 900)))
    lit = 0.62 + 0.5 * np.exp(-(((np.arange(width) / width - 0.5 - 0.35 * light) / 0.55) ** 2))
    depth = 0.85 + 0.3 * np.linspace(0, 1, height) ** 1.5
    texture = (
        0.86 + 0.2 * noise(rng, (height, width), (7, 9)) + 0.09 * noise(rng, (height, width), (height // 5, width // 5))
    )
    pixels = np.asarray(picture, dtype=np.float32) * (lit[None, :] * depth[:, None] * texture)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _furnish(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, size: tuple[int, int], room: tuple[int, int, int]
) -> None:
    """Draw what kennels hold: a bed, bowls, a ball, a door or a drain."""
    width, height = size
    left, right, horizon = room
    deep = height - horizon
    if rng.random() < 0.5:  # a hatch in the back wall
        x, wide = rng.uniform(left, right - 0.2 * width), 0.13 * width
        pen.rectangle((x, horizon * 0.45, x + wide, horizon), (58, 60, 62), (110, 112, 112), max(2, width // 300))
    if rng.random() < 0.4:  # a drain
        x, y = rng.uniform(0.3, 0.7) * width, horizon + 0.75 * deep
        pen.ellipse((x, y, x + 0.06 * width, y + 0.03 * height), (64, 64, 64), (90, 90, 90))
    if rng.random() < 0.75:  # a bed
        cloth = CLOTHS[rng.integers(len(CLOTHS))]
        x, y = rng.choice([0.14, 0.58]) * width, horizon + rng.uniform(0.08, 0.25) * deep
        wide, high = 0.28 * width, 0.17 * height
        pen.ellipse((x, y + 0.02 * height, x + wide, y + high + 0.025 * height), _tint(cloth, 0.4))
        pen.ellipse((x, y, x + wide, y + high), cloth)
        pen.ellipse((x + 0.1 * wide, y + 0.18 * high, x + 0.9 * wide, y + 0.75 * high), _tint(cloth, 1.3))
    for _ in range(int(rng.integers(0, 3))):  # bowls
        x, y, wide = (
            rng.uniform(0.1, 0.85) * width,
            horizon + rng.uniform(0.2, 0.8) * deep,
            rng.uniform(0.05, 0.08) * width,
        )
        steel = _tint((200, 204, 208), rng.uniform(0.6, 1.0))
        pen.ellipse((x - 0.1 * wide, y + 0.25 * wide, x + 1.1 * wide, y + 0.7 * wide), (62, 60, 58))
        pen.polygon(
            [
                (x, y + 0.2 * wide),
                (x + wide, y + 0.2 * wide),
                (x + 1.06 * wide, y + 0.5 * wide),
                (x - 0.06 * wide, y + 0.5 * wide),
            ],
            steel,
        )
        pen.ellipse((x, y, x + wide, y + 0.4 * wide), _tint(steel, 0.75))
        pen.ellipse(
            (x + 0.1 * wide, y + 0.07 * wide, x + 0.9 * wide, y + 0.35 * wide),
            _tint((112, 84, 58), rng.uniform(0.6, 1.4)),
        )
    if rng.random() < 0.3:  # a ball
        x, y, wide = rng.uniform(0.1, 0.85) * width, horizon + rng.uniform(0.3, 0.8) * deep, 0.03 * width
        pen.ellipse((x, y, x + wide, y + wide), (196, 172, 62) if rng.random() < 0.5 else (168, 58, 50))


def _place(
    picture: Image.Image, animal: Animal, place: float, floor_at: float, light: float, now: np.random.Generator
) -> None:
    """Paste one animal with its shadow; nearer to the camera is lower and larger."""
    width, height = picture.size
    near = now.uniform(0.35, 0.95)
    ground = (floor_at + (1 - floor_at) * (0.12 + 0.72 * near)) * height
    build = np.random.default_rng([4, animal.seed]).uniform(0.9, 1.15)
    unit = height * (0.3 + 0.16 * near) * build * (1.0 if animal.species == "dog" else 0.95)
    side = int(unit * EXTENT)
    drawn = draw_animal(animal.species, animal.seed, now, light).resize((side, side), Image.Resampling.BICUBIC)
    # The edge of a photographed animal is soft, and its fur lets the background through.
    red, green, blue, alpha = drawn.split()
    drawn = Image.merge("RGBA", (red, green, blue, alpha.filter(ImageFilter.GaussianBlur(max(0.7, side / 450)))))
    x = int(place * width - side / 2)
    y = int(ground - side * (1 - GROUND / EXTENT))
    flat, margin = side // 7, side // 14
    shadow = Image.new("L", (side + 2 * margin, flat + 2 * margin), 0)
    shadow.paste(alpha.resize((side, flat)), (margin, margin))
    shadow = shadow.filter(ImageFilter.GaussianBlur(side / 45)).point(lambda value: int(value * 0.7))
    feet = int(ground - flat * (1 - GROUND / EXTENT)) - margin + side // 60
    picture.paste(Image.new("RGB", shadow.size, (22, 20, 20)), (x - margin - int(light * 0.05 * side), feet), shadow)
    picture.paste(drawn, (x, y), drawn)


def _bars(picture: Image.Image, kennel: int) -> None:
    """Draw the bars of the kennel's front, thin and out of focus since they are near."""
    rng = np.random.default_rng([5, kennel])
    width, height = picture.size
    layer = Image.new("L", picture.size, 0)
    pen = ImageDraw.Draw(layer)
    number, thick = int(rng.integers(7, 13)), max(2, int(width * rng.uniform(0.004, 0.008)))
    shift = rng.uniform(0, 1)
    for step in range(number + 1):
        x = (step + shift) * width / number
        pen.line((x, 0, x, height), 235, thick)
    pen.line((0, height * 0.08, width, height * 0.08), 235, thick * 2)
    layer = layer.filter(ImageFilter.GaussianBlur(width / 420))
    picture.paste(Image.new("RGB", picture.size, _tint((150, 152, 154), rng.uniform(0.4, 1.1))), (0, 0), layer)


def _expose(picture: Image.Image, now: np.random.Generator, *, night: bool) -> Image.Image:
    """Return the picture with a camera's own traits: exposure, colour, lens blur, vignette and noise."""
    width, height = picture.size
    pixels: Floats = np.asarray(
        picture.filter(ImageFilter.BoxBlur(width / 1280 * now.uniform(0.3, 1.0))), dtype=np.float32
    )
    if night:  # infrared light: no colour, more noise
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2) * 0.85
    gain = now.uniform(0.82, 1.14) * (1 + now.normal(0, 0.025, 3))
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    vignette = 1 - 0.22 * (rows**2 + columns**2) / 2
    grain = now.standard_normal((height // 2 + 1, width // 2 + 1), dtype=np.float32) * (
        8 if night else now.uniform(1.5, 4)
    )
    grain = np.repeat(np.repeat(grain, 2, axis=0), 2, axis=1)[:height, :width]
    pixels = pixels * gain.astype(np.float32) * vignette[..., None].astype(np.float32) + grain[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


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
