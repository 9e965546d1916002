"""Make the model version of a checkpoint: `python -m services.image_classifier.training.export CHECKPOINT DATA OUT`.

Nothing is trained: the graph, its calibration, thresholds and figures are made again from weights that are there.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from services.image_classifier.training import calibrate
from services.image_classifier.training.cache import cached
from services.image_classifier.training.evaluate import evaluate
from services.image_classifier.training.model_folder import record, write_model_version
from services.image_classifier.training.network import Network, trained
from services.image_classifier.training.photos import DRAWN, Photos, read
from services.image_classifier.training.recipe import Recipe


def calibration_photos(data: Path, cache: Path, recipe: Recipe) -> Photos:
    """Give the photos that calibrate a run: those set aside, but for sources held out and for drawn scenes.

    Drawn scenes are easier than photos, so probabilities and thresholds that suit them would promise too much.
    """
    held = cached(data, cache, recipe.served_size, frozenset({"calibration"}))
    return held.of(np.flatnonzero([photo.source not in (*recipe.hold_out, DRAWN) for photo in held.photos]))


def export(
    network: Network,
    recipe: Recipe,
    data: Path,
    out: Path,
    cache: Path,
    name: str,
    version: str,
    *,
    about: str = "",
    unsure_cost: float = calibrate.UNSURE_COST,
) -> None:
    """Write the model version of a network into `out`: calibrated on part of `data`, and measured on another."""
    held = calibration_photos(data, cache, recipe)
    used = Counter(p.source for p, _ in read(data) if p.split == "train" and p.source not in recipe.hold_out)
    trained_on = {
        "about": about,
        "photos": used.total(),
        "photos_of_source": dict(sorted(used.items())),
        "calibration_photos": len(held.photos),
        "held_out_sources": list(recipe.hold_out),
        "sources": sorted(used),
        "recipe": recipe.described(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_model_version(out, name, version, network, recipe.served_size, held, trained_on, unsure_cost)
    record(out, evaluate(data, out, everything=False))


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description="Make the model version of a checkpoint, without training.")
    parser.add_argument("checkpoint", type=Path, help="checkpoint.pt of a run")
    parser.add_argument("data", type=Path, help="the folder of photos that the run was given")
    parser.add_argument("out", type=Path, help="folder for the model version")
    parser.add_argument("--cache", type=Path, help="folder for decoded photos (default OUT/cache)")
    parser.add_argument("--name", default="huella")
    parser.add_argument("--version", default="1")
    parser.add_argument("--about", default="", help="what the photos are and on what terms, for the manifest")
    parser.add_argument("--unsure-cost", type=float, default=calibrate.UNSURE_COST, help=calibrate.__doc__)
    given = parser.parse_args()
    torch.set_num_threads(1)
    network, recipe = trained(given.checkpoint)
    cache, names = given.cache or given.out / "cache", (given.name, given.version)
    costs = {"unsure_cost": given.unsure_cost}
    export(network, recipe, given.data, given.out, cache, *names, about=given.about, **costs)


if __name__ == "__main__":
    main()
