"""How cats hold themselves: limbs with the head towards +x, feet on y = 0, for a shoulder 0.3 m high."""

from dataclasses import dataclass

from deploy.local.drawing.shapes import Ball, Limb, Vector, matrix, turned

SKULL = 0.064
BLEND = 0.011
HEAD_BLEND = 0.0045


@dataclass(frozen=True)
class Head:
    """Where a head is, and where it looks, in radians: `yaw` to its left, `pitch` up, `roll` to a side."""

    at: Vector
    yaw: float
    pitch: float = 0.0
    roll: float = 0.0


@dataclass(frozen=True)
class Eye:
    """An eye: its centre, its radius and the way it looks."""

    at: Vector
    radius: float
    look: Vector


def head(place: Head, stout: float = 1.0) -> list[Limb]:
    """Return a cat's round head with cheeks, whisker pads and ears."""
    s = SKULL * stout
    limbs = [
        Limb("head", ((0.42 * s, -0.12 * s, 0, 0.62 * s), (0.02 * s, 0.05 * s, 0, 0.95 * s), (-0.4 * s, -0.1 * s, 0, 0.8 * s)), hair=0.6),
        Limb("nose", ((0.92 * s, -0.2 * s, 0, 0.16 * s), (0.62 * s, 0.12 * s, 0, 0.26 * s)), hair=0.3),
        Limb("chin", ((0.72 * s, -0.6 * s, 0, 0.2 * s), (0.3 * s, -0.55 * s, 0, 0.3 * s)), hair=0.5),
    ]  # fmt: skip
    for side in (-1, 1):
        limbs += [
            Limb("cheek", ((0.4 * s, -0.28 * s, side * 0.3 * s, 0.42 * s), (0.1 * s, -0.32 * s, side * 0.58 * s, 0.38 * s)), hair=0.9),
            Limb("muzzle", ((0.84 * s, -0.38 * s, side * 0.15 * s, 0.23 * s), (0.6 * s, -0.36 * s, side * 0.26 * s, 0.24 * s)), hair=0.4),
            Limb("ear", (
                (0.02 * s, 0.55 * s, side * 0.56 * s, 0.42 * s), (-0.06 * s, 1.0 * s, side * 0.68 * s, 0.3 * s),
                (-0.12 * s, 1.55 * s, side * 0.78 * s, 0.03 * s),
            ), flat=(0.92, 0.15, side * 0.38), thin=0.3, hair=0.4),
        ]  # fmt: skip
    return turned(limbs, place.yaw, place.pitch, place.roll, place.at)


def eyes(place: Head, stout: float = 1.0) -> list[Eye]:
    """Return both eyes of a head."""
    s = SKULL * stout
    rotation = matrix(place.yaw, place.pitch, place.roll)
    found = []
    for side in (-1, 1):
        at = rotation @ (0.68 * s, 0.1 * s, side * 0.4 * s) + place.at
        look = rotation @ (0.93, 0.05, side * 0.34)
        found.append(Eye((at[0], at[1], at[2]), 0.25 * s, (look[0], look[1], look[2])))
    return found


def _leg(*balls: Ball) -> Limb:
    return Limb("leg", balls, hair=0.65)


def standing(place: Head) -> list[Limb]:
    """Return the body of a cat that stands, its tail up."""
    limbs = [
        Limb("neck", ((*place.at, 0.05), (0.2, 0.3, 0, 0.062), (0.14, 0.27, 0, 0.07)), hair=1.1),
        Limb("body", ((0.18, 0.255, 0, 0.066), (0.1, 0.25, 0, 0.083), (-0.02, 0.245, 0, 0.084), (-0.13, 0.26, 0, 0.08), (-0.21, 0.262, 0, 0.062)), thin=0.86),
        Limb("tail", ((-0.22, 0.29, 0, 0.024), (-0.3, 0.33, 0.01, 0.023), (-0.34, 0.43, 0.03, 0.022), (-0.32, 0.53, 0.05, 0.021), (-0.26, 0.58, 0.06, 0.017)), hair=1.2),
    ]  # fmt: skip
    for side, forward in ((-1, 0.03), (1, -0.03)):
        z = side * 0.045
        limbs += [
            _leg((0.13, 0.22, z, 0.05), (0.125 + forward * 0.4, 0.14, z, 0.031), (0.14 + forward, 0.06, z, 0.02), (0.145 + forward, 0.022, z, 0.022), (0.175 + forward, 0.018, z, 0.021)),
            _leg((-0.16, 0.24, z, 0.07), (-0.12 - forward * 0.5, 0.16, z, 0.043), (-0.195 - forward, 0.09, z, 0.022), (-0.185 - forward, 0.024, z, 0.021), (-0.15 - forward, 0.018, z, 0.021)),
        ]  # fmt: skip
    return limbs


