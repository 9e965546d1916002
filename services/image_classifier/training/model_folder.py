"""Writing a model version: calibration, thresholds, priors and the graph, as the folder that serving loads."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.image_classifier.model_version import Manifest, ModelVersion
from services.image_classifier.training import calibrate
from services.image_classifier.training.measure import report
from services.image_classifier.training.network import Network, onnx_bytes
from services.image_classifier.training.photos import Photos

ERROR_BEYOND_THRESHOLDS: Final = 0.03
"""The share of wrong answers, on calibration photos, that is allowed among a species' sure ones."""


def write_model_version(
    folder: Path, name: str, version: str, network: Network, size: int, held: Photos, trained_on: dict[str, Any]
) -> Manifest:
    """Calibrate a network on held-out photos and write `model.onnx` and `manifest.json`; gives the manifest.

    The logits that are calibrated are those of the exported graph, through the code that serves it.
    """
    graph = onnx_bytes(network, size)
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
    for column, species in enumerate(("cat", "dog")):
        temperature, bias = calibrate.fit(logits[:, column], truths[:, column])
        chances = calibrate.apply(logits[:, column], temperature, bias)
        above, below = calibrate.thresholds(chances, truths[:, column], ERROR_BEYOND_THRESHOLDS)
        card["calibration"][species] = {"temperature": round(temperature, 4), "bias": round(bias, 4)}
        card["thresholds"][species] = {"present_above": above, "absent_below": below}
    model = _save(folder, card)
    labels, sources = [p.label for p in held.photos], [p.source for p in held.photos]
    figures = report(model.calibrated(all_logits(model, held.pixels)), labels, sources, model.thresholds)
    card["measured"] = {"calibration": _main_figures(figures)}
    return _save(folder, card).manifest


def record(folder: Path, measured: dict[str, Any]) -> None:
    """Write the main figures of an evaluation into the manifest of the model version that was evaluated."""
    path = folder / "manifest.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    card["measured"]["val"] = _main_figures(measured["photos"])
    if measured["never_trained_on"]["sources"]:
        figures = _main_figures(measured["never_trained_on"])
        card["measured"]["never_trained_on"] = {"sources": measured["never_trained_on"]["sources"], **figures}
    card["measured"]["made"] = {name: figures["accuracy"] for name, figures in measured["made"].items()}
    _save(folder, card)


def _main_figures(figures: dict[str, Any]) -> dict[str, Any]:
    by_label = {name: row["share"] for name, row in figures["accuracy_of_label"].items()}
    kept = {name: figures[name] for name in ("photos", "accuracy", "unsure", "accuracy_when_sure", "species")}
    return {**kept, "accuracy_of_label": by_label}


def all_logits(model: ModelVersion, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    """Run a model version on any number of pictures, uint8 (n, size, size, 3); gives float64 (n, 2)."""
    parts = [model.logits(np.asarray(pixels[start : start + 64])) for start in range(0, len(pixels), 64)]
    return np.concatenate(parts).astype(np.float64)


def _save(folder: Path, card: dict[str, Any]) -> ModelVersion:
    (folder / "manifest.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return ModelVersion.load(folder, threads=2)
