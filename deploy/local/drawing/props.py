"""What stands in a room: beds, bowls, a ball, a basket, a scratching post or a sofa, as clouds."""

from dataclasses import replace

import numpy as np

from deploy.local.drawing.coats import Colour, blotches, linear
from deploy.local.drawing.rooms import Room
from deploy.local.drawing.shapes import Cloud, Limb, grow, lathe, together

CLOTHS: tuple[tuple[Colour, Colour], ...] = (
    ((150, 62, 60), (222, 196, 168)), ((62, 88, 128), (206, 210, 214)), ((104, 122, 84), (226, 214, 186)),
    ((186, 138, 72), (236, 220, 190)), ((112, 84, 110), (216, 200, 206)),
)  # fmt: skip
TOYS: tuple[Colour, ...] = ((206, 188, 58), (190, 62, 54), (60, 120, 180), (92, 160, 84))
BED_HEIGHT = 0.055
BED_AT = (0.42, -0.38)


def bed_of(room: Room) -> tuple[float, float]:
    """Return x and z of the middle of a room's bed."""
    side = -1.0 if room.sun[0] > 0 else 1.0
    return side * BED_AT[0] * room.width / 2.7, BED_AT[1] * room.depth / 2.6


def furniture(room: Room) -> Cloud:
    """Return all that stands in a room, placed."""
    rng = np.random.default_rng([23, room.seed])
    x, z = bed_of(room)
    things = [_bed(rng).placed(0, 1, (x, 0, z))]
    side = -np.sign(x)
    bowl_z = float(rng.uniform(-0.75, -0.5)) * room.depth / 2.6
    for number, filling in enumerate(((108, 74, 46), (150, 170, 180))):
        things.append(_bowl(filling, rng).placed(0, 1, (side * (0.42 + 0.27 * number), 0, bowl_z + 0.05 * number)))
    if rng.random() < 0.7:
        ball = lathe(
            "ball", [(0.045 * np.sin(a), 0.045 - 0.045 * np.cos(a)) for a in np.linspace(0, np.pi, 14)], 2500, rng
        )
        stripe = np.abs(ball.points[:, :1] - 0.3 * ball.points[:, 1:2]) < 0.008
        colour = np.where(stripe, linear((236, 232, 222)), linear(TOYS[rng.integers(len(TOYS))])).astype(np.float32)
        ball = replace(ball, colour=colour, gloss=ball.gloss + np.float32(0.12))
        things.append(ball.placed(0, 1, (side * float(rng.uniform(0.3, 0.75)), 0, float(rng.uniform(0.1, 0.6)))))
    if room.home:
        things.append(_sofa(rng).placed(0, 1, (side * 0.35, 0, -room.depth / 2 + 0.42)))
        if rng.random() < 0.7:
            things.append(_post(rng).placed(0, 1, (-side * (room.width / 2 - 0.35), 0, float(rng.uniform(0.2, 0.6)))))
    elif rng.random() < 0.45:
        things.append(
            _basket(rng).placed(0, 1, (-side * float(rng.uniform(0.5, 0.75)), 0, float(rng.uniform(0.15, 0.45))))
        )
    return together(things, rng)


def _cloth(cloud: Cloud, colour: Colour, rng: np.random.Generator) -> Cloud:
    weave = 1 + 0.16 * blotches(cloud.points, 0.06, rng) + 0.1 * blotches(cloud.points, 0.015, rng)
    return replace(cloud, colour=np.clip(linear(colour) * weave[:, None], 0, 1).astype(np.float32))


def _bed(rng: np.random.Generator) -> Cloud:
    """A soft bed: a padded rim round a pale cushion."""
    cloth, cushion = CLOTHS[rng.integers(len(CLOTHS))]
    bend = np.linspace(-0.45 * np.pi, 1.05 * np.pi, 16)
    rim = [(0.36 + 0.065 * np.cos(a), 0.068 + 0.065 * np.sin(a)) for a in bend]
    inside = [(0.3, 0.06), (0.22, 0.062), (0.1, 0.056), (0.0, 0.052)]
    round_it = float(rng.choice([0.0, 0.7]))
    outer = _cloth(lathe("rim", rim, 30_000, rng, round_it), cloth, rng)
    inner = _cloth(lathe("cushion", inside, 22_000, rng, round_it), cushion, rng)
    seam = np.sin(np.arctan2(outer.points[:, 2], outer.points[:, 0]) * 12)
    outer = replace(outer, colour=outer.colour * (1 - 0.35 * (np.abs(seam) < 0.08))[:, None].astype(np.float32))
    # The cushion lies in the rim's shade.
    reach = np.hypot(inner.points[:, 0], inner.points[:, 2])
    inner = replace(inner, open=np.clip(1.15 - 0.6 * (reach / 0.32) ** 4, 0.4, 1).astype(np.float32))
    return together([outer, inner], rng)


