"""What of training needs torch; skipped without it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip(
    "torch",
    reason="needs torch: make setup-train, then make test-training",
)

import torch

from services.image_classifier.model_version import ModelVersion
from services.image_classifier.training import train as training
from services.image_classifier.training.augment import Pool
from services.image_classifier.training.cache import cached
from services.image_classifier.training.evaluate import evaluate
from services.image_classifier.training.network import Network, onnx_bytes
from services.image_classifier.training.photos import Photos
from services.image_classifier.training.train import Batches, Recipe, Run, train

RECIPE = Recipe(epochs=3, batch=8, sizes=((64, 1.0),), ema=0.9, strongest=0.2)
FIGURE = [0.415, 0.236, 0.299]  # the loss of its epochs; whoever changes the augmentation changes it


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that a network of any size can tell apart: discs are cats, bars are dogs."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(2)
    for label, number in (("cat", 90), ("dog", 90), ("none", 60), ("both", 10)):
        (folder / label).mkdir()
        for n in range(number):
            image = Image.fromarray(random.integers(60, 120, (96, 128, 3), dtype=np.uint8))
            pen = ImageDraw.Draw(image)
            x, y = (int(v) for v in random.integers(5, 60, 2))
            if label in ("cat", "both"):
                pen.ellipse((x, y // 3, x + 50, y // 3 + 50), fill=(250, 200, 30))
            if label in ("dog", "both"):
                pen.rectangle((x, y, x + 60, y + 15), fill=(20, 60, 240))
            image.save(folder / label / f"{label}_{n}.png")
    return folder


def run(data: Path, out: Path, recipe: Recipe = RECIPE) -> list[dict[str, Any]]:
    """Train, and give the curve without what depends on the machine."""
    train(data, out, recipe, out.parent / "cache", "drawn", "1", workers=0)
    lines = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "photos_a_second")} for line in lines]


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(drawn, out)
    return out


def test_a_run_learns_and_its_model_version_can_be_served_and_measured(drawn: Path, trained: Path) -> None:
    curve = [json.loads(line) for line in (trained / "curve.jsonl").read_text().splitlines()]
    assert curve[-1]["loss"] < curve[0]["loss"]
    manifest = ModelVersion.load(trained).manifest
    assert manifest.trained_on["held_out_sources"] == []
    assert 0.2 < manifest.priors.cat < 0.7
    measured = evaluate(drawn, trained, everything=True)
    assert measured["photos"]["photos"] == 250
    assert measured["made"]["cat_beside_dog"]["photos"] == 400
    card = json.loads((trained / "manifest.json").read_text())
    assert 5 <= card["measured"]["val"]["photos"] <= 60  # a tenth: it does not boast of what it was trained on


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(drawn: Path, trained: Path) -> None:
    pool = Pool.of(cached(drawn, trained.parent / "cache", 64, frozenset({"train"})))

    def loss(seed: int) -> float:
        recipe = replace(RECIPE, seed=seed)
        return float(training._epoch(Run(recipe, len(pool.chosen) // recipe.batch), pool, 0)["loss"])

    assert loss(5) == loss(5)
    assert loss(5) != loss(6)


def test_a_short_seeded_run_gives_the_figure_it_gave_when_this_was_written(trained: Path) -> None:
    losses = [json.loads(line)["loss"] for line in (trained / "curve.jsonl").read_text().splitlines()]
    # Processors round differently, so the figure is held to what the run is about, not to the last digit.
    assert losses == pytest.approx(FIGURE, abs=0.02)


def test_a_run_that_was_stopped_goes_on_to_the_same_model(
    drawn: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = trained.parent / "stopped"
    epoch = training._epoch

    def stopped(run: Any, *rest: Any) -> dict[str, Any]:
        if run.epoch == 1:
            raise KeyboardInterrupt
        return epoch(run, *rest)

    monkeypatch.setattr(training, "_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(drawn, out)
    monkeypatch.undo()
    curve = run(drawn, out)
    assert [line["epoch"] for line in curve] == [1, 2, 3]
    assert ModelVersion.load(out).manifest.digest == ModelVersion.load(trained).manifest.digest


def test_a_run_can_begin_with_the_weights_of_another(drawn: Path, trained: Path) -> None:
    out = trained.parent / "further"
    train(
        drawn,
        out,
        Recipe(epochs=0),
        trained.parent / "cache",
        "drawn",
        "2",
        start_from=trained / "checkpoint.pt",
        workers=0,
    )
    further, first = ModelVersion.load(out), ModelVersion.load(trained)
    assert (further.manifest.digest, further.manifest.version) == (first.manifest.digest, "2")


def test_a_run_is_not_resumed_under_another_recipe(drawn: Path, trained: Path) -> None:
    copy = trained.parent / "copy"
    copy.mkdir()
    shutil.copy(trained / "checkpoint.pt", copy)
    with pytest.raises(ValueError, match="another recipe"):
        run(drawn, copy, Recipe(epochs=4, batch=16, sizes=((32, 1.0),)))


def test_onnx_gives_what_torch_gives(trained: Path) -> None:
    network = Network()
    network.load_state_dict(torch.load(trained / "checkpoint.pt", weights_only=True)["average"])
    pixels = np.random.default_rng(4).integers(0, 256, (7, 128, 128, 3), dtype=np.uint8)
    served = ModelVersion.load(trained).logits(pixels)
    np.testing.assert_allclose(served, training.logits(network, pixels), atol=1e-3)


def test_an_export_takes_any_batch_and_stays_small() -> None:
    graph = onnx_bytes(Network(), 128)
    assert len(graph) < 6_000_000


def test_every_photo_is_seen_once_an_epoch_and_small_pictures_come_first() -> None:
    recipe = Recipe(epochs=10)
    assert [recipe.size(epoch) for epoch in range(10)] == [96] * 6 + [128] * 4
    assert [recipe.strength(epoch) for epoch in (0, 5, 9)] == [0.0, recipe.strongest, recipe.strongest]
    pool = Pool(Photos([], np.zeros((0, 8, 8, 3), dtype=np.uint8)), list(range(100, 228)), [], [])
    order = Batches(pool, recipe, 0).order
    assert sorted(order) == list(range(100, 228))
    assert list(order) != list(Batches(pool, recipe, 1).order)
