"""Folds a space's evidence, in the order of time, into what is believed of it. Pure, standard library.

The fold starts from a checkpoint, the belief after the last bucket that is older than the horizon, and takes whole
buckets in order; it never sees in which order photos arrived, so it can't depend on it. All times are whole
microseconds since 1970; buckets are their start in seconds.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.aggregation.domain import Occupancy, Species, is_stale
from services.aggregation.occupancy import (
    Image,
    Images,
    Posterior,
    Rules,
    predict,
    presence,
    said_by_camera,
    said_by_person,
    shown,
    update,
)


@dataclass(frozen=True, slots=True)
class Voice:
    """What a camera said last: for each species whether it sees it, and what a person overruled until which bucket."""

    bucket: int
    sees: Mapping[Species, bool]
    overruled: Mapping[Species, bool] = field(default_factory=dict)
    overruled_until: int = 0


@dataclass(frozen=True, slots=True)
class OpenStay:
    """A stay that goes on; `gone_us` is since when the species has been confidently gone, if it is."""

    from_us: int
    gone_us: int | None = None


@dataclass(frozen=True, slots=True)
class Belief:
    """All that the future needs to know of the past of one space."""

    posterior: Posterior
    bucket: int | None = None
    occupancy: Occupancy = Occupancy.STALE
    probability: float = 0.0
    since_us: int = 0
    last_evidence_us: int | None = None
    voices: Mapping[str, Voice] = field(default_factory=dict)
    stays: Mapping[Species, OpenStay] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """From when on what was shown."""

    since_us: int
    occupancy: Occupancy
    probability: float


@dataclass(frozen=True, slots=True)
class FoldedStay:
    """A stay as the evidence has it; `until_us` is None while it goes on."""

    species: Species
    from_us: int
    until_us: int | None


class Sightings:
    """In which buckets a camera sent which image: one that it sends again says nothing new, the camera is frozen."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], list[int]] = {}

    def add(self, bucket: int, camera_id: str, digest: str) -> int | None:
        """Note a sighting, and return the bucket of the last one before it."""
        buckets = self._buckets.setdefault((camera_id, digest), [])
        place = bisect_left(buckets, bucket)
        if place == len(buckets) or buckets[place] != bucket:
            buckets.insert(place, bucket)
        return buckets[place - 1] if place else None

    def remove(self, bucket: int, camera_id: str, digest: str) -> None:
        """Forget a sighting."""
        buckets = self._buckets[camera_id, digest]
        buckets.remove(bucket)
        if not buckets:
            del self._buckets[camera_id, digest]


