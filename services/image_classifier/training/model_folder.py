"""Writing a model version: calibration, thresholds, priors and the graph, as the folder that serving loads."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from services.image_classifier.model_version import Manifest, ModelVersion
from services.image_classifier.training import calibrate
from services.image_classifier.training.measure import report
from services.image_classifier.training.network import Network, SecondLook, onnx_bytes
from services.image_classifier.training.photos import Photos


def write_model_version(
    folder: Path,
    name: str,
    version: str,
    network: Network,
    size: int,
    held: Photos,
    trained_on: dict[str, Any],
    unsure_cost: float,
) -> Manifest:
    """Calibrate a network on held-out photos and write `model.onnx` and `manifest.json`; gives the manifest.

    The logits that are calibrated are those of the exported graph, through the code that serves it. `unsure_cost` is
    what an unsure answer costs of a wrong one; it is raised if more than calibrate.MOST_UNSURE of a label were unsure.
    """
    graph = onnx_bytes(SecondLook(network, size), size)
    truths = held.truths
    neutral = {"temperature": 1.0, "bias": 0.0}
    undecided = {"present_above": 0.5, "absent_below": 0.5}
    card: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "version": version,
        "labels": ["cat", "dog"],
        "input_size": size,
        "preprocessing": "squash-rgb-uint8-nchw",
        "calibration": {"cat": neutral, "dog": neutral},
        "thresholds": {"cat": undecided, "dog": undecided},
        "priors": {"cat": float(truths[:, 0].mean()), "dog": float(truths[:, 1].mean())},
        "digest": hashlib.sha256(graph).hexdigest(),
        "trained_on": trained_on,
        "measured": {},
    }
    (folder / "model.onnx").write_bytes(graph)
    logits = all_logits(_save(folder, card), held.pixels)
    chances = np.empty_like(logits)
    labels, sources = [p.label for p in held.photos], [p.source for p in held.photos]
    weights = calibrate.weights_of(labels, sources)
    for column, species in enumerate(("cat", "dog")):
        fitted = calibrate.fit(logits[:, column], truths[:, column], weights)
        temperature, bias = (round(value, 4) for value in fitted)
        chances[:, column] = calibrate.apply(logits[:, column], temperature, bias)
        card["calibration"][species] = {"temperature": temperature, "bias": bias}
    cost = calibrate.affordable(chances, labels, unsure_cost)
    above, below = calibrate.thresholds(cost)
    card["thresholds"] = {species: {"present_above": above, "absent_below": below} for species in ("cat", "dog")}
    card["unsure_cost"] = cost
    model = _save(folder, card)
    figures = report(model.calibrated(all_logits(model, held.pixels)), labels, model.thresholds)
    card["measured"] = {"calibration": _main_figures(figures)}
    return _save(folder, card).manifest


def record(folder: Path, measured: dict[str, Any]) -> None:
    """Write the main figures of an evaluation into the manifest of the model version that was evaluated."""
    path = folder / "manifest.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    card["measured"]["val"] = _main_figures(measured["photos"])
    if "photos" in measured["never_trained_on"]:
        figures = _main_figures(measured["never_trained_on"])
        card["measured"]["never_trained_on"] = {"sources": measured["never_trained_on"]["sources"], **figures}
    card["measured"]["composites"] = {
        kind: {name: figures[name]["share"] for name in ("accuracy", "unsure", "accuracy_when_sure")}
        for kind, figures in measured["composites"].items()
    }
    card["measured"]["made"] = {name: figures["accuracy"]["share"] for name, figures in measured["made"].items()}
    _save(folder, card)


def _main_figures(figures: dict[str, Any]) -> dict[str, Any]:
    shares = ("accuracy", "cat_against_dog", "unsure", "accuracy_when_sure", "none_called_an_animal_above_0.9")
    return {
        "photos": figures["photos"],
        **{name: figures[name]["share"] for name in shares},
        "calibration_error": figures["calibration_error"]["value"],
        "species": {
            species: {
                "log_loss": row["log_loss"],
                "calibration_error": row["calibration_error"]["value"],
                "area_under_curve": row["area_under_curve"]["value"],
            }
            for species, row in figures["species"].items()
        },
        "accuracy_of_label": {name: row["recall_forced"]["share"] for name, row in figures["labels"].items()},
        "unsure_of_label": {name: row["unsure"]["share"] for name, row in figures["labels"].items()},
    }


def all_logits(model: ModelVersion, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    """Run a model version on any number of pictures, uint8 (n, size, size, 3); gives float64 (n, 2)."""
    parts = [model.logits(np.asarray(pixels[start : start + 64])) for start in range(0, len(pixels), 64)]
    return np.concatenate(parts).astype(np.float64)


def _save(folder: Path, card: dict[str, Any]) -> ModelVersion:
    (folder / "manifest.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return ModelVersion.load(folder, threads=2)
