"""How good probabilities are: figures that a manifest and a report carry."""

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from services.image_classifier.domain import FORCED, Label, Probabilities, Quality, Thresholds, label

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


def forced_accuracy(logits: Floats, truths: Truths) -> float:
    """Give the share of photos whose cat and dog are both right when each logit is cut at 0; both are (n, 2)."""
    return float(((logits > 0) == truths).all(axis=1).mean())


def report(chances: Floats, labels: list[str], sources: list[str], thresholds: Thresholds) -> dict[str, Any]:
    """Measure calibrated probabilities (n, 2) against labels: forced to decide, and with the right to be unsure."""
    forced = [label(Probabilities(cat, dog), FORCED, Quality.OK) for cat, dog in chances.tolist()]
    free = [label(Probabilities(cat, dog), thresholds, Quality.OK) for cat, dog in chances.tolist()]
    right = np.array([said == truth for said, truth in zip(forced, labels, strict=True)])
    decided = np.array([said is not Label.UNSURE for said in free])
    right_free = np.array([said == truth for said, truth in zip(free, labels, strict=True)])
    truths = {
        "cat": np.array([name in ("cat", "both") for name in labels]),
        "dog": np.array([name in ("dog", "both") for name in labels]),
    }
    return {
        "photos": len(labels),
        "accuracy": _rounded(right.mean()),
        "accuracy_of_label": _by(labels, right),
        "accuracy_of_source": _by([f"{s}/{name}" for s, name in zip(sources, labels, strict=True)], right),
        "confusion": _confusion(labels, [str(said) for said in forced]),
        "unsure": _rounded((~decided).mean()),
        "unsure_of_label": _by(labels, ~decided),
        "accuracy_when_sure": _rounded(right_free[decided].mean()) if decided.any() else None,
        "species": {
            species: {
                "log_loss": _rounded(_log_loss(chances[:, column], truths[species])),
                "calibration_error": _rounded(calibration_error(chances[:, column], truths[species])),
                "area_under_curve": _rounded(_area(chances[:, column], truths[species])),
            }
            for column, species in enumerate(("cat", "dog"))
        },
    }


def calibration_error(chance: Floats, truth: Truths, bins: int = 15) -> float:
    """Give the expected calibration error: mean distance of stated chance and found share, over bins of equal width."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    return float(
        sum(
            abs(chance[place == b].mean() - truth[place == b].mean()) * (place == b).mean()
            for b in range(bins)
            if (place == b).any()
        )
    )


def _log_loss(chance: Floats, truth: Truths) -> float:
    return float(-np.log(np.clip(np.where(truth, chance, 1 - chance), 1e-9, 1.0)).mean())


def _area(chance: Floats, truth: Truths) -> float | None:
    """Give the chance that a photo with the species scores above one without (Mann and Whitney), ties counted half."""
    present, absent = np.sort(chance[truth]), np.sort(chance[~truth])
    if not len(present) or not len(absent):
        return None
    under = np.searchsorted(absent, present, "left") + np.searchsorted(absent, present, "right")
    return float(under.mean() / (2 * len(absent)))


def _by(names: list[str], hit: Truths) -> dict[str, dict[str, float | int | None]]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for name, value in zip(names, hit.tolist(), strict=True):
        groups[name].append(value)
    return {name: {"photos": len(group), "share": _rounded(np.mean(group))} for name, group in sorted(groups.items())}


def _confusion(truth: list[str], said: list[str]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one, other in zip(truth, said, strict=True):
        table[one][other] += 1
    return {one: dict(sorted(row.items())) for one, row in sorted(table.items())}


def _rounded(value: float | np.floating[Any] | None) -> float | None:
    return None if value is None else round(float(value), 4)
