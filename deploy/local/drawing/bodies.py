"""Who can be in a kennel: animals that keep their coat and build for life, and visitors, as clouds in their poses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from deploy.local.drawing import cats, coats, dogs, people
from deploy.local.drawing.cats import Eye
from deploy.local.drawing.shapes import Cloud, Limb, grow, matrix, together, vector

Kind = Literal["cat", "dog", "person"]
CAT_SCALE = 1.35  # cats are drawn a little larger than life: a kennel's camera is far away
POINTS = {"cat": 46_000, "dog": 52_000, "person": 60_000}
HEAD_POINTS = 26_000  # a face is looked at more closely
POSES: dict[Kind, tuple[str, ...]] = {
    "cat": ("sitting", "standing", "lying", "curled"),
    "dog": ("standing", "sitting", "lying"),
    "person": ("crouching", "standing"),
}
CLOTHES = ((58, 84, 62), (126, 52, 48), (44, 58, 92), (150, 120, 70), (92, 92, 96))
TROUSERS = ((42, 52, 76), (60, 56, 52), (92, 80, 64))
SKINS = ((222, 178, 150), (160, 110, 80), (98, 66, 48))
HAIRS = ((52, 38, 30), (120, 84, 48), (30, 28, 28), (150, 148, 146))


@dataclass(frozen=True)
class Body:
    """Somebody in a pose: `seed` says who it is, `gaze` to which side the head looks (radians)."""

    kind: Kind
    seed: int
    pose: str
    gaze: float


@lru_cache(maxsize=40)
def cloud_of(body: Body, detail: float = 1.0) -> Cloud:
    """Return the body's points with feet on y = 0, looking along +x, in metres; fewer for less `detail` (up to 1)."""
    rng = np.random.default_rng([11, body.seed, ord(body.kind[0])])
    return {"cat": _cat, "dog": _dog, "person": _person}[body.kind](body, detail, rng)


def _cat(body: Body, detail: float, rng: np.random.Generator) -> Cloud:
    coat = coats.CATS[body.seed % len(coats.CATS)]
    stout, size = rng.uniform(0.96, 1.1), rng.uniform(0.9, 1.06)
    pose, place = cats.POSES[body.pose]
    asleep = body.pose == "curled"
    place = place if asleep else replace(place, yaw=body.gaze, roll=0.12 * body.gaze)
    parts = [
        grow(pose(place), int(POINTS["cat"] * detail), cats.BLEND, rng),
        grow(cats.head(place, stout), int(HEAD_POINTS * detail), cats.HEAD_BLEND, rng),
    ]
    skin = coats.paint(together(parts, rng), coat, rng)
    colour = skin.colour.copy()
    forward = matrix(place.yaw, place.pitch, place.roll) @ (1, 0, 0)
    inside = skin.tagged("ear") & (skin.normals @ forward.astype(np.float32) > 0.35) & (skin.along > 0.15)
    colour[inside] = 0.45 * colour[inside] + 0.55 * coats.linear((206, 150, 140))
    tip = skin.tagged("nose") & (skin.along < 0.12)
    colour[tip] = coats.linear((196, 120, 112))
    skin = replace(skin, colour=colour, hair=np.where(tip, 0, skin.hair).astype(np.float32))
    eyes = cats.eyes(place, stout)
    balls = coats.eyeballs(eyes, coat.eyes, slit=True, asleep=asleep, rng=rng)
    return together([skin if asleep else _bared(skin, eyes), balls], rng).placed(0, CAT_SCALE * size, (0, 0, 0))


def _dog(body: Body, detail: float, rng: np.random.Generator) -> Cloud:
    coat = coats.DOGS[body.seed % len(coats.DOGS)]
    prick = coat.pattern == "saddle" or rng.random() < 0.2
    build = dogs.Build(
        "prick" if prick else "drop", rng.uniform(0.8, 1.12), rng.uniform(0.94, 1.12), tongue=body.gaze > -0.1
    )
    size = rng.uniform(0.86, 1.04)
    pose, place = dogs.POSES[body.pose]
    place = replace(place, yaw=body.gaze, roll=0.15 * body.gaze)
    parts = [
        grow(pose(place, build), int(POINTS["dog"] * detail), dogs.BLEND, rng),
        grow(dogs.head(place, build), int(HEAD_POINTS * detail), dogs.HEAD_BLEND, rng),
    ]
    skin = coats.paint(together(parts, rng), coat, rng)
    colour = skin.colour.copy()
    colour[skin.tagged("tongue")] = coats.linear((206, 112, 112))
    mouth = skin.tagged("jaw") & (skin.normals[:, 1] > 0.3)
    colour[mouth] *= 0.15
    nose = _bare(dogs.nose(place, build), 900, 0.006, (22, 20, 20), rng)
    nose = replace(nose, gloss=nose.gloss + np.float32(0.3))
    eyes = dogs.eyes(place)
    balls = coats.eyeballs(eyes, coat.eyes, slit=False, asleep=False, rng=rng)
    tip = nose.points.mean(0)
    wet = Eye((float(tip[0]), float(tip[1]), float(tip[2])), 0.24 * dogs.SKULL, (1, 0, 0))
    skin = _bared(replace(skin, colour=colour), [*eyes, wet])
    return together([skin, nose, balls], rng).placed(0, size, (0, 0, 0))


def _bared(skin: Cloud, eyes: Sequence[Eye]) -> Cloud:
    """Return the skin without what lies within eyes (or a nose), and with short hair round them."""
    away = np.min([np.linalg.norm(skin.points - vector(eye.at), axis=1) / eye.radius for eye in eyes], axis=0)
    short = np.clip((away - 0.9) / 1.2, 0.1, 1).astype(np.float32)
    return replace(skin, hair=skin.hair * short).chosen(away > 1.02)


def _bare(limbs: Sequence[Limb], number: int, blend: float, colour: coats.Colour, rng: np.random.Generator) -> Cloud:
    cloud = grow(limbs, number, blend, rng)
    return replace(cloud, colour=np.broadcast_to(coats.linear(colour), cloud.points.shape), hair=cloud.hair * 0)


def _person(body: Body, detail: float, rng: np.random.Generator) -> Cloud:
    cloud = grow(people.POSES[body.pose](), int(POINTS["person"] * detail), people.BLEND, rng)
    wear = {
        "jumper": CLOTHES[rng.integers(len(CLOTHES))],
        "trousers": TROUSERS[rng.integers(len(TROUSERS))],
        "skin": SKINS[rng.integers(len(SKINS))],
        "hair": HAIRS[rng.integers(len(HAIRS))],
        "shoe": (48, 44, 42),
    }
    colour = np.empty_like(cloud.points)
    for tag, value in wear.items():
        colour[cloud.tagged(tag)] = coats.linear(value)
    folds = 1 + 0.14 * coats.blotches(cloud.points, 0.12, rng) + 0.08 * coats.blotches(cloud.points, 0.03, rng)
    hair = np.where(cloud.tagged("hair"), 0.02, 0.004).astype(np.float32)
    return replace(cloud, colour=(colour * folds[:, None]).astype(np.float32), hair=hair)
