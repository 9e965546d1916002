"""What of training needs no torch: the photos, what is done to them, calibration, and the figures."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.image_classifier.training import calibrate
from services.image_classifier.training.augment import Pool, crop, cutmix, example, paste, pasted, side_by_side
from services.image_classifier.training.measure import calibration_error
from services.image_classifier.training.photos import LABELS, Photo, Photos, read


def jpeg(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (160, 140), colour).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    content = {"train-000": [f"cat/hq_{i:03}.jpg" for i in range(200)], "val-000": ["dog/pv_1.jpg", "none/sc_2.jpg"]}
    for tar_name, names in {**content, "demo-000": ["demo/cat_01.jpg"]}.items():
        with tarfile.open(tmp_path / f"{tar_name}.tar", "w") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(jpeg((1, 2, 3)))
                tar.addfile(member, io.BytesIO(jpeg((1, 2, 3))))
    box = {"label": "cat", "x": 16, "y": 14, "w": 80, "h": 200}
    row = {"file": "cat/hq_000.jpg", "width": 160, "height": 140, "boxes": [box]}
    (tmp_path / "detection.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


def test_tars_give_their_photos_with_label_source_split_and_boxes(tars: Path) -> None:
    photos = {photo.name: photo for photo, _ in read(tars)}
    assert len(photos) == 202
    assert (photos["dog/pv_1.jpg"].label, photos["dog/pv_1.jpg"].source, photos["dog/pv_1.jpg"].split) == (
        "dog",
        "pv",
        "val",
    )
    assert photos["cat/hq_000.jpg"].boxes == (("cat", 0.1, 0.1, 0.6, 1.0),)


def test_calibration_photos_are_a_fixed_part_of_the_training_photos_and_none_of_val(tars: Path) -> None:
    held = [{p.name for p, _ in read(tars, percent) if p.split == "calibration"} for percent in (0, 6, 6, 30)]
    assert held[0] == set()
    assert 4 <= len(held[1]) <= 22
    assert held[1] == held[2] < held[3]
    assert not any(name.startswith(("dog", "none")) for name in held[3])


def test_a_folder_with_a_sub_folder_a_label_is_read_too(tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / label).mkdir()
        (tmp_path / label / "one.jpg").write_bytes(jpeg((9, 9, 9)))
    assert [(p.label, p.truth, p.source) for p, _ in read(tmp_path)] == [
        (name, truth, "-") for name, truth in LABELS.items()
    ]


def test_a_folder_without_photos_is_an_error_that_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sub-folder cat, dog, both or none"):
        list(read(tmp_path))


@pytest.fixture
def pool() -> Pool:
    """Red cats, blue dogs and green scenes, so that colour tells what a composite shows."""
    colours = {"cat": (250, 0, 0), "dog": (0, 0, 250), "none": (0, 250, 0)}
    labels = [label for label in colours for _ in range(4)]
    pixels = np.stack([np.full((160, 160, 3), colours[label], dtype=np.uint8) for label in labels])
    boxed = {label: ((label, 0.2, 0.2, 0.8, 0.9),) for label in ("cat", "dog")}
    photos = [Photo(f"{x}/a_{i}.jpg", x, "a", "train", boxed.get(x, ())) for i, x in enumerate(labels)]
    return Pool.of(Photos(photos, pixels))


def shown(pixels: Any) -> tuple[bool, bool]:
    far = pixels.astype(int)
    return bool((far[..., 0] > 150).any()), bool((far[..., 2] > 150).any())


def test_a_composite_is_true_to_what_it_shows(pool: Pool) -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        pair = (int(random.integers(12)), int(random.integers(12)))
        pixels, truth = side_by_side(random, pool.photos, pair, 96)
        assert shown(pixels) == truth
        pixels, truth = pasted(random, pool, pair[0], 96)
        # A patch can cover what was there when it is pasted onto an animal, but it adds nothing that is not said.
        assert truth[0] or not shown(pixels)[0]
        assert truth[1] or not shown(pixels)[1]


def test_what_is_pasted_takes_its_share_of_the_picture(pool: Pool) -> None:
    random = np.random.default_rng(4)
    for share in (0.25, 0.5, 0.75):
        scene = np.zeros((128, 128, 3), dtype=np.uint8)
        patch = np.full((60, 40, 3), 255, dtype=np.uint8)
        rows = np.flatnonzero((paste(random, scene, patch, share) > 0).any(axis=(1, 2)))
        assert abs(np.ptp(rows) + 1 - share * 128) < 8


def test_sources_held_out_are_never_drawn(pool: Pool) -> None:
    photos = [
        Photo(p.name, p.label, "secret" if i % 2 else "a", p.split, p.boxes) for i, p in enumerate(pool.photos.photos)
    ]
    without = Pool.of(Photos(photos, pool.photos.pixels), without=("secret",))
    drawn = {*without.chosen, *without.scenes, *(photo for photo, _ in without.animals)}
    assert {photos[i].source for i in drawn} == {"a"}
    assert len(without.chosen) == 6


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_an_example_depends_on_its_seed_alone_and_has_the_size_asked_for(pool: Pool, strength: float) -> None:
    made = [example(np.random.default_rng([1, n]), pool, n % 12, 64, strength) for n in (*range(80), *range(80))]
    for (first, truth), (again, truth_again) in zip(made[:80], made[80:], strict=True):
        assert first.shape == (64, 64, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert truth == truth_again


def test_a_crop_keeps_at_least_the_part_that_is_asked_for() -> None:
    ramp = np.repeat(np.arange(160, dtype=np.uint8)[None, :, None], 160, axis=0).repeat(3, axis=2)
    random = np.random.default_rng(5)
    widths = [np.ptp(crop(random, ramp, 64, 0.5).astype(int)) / 160 for _ in range(200)]
    assert 0.4 < min(widths) < max(widths) <= 1.0


def test_calibration_finds_the_temperature_and_bias_that_made_the_truth() -> None:
    random = np.random.default_rng(6)
    logits = random.normal(0.0, 4.0, 40_000)
    truth = random.random(40_000) < calibrate.apply(logits, 2.5, -0.7)
    temperature, bias = calibrate.fit(logits, truth)
    assert temperature == pytest.approx(2.5, rel=0.05)
    assert bias == pytest.approx(-0.7, abs=0.05)
    assert calibration_error(calibrate.apply(logits, temperature, bias), truth) < 0.01
    assert calibration_error(calibrate.apply(logits, 1.0, 0.0), truth) > 0.05


@pytest.mark.parametrize("truth", [np.zeros(9, dtype=bool), np.ones(9, dtype=bool), np.arange(9) < 5])
def test_logits_that_say_nothing_of_the_species_are_not_calibrated(truth: Any) -> None:
    with pytest.raises(ValueError, match="species"):
        calibrate.fit(np.arange(9.0), truth)


def test_a_network_that_says_the_same_of_every_photo_is_not_calibrated() -> None:
    with pytest.raises(ValueError, match="says nothing"):
        calibrate.fit(np.linspace(-0.9, -0.8999, 50), np.arange(50) > 25)


def test_thresholds_are_where_not_answering_is_the_cheapest_answer() -> None:
    random = np.random.default_rng(8)
    chance = random.random(100_000)
    truth = random.random(100_000) < chance  # perfectly calibrated

    def cost(above: float, below: float) -> float:
        wrong = ((chance >= above) & ~truth).sum() + ((chance <= below) & truth).sum()
        return float(wrong + 0.2 * ((chance > below) & (chance < above)).sum())

    above, below = calibrate.thresholds(0.2)
    assert (above, below) == (0.8, 0.2)
    assert all(cost(above, below) < cost(*other) for other in ((0.7, 0.3), (0.9, 0.1), (0.8, 0.1), (0.7, 0.2)))


@pytest.mark.parametrize("cost", [0.0, -0.1, 0.51])
def test_a_cost_at_which_the_rule_means_nothing_is_refused(cost: float) -> None:
    with pytest.raises(ValueError, match="unsure answer costs"):
        calibrate.thresholds(cost)


def test_the_cost_rises_until_no_label_is_unsure_too_often() -> None:
    chances = np.array([[p, 0.01] for p in np.linspace(0.005, 0.995, 100)])
    labels = ["cat"] * 100 + ["dog"] * 10
    doubtful = np.concatenate([chances, np.full((10, 2), 0.5)])  # too few dogs to decide anything
    cost = calibrate.affordable(doubtful, labels, 0.2)
    assert cost == pytest.approx(0.44, abs=0.011)
    assert calibrate.affordable(doubtful, labels, 0.2, most=0.7) == 0.2
    assert calibrate.affordable(np.full((99, 2), 0.5), ["cat"] * 99, 0.2) == 0.5


def test_a_source_counts_as_the_root_of_its_photos_and_a_label_as_often_as_it_is() -> None:
    labels, sources = ["cat"] * 10 + ["none"] * 5, ["a"] * 9 + ["b"] + ["a"] * 5
    weights = calibrate.weights_of(labels, sources)
    assert weights[:9].sum() == pytest.approx(3 * weights[9])
    assert weights[:10].sum() == pytest.approx(10)
    assert weights[10:] == pytest.approx(1.0)


def test_a_weight_is_worth_as_many_photos() -> None:
    random = np.random.default_rng(9)
    logits, times = random.normal(0.0, 2.0, 3000), random.integers(1, 4, 3000)
    truth = random.random(3000) < calibrate.apply(logits, 1.5, 0.3)
    repeated = calibrate.fit(np.repeat(logits, times), np.repeat(truth, times))
    assert calibrate.fit(logits, truth, times.astype(float)) == pytest.approx(repeated, abs=1e-3)


def test_cutmix_names_what_is_left_in_sight(pool: Pool) -> None:
    random, seen = np.random.default_rng(3), set()
    for _ in range(300):
        pair = (int(random.integers(12)), int(random.integers(12)))
        pixels, truth = cutmix(random, pool.photos, pair, 96)
        if len({pool.photos.photos[i].label for i in pair}) == 2:
            for there, channel in zip(truth, (0, 2), strict=True):
                # The box is 0.42 of a photo, and half of it in sight is what counts.
                share = (pixels[..., channel] > 150).mean()
                assert share > 0.19 if there else share < 0.81
        seen.add(truth)
    assert seen == {(False, False), (True, False), (False, True), (True, True)}
