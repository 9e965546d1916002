"""Measuring a model version: figures, the fixed frames, groups, plots and the page."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from services.image_classifier.decode import Picture
from services.image_classifier.domain import PresenceThresholds, Quality, Thresholds
from services.image_classifier.training import groups
from services.image_classifier.training.composites import frames
from services.image_classifier.training.measure import report, served, share
from services.image_classifier.training.model_report import write
from services.image_classifier.training.page import HOW_WORSE, write_page
from services.image_classifier.training.photos import DRAWN, Photo
from services.image_classifier.training.plots import Line, plot
from services.image_classifier.training.recipe import Recipe
from services.image_classifier.training.summary import sentences


def jpeg(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (160, 140), colour).save(file, "JPEG")
    return file.getvalue()


def test_the_report_counts_what_a_person_would_count() -> None:
    chances = np.array([[0.9, 0.1], [0.6, 0.1], [0.2, 0.9], [0.9, 0.2], [0.1, 0.1]])
    labels = ["cat", "cat", "dog", "dog", "none"]
    doubtful = PresenceThresholds(0.8, 0.3)
    found = report(chances, labels, Thresholds(cat=doubtful, dog=doubtful))
    assert found["photos"] == 5
    assert found["accuracy"]["share"] == 0.8
    assert found["cat_against_dog"] == share([True, True, True, False])
    assert found["confusion"] == {"cat": {"cat": 1, "unsure": 1}, "dog": {"cat": 1, "dog": 1}, "none": {"none": 1}}
    assert found["labels"]["cat"]["recall"]["share"] == 0.5
    assert found["labels"]["cat"]["recall_forced"]["share"] == 1.0
    assert found["labels"]["cat"]["precision"]["share"] == 0.5
    assert found["labels"]["cat"]["unsure"]["share"] == 0.5
    assert found["labels"]["dog"]["recall"]["share"] == 0.5
    assert found["unsure"]["share"] == 0.2
    assert found["accuracy_when_sure"]["share"] == 0.75
    assert found["none_called_an_animal_above_0.9"]["share"] == 0.0
    assert found["species"]["dog"]["area_under_curve"]["value"] == 1.0
    assert found["species"]["cat"]["area_under_curve"]["value"] == pytest.approx((3 + 2 - 0.5) / 6, abs=1e-4)
    assert found["risk_at_coverage"][-1]["risk"]["share"] == pytest.approx(0.2)
    assert json.loads(json.dumps(found)) == found


def test_shares_have_the_intervals_that_wilson_gives_and_no_share_of_nothing() -> None:
    assert share([True] * 9 + [False]) == {"share": 0.9, "low": 0.5958, "high": 0.9821, "of": 10}
    assert share([False] * 20)["high"] == pytest.approx(0.1611, abs=1e-4)
    assert share([]) == {"share": None, "low": None, "high": None, "of": 0}


def test_bootstrap_intervals_are_seeded_and_hold_the_figure_that_they_are_of() -> None:
    random = np.random.default_rng(10)
    held = {"area_under_curve": 0, "calibration_error": 0}
    thresholds = Thresholds(PresenceThresholds(0.6, 0.4), PresenceThresholds(0.6, 0.4))
    for _ in range(40):
        truth = random.random(300) < 0.5
        score = np.clip(random.normal(0.5, 0.2, 300) + 0.2 * truth, 0.01, 0.99)
        chances, labels = np.stack([score, score / 9], axis=1), ["cat" if one else "none" for one in truth]
        found = report(chances, labels, thresholds)
        assert found == report(chances, labels, thresholds)
        area = found["species"]["cat"]["area_under_curve"]
        held["area_under_curve"] += area["low"] <= 0.7602 <= area["high"]  # Phi(0.2 / (0.2 * sqrt(2)))
        error = found["species"]["cat"]["calibration_error"]
        held["calibration_error"] += error["low"] <= error["value"] <= error["high"]
    assert held["area_under_curve"] >= 34
    assert held["calibration_error"] == 40


def test_the_fixed_frames_are_wide_the_same_each_time_and_true_to_their_shares() -> None:
    def photo(label: str, number: int, source: str) -> tuple[Photo, bytes]:
        boxes = ((label, 0.25, 0.2, 0.75, 0.8),) if label != "none" else ()
        colour = {"cat": (250, 0, 0), "dog": (0, 0, 250), "none": (0, 200 + number, 0)}[label]
        return Photo(f"{label}/{source}_{number}.jpg", label, source, "val", boxes), jpeg(colour)

    rows = [photo(label, n, "pl") for label in ("cat", "dog", "none") for n in range(4)]
    made = list(frames(rows, 6))
    assert made == list(frames(rows[::-1], 6))
    assert [kind for kind, _, _ in made[:7]] == ["empty", "5%", "10%", "20%", "30%", "40%", "patch"]
    assert len(made) == 6 * 7
    for kind, label, content in made:
        image = Image.open(io.BytesIO(content))
        assert image.size == (640, 360)
        pixels = np.asarray(image).astype(int)
        animal = (pixels[..., 0] > 100) | (pixels[..., 2] > 100)
        assert (label == "none") == (kind in ("empty", "patch"))
        expected = int(kind[:-1]) / 100 if kind.endswith("%") else 0.0
        # An ellipse, which the softest rim gives, has 0.785 of its box.
        assert 0.6 * expected <= animal.mean() <= 1.05 * expected + 0.001
    drawn = [(replace(photo, source=DRAWN), content) for photo, content in rows]
    assert list(frames(drawn)) == []


def test_photos_are_grouped_by_what_is_known_of_them() -> None:
    boxed = Photo("cat/hq_1.jpg", "cat", "hq", "val", (("cat", 0.0, 0.0, 0.5, 0.5),))
    assert groups.animal_share(boxed) == "20 to 40 %"
    assert groups.animal_share(replace(boxed, boxes=boxed.boxes * 2)) is None
    assert groups.kind(replace(boxed, source="ra")) == "other animals: raccoons"
    assert groups.kind(replace(boxed, source="new")) == "source new"
    pixels = np.full((8, 8, 3), 100, dtype=np.uint8)
    names = [groups.brightness(Picture(pixels, Quality.OK, mean=mean)) for mean in (10.0, 100.0, 200.0)]
    assert names == ["000 to 060", "090 to 120", "150 and more"]


def test_what_is_not_fit_to_be_judged_is_undecided_whatever_the_model_says() -> None:
    limits = PresenceThresholds(0.6, 0.4)
    chances = np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.1], [0.1, 0.1], [0.1, 0.1], [0.5, 0.1]])
    qualities = [Quality.OK] * 4 + [Quality.DARK, Quality.OK]
    labels = ["cat", "cat", "cat", "none", "dog", "none"]
    told = served(chances, qualities, labels, Thresholds(limits, limits))
    hits = {name: figure["share"] for name, figure in told.items() if name != "photos"}
    assert hits == {"right": 0.3333, "wrong": 0.3333, "undecided": 0.3333, "animals_called_none": 0.25}


@pytest.fixture
def answer() -> dict[str, Any]:
    """What evaluate gives, of 20 photos: all right when forced but 5, which are `none` called cat with 0.95."""
    limits = PresenceThresholds(0.6, 0.4)
    chances = np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.1], [0.95, 0.1]] * 5)
    labels = ["cat", "dog", "none", "none"] * 5
    figures = report(chances, labels, Thresholds(limits, limits))
    nothing = share([])
    kinds = {"<rooms>": {"photos": 10, "called_an_animal": share([True] * 5 + [False] * 5),
                         "called_an_animal_above_0.9": nothing, "unsure": nothing}}  # fmt: skip
    names = ("source", "source_never_trained_on", "animal_share", "brightness")
    fit = served(chances, [Quality.OK] * 20, labels, Thresholds(limits, limits))
    worse = served(chances, [Quality.OK] * 15 + [Quality.DARK] * 5, labels, Thresholds(limits, limits))
    return {
        "model": "huella", "version": "9", "photos": figures, "input_size": 96,
        "thresholds": {name: {"present_above": 0.6, "absent_below": 0.4} for name in ("cat", "dog")},
        "trained_on": {"photos": 99, "calibration_photos": 9, "held_out_sources": [], "recipe": Recipe().described()},
        "never_trained_on": {"sources": ["he"], **figures},
        "by": {name: {"one": figures} for name in names},
        "worse": {name: {"as they are": fit, "an eighth": worse} for name in HOW_WORSE},
        "hard_negatives": kinds, "not_measured": ["toys"],
        "composites": {"20%": figures, "empty": figures, "patch": figures},
        "made": {}, "quality": {"ok": share([True] * 20)},
    }  # fmt: skip


def test_a_report_becomes_a_page_that_says_plainly_what_to_expect(answer: dict[str, Any], tmp_path: Path) -> None:
    write_page(tmp_path / "out", answer, [("none", "cat (cat 0.95, dog 0.10)", jpeg((9, 9, 9)))])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Of 100 photos like the 20" in page
    assert "Of 100 answers, 75 are right" in page
    assert "Of 100 of these photos with less light, an eighth: 60 named right and 15 wrong; the others" in page
    assert "Not measured, for want of photos: toys" in page
    assert "<rooms>" not in page  # what photos are called is no markup
    assert "&lt;rooms&gt;" in page
    assert page.count("<svg") == 3
    assert "prefers-color-scheme:dark" in page
    assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")  # nothing is fetched from anywhere
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == answer
    assert (tmp_path / "out" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / "out" / "mistakes" / "00.jpg").exists()


def test_a_plot_is_a_picture_of_its_own_with_every_line_named() -> None:
    drawn = plot([Line("a < b", [(0.0, 0.1), (1.0, 2.0)], [(0.0, 0.2), (1.5, 3.0)])], ("x", 0, 1), ("y", 0, 1))
    root = ElementTree.fromstring(drawn)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "x", "y"} <= set(words)


def test_the_model_report_says_what_the_page_says_and_shows_the_curve(answer: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_page(out, answer, [("none", "cat", jpeg((9, 9, 9)))])
    line = {"epoch": 1, "loss": 0.4, "calibration_accuracy": 0.8, "seconds": 7200.0}
    (out / "curve.jsonl").write_text("".join(json.dumps(line | {"epoch": n}) + "\n" for n in (1, 2)))
    write(out / "report.json", out / "curve.jsonl", tmp_path / "docs")
    text = (tmp_path / "docs" / "model.md").read_text()
    assert all(sentence in text for sentence in sentences(answer))
    assert "The run took 4.0 hours" in text
    for head in ("What it is for", "Data and licences", "False alarms by kind", "What would take it further"):
        assert f"## {head}" in text
    shown = set(re.findall(r"\(model/([\w.-]+)\)", text))
    assert shown == {path.name for path in (tmp_path / "docs" / "model").iterdir()}
    assert {"curve.svg", "curve.jsonl", "reliability.svg", "risk-at-coverage.svg", "small-animals.svg"} == shown
    # Costs and comparisons are shown as soon as they have been measured.
    speed = [{"network": "small", "megabytes": 4.3, "cpu_ms": {"128": {"1": 1.234, "8": 1.0}}}]
    (tmp_path / "docs" / "model" / "speed.json").write_text(json.dumps(speed))
    figures = {name: share([True, True, True, False]) for name in ("accuracy", "cat_against_dog")}
    row = {"network": "small", "epochs": 2, "held_out": ["he"], "val": figures, "never_trained_on": figures}
    compared = [row | {"size": size, "cpu_ms_at_8": size / 128} for size in (96, 128)]
    (tmp_path / "docs" / "model" / "compare.json").write_text(json.dumps(compared))
    write(out / "report.json", tmp_path / "docs" / "model" / "curve.jsonl", tmp_path / "docs")
    text = (tmp_path / "docs" / "model.md").read_text()
    assert "| small | 4.3 | 1.23 | 1.00 |" in text
    assert "| small | 96 | 0.75 | 75.0 % (30.1 to 95.4) | 75.0 %" in text
    for name in ("networks-val", "networks-never-seen"):
        assert f"(model/{name}.svg)" in text
        assert (tmp_path / "docs" / "model" / f"{name}.svg").read_text().count("<circle") == 2
    write(out / "report.json", out / "curve.jsonl", tmp_path / "docs", out / "report.json")
    assert "which had left out he whole" in (tmp_path / "docs" / "model.md").read_text()
    answer["never_trained_on"] = {"sources": []}
    (out / "nothing.json").write_text(json.dumps(answer))
    with pytest.raises(ValueError, match="left no source out"):
        write(out / "report.json", out / "curve.jsonl", tmp_path / "docs", out / "nothing.json")