@dataclass(slots=True)
class Fold:
    """A fold under way: feed it buckets with `take`, then read `belief`, `spans` and `stays()`."""

    belief: Belief
    stale_after_s: int
    rules: Rules
    spans: list[Span] = field(default_factory=list)
    closed: list[FoldedStay] = field(default_factory=list)
    sightings: "Sightings" = field(default_factory=lambda: Sightings())

    def take(self, bucket: int, cameras: Mapping[str, Images]) -> None:
        """Fold the next bucket: each camera's distinct images. Buckets come in order, each once."""
        fresh = {camera: self._fresh(bucket, camera, cameras[camera]) for camera in sorted(cameras)}
        fresh = {camera: images for camera, images in fresh.items() if images}
        if not fresh:
            return
        times = [image.observed_us for images in fresh.values() for image in images]
        self.pass_time(min(times))
        belief = self.belief
        posterior = belief.posterior
        if belief.bucket is not None:
            posterior = predict(posterior, bucket - belief.bucket, self.rules)
        voices = {
            camera: voice
            for camera, voice in belief.voices.items()
            if bucket - voice.bucket <= self.rules.horizon_s or bucket <= voice.overruled_until
        }
        for camera, images in fresh.items():
            ratios, voices[camera] = self._hear(bucket, images, voices.get(camera))
            posterior = update(posterior, ratios)
        self.belief = replace(belief, posterior=posterior, bucket=bucket, voices=voices, last_evidence_us=max(times))
        occupancy, probability = shown(posterior, self.rules)
        self._show(occupancy, probability, min(times))
        self._follow_stays(min(times))

    def pass_time(self, now_us: int) -> None:
        """Let time pass without evidence: the space may become stale, and a grace time may end."""
        belief = self.belief
        last = belief.last_evidence_us
        if last is not None and is_stale(last, self.stale_after_s, now_us):
            self._show(Occupancy.STALE, belief.probability, last + self.stale_after_s * 1_000_000)
        stays = dict(self.belief.stays)
        for species, stay in self.belief.stays.items():
            if stay.gone_us is not None and now_us - stay.gone_us > self.rules.grace_s * 1_000_000:
                self.closed.append(FoldedStay(species, stay.from_us, stay.gone_us))
                del stays[species]
        self.belief = replace(self.belief, stays=stays)

    def stays(self) -> list[FoldedStay]:
        """Return the stays that ended in this fold and those that go on."""
        going_on = [FoldedStay(species, stay.from_us, None) for species, stay in self.belief.stays.items()]
        return [*self.closed, *going_on]

    def _fresh(self, bucket: int, camera: str, images: Images) -> list[Image]:
        fresh = []
        for digest, image in images.items():
            before = self.sightings.add(bucket, camera, digest)
            if before is None or bucket - before > self.rules.horizon_s or image.said is not None:
                fresh.append(image)
        return sorted(fresh, key=lambda image: (image.observed_us, image.receipt))

    def _hear(self, bucket: int, images: list[Image], before: Voice | None) -> tuple[dict[Species, float], Voice]:
        """Return what one camera adds, as log likelihood ratios, and its voice from now on."""
        model = {species: said_by_camera(images, species, self.rules) for species in Species}
        sees = {species: ratio > 0 for species, ratio in model.items()}
        said = next((image.said for image in reversed(images) if image.said is not None), None)
        if said is not None:
            ratios = {species: said_by_person(said, species, self.rules) for species in Species}
            overruled = {species: sees[species] for species in Species if sees[species] != said.shows(species)}
            return ratios, Voice(bucket, sees, overruled, bucket + self.rules.horizon_s)
        if before is None:
            return model, Voice(bucket, sees)
        again = 1 - math.exp(-(bucket - before.bucket) / self.rules.scene_memory_s)
        # A view that a person overruled stays overruled while the camera goes on saying the same.
        overruled = {
            species: was
            for species, was in before.overruled.items()
            if bucket <= before.overruled_until and sees[species] == was
        }
        ratios = {}
        for species, ratio in model.items():
            weight = 0.0 if species in overruled else again if sees[species] == before.sees[species] else 1.0
            ratios[species] = weight * ratio
        return ratios, Voice(bucket, sees, overruled, before.overruled_until if overruled else 0)

    def _show(self, occupancy: Occupancy, probability: float, at_us: int) -> None:
        belief = self.belief
        if occupancy is not belief.occupancy:
            self.spans.append(Span(at_us, occupancy, probability))
            belief = replace(belief, occupancy=occupancy, since_us=at_us)
        self.belief = replace(belief, probability=probability)

    def _follow_stays(self, at_us: int) -> None:
        stays = dict(self.belief.stays)
        for species in Species:
            there = presence(self.belief.posterior, species)
            stay = stays.get(species)
            if stay is None:
                if there >= self.rules.stay_opens_at:
                    stays[species] = OpenStay(at_us)
            elif there > self.rules.stay_closes_at:
                stays[species] = OpenStay(stay.from_us)
            elif stay.gone_us is None:
                stays[species] = OpenStay(stay.from_us, at_us)
        self.belief = replace(self.belief, stays=stays)


def first_belief(rules: Rules) -> Belief:
    """Return what is believed of a space before any photo of it."""
    return Belief(posterior=rules.stationary)
