"""Measure a model version: `python -m services.image_classifier.training.evaluate DATA MODEL`, a JSON report on stdout.

Needs no torch: the graph runs as it does in service, on photos decoded as they are in service.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from services.image_classifier.decode import Picture, UndecodableImage, decode
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import ModelVersion
from services.image_classifier.training.augment import Pool, cut_out, paste, side_by_side
from services.image_classifier.training.measure import report
from services.image_classifier.training.photos import Photo, Photos, read

MADE: Final = 400
"""How many pictures of each made kind are measured."""


def evaluate(data: Path, folder: Path, *, everything: bool) -> dict[str, Any]:
    """Measure a model version on a folder of photos: on `everything` there, or on its val split.

    Further on every photo of the sources that the model was never trained on, and on pictures made from the measured
    photos: a cat and a dog photo side by side (there are hardly any photos of both), and one animal pasted small into
    an empty scene. Raises ValueError if there is nothing to measure.
    """
    model = ModelVersion.load(folder, threads=2)
    held_out = model.manifest.trained_on.get("held_out_sources", [])
    unseen = frozenset(held_out if isinstance(held_out, list) else [])
    kept: list[tuple[Photo, Picture]] = []
    refused = []
    for photo, content in tqdm(read(data), desc="decode", mininterval=2.0):
        if everything or photo.split == "val" or photo.source in unseen:
            try:
                kept.append((photo, decode(content, model.manifest.input_size)))
            except UndecodableImage as refusal:
                refused.append({"photo": photo.name, "reason": refusal.reason})
    shown = [row for row in kept if everything or row[0].split == "val"]
    if not shown:
        raise ValueError(f"{data} holds no photo to measure on")
    elsewhere = [row for row in kept if row[0].source in unseen]
    answer: dict[str, Any] = {"model": model.manifest.name, "version": model.manifest.version}
    answer["photos"] = _measured(model, shown)
    answer["never_trained_on"] = {"sources": sorted(unseen), **(_measured(model, elsewhere) if elsewhere else {})}
    answer["made"] = _made(model, shown)
    answer["quality"] = Counter(str(picture.quality) for _, picture in shown)
    answer["refused"] = refused
    return answer


def _measured(model: ModelVersion, rows: list[tuple[Photo, Picture]]) -> dict[str, Any]:
    # Quality is measured by itself: here the model must answer for every photo.
    return _report(
        model,
        np.stack([picture.pixels for _, picture in rows]),
        [p.label for p, _ in rows],
        [p.source for p, _ in rows],
    )


def _made(model: ModelVersion, rows: list[tuple[Photo, Picture]]) -> dict[str, Any]:
    photos = Photos([photo for photo, _ in rows], np.stack([picture.pixels for _, picture in rows]))
    of = {name: [i for i, photo in enumerate(photos.photos) if photo.label == name] for name in ("cat", "dog")}
    pool = Pool.of(photos)
    random, size, made = np.random.default_rng(1), model.manifest.input_size, {}
    if of["cat"] and of["dog"]:
        pairs = [(int(random.choice(of["cat"])), int(random.choice(of["dog"]))) for _ in range(MADE)]
        pixels = np.stack([side_by_side(random, photos, pair, size, 0.1, 0.85)[0] for pair in pairs])
        made["cat_beside_dog"] = _report(model, pixels, ["both"] * MADE, ["made"] * MADE)
    for share in (0.25, 0.4, 0.6) if pool.animals and pool.scenes else ():
        pictures, labels = [], []
        for _ in range(MADE):
            photo, box = pool.animals[int(random.integers(len(pool.animals)))]
            patch, species = cut_out(photos, photo, box)
            scene = photos.pixels[int(random.choice(pool.scenes))].copy()
            pictures.append(paste(random, scene, patch, share))
            labels.append(species)
        made[f"animal_{share:.0%}_of_an_empty_scene"] = _report(model, np.stack(pictures), labels, ["made"] * MADE)
    return made


def _report(model: ModelVersion, pixels: Any, labels: list[str], sources: list[str]) -> dict[str, Any]:
    pictures = [Picture(one, Quality.OK) for one in pixels]
    chances = [(p.probabilities.cat, p.probabilities.dog) for p in model.predict(pictures)]
    return report(np.array(chances), labels, sources, model.thresholds)


def main() -> None:
    """Read the command line and print the report."""
    parser = argparse.ArgumentParser(description="Measure a model version on labelled photos.")
    parser.add_argument("data", type=Path, help="folder of tars, or with a sub-folder a label")
    parser.add_argument("model", type=Path, help="folder with model.onnx and manifest.json")
    given = parser.parse_args()
    # Tars carry a split of their own; a plain folder is taken to be photos that the model has not seen.
    everything = not any(given.data.glob("*.tar"))
    print(json.dumps(evaluate(given.data, given.model, everything=everything), indent=2))


if __name__ == "__main__":
    main()
