"""How dogs hold themselves: limbs with the head towards +x, feet on y = 0, for a shoulder 0.55 m high."""

from dataclasses import dataclass

from deploy.local.drawing.cats import Eye, Head
from deploy.local.drawing.shapes import Ball, Limb, matrix, turned

SKULL = 0.092
BLEND = 0.018
HEAD_BLEND = 0.0075


@dataclass(frozen=True)
class Build:
    """What differs between dogs of one pose: the ears' kind, factors for the muzzle's length and the body's girth."""

    ears: str
    muzzle: float
    stout: float
    tongue: bool


def head(place: Head, build: Build) -> list[Limb]:
    """Return a dog's head with its muzzle and ears (`drop` or `prick`)."""
    s, m = SKULL, build.muzzle
    limbs = [
        Limb("head", ((0.45 * s, -0.02 * s, 0, 0.68 * s), (0.0, 0.02 * s, 0, 0.92 * s), (-0.42 * s, -0.1 * s, 0, 0.8 * s)), thin=0.92, hair=0.5),
        Limb("muzzle", (((0.62 + 1.05 * m) * s, -0.26 * s, 0, 0.33 * s), ((0.5 + 0.6 * m) * s, -0.28 * s, 0, 0.42 * s), (0.45 * s, -0.2 * s, 0, 0.58 * s)), thin=0.9, hair=0.35),
        Limb("jaw", (((0.5 + 0.9 * m) * s, -0.6 * s, 0, 0.2 * s), ((0.5 + 0.4 * m) * s, -0.6 * s, 0, 0.26 * s), (0.1 * s, -0.5 * s, 0, 0.42 * s)), hair=0.4),
    ]  # fmt: skip
    if build.tongue:
        limbs.append(Limb("tongue", (((0.4 + 0.6 * m) * s, -0.62 * s, 0, 0.17 * s), ((0.62 + 0.85 * m) * s, -0.86 * s, 0, 0.19 * s), ((0.6 + 0.85 * m) * s, -1.2 * s, 0, 0.16 * s)), flat=(0.9, 0.4, 0), thin=0.35, hair=0))  # fmt: skip
    for side in (-1, 1):
        limbs.append(Limb("cheek", ((0.35 * s, -0.3 * s, side * 0.36 * s, 0.42 * s), (0.0, -0.35 * s, side * 0.45 * s, 0.42 * s)), hair=0.6))  # fmt: skip
        if build.ears == "prick":
            limbs.append(Limb("ear", ((-0.05 * s, 0.55 * s, side * 0.55 * s, 0.42 * s), (-0.14 * s, 1.05 * s, side * 0.66 * s, 0.32 * s), (-0.2 * s, 1.75 * s, side * 0.74 * s, 0.04 * s)), flat=(0.9, 0.1, side * 0.42), thin=0.3, hair=0.4))  # fmt: skip
        else:
            limbs.append(Limb("ear", ((-0.12 * s, 0.5 * s, side * 0.6 * s, 0.24 * s), (-0.12 * s, 0.32 * s, side * 0.98 * s, 0.36 * s), (0.02 * s, -0.15 * s, side * 1.12 * s, 0.42 * s), (0.12 * s, -0.72 * s, side * 1.04 * s, 0.26 * s)), flat=(0.1, 0.25, side * 0.95), thin=0.32, hair=0.7))  # fmt: skip
    return turned(limbs, place.yaw, place.pitch, place.roll, place.at)


def eyes(place: Head) -> list[Eye]:
    """Return both eyes of a head."""
    s, rotation = SKULL, matrix(place.yaw, place.pitch, place.roll)
    found = []
    for side in (-1, 1):
        at = rotation @ (0.82 * s, 0.24 * s, side * 0.4 * s) + place.at
        look = rotation @ (0.9, 0.1, side * 0.42)
        found.append(Eye((at[0], at[1], at[2]), 0.19 * s, (look[0], look[1], look[2])))
    return found


def nose(place: Head, build: Build) -> list[Limb]:
    """Return the wet ball at the muzzle's end."""
    x = (0.66 + 1.3 * build.muzzle) * SKULL
    limbs = [Limb("wet", ((x, -0.1 * SKULL, -0.09 * SKULL, 0.19 * SKULL), (x, -0.1 * SKULL, 0.09 * SKULL, 0.19 * SKULL)), hair=0)]  # fmt: skip
    return turned(limbs, place.yaw, place.pitch, place.roll, place.at)


def _leg(*balls: Ball) -> Limb:
    return Limb("leg", balls, hair=0.6)