def _bowl(filling: Colour, rng: np.random.Generator) -> Cloud:
    """A steel bowl with food or water."""
    outside = [(0.115, 0.0), (0.108, 0.02), (0.098, 0.062), (0.104, 0.07), (0.1, 0.074), (0.088, 0.066), (0.084, 0.045)]
    steel = lathe("steel", outside, 9_000, rng)
    streak = 0.75 + 0.35 * np.sin(3 * np.arctan2(steel.points[:, 2], steel.points[:, 0]) + 1)
    steel = replace(
        steel,
        colour=(linear((190, 194, 198)) * streak[:, None]).astype(np.float32),
        gloss=steel.gloss + np.float32(0.55),
    )
    inside = _cloth(lathe("filling", [(0.086, 0.05), (0.04, 0.056), (0.0, 0.058)], 4_000, rng), filling, rng)
    return together([steel, inside], rng)


def _basket(rng: np.random.Generator) -> Cloud:
    """A wicker basket high enough to hide a cat's half."""
    profile = [(0.17, 0.0), (0.21, 0.1), (0.225, 0.2), (0.215, 0.235), (0.19, 0.22), (0.17, 0.06), (0.0, 0.05)]
    cloud = lathe("wicker", profile, 34_000, rng)
    angle = np.arctan2(cloud.points[:, 2], cloud.points[:, 0])
    weave = 0.78 + 0.22 * np.sign(np.sin(angle * 22)) * np.sign(np.sin(cloud.points[:, 1] * 190))
    inner = np.where(cloud.along > 0.62, 0.45, 1.0)
    return replace(cloud, colour=(linear((176, 132, 84)) * (weave * inner)[:, None]).astype(np.float32))


def _post(rng: np.random.Generator) -> Cloud:
    """A scratching post with a platform."""
    rope = lathe("rope", [(0.05, 0.04), (0.05, 0.62)], 22_000, rng)
    rope = replace(
        rope,
        colour=(linear((196, 164, 116)) * (0.8 + 0.2 * np.sin(rope.points[:, 1] * 420))[:, None]).astype(np.float32),
    )
    foot = _cloth(lathe("foot", [(0.23, 0.0), (0.23, 0.035), (0.0, 0.04)], 14_000, rng, 0.9), (150, 128, 108), rng)
    board = _cloth(
        lathe("board", [(0.0, 0.6), (0.19, 0.61), (0.2, 0.63), (0.19, 0.66), (0.0, 0.665)], 16_000, rng),
        (150, 128, 108),
        rng,
    )
    return together([rope, foot, board], rng)


def _sofa(rng: np.random.Generator) -> Cloud:
    """A small sofa for visitors and for whoever gets there first."""
    cloth = CLOTHS[rng.integers(len(CLOTHS))][0]
    limbs = [
        Limb("seat", ((-0.52, 0.25, 0.06, 0.17), (0.52, 0.25, 0.06, 0.17)), flat=(0, 1, 0), thin=0.75),
        Limb("seat", ((-0.52, 0.16, 0.0, 0.17), (0.52, 0.16, 0.0, 0.17)), flat=(0, 1, 0), thin=0.8),
        Limb("back", ((-0.5, 0.5, -0.2, 0.17), (0.5, 0.5, -0.2, 0.17)), flat=(0, 0, 1), thin=0.6),
        Limb("arm", ((-0.68, 0.32, -0.15, 0.12), (-0.68, 0.32, 0.16, 0.12)), flat=(1, 0, 0), thin=0.85),
        Limb("arm", ((0.68, 0.32, -0.15, 0.12), (0.68, 0.32, 0.16, 0.12)), flat=(1, 0, 0), thin=0.85),
    ]
    sofa = _cloth(grow(limbs, 70_000, 0.018, rng), cloth, rng)
    seam = np.abs(sofa.points[:, 0]) < 0.008
    return replace(sofa, hair=sofa.hair * 0, colour=sofa.colour * np.where(seam, 0.55, 1.0)[:, None].astype(np.float32))
