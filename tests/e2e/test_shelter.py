"""The demo's shelter: how often the status is right of it, and how fast it follows."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from deploy.local.photos import DrawnPhotos
from deploy.local.scenes import Scene, draw_scene, to_jpeg
from deploy.local.showing import PACE, PHOTO_EVERY_S
from deploy.local.story import SPACES, Condition, Shot, Space, Story, species_of
from deploy.local.system import REPOSITORY
from deploy.local.truth import COMING_S, Tally, verdict
from services.aggregation.belief import Fold, first_belief
from services.aggregation.occupancy import Image, Rules, bucket_of, evidence
from services.image_classifier.decode import decode
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import DEFAULT_FOLDER, ModelVersion, Prediction
from tests.system import free_base_port

RULES = Rules(
    scene_memory_s=float(PACE["HUELLA_AGGREGATION_SCENE_MEMORY_S"]),
    redraw_s=float(PACE["HUELLA_AGGREGATION_REDRAW_S"]),
    grace_s=int(PACE["HUELLA_AGGREGATION_GRACE_S"]),
)
SURE = 3.0  # the log likelihood ratio of an estimate of 95 % for what is as likely as not
MISSED = 0.2  # of the photos of an animal show none
STALE_AFTER_S = 30
DRAWN_SIZE = (640, 360)  # the model sees fewer pixels than that


Seen = tuple[float, float]
"""What a model says of a photo: log likelihood ratios of a cat and of a dog."""
Judge = Callable[[str, Shot], Seen | None]
"""What a model says of what a camera has before it; None of a photo that it can't say anything of."""


def missing(chance: np.random.Generator) -> Judge:
    """Return a model that errs only by missing animals."""

    def judge(camera: str, shot: Shot) -> Seen:
        present = species_of(shot.chapter.label)
        cat, dog = (SURE if one in present and chance.random() > MISSED else -SURE for one in ("cat", "dog"))
        return cat, dog

    return judge


def committed() -> Judge:
    """Return the committed model before drawn photos; of each scene it judges one, as grain changes little."""
    model, photos = ModelVersion.load(DEFAULT_FOLDER), DrawnPhotos(SPACES)
    prior = model.manifest.priors
    known: dict[tuple[Scene, int], Prediction] = {}

    def judge(camera: str, shot: Shot) -> Seen | None:
        seen = photos.scene(camera, shot)
        if seen not in known:
            jpeg = to_jpeg(draw_scene(*seen, shot.moment, DRAWN_SIZE))
            (known[seen],) = model.predict([decode(jpeg, model.manifest.input_size)])
        said = known[seen]
        if said.quality is not Quality.OK:
            return None
        return evidence(said.probabilities.cat, prior.cat), evidence(said.probabilities.dog, prior.dog)

    return judge


class Watched:
    """What Huella believes of a space whose cameras' photos a model judges."""

    def __init__(self, story: Story, space: Space, judge: Judge) -> None:
        self.story, self.space, self.judge = story, space, judge
        self.closed = Fold(first_belief(RULES), STALE_AFTER_S, RULES)
        self.bucket = 0
        self.images: dict[str, dict[str, Image]] = {}
        self.last: dict[str, tuple[str, Seen | None]] = {}

    def photos(self, at_s: float) -> None:
        """Let each camera take its photo."""
        bucket = bucket_of(round(at_s * 1e6), RULES)
        if bucket != self.bucket:
            self.closed.take(self.bucket, self.images)
            self.bucket, self.images = bucket, {}
        for camera in self.space.cameras:
            condition = self.story.condition(camera, at_s)
            if condition is Condition.DARK:
                continue  # the classifier finds it too dark to say anything
            if condition is not Condition.FROZEN or camera not in self.last:
                shot = self.story.shot(camera, at_s, moment=round(at_s * 1000))
                self.last[camera] = (f"{camera} {at_s}", self.judge(camera, shot))
            digest, seen = self.last[camera]
            if seen is not None:
                self.images.setdefault(camera, {})[digest] = Image(f"{camera} {at_s}", round(at_s * 1e6), *seen)

    def occupancy(self, at_s: float) -> str:
        """Return what the status shows."""
        fold = copy.deepcopy(self.closed)
        fold.take(self.bucket, self.images)
        fold.pass_time(round(at_s * 1e6))
        return fold.belief.occupancy.value


def watched(story: Story, judge: Judge, for_s: float) -> Tally:
    """Let the cameras of the demo look for so long, and return how right the status was."""
    tally = Tally()
    spaces = [Watched(story, space, judge) for space in SPACES]
    for at_s in np.arange(PHOTO_EVERY_S, for_s, PHOTO_EVERY_S):
        for one in spaces:
            one.photos(float(at_s))
        shown = {one.space.id: one.occupancy(float(at_s)) for one in spaces}
        chapters = {space.id: story.now(space.id, float(at_s)) for space in SPACES}
        blind = {
            space.id: story.blind(space, float(at_s)) or story.blind(space, float(at_s) - COMING_S) for space in SPACES
        }
        tally.judge({key: verdict(shown[key], chapters[key], float(at_s), blind=blind[key]) for key in shown})
        tally.follow(shown, chapters, float(at_s))
    return tally


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_a_model_that_only_misses_animals_the_status_follows_the_shelter(seed: int) -> None:
    """Ten minutes of the demo: right of at least 95 % of the moments, arrivals in seconds, departures in a minute."""
    tally = watched(Story(seed=seed), missing(np.random.default_rng(seed)), 600.0)
    assert tally.share is not None
    assert tally.share >= 0.95, tally
    assert median(tally.arrivals_s) <= 20, tally
    assert median(tally.departures_s) <= 40, tally
    assert tally.missed <= 2, tally
    assert len(tally.arrivals_s) + len(tally.departures_s) >= 18, tally


@pytest.mark.timeout(900)
def test_with_the_committed_model_the_status_follows_the_drawn_shelter() -> None:
    """Three minutes of the demo as a new user sees them, at the pace of its cameras however slow the machine is."""
    tally = watched(Story(), committed(), 180.0)
    assert tally.share is not None
    assert tally.share >= 0.85, tally
    assert median(tally.arrivals_s) <= 25, tally
    assert median(tally.departures_s) <= 45, tally
    assert tally.missed <= 1, tally
    assert len(tally.arrivals_s) + len(tally.departures_s) >= 6, tally


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
