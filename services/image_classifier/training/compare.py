"""Short equal runs of several networks and sizes: `python -m services.image_classifier.training.compare DATA OUT`.

Each run gets a folder below OUT and is gone on with where it stopped, as any run is; what differs is the network and
the size alone. Figures are of val, by the evaluation that every model version has.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from services.image_classifier.training.network import trained
from services.image_classifier.training.recipe import NETWORKS, Recipe
from services.image_classifier.training.speed import speed
from services.image_classifier.training.train import train


def compare(data: Path, out: Path, networks: tuple[str, ...], sizes: tuple[int, ...], epochs: int) -> list[Any]:
    """Train each network at each size and measure it; gives a row each, ordered as asked for."""
    rows = []
    for network in networks:
        for size in sizes:
            recipe = Recipe(network=network, epochs=epochs, sizes=((size, 1.0),))
            folder = out / f"{network}-{size}"
            if not (folder / "manifest.json").exists():
                train(data, folder, recipe, out / "cache", network.replace("_", "-"), "1")
            if trained(folder / "checkpoint.pt")[1] != recipe:
                raise ValueError(f"{folder} is of another comparison; give another OUT")
            measured = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["measured"]["val"]
            served = recipe.served_size
            cost = speed(network, (served,), (8,), 10)["cpu_ms"][str(served)]["8"]
            figures = {name: measured[name] for name in ("photos", "accuracy", "calibration_error")}
            rows.append({"network": network, "size": size, "epochs": epochs, "cpu_ms_at_8": cost, **figures})
    return rows


def main() -> None:
    """Read the command line, compare, and write the figures."""
    parser = argparse.ArgumentParser(description="Compare networks and sizes by short equal runs.")
    parser.add_argument("data", type=Path, help="folder of tars, or with a sub-folder a label")
    parser.add_argument("out", type=Path, help="folder for the runs")
    parser.add_argument("--figures", type=Path, help="file to write the figures to as well")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=(128, 160))
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = compare(given.data, given.out, tuple(given.networks), tuple(given.sizes), given.epochs)
    found = json.dumps(rows, indent=1)
    if given.figures:
        given.figures.write_text(found + "\n", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
