"""The occupancy rules: what photos say of a space, whoever sends them and however often. Pure, no database."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregation.belief import Fold, first_belief
from services.aggregation.domain import Label, Occupancy, Species
from services.aggregation.occupancy import (
    Image,
    Rules,
    add_image,
    evidence,
    predict,
    presence,
    said_by_camera,
    shown,
)
from services.aggregation.tests.simulate_occupancy import World, measure

RULES = Rules()
NOON = 1_800_000_000


@dataclass(frozen=True)
class Photo:
    """One photo of a scenario: seconds after noon, camera, what the model is sure to see, and which image it is."""

    at: int
    camera: str
    sees: str
    image: str | None = None
    said: Label | None = None


def fold(photos: Sequence[Photo], rules: Rules = RULES) -> Fold:
    buckets: dict[int, dict[str, dict[str, Image]]] = {}
    for number, photo in enumerate(photos):
        cat = evidence(0.97 if photo.sees in ("cat", "both") else 0.03, 0.5)
        dog = evidence(0.97 if photo.sees in ("dog", "both") else 0.03, 0.5)
        # The receipt comes from the photo, not from its place in the list: the list's order must not matter.
        receipt = f"{photo.at:06d}-{photo.camera}-{photo.image or number}"
        image = Image(receipt, (NOON + photo.at) * 1_000_000, cat, dog, photo.said)
        bucket = (NOON + photo.at) // 10 * 10
        add_image(buckets.setdefault(bucket, {}).setdefault(photo.camera, {}), photo.image or receipt, image, rules)
    result = Fold(first_belief(rules), 600, rules)
    for bucket in sorted(buckets):
        result.take(bucket, buckets[bucket])
    return result


def every(seconds: int, until: int, camera: str, sees: str, image: str | None = None, start: int = 0) -> list[Photo]:
    return [Photo(at, camera, sees, image or f"{camera}{at}") for at in range(start, until, seconds)]


SCENARIOS = {
    "one sure photo of a cat": ([Photo(0, "a", "cat")], "cat"),
    "one sure photo of nobody": ([Photo(0, "a", "none")], "empty"),
    "nothing at all": ([], "stale"),
    "a cat and a dog together": (every(2, 60, "a", "both"), "both"),
    "a camera that sees no cat does not outvote the one that does": (
        every(5, 300, "a", "cat") + every(5, 300, "b", "none"),
        "cat",
    ),
    "nor do two of them, in a burst": (
        [Photo(0, "a", "cat", "1")] + [Photo(0, camera, "none", str(i)) for camera in "bc" for i in range(3)],
        "unsure",
    ),
    "three cameras, one of them blind to the dog": (
        every(5, 120, "a", "dog") + every(5, 120, "b", "dog") + every(5, 120, "c", "none"),
        "dog",
    ),
    "a cat for one camera and a dog for the other are both there": (
        every(5, 120, "a", "cat") + every(5, 120, "b", "dog"),
        "both",
    ),
    "the camera that still lives is believed, not the one frozen on a cat": (
        every(5, 600, "a", "cat", image="frozen") + every(5, 600, "b", "dog"),
        "dog",
    ),
    "a frozen picture of nobody does not hide a cat": (
        every(5, 600, "a", "none", image="frozen") + every(5, 600, "b", "cat"),
        "cat",
    ),
    "a cat that leaves is gone in a while": (
        every(5, 300, "a", "cat") + every(5, 1200, "a", "none", start=300),
        "empty",
    ),
    "a cat that hides for half a minute is still there": (
        every(5, 300, "a", "cat") + every(5, 330, "a", "none", start=300),
        "cat",
    ),
    "a dog that follows a cat": (every(5, 300, "a", "cat") + every(5, 600, "a", "dog", start=300), "dog"),
    "a person who sees a dog is believed over the model": (
        [*every(5, 300, "a", "cat"), Photo(300, "a", "cat", "looked at", Label.DOG)],
        "dog",
    ),
    "and stays believed while the camera repeats what was overruled": (
        [
            *every(5, 300, "a", "cat"),
            Photo(300, "a", "cat", "looked at", Label.NONE),
            *every(5, 600, "a", "cat", start=310),
        ],
        "empty",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_occupancy_is_right_when(name: str) -> None:
    photos, expected = SCENARIOS[name]
    assert fold(photos).belief.occupancy == expected, fold(photos).belief.posterior


def test_thirty_copies_of_one_still_count_once() -> None:
    once = fold([Photo(0, "a", "cat", "still")]).belief
    often = fold([Photo(0, "a", "cat", "still")] * 30 + every(5, 500, "a", "cat", image="still")).belief
    assert often.posterior == once.posterior
    assert often.last_evidence_us == once.last_evidence_us


def test_a_frozen_camera_lets_the_space_become_stale() -> None:
    result = fold(every(10, 3000, "a", "cat", image="frozen"))
    result.pass_time((NOON + 3000) * 1_000_000)
    assert result.belief.occupancy is Occupancy.STALE
    assert result.belief.since_us == (NOON + 600) * 1_000_000


def test_an_image_seen_again_after_the_horizon_is_evidence_again() -> None:
    result = fold([Photo(0, "a", "cat", "x"), Photo(700, "a", "cat", "x")])
    assert result.belief.last_evidence_us == (NOON + 700) * 1_000_000


def test_a_static_scene_seen_for_hours_leaves_confidence_bounded() -> None:
    posterior = fold(every(2, 4 * 3600, "a", "cat")).belief.posterior
    assert 0.97 < presence(posterior, Species.CAT) < 0.9995


@pytest.mark.parametrize("photos", [1, 3, 30])
@pytest.mark.parametrize("raw", [-50.0, -5.0, 5.0, 50.0])
def test_what_one_camera_says_at_once_is_bounded(raw: float, photos: int) -> None:
    said = said_by_camera([Image(str(i), 0, raw, 0.0) for i in range(photos)], Species.CAT, RULES)
    assert -1.19 <= said <= 3.56


def test_evidence_is_free_of_the_prior_it_was_calibrated_on() -> None:
    assert evidence(0.3, 0.3) == pytest.approx(0)
    assert evidence(0.5, 0.1) > evidence(0.5, 0.5) > evidence(0.5, 0.9)


@given(st.floats(0, 1e5), st.floats(0, 1e5))
def test_predicting_twice_is_predicting_once(first: float, second: float) -> None:
    start = (0.7, 0.1, 0.15, 0.05)
    stepwise = predict(predict(start, first, RULES), second, RULES)
    assert stepwise == pytest.approx(predict(start, first + second, RULES), abs=1e-9)


def test_between_the_thresholds_it_is_unsure() -> None:
    assert shown((0.5, 0.3, 0.1, 0.1), RULES) == (Occupancy.UNSURE, 0.5)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 600),
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["none", "cat", "dog", "both"]),
            st.sampled_from(["p", "q", None]),
        ),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_order_and_repetition_never_matter(rows: list[tuple[int, str, str, str | None]], chance: object) -> None:
    # An image's content goes with its name, as bytes go with their digest.
    photos = [Photo(at, camera, sees, f"{sees}-{image or at}") for at, camera, sees, image in rows]
    shuffled = photos + photos[: len(photos) // 2]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' Random
    one, other = fold(photos), fold(shuffled)
    assert one.belief == other.belief
    assert one.spans == other.spans
    assert one.stays() == other.stays()


def test_a_stay_is_from_when_it_was_seen_until_when_it_was_gone() -> None:
    result = fold(every(10, 600, "a", "cat") + every(10, 3000, "a", "none", start=600))
    (stay,) = result.stays()
    assert stay.species is Species.CAT
    assert stay.from_us == NOON * 1_000_000 or stay.from_us == (NOON + 10) * 1_000_000
    assert stay.until_us is not None
    assert 600 < stay.until_us / 1e6 - NOON < 1200


def test_a_species_that_comes_back_within_the_grace_time_never_left() -> None:
    looked_at = [Photo(610, "a", "none", "x", Label.NONE), Photo(680, "a", "cat", "y", Label.CAT)]
    photos = [*every(10, 600, "a", "cat"), *looked_at]
    (stay,) = fold(photos).stays()
    assert stay.until_us is None


def test_both_is_two_open_stays() -> None:
    assert {stay.species for stay in fold(every(2, 60, "a", "both")).stays()} == {Species.CAT, Species.DOG}


def test_probability_is_calibrated_on_simulated_truth() -> None:
    """The bound for this sample; the README has the figure of a larger one."""
    table = measure(World(hours=6), RULES, spaces=30, seed=7)
    assert table.error() < 0.05
    assert table.shown_right / table.shown > 0.90
