"""The classifier's rules: what a calibrated probability is allowed to be called."""

from dataclasses import dataclass
from enum import StrEnum


class Label(StrEnum):
    """What a frame shows; `UNSURE` is an answer of the first rank, not an error."""

    CAT = "cat"
    DOG = "dog"
    BOTH = "both"
    NONE = "none"
    UNSURE = "unsure"


class Quality(StrEnum):
    """Whether a frame can be judged at all; only `OK` frames are evidence."""

    OK = "ok"
    DARK = "dark"
    BLOWN_OUT = "blown_out"
    BLURRED = "blurred"


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Calibrated chances, each 0 to 1, that a cat and that a dog is in the frame; independent, so their sum is free."""

    cat: float
    dog: float

    def __post_init__(self) -> None:
        for species, chance in (("cat", self.cat), ("dog", self.dog)):
            if not 0.0 <= chance <= 1.0:
                raise ValueError(f"probability of {species} is {chance}, which is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class PresenceThresholds:
    """A species is present from `present_above` up, absent from `absent_below` down, and undecided between them."""

    present_above: float
    absent_below: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.absent_below <= self.present_above <= 1.0:
            raise ValueError(f"thresholds {self.absent_below}, {self.present_above} are not in order from 0 to 1")

    def present(self, probability: float) -> bool | None:
        """Say whether the species is there; None when the probability decides nothing."""
        if probability >= self.present_above:
            return True
        if probability <= self.absent_below:
            return False
        return None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of each species."""

    cat: PresenceThresholds
    dog: PresenceThresholds


FORCED = Thresholds(cat=PresenceThresholds(0.5, 0.5), dog=PresenceThresholds(0.5, 0.5))
"""Thresholds that never answer `UNSURE`, for measuring a model where every photo must be decided."""


def label(probabilities: Probabilities, thresholds: Thresholds, quality: Quality) -> Label:
    """Name what a frame shows: `UNSURE` if its quality is bad or if either species is undecided."""
    if quality is not Quality.OK:
        return Label.UNSURE
    cat = thresholds.cat.present(probabilities.cat)
    dog = thresholds.dog.present(probabilities.dog)
    if cat is None or dog is None:
        return Label.UNSURE
    if cat:
        return Label.BOTH if dog else Label.CAT
    return Label.DOG if dog else Label.NONE
