"""Train a model version: `python -m services.image_classifier.training.train DATA OUT`.

OUT gets the model version (model.onnx, manifest.json), and beside it what a later run resumes from: checkpoint.pt, and
curve.jsonl with a line an epoch.
"""

# torch is not installed where the service is type-checked, so its classes and decorators have no types there.
# mypy: disable-error-code="misc, untyped-decorator"

import argparse
import hashlib
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from services.image_classifier.training.augment import Pool, example
from services.image_classifier.training.cache import CACHE_SIZE, cached
from services.image_classifier.training.evaluate import evaluate
from services.image_classifier.training.measure import forced_accuracy
from services.image_classifier.training.model_folder import record, write_model_version
from services.image_classifier.training.network import Network

SIZE: Final = 128


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a run learns; a run is resumed only under the same recipe."""

    epochs: int = 15
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.04
    warm_up: float = 0.06
    smoothing: float = 0.02
    ema: float = 0.999
    sizes: tuple[tuple[int, float], ...] = ((96, 0.6), (SIZE, 1.0))
    """Pixels a side, and the share of the epochs after which the next size begins: smaller pictures teach the same
    shapes in half the time, and the last epochs see what serving sees. 64 pixels are too few: loss stayed at 0.52."""
    strongest: float = 0.7
    """How strong augmentation becomes, from 0 to 1 ..."""
    strongest_from: float = 0.5
    """... and the share of the epochs over which it grows from nothing: at full strength from the start, the network
    of this size had learnt nothing after an epoch."""
    start_from: str = ""
    """SHA-256 of the checkpoint whose weights the run begins with; none if it begins from scratch."""
    seed: int = 1
    hold_out: tuple[str, ...] = ()
    """Sources that are never trained on, so that they can tell how the model does elsewhere."""

    @property
    def served_size(self) -> int:
        """Pixels a side of the last epochs, which is what the model version will be given in service."""
        return self.sizes[-1][0]

    def size(self, epoch: int) -> int:
        """Give the pixels a side of an epoch's pictures; epochs count from 0."""
        return next(size for size, until in self.sizes if epoch < until * self.epochs)

    def strength(self, epoch: int) -> float:
        """Give how strong an epoch's augmentation is, from 0 to 1."""
        grown = epoch / (self.strongest_from * self.epochs) if self.strongest_from else 1.0
        return self.strongest * min(1.0, grown)


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """The batches of one epoch; each depends on the seed, the epoch and its number alone, whoever makes it."""

    def __init__(self, pool: Pool, recipe: Recipe, epoch: int) -> None:
        self.pool, self.recipe, self.epoch = pool, recipe, epoch
        self.order = np.random.default_rng([recipe.seed, epoch]).permutation(pool.chosen)

    def __len__(self) -> int:
        return len(self.order) // self.recipe.batch

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng([self.recipe.seed, self.epoch, number])
        size, strength, batch = self.recipe.size(self.epoch), self.recipe.strength(self.epoch), self.recipe.batch
        pixels = np.empty((batch, size, size, 3), dtype=np.uint8)
        truths = np.empty((batch, 2), dtype=np.float32)
        for row, index in enumerate(self.order[number * batch : (number + 1) * batch]):
            pixels[row], truths[row] = example(random, self.pool, int(index), size, strength)
        # NHWC memory seen as NCHW is what torch calls channels_last: the fastest here, and no copy.
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(truths)