def standing(place: Head, build: Build) -> list[Limb]:
    """Return the body of a dog that stands, its tail up."""
    g = build.stout
    limbs = [
        Limb("neck", ((*place.at, 0.078), (0.32, 0.6, 0, 0.092 * g), (0.22, 0.5, 0, 0.115 * g)), hair=1.1),
        Limb("body", ((0.27, 0.48, 0, 0.1 * g), (0.16, 0.45, 0, 0.142 * g), (-0.02, 0.455, 0, 0.132 * g), (-0.18, 0.475, 0, 0.112 * g), (-0.3, 0.48, 0, 0.098 * g)), thin=0.85),
        Limb("tail", ((-0.36, 0.53, 0, 0.038), (-0.46, 0.6, 0.02, 0.036), (-0.53, 0.71, 0.05, 0.032), (-0.55, 0.82, 0.09, 0.022)), hair=1.5),
    ]  # fmt: skip
    for side, forward in ((-1, 0.05), (1, -0.04)):
        z = side * 0.082 * g
        limbs += [
            _leg((0.2, 0.42, z, 0.085 * g), (0.17 + 0.3 * forward, 0.28, z, 0.05), (0.19 + forward, 0.12, z, 0.034), (0.2 + forward, 0.042, z, 0.036), (0.245 + forward, 0.032, z, 0.035)),
            _leg((-0.26, 0.44, z, 0.11 * g), (-0.2 - 0.4 * forward, 0.29, z, 0.067), (-0.33 - forward, 0.17, z, 0.036), (-0.31 - forward, 0.042, z, 0.034), (-0.265 - forward, 0.032, z, 0.034)),
        ]  # fmt: skip
    return limbs


def sitting(place: Head, build: Build) -> list[Limb]:
    """Return the body of a dog that sits."""
    g = build.stout
    limbs = [
        Limb("neck", ((*place.at, 0.08), (0.13, 0.6, 0, 0.095 * g), (0.08, 0.5, 0, 0.112 * g)), hair=1.2),
        Limb("body", ((0.11, 0.5, 0, 0.105 * g), (0.06, 0.38, 0, 0.14 * g), (-0.06, 0.24, 0, 0.14 * g), (-0.15, 0.16, 0, 0.13 * g)), thin=0.9),
        Limb("tail", ((-0.27, 0.07, 0.0, 0.036), (-0.36, 0.035, 0.05, 0.034), (-0.45, 0.034, 0.13, 0.03), (-0.5, 0.035, 0.22, 0.02)), hair=1.5),
    ]  # fmt: skip
    for side in (-1, 1):
        z = side * 0.075 * g
        limbs += [
            _leg((0.1, 0.42, z, 0.085 * g), (0.12, 0.27, z, 0.052), (0.135, 0.12, z, 0.036), (0.14, 0.042, z, 0.04), (0.19, 0.032, z, 0.036)),
            Limb("thigh", ((-0.14, 0.19, side * 0.1, 0.115), (0.0, 0.13, side * 0.145, 0.075)), hair=0.8),
            _leg((-0.03, 0.07, side * 0.15, 0.045), (0.07, 0.038, side * 0.15, 0.038), (0.12, 0.032, side * 0.148, 0.034)),
        ]  # fmt: skip
    return limbs


def lying(place: Head, build: Build) -> list[Limb]:
    """Return the body of a dog that lies with its forelegs before it."""
    g = build.stout
    limbs = [
        Limb("neck", ((*place.at, 0.08), (0.27, 0.28, 0, 0.098 * g), (0.18, 0.22, 0, 0.115 * g)), hair=1.2),
        Limb("body", ((0.22, 0.19, 0, 0.12 * g), (0.08, 0.17, 0, 0.145 * g), (-0.12, 0.15, 0, 0.13 * g), (-0.3, 0.135, 0.02, 0.12 * g)), thin=0.95),
        Limb("tail", ((-0.4, 0.06, 0.03, 0.038), (-0.5, 0.035, 0.07, 0.034), (-0.6, 0.034, 0.15, 0.03), (-0.66, 0.032, 0.23, 0.02)), hair=1.5),
    ]  # fmt: skip
    for side in (-1, 1):
        z = side * 0.1 * g
        limbs += [
            _leg((0.2, 0.14, z, 0.085), (0.27, 0.06, z, 0.05), (0.42, 0.038, z, 0.037), (0.49, 0.034, z, 0.037)),
            Limb("thigh", ((-0.27, 0.15, side * 0.1, 0.115), (-0.12, 0.08, side * 0.155, 0.07)), hair=0.8),
            _leg((-0.14, 0.05, side * 0.17, 0.042), (-0.02, 0.036, side * 0.17, 0.035), (0.03, 0.032, side * 0.168, 0.032)),
        ]  # fmt: skip
    return limbs


POSES = {
    "standing": (standing, Head((0.4, 0.72, 0), 0, -0.08)),
    "sitting": (sitting, Head((0.17, 0.74, 0), 0, -0.08)),
    "lying": (lying, Head((0.33, 0.39, 0), 0, -0.08)),
}
