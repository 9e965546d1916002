"""Turning logits into honest probabilities, and probabilities into thresholds, on photos used for nothing else."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


def fit(logits: Floats, truth: Truths) -> tuple[float, float]:
    """Find temperature and bias of one species: sigmoid(logit / temperature + bias) with the least log loss.

    Platt scaling, by Newton's method on targets that are kept off 0 and 1 (Platt 1999, section 2.2). The bias takes up
    that animals are more frequent in training composites than in photos. Raises ValueError if a species is in all
    photos or in none, or if its logit does not grow with its presence.
    """
    present, absent = int(truth.sum()), int((~truth).sum())
    if not present or not absent:
        raise ValueError(f"{present} photos with and {absent} without the species: both are needed")
    target = np.where(truth, (present + 1) / (present + 2), 1 / (absent + 2))
    centre, spread = float(logits.mean()), float(logits.std()) + 1e-9
    design = np.stack([(logits - centre) / spread, np.ones_like(logits)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(100):
        chance = _sigmoid(design @ weights)
        slope = design.T @ (chance - target)
        bend = design.T @ (design * (chance * (1 - chance))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        weights -= step * min(1.0, 1.0 / float(np.abs(step).max() + 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    if weights[0] < 0.01:
        raise ValueError("the logit says nothing about the species, or the opposite")
    return float(spread / weights[0]), float(weights[1] - weights[0] * centre / spread)


def apply(logits: Floats, temperature: float, bias: float) -> Floats:
    """Give calibrated probabilities."""
    return _sigmoid(logits / temperature + bias)


def thresholds(probability: Floats, truth: Truths, error: float) -> tuple[float, float]:
    """Choose (present_above, absent_below) of one species, so that at most the share `error` beyond each is wrong.

    Each is as near to one half as that allows; present_above is at most 0.99 and absent_below at least 0.01.
    """
    above = _nearest(probability, ~truth, error)
    below = _nearest(1.0 - probability, truth, error)
    return above, round(1.0 - below, 2)


def _nearest(certainty: Floats, wrong: Truths, error: float) -> float:
    for limit in np.arange(0.5, 0.99, 0.01):
        beyond = certainty >= limit
        if beyond.any() and wrong[beyond].mean() <= error:
            return round(float(limit), 2)
    return 0.99


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0))), dtype=np.float64)
