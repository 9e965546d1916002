"""How good probabilities are: figures with 95 % confidence intervals, for manifests and reports.

Shares have Wilson's interval, which stays honest for few photos and for shares of 0 and 1; all other figures that of
a seeded bootstrap over photos.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.image_classifier.domain import FORCED, Label, Probabilities, Quality, Thresholds, label

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]
SPECIES: Final = ("cat", "dog")
RESAMPLES: Final = 400
BINS: Final = 15
CONFIDENT: Final = 0.9
_Z: Final = 1.959964  # two-sided 95 % of the normal distribution


def forced_accuracy(logits: Floats, truths: Truths) -> float:
    """Give the share of photos whose cat and dog are both right when each logit is cut at 0; both are (n, 2)."""
    return float(((logits > 0) == truths).all(axis=1).mean())


def share(hits: Sequence[bool] | Truths) -> dict[str, Any]:
    """Give the share of hits with Wilson's interval (1927), and of how many it is; no share of nothing."""
    of, hit = len(hits), int(np.sum(hits))
    if not of:
        return {"share": None, "low": None, "high": None, "of": 0}
    p, z = hit / of, _Z**2 / of
    middle, half = (p + z / 2) / (1 + z), _Z * np.sqrt(p * (1 - p) / of + z / (4 * of)) / (1 + z)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return {"share": _rounded(p), "low": _rounded(low), "high": _rounded(high), "of": of}


def report(chances: Floats, labels: Sequence[str], thresholds: Thresholds, seed: int = 1) -> dict[str, Any]:
    """Measure calibrated probabilities (n, 2) against labels: forced to decide, and with the right to be unsure.

    Raises ValueError if there is nothing to measure.
    """
    if not len(labels):
        raise ValueError("there is no photo to measure on")
    truth = np.array(labels)
    forced = np.array([str(label(Probabilities(*row), FORCED, Quality.OK)) for row in chances.tolist()])
    free = np.array([str(label(Probabilities(*row), thresholds, Quality.OK)) for row in chances.tolist()])
    sure, one = free != Label.UNSURE, (truth == "cat") | (truth == "dog")
    present = {species: (truth == species) | (truth == "both") for species in SPECIES}
    draws = np.random.default_rng(seed).multinomial(len(truth), np.full(len(truth), 1 / len(truth)), RESAMPLES)
    answer: dict[str, Any] = {
        "photos": len(truth),
        "accuracy": share(forced == truth),
        "cat_against_dog": share(((chances[:, 0] > chances[:, 1]) == (truth == "cat"))[one]),
        "unsure": share(~sure),
        "accuracy_when_sure": share((free == truth)[sure]),
        "none_called_an_animal_above_0.9": share((chances.max(axis=1) > CONFIDENT)[truth == "none"]),
        "labels": {name: _label(name, truth, forced, free) for name in sorted(set(labels))},
        "species": {
            species: _species(chances[:, column], present[species], draws) for column, species in enumerate(SPECIES)
        },
    }
    together = np.concatenate([chances[:, 0], chances[:, 1]])
    there = np.concatenate([present["cat"], present["dog"]])
    answer["calibration_error"] = _calibration(together, there, np.concatenate([draws, draws], axis=1))
    answer["risk_at_coverage"] = risk_at_coverage(chances, forced == truth)
    answer["confusion"] = {name: dict(sorted(Counter(free[truth == name].tolist()).items())) for name in set(labels)}
    answer["confusion"] = dict(sorted(answer["confusion"].items()))
    return answer


def served(
    chances: Floats, qualities: Sequence[Quality], labels: Sequence[str], thresholds: Thresholds
) -> dict[str, Any]:
    """Tell what the service would answer of photos that may not be fit to be judged, and how often it loses an animal.

    `chances` are calibrated probabilities (n, 2).
    """
    rows = zip(chances.tolist(), qualities, strict=True)
    said = np.array([str(label(Probabilities(*row), thresholds, quality)) for row, quality in rows])
    truth, undecided = np.array(labels), said == Label.UNSURE
    return {
        "photos": len(truth),
        "right": share(said == truth),
        "wrong": share((said != truth) & ~undecided),
        "undecided": share(undecided),
        "animals_called_none": share((said == Label.NONE)[truth != Label.NONE]),
    }


