"""Beliefs and images as JSON text, as the database keeps them; reading gives back exactly what was written."""

import json
from functools import lru_cache

from services.aggregation.belief import Belief, OpenStay, Voice
from services.aggregation.domain import Label, Occupancy, Species
from services.aggregation.occupancy import Image


def write_belief(belief: Belief) -> str:
    """Return a belief as JSON text."""
    return json.dumps(
        {
            "posterior": belief.posterior,
            "bucket": belief.bucket,
            "occupancy": belief.occupancy,
            "probability": belief.probability,
            "since": belief.since_us,
            "last_evidence": belief.last_evidence_us,
            "voices": {
                camera: [voice.bucket, voice.sees, voice.overruled, voice.overruled_until]
                for camera, voice in belief.voices.items()
            },
            "stays": {species: [stay.from_us, stay.gone_us] for species, stay in belief.stays.items()},
        }
    )


@lru_cache(maxsize=4096)
def read_belief(text: str) -> Belief:
    """Return the belief that `write_belief` wrote."""
    # A space's checkpoint is the same for ten seconds, and read for each message. Nobody changes a belief.
    value = json.loads(text)
    empty, cat, dog, both = value["posterior"]
    return Belief(
        posterior=(empty, cat, dog, both),
        bucket=value["bucket"],
        occupancy=Occupancy(value["occupancy"]),
        probability=value["probability"],
        since_us=value["since"],
        last_evidence_us=value["last_evidence"],
        voices={
            camera: Voice(
                bucket,
                {Species(species): there for species, there in sees.items()},
                {Species(species): there for species, there in overruled.items()},
                until,
            )
            for camera, (bucket, sees, overruled, until) in value["voices"].items()
        },
        stays={Species(species): OpenStay(*times) for species, times in value["stays"].items()},
    )


def write_images(images: dict[str, Image]) -> str:
    """Return the distinct images of a camera in a bucket as JSON text."""
    return json.dumps(
        {
            digest: [image.receipt, image.observed_us, image.cat, image.dog, image.said]
            for digest, image in images.items()
        },
        separators=(",", ":"),
    )


def read_images(text: str) -> dict[str, Image]:
    """Return the images that `write_images` wrote."""
    return {
        digest: Image(receipt, observed_us, cat, dog, None if said is None else Label(said))
        for digest, (receipt, observed_us, cat, dog, said) in json.loads(text).items()
    }