def sitting(place: Head) -> list[Limb]:
    """Return the body of a cat that sits, its tail round its feet."""
    limbs = [
        Limb("neck", ((*place.at, 0.052), (0.055, 0.29, 0, 0.06), (0.035, 0.24, 0, 0.066)), hair=1.1),
        Limb("body", ((0.05, 0.25, 0, 0.06), (0.025, 0.19, 0, 0.08), (-0.02, 0.12, 0, 0.098), (-0.06, 0.085, 0, 0.088)), thin=0.92),
        Limb("tail", ((-0.13, 0.04, 0.02, 0.026), (-0.15, 0.026, 0.09, 0.024), (-0.06, 0.024, 0.16, 0.023), (0.06, 0.023, 0.15, 0.021), (0.13, 0.022, 0.09, 0.016)), hair=1.2),
    ]  # fmt: skip
    for side in (-1, 1):
        z = side * 0.036
        limbs += [
            _leg((0.055, 0.21, z, 0.048), (0.07, 0.13, z, 0.032), (0.078, 0.06, z, 0.022), (0.082, 0.024, z, 0.024), (0.112, 0.02, z, 0.022)),
            Limb("thigh", ((-0.06, 0.1, side * 0.05, 0.072), (0.0, 0.07, side * 0.078, 0.052)), hair=0.9),
            _leg((-0.02, 0.04, side * 0.085, 0.03), (0.045, 0.022, side * 0.082, 0.023), (0.075, 0.02, side * 0.08, 0.021)),
        ]  # fmt: skip
    return limbs


def lying(place: Head) -> list[Limb]:
    """Return the body of a cat that lies like a sphinx."""
    limbs = [
        Limb("neck", ((*place.at, 0.054), (0.16, 0.15, 0, 0.068), (0.11, 0.12, 0, 0.078)), hair=1.1),
        Limb("body", ((0.15, 0.11, 0, 0.076), (0.06, 0.105, 0, 0.095), (-0.06, 0.1, 0, 0.1), (-0.16, 0.085, 0, 0.082)), thin=1.0),
        Limb("tail", ((-0.22, 0.05, 0.02, 0.026), (-0.26, 0.026, 0.08, 0.025), (-0.2, 0.024, 0.15, 0.023), (-0.08, 0.023, 0.16, 0.021), (0.02, 0.022, 0.145, 0.016)), hair=1.2),
    ]  # fmt: skip
    for side in (-1, 1):
        limbs += [
            _leg((0.13, 0.08, side * 0.055, 0.05), (0.19, 0.035, side * 0.055, 0.03), (0.27, 0.021, side * 0.04, 0.023), (0.3, 0.02, side * 0.036, 0.021)),
            Limb("thigh", ((-0.14, 0.085, side * 0.065, 0.075), (-0.06, 0.05, side * 0.095, 0.05)), hair=0.9),
            _leg((-0.1, 0.03, side * 0.1, 0.028), (-0.02, 0.022, side * 0.1, 0.023), (0.015, 0.02, side * 0.1, 0.02)),
        ]  # fmt: skip
    return limbs


def curled(place: Head) -> list[Limb]:
    """Return the body of a cat that sleeps in a ring."""
    return [
        Limb("neck", ((*place.at, 0.055), (0.09, 0.085, -0.07, 0.064)), hair=1.1),
        Limb("body", ((0.1, 0.08, -0.05, 0.07), (0.02, 0.085, -0.11, 0.082), (-0.09, 0.085, -0.09, 0.086), (-0.14, 0.082, 0.01, 0.09), (-0.08, 0.07, 0.09, 0.078))),
        Limb("thigh", ((-0.06, 0.08, 0.05, 0.07), (0.0, 0.05, 0.09, 0.05)), hair=0.9),
        Limb("tail", ((-0.13, 0.04, 0.14, 0.026), (-0.05, 0.03, 0.19, 0.026), (0.07, 0.028, 0.18, 0.025), (0.16, 0.027, 0.12, 0.022), (0.19, 0.026, 0.05, 0.018)), hair=1.2),
        _leg((0.05, 0.05, -0.04, 0.04), (0.07, 0.03, 0.03, 0.026), (0.04, 0.025, 0.1, 0.022)),
    ]  # fmt: skip


# Each pose with where the head is, and how far it looks up.
POSES = {
    "standing": (standing, Head((0.265, 0.365, 0), 0, -0.05)),
    "sitting": (sitting, Head((0.085, 0.365, 0), 0, -0.05)),
    "lying": (lying, Head((0.205, 0.21, 0), 0, -0.05)),
    "curled": (curled, Head((0.13, 0.085, 0.015), -1.2, -0.3, 0.3)),
}