def _label(name: str, truth: Any, forced: Any, free: Any) -> dict[str, Any]:
    """Give a label's figures at the shipped thresholds, where an unsure answer counts as not found."""
    return {
        "photos": int((truth == name).sum()),
        "recall": share((free == name)[truth == name]),
        "recall_forced": share((forced == name)[truth == name]),
        "precision": share((truth == name)[free == name]),
        "unsure": share((free == Label.UNSURE)[truth == name]),
    }


def _species(chance: Floats, truth: Truths, draws: Any) -> dict[str, Any]:
    return {
        "log_loss": _rounded(-np.log(np.clip(np.where(truth, chance, 1 - chance), 1e-9, 1.0)).mean()),
        "calibration_error": _calibration(chance, truth, draws),
        "area_under_curve": _area(chance, truth, draws),
        "reliability": reliability(chance, truth),
    }


def risk_at_coverage(chances: Floats, right: Truths) -> list[dict[str, Any]]:
    """Give the share of wrong answers among the most certain photos, for each share of photos that is answered.

    A photo's certainty is the chance that both of its answers are right (Chow 1970); coverage goes from 0.5 to 1.
    """
    order = np.argsort(-np.maximum(chances, 1 - chances).prod(axis=1), kind="stable")
    wrong = ~right[order]
    found = []
    for coverage in np.arange(50, 101, 2) / 100:
        kept = wrong[: max(1, round(len(wrong) * coverage))]
        found.append({"coverage": _rounded(coverage), "risk": share(kept)})
    return found


def reliability(chance: Floats, truth: Truths, bins: int = BINS) -> list[dict[str, Any]]:
    """Give what was stated and what was found in bins of equal width; empty bins are left out."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    return [
        {"stated": _rounded(chance[place == b].mean()), "found": share(truth[place == b])}
        for b in range(bins)
        if (place == b).any()
    ]


def calibration_error(chance: Floats, truth: Truths, bins: int = BINS) -> float:
    """Give the expected calibration error: mean distance of stated chance and found share, over bins of equal width."""
    return float(_distances(chance, truth, np.ones((1, len(chance))), bins)[0])


def _distances(chance: Floats, truth: Truths, weights: Any, bins: int = BINS) -> Floats:
    """Give the calibration error under each row of weights (rows, n)."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    gaps = np.add.reduceat(weights[:, order] * (chance - truth)[order], starts, axis=1)
    return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))


def _calibration(chance: Floats, truth: Truths, draws: Any) -> dict[str, Any]:
    return _with_interval(calibration_error(chance, truth), _distances(chance, truth, draws))


def _area(chance: Floats, truth: Truths, draws: Any) -> dict[str, Any]:
    """Give the chance that a photo with the species scores above one without (Mann and Whitney), ties counted half."""
    if truth.all() or not truth.any():
        return {"value": None, "low": None, "high": None}
    order = np.argsort(chance, kind="stable")
    starts = np.flatnonzero(np.diff(chance[order], prepend=-1.0))

    def areas(weights: Any) -> Floats:
        present = np.add.reduceat(weights[:, order] * truth[order], starts, axis=1)
        absent = np.add.reduceat(weights[:, order] * ~truth[order], starts, axis=1)
        under = np.cumsum(absent, axis=1) - absent / 2
        pairs = present.sum(axis=1) * absent.sum(axis=1)
        return np.asarray((present * under).sum(axis=1)[pairs > 0] / pairs[pairs > 0])

    return _with_interval(float(areas(np.ones((1, len(chance))))[0]), areas(draws))


def _with_interval(value: float, resampled: Floats) -> dict[str, Any]:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"value": _rounded(value), "low": _rounded(low), "high": _rounded(high)}


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