class Run:
    """A training run: the network, its moving average (which is what gets exported), the optimiser, the epochs done."""

    def __init__(self, recipe: Recipe, steps_an_epoch: int) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.network = Network().to(memory_format=torch.channels_last)
        self.average = Network().to(memory_format=torch.channels_last)
        self.average.load_state_dict(self.network.state_dict())
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.rate, foreach=True)
        steps = max(1, recipe.epochs * steps_an_epoch)
        warm = max(1, int(steps * recipe.warm_up))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser,
            lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))) + 1e-3),
        )
        self.epoch = 0
        self.step = 0

    def learn(self, images: Tensor, truths: Tensor) -> float:
        """Take one step; gives the loss."""
        self.network.train()
        targets = truths * (1 - self.recipe.smoothing) + self.recipe.smoothing / 2
        loss = nn.functional.binary_cross_entropy_with_logits(self.network(images), targets)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        self._follow()
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for mine, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(new, 1 - keep)
            else:
                mine.copy_(new)

    def save(self, path: Path) -> None:
        """Write the checkpoint; a run that dies while writing leaves the previous one."""
        state = {
            "recipe": _described(self.recipe),
            "epoch": self.epoch,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def begin_with(self, path: Path) -> None:
        """Take the weights of another run's checkpoint: its moving average."""
        weights = torch.load(path, weights_only=True)["average"]
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint. Raises ValueError if it was made under another recipe."""
        state = torch.load(path, weights_only=True)
        if state["recipe"] != _described(self.recipe):
            raise ValueError(f"{path} is of a run with another recipe; give another OUT, or the recipe of that run")
        self.epoch, self.step = state["epoch"], state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


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
    workers: int = 1,
    threads: int = 1,
) -> None:
    """Train on `data`, or go on where an earlier run into `out` stopped, and write the model version into `out`.

    `about` says in the manifest what the photos are and on what terms; `start_from` is the checkpoint of another
    run, whose weights this one begins with.
    On a machine with other work, one thread and one worker that prepares batches are faster than two threads, which
    wait for each other in every layer (measured: 405 against 150 photos a second).
    """
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    pool = Pool.of(cached(data, cache, CACHE_SIZE, frozenset({"train"})), without=recipe.hold_out)
    held = cached(data, cache, recipe.served_size, frozenset({"calibration"}))
    held = held.of(np.flatnonzero([photo.source not in recipe.hold_out for photo in held.photos]))
    if start_from is not None:
        recipe = replace(recipe, start_from=hashlib.sha256(start_from.read_bytes()).hexdigest())
    run = Run(recipe, len(pool.chosen) // recipe.batch)
    checkpoint, curve = out / "checkpoint.pt", out / "curve.jsonl"
    if checkpoint.exists():
        run.resume(checkpoint)
    elif start_from is not None:
        run.begin_with(start_from)
    while run.epoch < recipe.epochs:
        line = _epoch(run, pool, workers)
        line["calibration_accuracy"] = round(forced_accuracy(logits(run.average, held.pixels), held.truths), 4)
        with curve.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        run.save(checkpoint)
        print(json.dumps(line), file=sys.stderr, flush=True)
    trained_on = {
        "about": about,
        "photos": len(pool.chosen),
        "calibration_photos": len(held.photos),
        "held_out_sources": list(recipe.hold_out),
        "sources": sorted({pool.photos.photos[i].source for i in pool.chosen}),
        "recipe": _described(recipe),
    }
    write_model_version(out, name, version, run.average, recipe.served_size, held, trained_on)
    record(out, evaluate(data, out, everything=False))


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


@torch.inference_mode()
def logits(network: Network, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Run a network on uint8 (n, size, size, 3); gives (n, 2)."""
    network.eval()
    parts = [
        network(torch.from_numpy(np.array(pixels[start : start + 128])).permute(0, 3, 1, 2)).double().numpy()
        for start in range(0, len(pixels), 128)
    ]
    return np.concatenate(parts)


def _described(recipe: Recipe) -> dict[str, Any]:
    return {**asdict(recipe), "hold_out": list(recipe.hold_out), "sizes": [list(part) for part in recipe.sizes]}


def _sizes(text: str) -> tuple[tuple[int, float], ...]:
    parts = (part.partition(":") for part in text.split(","))
    return tuple((int(size), float(until)) for size, _, until in parts)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train a model version on labelled photos.")
    parser.add_argument("data", type=Path, help="folder of tars, or with a sub-folder a label")
    parser.add_argument("out", type=Path, help="folder for the model version and its checkpoint")
    parser.add_argument("--cache", type=Path, help="folder for decoded photos (default OUT/cache)")
    parser.add_argument("--name", default="huella")
    parser.add_argument("--version", default="1")
    parser.add_argument("--about", default="", help="what the photos are and on what terms, for the manifest")
    parser.add_argument("--start-from", type=Path, help="checkpoint.pt of another run, to begin with its weights")
    parser.add_argument("--hold-out", default="", help="sources never to train on, separated by commas")
    parser.add_argument("--sizes", type=_sizes, default=Recipe().sizes, help="such as 96:0.6,128:1 (see Recipe)")
    numbers = [field for field in fields(Recipe) if isinstance(field.default, int | float)]
    for field in numbers:
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    given = parser.parse_args()
    hold_out = tuple(source for source in given.hold_out.split(",") if source)
    chosen = {field.name: getattr(given, field.name) for field in numbers}
    recipe = Recipe(**chosen, sizes=given.sizes, hold_out=hold_out)
    cache = given.cache or given.out / "cache"
    names = {"name": given.name, "version": given.version, "about": given.about}
    train(given.data, given.out, recipe, cache, **names, start_from=given.start_from)


if __name__ == "__main__":
    main()
