"""A visitor: limbs of a person who stands or crouches, looking towards +x, feet on y = 0, 1.7 m high."""

from deploy.local.drawing.shapes import Ball, Limb

BLEND = 0.022


def _limb(tag: str, *balls: Ball, thin: float = 1.0) -> Limb:
    return Limb(tag, balls, flat=(1.0, 0, 0), thin=thin, hair=0)


def standing() -> list[Limb]:
    """Return a person who stands with one arm a little forward."""
    limbs = [
        _limb("jumper", (0, 1.44, 0, 0.09), (0, 1.34, 0, 0.15), (0.0, 1.15, 0, 0.15), (0, 0.98, 0, 0.15), thin=0.72),
        _limb("skin", (0.02, 1.6, 0, 0.09), (0.0, 1.48, 0, 0.055)),
        _limb("hair", (-0.03, 1.63, 0, 0.1), (-0.05, 1.58, 0, 0.085)),
    ]
    for side in (-1, 1):
        z = side * 0.095
        limbs += [
            _limb("trousers", (0, 0.95, z, 0.105), (0.01, 0.52, z, 0.072), (-0.01, 0.1, z, 0.058)),
            _limb("shoe", (-0.04, 0.045, z, 0.045), (0.1, 0.035, z * 1.15, 0.04), (0.15, 0.03, z * 1.2, 0.032)),
            _limb("jumper", (0, 1.38, side * 0.17, 0.068), (-0.02, 1.12, side * 0.24, 0.05), (0.1, 0.92, side * 0.22, 0.042)),
            _limb("skin", (0.12, 0.9, side * 0.22, 0.036), (0.18, 0.84, side * 0.21, 0.034)),
        ]  # fmt: skip
    return limbs


def crouching() -> list[Limb]:
    """Return a person who crouches and holds out a hand."""
    limbs = [
        _limb(
            "jumper",
            (0.16, 0.92, 0, 0.1),
            (0.1, 0.8, 0, 0.155),
            (-0.02, 0.6, 0, 0.155),
            (-0.12, 0.42, 0, 0.15),
            thin=0.8,
        ),
        _limb("skin", (0.25, 1.06, 0, 0.09), (0.19, 0.95, 0, 0.055)),
        _limb("hair", (0.2, 1.1, 0, 0.1), (0.17, 1.05, 0, 0.088)),
    ]
    for side in (-1, 1):
        z = side * 0.11
        limbs += [
            _limb("trousers", (-0.12, 0.36, z, 0.11), (0.2, 0.42, z * 1.4, 0.078), (0.24, 0.44, z * 1.4, 0.072), (0.1, 0.11, z * 1.3, 0.06)),
            _limb("shoe", (0.05, 0.045, z * 1.3, 0.045), (0.18, 0.035, z * 1.4, 0.04), (0.23, 0.03, z * 1.4, 0.032)),
        ]  # fmt: skip
    limbs += [
        _limb("jumper", (0.13, 0.85, 0.17, 0.066), (0.3, 0.68, 0.22, 0.05), (0.46, 0.55, 0.16, 0.042)),
        _limb("skin", (0.5, 0.52, 0.15, 0.034), (0.57, 0.47, 0.14, 0.034)),
        _limb("jumper", (0.13, 0.85, -0.17, 0.066), (0.2, 0.66, -0.24, 0.05), (0.32, 0.56, -0.2, 0.042)),
        _limb("skin", (0.35, 0.53, -0.19, 0.034), (0.39, 0.48, -0.18, 0.036)),
    ]
    return limbs


POSES = {"standing": standing, "crouching": crouching}
