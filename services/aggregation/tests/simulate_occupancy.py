"""Plays shelters whose truth is known, and measures whether the belief about them is calibrated.

`python -m services.aggregation.tests.simulate_occupancy` prints the table of the service's README. Pure: the same seed
gives the same figures. The world is harsher than the model thinks: views persist, so do mistakes, cameras freeze.
"""

import math
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from services.aggregation.belief import Fold, first_belief
from services.aggregation.domain import Occupancy, Species
from services.aggregation.occupancy import STATES, Image, Rules, add_image, bucket_of, evidence

START_S = 1_800_000_000
STALE_AFTER_S = 600


@dataclass(frozen=True)
class World:
    """How shelters really are in a simulation; times in seconds."""

    hours: float = 12.0
    redraw_s: float = 6000.0
    truth: tuple[float, float, float, float] = (0.40, 0.26, 0.24, 0.10)
    visible: float = 0.7
    view_lasts_s: float = 60.0
    mistaken: float = 0.02
    mistake_lasts_s: float = 60.0
    sharpness: float = 3.0
    """Mean log likelihood ratio of a photo; its variance is twice that, as calibration demands."""
    persistent_noise: float = 0.3
    """Share of the noise's variance that stays while the view stays."""
    freezes_per_hour: float = 0.1
    freeze_lasts_s: float = 1200.0


@dataclass
class Chain:
    """A yes or no that is drawn anew at random moments, with a stationary chance of yes."""

    chance: float
    lasts_s: float
    random: random.Random
    value: bool = False
    noise: float = 0.0

    def __post_init__(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self.value = self.random.random() < self.chance
        self.noise = self.random.gauss(0, 1)

    def step(self, seconds: float) -> None:
        """Let time pass."""
        if self.random.random() > math.exp(-seconds / self.lasts_s):
            self._draw()


@dataclass
class Camera:
    """A simulated camera of one space."""

    name: str
    every_s: float
    world: World
    random: random.Random

    def __post_init__(self) -> None:
        world = self.world
        self.views = {one: Chain(world.visible, world.view_lasts_s, self.random) for one in Species}
        self.mistakes = {one: Chain(world.mistaken, world.mistake_lasts_s, self.random) for one in Species}
        self.frozen_until = 0.0
        self.next_s = self.random.random() * self.every_s
        self.photos = 0
        self.last: tuple[str, Image] | None = None

    def photo(self, at_s: float, there: Mapping[Species, bool]) -> tuple[str, Image]:
        """Return the digest and the image of a photo taken `at_s` seconds into the simulation."""
        world = self.world
        if self.random.random() < world.freezes_per_hour * self.every_s / 3600:
            self.frozen_until = at_s + self.random.expovariate(1 / world.freeze_lasts_s)
        self.photos += 1
        observed_us = int((START_S + at_s) * 1e6)
        receipt = f"{self.name}-{self.photos:09d}"
        if at_s < self.frozen_until and self.last is not None:
            digest, image = self.last
            return digest, replace(image, receipt=receipt, observed_us=observed_us)
        ratios = {}
        for species in Species:
            self.views[species].step(self.every_s)
            self.mistakes[species].step(self.every_s)
            seen = (there[species] and self.views[species].value) or self.mistakes[species].value
            share = world.persistent_noise
            noise = math.sqrt(share) * self.views[species].noise + math.sqrt(1 - share) * self.random.gauss(0, 1)
            mean = world.sharpness if seen else -world.sharpness
            # Through a probability and back, as the classifier's message carries it.
            probability = 1 / (1 + math.exp(-(mean + math.sqrt(2 * world.sharpness) * noise)))
            ratios[species] = evidence(probability, 0.5)
        self.last = (receipt, Image(receipt, observed_us, ratios[Species.CAT], ratios[Species.DOG]))
        return self.last


def play(world: World, rules: Rules, seed: int) -> Iterator[tuple[dict[Occupancy, float], Occupancy, Occupancy]]:
    """Play one space; give, once a minute while it is not stale: probabilities, what is shown, and the truth."""
    chance = random.Random(seed)
    truth = chance.choices(STATES, world.truth)[0]
    cameras = [
        Camera(f"c{i}", chance.choice((2.0, 10.0, 30.0, 120.0)), world, chance) for i in range(chance.choice((1, 1, 2)))
    ]
    fold = Fold(first_belief(rules), STALE_AFTER_S, rules)
    pending: dict[int, dict[str, dict[str, Image]]] = {}
    next_look = 600.0
    for second in range(0, int(world.hours * 3600), 2):
        if chance.random() > math.exp(-2 / world.redraw_s):
            truth = chance.choices(STATES, world.truth)[0]
        there = {
            Species.CAT: truth in (Occupancy.CAT, Occupancy.BOTH),
            Species.DOG: truth in (Occupancy.DOG, Occupancy.BOTH),
        }
        for camera in cameras:
            if second >= camera.next_s:
                camera.next_s += camera.every_s
                digest, image = camera.photo(second, there)
                bucket = bucket_of(image.observed_us, rules)
                add_image(pending.setdefault(bucket, {}).setdefault(camera.name, {}), digest, image, rules)
        bucket_now = bucket_of((START_S + second) * 1_000_000, rules)
        for bucket in sorted(one for one in pending if one < bucket_now):
            fold.take(bucket, pending.pop(bucket))
        if second >= next_look:
            next_look += 60
            fold.pass_time((START_S + second) * 1_000_000)
            if fold.belief.occupancy is not Occupancy.STALE:
                yield dict(zip(STATES, fold.belief.posterior, strict=True)), fold.belief.occupancy, truth


@dataclass
class Reliability:
    """Said and found, by tenths of the probability of the likeliest state."""

    number: list[int]
    said: list[float]
    right: list[int]
    shown: int = 0
    shown_right: int = 0

    def error(self) -> float:
        """Return the expected calibration error of the likeliest state: the mean gap between said and found."""
        total = sum(self.number)
        return sum(abs(said - right) for said, right in zip(self.said, self.right, strict=True)) / total


def measure(world: World, rules: Rules, spaces: int, seed: int) -> Reliability:
    """Play `spaces` spaces and return how the belief fared."""
    table = Reliability([0] * 10, [0.0] * 10, [0] * 10)
    for space in range(spaces):
        for probabilities, occupancy, truth in play(world, rules, seed * 10_000 + space):
            likeliest = max(probabilities, key=lambda state: probabilities[state])
            p = probabilities[likeliest]
            tenth = min(int(p * 10), 9)
            table.number[tenth] += 1
            table.said[tenth] += p
            table.right[tenth] += likeliest is truth
            if occupancy is not Occupancy.UNSURE:
                table.shown += 1
                table.shown_right += occupancy is truth
    return table


def report(table: Reliability) -> str:
    """Return the reliability as a Markdown table."""
    lines = ["| said | looks | mean said | found right |", "|---|---|---|---|"]
    for tenth, number in enumerate(table.number):
        if number:
            said, right = table.said[tenth] / number, table.right[tenth] / number
            lines.append(f"| {tenth / 10:.1f} to {(tenth + 1) / 10:.1f} | {number} | {said:.3f} | {right:.3f} |")
    share = table.shown / sum(table.number)
    lines.append(
        f"\nExpected calibration error {table.error():.3f}; decided {share:.1%} of the time, "
        f"then right {table.shown_right / table.shown:.1%}."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(report(measure(World(), Rules(), spaces=200, seed=1)) + "\n")
