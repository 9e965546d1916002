"""What photos say of a space: a hidden Markov model with the states empty, cat, dog and both. Pure, standard library.

Three things make photos weaker evidence than they look, and each has its place here:

- A camera can miss an animal that is there (`miss`), and see one that is not (`false_alarm`). Both belong to the
  camera's view of a moment and not to one photo, so they are applied once to all that a camera says in a bucket:
  however sure it is of seeing nothing, it can't say more than log(miss / (1 - false_alarm)).
- Photos of one moment are nearly the same photo: a bucket's photos speak with their mean, times at most three.
- A camera that repeats itself has little new to say: what it says again weighs 1 - exp(-gap / scene_memory_s), while a
  change of its mind weighs in full.

Between buckets the space may change: it is redrawn from `stationary` once in `redraw_s` on average, so the transition
over any time t is exp(-t/redraw_s) * same + (1 - exp(-t/redraw_s)) * stationary, whatever steps t is cut into. The mean
length of a stay is then redraw_s / (1 - stationary share): 2 h gives two and a half to three and a half hours.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.aggregation.domain import Label, Occupancy, Species

STATES = (Occupancy.EMPTY, Occupancy.CAT, Occupancy.DOG, Occupancy.BOTH)
HOLDS = {
    Species.CAT: (False, True, False, True),
    Species.DOG: (False, False, True, True),
}

Posterior = tuple[float, float, float, float]
"""Probabilities of STATES, in their order; they add up to 1."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the model; times in seconds, the rest probabilities unless named otherwise."""

    bucket_s: int = 10
    horizon_s: int = 600
    miss: float = 0.3
    false_alarm: float = 0.02
    scene_memory_s: float = 60.0
    redraw_s: float = 7200.0
    stationary: Posterior = (0.45, 0.225, 0.225, 0.10)
    images_count: int = 3
    """Distinct images of one camera in one bucket that count as more than one."""
    images_kept: int = 8
    """Distinct images of one camera in one bucket that are kept: those of the smallest digests, a fair sample."""
    person: float = 8.0
    """Log likelihood ratio of what a person says."""
    shown_above: float = 0.65
    stay_opens_at: float = 0.85
    stay_closes_at: float = 0.15
    grace_s: int = 120


@dataclass(frozen=True, slots=True)
class Image:
    """One distinct image: log likelihood ratios of its estimate, and what a person said of it, if anyone did."""

    receipt: str
    observed_us: int
    cat: float
    dog: float
    said: Label | None = None

    def ratio(self, species: Species) -> float:
        """Return the log likelihood ratio of `species` being in the picture."""
        return self.cat if species is Species.CAT else self.dog


Images = Mapping[str, Image]
"""Distinct images of one camera in one bucket, by digest."""


def bucket_of(observed_us: int, rules: Rules) -> int:
    """Return the start, in seconds since 1970, of the bucket that a time in microseconds falls in."""
    return observed_us // (rules.bucket_s * 1_000_000) * rules.bucket_s


def evidence(probability: float, prior: float) -> float:
    """Return a calibrated probability as a log likelihood ratio: the prior it was calibrated on is taken out."""
    return _logit(min(max(probability, 0.001), 0.999)) - _logit(min(max(prior, 0.01), 0.99))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def add_image(images: dict[str, Image], digest: str, image: Image, rules: Rules) -> None:
    """Add an image to those of its camera and bucket, so that the result is the same in any order of adding.

    Of equal digests the earliest (time, receipt) stays. What a person spoke about is always kept.
    """
    known = images.get(digest)
    if known is not None:
        first = min(known, image, key=lambda one: (one.observed_us, one.receipt))
        said = image.said or known.said
        images[digest] = Image(first.receipt, first.observed_us, first.cat, first.dog, said)
        return
    images[digest] = image
    if len(images) > rules.images_kept:
        last = max(images, key=lambda one: (images[one].said is None, one))
        if images[last].said is None:
            del images[last]


def said_by_camera(images: Iterable[Image], species: Species, rules: Rules) -> float:
    """Return the log likelihood ratio of `species` being in the space, from one camera's images of one bucket.

    Bounded by log(miss / (1 - false_alarm)) below and log((1 - miss) / false_alarm) above.
    """
    ratios = sorted(image.ratio(species) for image in images)
    seen = math.exp(sum(ratios) / len(ratios) * min(len(ratios), rules.images_count))
    return math.log(((1 - rules.miss) * seen + rules.miss) / (rules.false_alarm * seen + 1 - rules.false_alarm))


def said_by_person(label: Label, species: Species, rules: Rules) -> float:
    """Return the log likelihood ratio of what a person says: strong both ways, for they look and think."""
    return rules.person if label.shows(species) else -rules.person


def predict(posterior: Posterior, seconds: float, rules: Rules) -> Posterior:
    """Return the belief `seconds` later, if nothing is seen meanwhile."""
    same = math.exp(-max(seconds, 0.0) / rules.redraw_s)
    e, c, d, b = (same * p + (1 - same) * q for p, q in zip(posterior, rules.stationary, strict=True))
    return (e, c, d, b)


def update(posterior: Posterior, ratios: Mapping[Species, float]) -> Posterior:
    """Return the belief after evidence given as log likelihood ratios of each species being there."""
    logs = [
        math.log(p) + sum(ratio for species, ratio in ratios.items() if HOLDS[species][state])
        for state, p in enumerate(posterior)
    ]
    top = max(logs)
    weights = [math.exp(value - top) for value in logs]
    total = sum(weights)
    # Nothing is ever quite impossible: a belief of exactly 0 could not be changed by any later evidence.
    floored = [max(weight / total, 1e-12) for weight in weights]
    e, c, d, b = (weight / sum(floored) for weight in floored)
    return (e, c, d, b)


def presence(posterior: Posterior, species: Species) -> float:
    """Return the probability that `species` is in the space, alone or with the other."""
    return sum(p for p, holds in zip(posterior, HOLDS[species], strict=True) if holds)


def most_likely(posterior: Posterior) -> tuple[Occupancy, float]:
    """Return the likeliest of STATES and its probability."""
    index = max(range(len(STATES)), key=lambda i: posterior[i])
    return STATES[index], posterior[index]


def shown(posterior: Posterior, rules: Rules) -> tuple[Occupancy, float]:
    """Return what to show, and the probability of the likeliest state: `UNSURE` if that is below the threshold."""
    state, probability = most_likely(posterior)
    return (state if probability >= rules.shown_above else Occupancy.UNSURE), probability
