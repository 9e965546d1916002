"""The rules of a rollout: which versions look at a frame, and whose estimate leaves the service.

Everything here is a pure function of the revision, the frame's names and a stored snapshot, so that every replica and
every repeat of a chunk decides alike without talking.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

NOBODY = 0
"""The revision of the default: nobody has chosen a rollout yet."""


class Strategy(StrEnum):
    """How several versions share the frames."""

    SINGLE = "single"
    SILENT = "silent"
    AB = "ab"
    CANARY = "canary"
    BANDIT = "bandit"


class Role(StrEnum):
    """The champion is trusted: what a candidate can't do, it does."""

    CHAMPION = "champion"
    CANDIDATE = "candidate"


class InvalidRollout(Exception):
    """A rollout contradicts itself; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A model version in a role; `weight` (0 or more) is its part of the frames under `ab`."""

    model: str
    version: str
    role: Role
    weight: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """The name and version of the model."""
        return self.model, self.version


@dataclass(frozen=True, slots=True)
class Canary:
    """A schedule of shares (each 0 to 1, rising), and the guard rails; `docs/rollouts.md` explains each."""

    stages: tuple[float, ...] = (0.0, 0.05, 0.25, 0.5)
    bake_s: float = 600.0
    least_frames: int = 200
    shadow_share: float = 0.2
    error_rate: float = 0.02
    latency_factor: float = 3.0
    disagreement: float = 0.25
    alpha: float = 0.01


@dataclass(frozen=True, slots=True)
class Bandit:
    """`floor`: least share of each arm; `memory`: corrections that are remembered; `certainty`: when one has won."""

    floor: float = 0.05
    memory: int = 2000
    certainty: float = 0.95


@dataclass(frozen=True, slots=True)
class Rollout:
    """One revision. Stages of a canary share the `root` by which a person began it."""

    revision: int
    root: int
    strategy: Strategy
    variants: tuple[Variant, ...]
    silent_share: float = 1.0
    ab_alpha: float = 0.05
    canary: Canary = field(default_factory=Canary)
    bandit: Bandit = field(default_factory=Bandit)
    stage: int = 0

    @property
    def champion(self) -> Variant:
        """The variant that is trusted."""
        return next(variant for variant in self.variants if variant.role is Role.CHAMPION)

    @property
    def candidates(self) -> tuple[Variant, ...]:
        """All others, in their order."""
        return tuple(variant for variant in self.variants if variant.role is Role.CANDIDATE)


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose estimate leaves the service, with what chance it was chosen, and who else looks at the frame."""

    served: Variant
    propensity: float
    shadows: tuple[Variant, ...] = ()


def single(model: str, version: str, revision: int = NOBODY) -> Rollout:
    """Return the rollout of one version alone."""
    return Rollout(revision, revision, Strategy.SINGLE, (Variant(model, version, Role.CHAMPION, 1.0),))


def check(rollout: Rollout) -> None:
    """Raise InvalidRollout unless the variants fit the strategy."""
    champions = [variant for variant in rollout.variants if variant.role is Role.CHAMPION]
    if len(champions) != 1:
        raise InvalidRollout(f"Exactly one variant is the champion, not {len(champions)}.")
    if len({variant.key for variant in rollout.variants}) != len(rollout.variants):
        raise InvalidRollout("A model version can be in a rollout only once.")
    candidates = len(rollout.candidates)
    if rollout.strategy is Strategy.SINGLE and candidates:
        raise InvalidRollout("`single` has one variant. Leave the candidates out, or choose another strategy.")
    if rollout.strategy is not Strategy.SINGLE and not candidates:
        raise InvalidRollout(f"`{rollout.strategy}` needs a candidate beside the champion.")
    if rollout.strategy is Strategy.CANARY and candidates > 1:
        raise InvalidRollout("`canary` has one candidate. Try several with `silent`, `ab` or `bandit`.")
    if rollout.strategy is Strategy.AB and sum(variant.weight for variant in rollout.variants) <= 0:
        raise InvalidRollout("`ab` needs a weight above 0.")
    stages = rollout.canary.stages
    if not stages or list(stages) != sorted(set(stages)) or not (stages[0] >= 0.0 and stages[-1] <= 1.0):
        raise InvalidRollout("The stages of a canary are shares from 0 to 1, each larger than the one before.")
    if rollout.strategy is Strategy.BANDIT and rollout.bandit.floor * len(rollout.variants) > 1:
        raise InvalidRollout("The floor of a bandit is a share of each arm: all together at most 1.")


def shares(rollout: Rollout, belief: Sequence[float] | None = None) -> tuple[float, ...]:
    """Return the share of the frames that each variant serves, in their order; they add up to 1.

    `belief` is the bandit's stored snapshot, a share an arm; without it the arms are equal.
    """
    variants = rollout.variants
    if rollout.strategy is Strategy.AB:
        total = sum(variant.weight for variant in variants)
        return tuple(variant.weight / total for variant in variants)
    if rollout.strategy is Strategy.CANARY:
        share = rollout.canary.stages[rollout.stage]
        return tuple(share if variant.role is Role.CANDIDATE else 1.0 - share for variant in variants)
    if rollout.strategy is Strategy.BANDIT:
        return tuple(belief) if belief and len(belief) == len(variants) else (1.0 / len(variants),) * len(variants)
    return tuple(1.0 if variant.role is Role.CHAMPION else 0.0 for variant in variants)


def decide(rollout: Rollout, camera_id: str, receipt: str, belief: Sequence[float] | None = None) -> Choice:
    """Say who looks at a frame. `ab` goes by the camera, all others by the receipt."""
    if rollout.strategy is Strategy.SINGLE:
        return Choice(rollout.champion, 1.0)
    parts = shares(rollout, belief)
    unit = camera_id if rollout.strategy is Strategy.AB else receipt
    at = _pick(rollout.variants, parts, draw("served", str(rollout.root), unit))
    served = rollout.variants[at]
    return Choice(served, parts[at], _shadows(rollout, served, receipt))


def _pick(variants: Sequence[Variant], parts: Sequence[float], at: float) -> int:
    """Return the place of the variant at `at` (0 to 1); one with share 0 is never it.

    Candidates come first, so that who is in a canary's share stays in it when the share grows.
    """
    order = sorted(range(len(variants)), key=lambda place: variants[place].role is Role.CHAMPION)
    reached = 0.0
    possible = [place for place in order if parts[place] > 0]
    for place in possible:
        reached += parts[place]
        if at < reached:
            return place
    return possible[-1]


def _shadows(rollout: Rollout, served: Variant, receipt: str) -> tuple[Variant, ...]:
    if rollout.strategy is Strategy.SILENT:
        share = rollout.silent_share
    elif rollout.strategy is Strategy.CANARY:
        share = rollout.canary.shadow_share if rollout.canary.stages[rollout.stage] > 0 else 1.0
    else:
        return ()
    if draw("shadow", str(rollout.root), receipt) >= share:
        return ()
    return tuple(variant for variant in rollout.variants if variant is not served)


def draw(*parts: str) -> float:
    """Return a number from 0 to below 1 that depends on `parts` alone, evenly spread (SHA-256)."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2.0**48
