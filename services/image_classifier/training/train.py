"""Train a model version: `python -m services.image_classifier.training.train DATA OUT`.

OUT gets the model version (model.onnx, manifest.json), and beside it what a later run resumes from: checkpoint.pt, and
curve.jsonl with a line an epoch.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from services.image_classifier.model_version import read_manifest
from services.image_classifier.training.augment import Pool
from services.image_classifier.training.cache import CACHE_SIZE, cached
from services.image_classifier.training.export import calibration_photos, export
from services.image_classifier.training.measure import forced_accuracy
from services.image_classifier.training.network import logits, trained
from services.image_classifier.training.recipe import NETWORKS, Recipe, repeated, sizes
from services.image_classifier.training.run import Batches, Run
from services.image_classifier.training.unfolding import GRAPH

UNFOLD = 400
"""Photos with which the weights of a model version are unfolded."""


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    cache: Path,
    name: str,
    version: str,
    *,
    about: str = "",
    start_from: Path | None = None,
    teacher: Path | None = None,
    workers: int = 1,
    threads: int = 1,
) -> None:
    """Train on `data`, or go on where an earlier run into `out` stopped, and write the model version into `out`.

    `about` says in the manifest what the photos are and on what terms; `start_from` is the checkpoint of another
    run, or the folder of a model version, whose weights this one begins with; `teacher` a checkpoint whose
    probabilities it learns beside the labels.
    Raises ValueError if either of them learnt from a source that this run is to hold out.

    On a machine with other work, one thread and one worker that prepares batches are faster than two threads, which
    wait for each other in every layer (measured: 405 against 150 photos a second).
    """
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    pool = Pool.of(cached(data, cache, CACHE_SIZE, frozenset({"train"})), recipe.hold_out, recipe.repeated)
    held = calibration_photos(data, cache, recipe)
    _refuse_what_was_seen(recipe, (start_from, teacher))
    recipe = replace(recipe, start_from=_digest(start_from), teacher=_digest(teacher))
    run = Run(recipe, len(pool.chosen) // recipe.batch, None if teacher is None else trained(teacher))
    checkpoint, curve = out / "checkpoint.pt", out / "curve.jsonl"
    if checkpoint.exists():
        run.resume(checkpoint)
        _forget(curve, run.epoch)
    elif start_from is not None:
        seen = np.unique(pool.chosen)
        some = np.random.default_rng(recipe.seed).choice(seen, size=min(UNFOLD, len(seen)), replace=False)
        run.begin_with(start_from, pool.photos.pixels[np.sort(some)])
    while run.epoch < recipe.epochs:
        line = _epoch(run, pool, workers)
        line["calibration_accuracy"] = round(forced_accuracy(logits(run.average, held.pixels), held.truths), 4)
        with curve.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        run.save(checkpoint)
        print(json.dumps(line), file=sys.stderr, flush=True)
    export(run.average, recipe, data, out, cache, name, version, about=about)


def _epoch(run: Run, pool: Pool, workers: int) -> dict[str, Any]:
    torch.manual_seed(run.recipe.seed + 1_000 * (run.epoch + 1))  # dropout, so that a resumed run is the same run
    started, losses = time.monotonic(), []
    batches = Batches(pool, run.recipe, run.epoch)
    loader = DataLoader(batches, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None)
    with tqdm(total=len(batches), desc=f"epoch {run.epoch + 1}/{run.recipe.epochs}", mininterval=5.0) as bar:
        for images, truths in loader:
            losses.append(run.learn(images, truths))
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
            bar.update()
    run.epoch += 1
    seconds = time.monotonic() - started
    return {
        "epoch": run.epoch,
        "size": run.recipe.size(run.epoch - 1),
        "strength": round(run.recipe.strength(run.epoch - 1), 2),
        "loss": round(float(np.mean(losses)), 4),
        "rate": float(run.schedule.get_last_lr()[0]),
        "seconds": round(seconds, 1),
        "photos_a_second": round(len(batches) * run.recipe.batch / seconds, 1),
    }


def _forget(curve: Path, epochs: int) -> None:
    """Drop the lines of epochs that are not in the checkpoint: the process ended between the line and the file."""
    lines = curve.read_text(encoding="utf-8").splitlines(keepends=True) if curve.exists() else []
    curve.write_text("".join(lines[:epochs]), encoding="utf-8")


def _refuse_what_was_seen(recipe: Recipe, sources: Iterable[Path | None]) -> None:
    """Refuse weights and teachers that know what the run is never to see: its figures would flatter it."""
    for source in sources:
        known = set(recipe.hold_out) - (set(recipe.hold_out) if source is None else _left_out(source))
        if known:
            raise ValueError(f"{source} learnt from {', '.join(sorted(known))}, which this run is to hold out")


def _left_out(source: Path) -> set[str]:
    """Give the sources that a checkpoint's run, or a model version's, was never trained on."""
    if source.is_dir():
        names = read_manifest(source).trained_on["held_out_sources"]
        return {str(name) for name in names} if isinstance(names, list) else set()
    return set(trained(source)[1].hold_out)


def _digest(source: Path | None) -> str:
    if source is None:
        return ""
    return hashlib.sha256((source / GRAPH if source.is_dir() else source).read_bytes()).hexdigest()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train a model version on labelled photos.")
    parser.add_argument("data", type=Path, help="folder of tars, or with a sub-folder a label")
    parser.add_argument("out", type=Path, help="folder for the model version and its checkpoint")
    parser.add_argument("--cache", type=Path, help="folder for decoded photos (default OUT/cache)")
    parser.add_argument("--name", default="huella")
    parser.add_argument("--version", default="1")
    parser.add_argument("--about", default="", help="what the photos are and on what terms, for the manifest")
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    begin = "checkpoint.pt of another run, or folder of a model version, to begin with its weights"
    parser.add_argument("--start-from", type=Path, help=begin)
    parser.add_argument("--teacher", type=Path, help="checkpoint.pt of another run, to learn its probabilities too")
    parser.add_argument("--hold-out", default="", help="sources never to train on, separated by commas")
    often = "how often sources are seen an epoch, such as ka:3,drawn:4 (see Recipe)"
    parser.add_argument("--repeated", type=repeated, default=(), help=often)
    parser.add_argument("--sizes", type=sizes, default=Recipe().sizes, help="such as 96:0.6,128:1 (see Recipe)")
    parser.add_argument("--threads", type=int, default=1, help="for the network; more only where nothing else runs")
    numbers = [field for field in fields(Recipe) if isinstance(field.default, int | float)]
    for field in numbers:
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    given = parser.parse_args()
    hold_out = tuple(source for source in given.hold_out.split(",") if source)
    chosen = {field.name: getattr(given, field.name) for field in numbers}
    recipe = Recipe(**chosen, network=given.network, sizes=given.sizes, hold_out=hold_out, repeated=given.repeated)
    train(
        given.data,
        given.out,
        recipe,
        given.cache or given.out / "cache",
        given.name,
        given.version,
        about=given.about,
        start_from=given.start_from,
        teacher=given.teacher,
        threads=given.threads,
    )


if __name__ == "__main__":
    main()
