"""What of training needs torch; skipped without it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
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
from torch import Tensor, nn

from services.image_classifier.model_version import ModelVersion
from services.image_classifier.training import compare as comparing
from services.image_classifier.training import train as training
from services.image_classifier.training.augment import Pool
from services.image_classifier.training.cache import cached
from services.image_classifier.training.evaluate import evaluate
from services.image_classifier.training.export import export
from services.image_classifier.training.network import Network, SecondLook, logits
from services.image_classifier.training.network import trained as network_of
from services.image_classifier.training.photos import Photo, Photos
from services.image_classifier.training.recipe import NETWORKS, Recipe, repeated
from services.image_classifier.training.run import Batches, Run
from services.image_classifier.training.train import train
from services.image_classifier.training.unfolding import unfolded

RECIPE = Recipe(epochs=3, batch=8, sizes=((64, 1.0),), ema=0.9, strongest=0.2)
FIGURE = [0.411, 0.229, 0.278]  # the loss of its epochs; whoever changes the augmentation changes it


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
    assert set(measured["worse"]["jpeg_quality"]) == {"as they are", "60", "40", "20", "10"}
    assert set(measured["hard_negatives"]) == {"source none"}
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
        replace(RECIPE, epochs=0),
        trained.parent / "cache",
        "drawn",
        "2",
        start_from=trained / "checkpoint.pt",
        workers=0,
    )
    further, first = ModelVersion.load(out), ModelVersion.load(trained)
    assert (further.manifest.digest, further.manifest.version) == (first.manifest.digest, "2")


def test_a_run_can_begin_with_the_weights_of_a_model_version(drawn: Path, trained: Path) -> None:
    out = trained.parent / "of_a_version"
    recipe = replace(RECIPE, epochs=0)
    train(drawn, out, recipe, trained.parent / "cache", "drawn", "3", start_from=trained, workers=0)
    size = ModelVersion.load(trained).manifest.input_size
    pixels = np.random.default_rng(4).integers(0, 256, (7, size, size, 3), dtype=np.uint8)
    further, first = ModelVersion.load(out), ModelVersion.load(trained)
    np.testing.assert_allclose(further.logits(pixels), first.logits(pixels), atol=1e-3)
    graph = hashlib.sha256((trained / "model.onnx").read_bytes()).hexdigest()
    assert further.manifest.trained_on["recipe"]["start_from"] == graph  # type: ignore[index, call-overload]  # JSON


def test_a_network_of_a_model_version_normalises_as_one_that_was_never_folded(drawn: Path, trained: Path) -> None:
    photos = cached(drawn, trained.parent / "cache", 64, frozenset({"train"}))
    network = unfolded(trained, RECIPE.network, photos.pixels[:128])
    same = torch.from_numpy(np.array(photos.pixels[:128])).permute(0, 3, 1, 2)
    with torch.no_grad():
        by_average = network.eval()(same)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.train()  # its own batch's statistics, as in training
        by_batch = network(same)
    np.testing.assert_allclose(by_average, by_batch, atol=0.01)


@pytest.mark.parametrize("what", ["checkpoint.pt", ""])
@pytest.mark.parametrize("role", ["start_from", "teacher"])
def test_who_learnt_from_a_source_is_no_beginning_of_a_run_that_holds_it_out(
    drawn: Path, trained: Path, tmp_path: Path, what: str, role: str
) -> None:
    recipe = replace(RECIPE, hold_out=("cat",))
    with pytest.raises(ValueError, match="learnt from cat"):
        train(drawn, tmp_path, recipe, trained.parent / "cache", "drawn", "4", workers=0, **{role: trained / what})  # type: ignore[arg-type]  # one of two names


def test_the_weights_of_another_network_are_refused(trained: Path) -> None:
    with pytest.raises(ValueError, match=r"another network|convolutions"):
        unfolded(trained, "shufflenet_v2_x1_0", np.zeros((2, 64, 64, 3), dtype=np.uint8))


def test_photos_of_some_sources_are_seen_several_times_an_epoch() -> None:
    photos = [Photo(f"cat/{source}_1", "cat", source, "train") for source in ("big", "small", "out")]
    pool = Pool.of(Photos(photos, np.zeros((3, 8, 8, 3), dtype=np.uint8)), ("out",), (("small", 3),))
    assert pool.chosen == [0, 1, 1, 1]
    recipe = Recipe(repeated=repeated("small:3"))
    assert Recipe.of(json.loads(json.dumps(recipe.described()))) == recipe


def test_a_run_is_not_resumed_under_another_recipe(drawn: Path, trained: Path) -> None:
    copy = trained.parent / "copy"
    copy.mkdir()
    shutil.copy(trained / "checkpoint.pt", copy)
    with pytest.raises(ValueError, match="another recipe"):
        run(drawn, copy, Recipe(epochs=4, batch=16, sizes=((32, 1.0),)))


def chances(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


def test_onnx_gives_what_torch_gives(trained: Path) -> None:
    network, _ = network_of(trained / "checkpoint.pt")
    size = ModelVersion.load(trained).manifest.input_size
    pixels = np.random.default_rng(4).integers(0, 256, (7, size, size, 3), dtype=np.uint8)
    served = ModelVersion.load(trained).logits(pixels)
    of_torch = logits(SecondLook(network, size), pixels)
    np.testing.assert_allclose(served, of_torch, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(chances(served), chances(of_torch), rtol=0, atol=1e-3)


def test_a_checkpoint_becomes_the_same_model_version_again_without_training(drawn: Path, trained: Path) -> None:
    out = trained.parent / "again"
    network, recipe = network_of(trained / "checkpoint.pt")
    export(network, recipe, drawn, out, trained.parent / "cache", "drawn", "1")
    assert (out / "manifest.json").read_text() == (trained / "manifest.json").read_text()
    assert (out / "model.onnx").read_bytes() == (trained / "model.onnx").read_bytes()


def test_a_checkpoint_of_before_there_were_other_networks_is_of_the_first_one(trained: Path, tmp_path: Path) -> None:
    state = torch.load(trained / "checkpoint.pt", weights_only=True)
    for later in ("network", "cutmix", "teacher", "teacher_share"):
        del state["recipe"][later]
    torch.save(state, tmp_path / "checkpoint.pt")
    assert network_of(tmp_path / "checkpoint.pt")[1] == RECIPE
    Run(RECIPE, 1).resume(tmp_path / "checkpoint.pt")


def test_a_run_of_which_this_code_knows_too_little_is_not_read() -> None:
    with pytest.raises(ValueError, match="magic"):
        Recipe.of({"magic": 1})
    with pytest.raises(ValueError, match="alexnet"):
        Recipe(network="alexnet")


def test_a_teacher_is_followed_as_far_as_the_recipe_says() -> None:
    teacher = Network()
    teacher.eval()
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    truths = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    thinks = torch.sigmoid(teacher(images)).detach()

    def targets(**changes: Any) -> Any:
        return Run(replace(RECIPE, smoothing=0.0, **changes), 1, (teacher, RECIPE)).targets(images, truths)

    torch.testing.assert_close(targets(teacher_share=0.0), truths)
    torch.testing.assert_close(targets(teacher_share=1.0), thinks)
    torch.testing.assert_close(targets(teacher_share=0.25), 0.75 * truths + 0.25 * thinks)
    torch.testing.assert_close(Run(replace(RECIPE, smoothing=0.0), 1).targets(images, truths), truths)


def test_a_teacher_sees_pictures_no_smaller_than_those_that_it_learnt_from() -> None:
    seen = []

    class Teacher(nn.Module):  # type: ignore[misc]  # torch is not installed where this is checked
        def forward(self, images: Tensor) -> Tensor:
            seen.append(tuple(images.shape))
            return torch.zeros(len(images), 2)

    recipe = replace(RECIPE, sizes=((32, 0.5), (96, 1.0)))
    run = Run(RECIPE, 1, (Teacher(), recipe))
    for size in (64, 128):
        run.targets(torch.zeros((2, 3, size, size), dtype=torch.uint8), torch.zeros(2, 2))
    assert seen == [(2, 3, 96, 96), (2, 3, 128, 128)]


def test_a_run_with_a_teacher_and_cutmix_is_trained_to_the_end(drawn: Path, trained: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, cutmix=0.5, strongest=0.7)
    teacher = trained / "checkpoint.pt"
    cache = trained.parent / "cache"
    train(drawn, tmp_path, recipe, cache, "pupil", "1", start_from=teacher, teacher=teacher, workers=0)
    described = ModelVersion.load(tmp_path).manifest.trained_on["recipe"]
    assert isinstance(described, dict)
    assert described["teacher"] == hashlib.sha256(teacher.read_bytes()).hexdigest()


def test_a_run_that_is_killed_goes_on_where_its_checkpoint_is_and_ends_with_the_same_model(
    drawn: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    cache = trained.parent / "cache"
    recipe = ["--epochs=3", "--batch=8", "--sizes=64:1", "--ema=0.9", "--strongest=0.2", "--name=drawn"]
    module = "services.image_classifier.training.train"
    command = [sys.executable, "-m", module, str(drawn), str(out), "--cache", str(cache), *recipe]
    # Its worker gets the signal too: a group of its own, as a machine that goes down leaves nobody behind.
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        while not (out / "checkpoint.pt").exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "no epoch was finished"
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "model.onnx").exists()
    curve = run(drawn, out)
    assert [line["epoch"] for line in curve] == [1, 2, 3]
    assert curve == [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "photos_a_second")}
        for line in (trained / "curve.jsonl").read_text().splitlines()
    ]
    assert ModelVersion.load(out).manifest.digest == ModelVersion.load(trained).manifest.digest


def test_every_photo_is_seen_once_an_epoch_and_small_pictures_come_first() -> None:
    recipe = Recipe(epochs=10)
    assert [recipe.size(epoch) for epoch in range(10)] == [96] * 6 + [128] * 4
    assert [recipe.strength(epoch) for epoch in (0, 5, 9)] == [0.0, recipe.strongest, recipe.strongest]
    pool = Pool(Photos([], np.zeros((0, 8, 8, 3), dtype=np.uint8)), list(range(100, 228)), [], [])
    order = Batches(pool, recipe, 0).order
    assert sorted(order) == list(range(100, 228))
    assert list(order) != list(Batches(pool, recipe, 1).order)


def test_networks_are_compared_by_equal_runs_that_are_not_repeated(
    drawn: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def short(data: Path, out: Path, recipe: Recipe, cache: Path, name: str, version: str) -> None:
        made.append((recipe.network, recipe.served_size, recipe.epochs))
        shutil.copytree(trained, out, dirs_exist_ok=True)

    monkeypatch.setattr(comparing, "train", short)
    monkeypatch.setattr(
        comparing,
        "trained",
        lambda path: (None, Recipe(network=NETWORKS[0], epochs=2, sizes=((64, 1.0),), hold_out=("both",))),
    )
    for _ in range(2):
        (row,) = comparing.compare(drawn, tmp_path, (NETWORKS[0],), (64,), 2, ("both",))
        assert (row["network"], row["size"]) == (NETWORKS[0], 64)
        assert 0.0 < row["cpu_ms_at_8"] < 1000
        assert row["held_out"] == ["both"]
        assert row["never_trained_on"]["photos"] == 10  # all of the source, whatever their split
        assert row["val"]["photos"] > 0
    assert made == [(NETWORKS[0], 72, 2)]
    with pytest.raises(ValueError, match="another comparison"):
        comparing.compare(drawn, tmp_path, (NETWORKS[0],), (64,), 3, ("both",))
