"""Short equal runs of several networks and sizes: `python -m services.image_classifier.training.compare DATA OUT`.

Each run gets a folder below OUT and is gone on with where it stopped, as any run is; what differs is the network and
the size alone. A row is measured as every model version is: through the graph, with its second looks, on val and on the
sources that all the runs leave out.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from services.image_classifier.model_version import ModelVersion
from services.image_classifier.training.evaluate import Measured, measured
from services.image_classifier.training.measure import report
from services.image_classifier.training.network import trained
from services.image_classifier.training.photos import read
from services.image_classifier.training.recipe import NETWORKS, Recipe
from services.image_classifier.training.speed import speed
from services.image_classifier.training.train import train

_FIGURES: Final = ("photos", "accuracy", "cat_against_dog", "calibration_error")


def compare(
    data: Path,
    out: Path,
    networks: tuple[str, ...],
    sizes: tuple[int, ...],
    epochs: int,
    hold_out: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """Train each network at each size and measure it; gives a row each, ordered as asked for.

    Raises ValueError if a folder below `out` is of another comparison.
    """
    rows = []
    for network in networks:
        for size in sizes:
            recipe = Recipe(network=network, epochs=epochs, sizes=((size, 1.0),), hold_out=hold_out)
            folder = out / f"{network}-{size}"
            if not (folder / "manifest.json").exists():
                train(data, folder, recipe, out / "cache", network.replace("_", "-"), "1")
            if trained(folder / "checkpoint.pt")[1] != recipe:
                raise ValueError(f"{folder} is of another comparison; give another OUT")
            served = recipe.served_size
            cost = speed(network, (served,), (8,), 10)["cpu_ms"][str(served)]["8"]
            row = {"network": network, "size": size, "epochs": epochs, "cpu_ms_at_8": cost, "held_out": list(hold_out)}
            rows.append(row | _figures(data, folder, hold_out))
    return rows


def _figures(data: Path, folder: Path, hold_out: tuple[str, ...]) -> dict[str, Any]:
    """Measure a model version on val, and on every photo of the sources that it never saw."""
    model = ModelVersion.load(folder, threads=1)
    photos = tqdm(read(data), desc=folder.name, mininterval=2.0)
    rows, _ = measured(model, (row for row in photos if row[0].split == "val" or row[0].source in hold_out))

    def of(some: list[Measured]) -> dict[str, Any]:
        found = report(np.array([row.chances for row in some]), [row.photo.label for row in some], model.thresholds)
        return {name: found[name] for name in _FIGURES}

    seen = [row for row in rows if row.photo.source not in hold_out]
    unseen = [row for row in rows if row.photo.source in hold_out]
    return {"val": of(seen), "never_trained_on": of(unseen) if unseen else None}


def main() -> None:
    """Read the command line, compare, and write the figures."""
    parser = argparse.ArgumentParser(description="Compare networks and sizes by short equal runs.")
    parser.add_argument("data", type=Path, help="folder of tars, or with a sub-folder a label")
    parser.add_argument("out", type=Path, help="folder for the runs")
    parser.add_argument("--figures", type=Path, help="file to write the figures to as well")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=(128, 160))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--hold-out", nargs="+", default=(), help="sources that no run learns from")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = compare(
        given.data, given.out, tuple(given.networks), tuple(given.sizes), given.epochs, tuple(given.hold_out)
    )
    found = json.dumps(rows, indent=1)
    if given.figures:
        given.figures.write_text(found + "\n", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
