"""The demo's shelter: how often the status is right of it, and how fast it follows."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from deploy.local.showing import PACE, PHOTO_EVERY_S
from deploy.local.story import SPACES, Condition, Space, Story, species_of
from deploy.local.system import REPOSITORY
from deploy.local.truth import COMING_S, Tally, verdict
from services.aggregation.belief import Fold, first_belief
from services.aggregation.occupancy import Image, Rules, bucket_of
from tests.system import free_base_port

RULES = Rules(
    scene_memory_s=float(PACE["HUELLA_AGGREGATION_SCENE_MEMORY_S"]),
    redraw_s=float(PACE["HUELLA_AGGREGATION_REDRAW_S"]),
    grace_s=int(PACE["HUELLA_AGGREGATION_GRACE_S"]),
)
SURE = 3.0  # the log likelihood ratio of an estimate of 95 % for what is as likely as not
MISSED = 0.2  # of the photos of an animal show none
STALE_AFTER_S = 30


class Watched:
    """What Huella believes of a space whose cameras' photos are judged by a model that errs only by missing animals."""

    def __init__(self, story: Story, space: Space, chance: np.random.Generator) -> None:
        self.story, self.space, self.chance = story, space, chance
        self.closed = Fold(first_belief(RULES), STALE_AFTER_S, RULES)
        self.bucket = 0
        self.images: dict[str, dict[str, Image]] = {}
        self.last: dict[str, tuple[str, float, float]] = {}

    def photos(self, at_s: float) -> None:
        """Let each camera take its photo."""
        bucket = bucket_of(round(at_s * 1e6), RULES)
        if bucket != self.bucket:
            self.closed.take(self.bucket, self.images)
            self.bucket, self.images = bucket, {}
        present = species_of(self.story.now(self.space.id, at_s).label)
        for camera in self.space.cameras:
            condition = self.story.condition(camera, at_s)
            if condition is Condition.DARK:
                continue  # the classifier finds it too dark to say anything
            if condition is not Condition.FROZEN or camera not in self.last:
                seen = [SURE if s in present and self.chance.random() > MISSED else -SURE for s in ("cat", "dog")]
                self.last[camera] = (f"{camera} {at_s}", seen[0], seen[1])
            digest, cat, dog = self.last[camera]
            self.images.setdefault(camera, {})[digest] = Image(f"{camera} {at_s}", round(at_s * 1e6), cat, dog)

    def occupancy(self, at_s: float) -> str:
        """Return what the status shows."""
        fold = copy.deepcopy(self.closed)
        fold.take(self.bucket, self.images)
        fold.pass_time(round(at_s * 1e6))
        return fold.belief.occupancy.value


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_a_model_that_only_misses_animals_the_status_follows_the_shelter(seed: int) -> None:
    """Ten minutes of the demo: right of at least 95 % of the moments, arrivals in seconds, departures in a minute."""
    story, tally = Story(seed=seed), Tally()
    chance = np.random.default_rng(seed)
    spaces = [Watched(story, space, chance) for space in SPACES]
    for at_s in np.arange(PHOTO_EVERY_S, 600.0, PHOTO_EVERY_S):
        for watched in spaces:
            watched.photos(float(at_s))
        shown = {watched.space.id: watched.occupancy(float(at_s)) for watched in spaces}
        chapters = {space.id: story.now(space.id, float(at_s)) for space in SPACES}
        blind = {
            space.id: story.blind(space, float(at_s)) or story.blind(space, float(at_s) - COMING_S) for space in SPACES
        }
        tally.judge({key: verdict(shown[key], chapters[key], float(at_s), blind=blind[key]) for key in shown})
        tally.follow(shown, chapters, float(at_s))
    assert tally.share is not None
    assert tally.share >= 0.95, tally
    assert median(tally.arrivals_s) <= 20, tally
    assert median(tally.departures_s) <= 40, tally
    assert tally.missed <= 2, tally
    assert len(tally.arrivals_s) + len(tally.departures_s) >= 18, tally


@pytest.mark.system
@pytest.mark.timeout(420)
def test_the_demo_counts_every_photo_and_reports_how_right_the_status_was(tmp_path: Path) -> None:
    environment = os.environ | {"HUELLA_DATA": str(tmp_path), "HUELLA_PORT": str(free_base_port())}
    command = [sys.executable, "-m", "deploy.local.demo", "--duration", "100", "--seed", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert report["photos"]["accepted"] == report["audit"]["counted"] > 0
    assert report["judged"] > 0
    for part in ("/invitations/", "the camera k5-front goes dark", "is adopted", "a visitor comes in", "truth: nobody"):
        assert part in done.stdout
