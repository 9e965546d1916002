"""Turning logits into honest probabilities, and probabilities into thresholds, on photos used for nothing else."""

from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt

UNSURE_COST: Final = 0.35
"""What an unsure answer costs, in wrong ones: three of them are about as bad as one wrong one.

An unsure frame makes occupancy wait for the next, and a person look for some seconds; a wrong one can open a stay that
never was. At 0.5 a guess is as good as not answering; at 0.1 a quarter of the photos would be unsure."""
MOST_UNSURE: Final = 0.12
"""The share of a label's photos that may be unsure; the cost is raised until no label has more."""
LEAST_PHOTOS: Final = 50
"""Labels with fewer photos than this are not held to that share."""
Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


def weights_of(labels: list[str], sources: list[str]) -> Floats:
    """Give each photo a weight, so that a source counts as the square root of its photos, and labels as they are.

    A shelter's cameras are one more source, and not one of the two large ones: on sources that a run had never seen
    this makes probabilities more honest, at no cost on known ones (docs/adr/0012).
    """
    pairs = list(zip(labels, sources, strict=True))
    size = Counter(pairs)
    root = {pair: number**0.5 for pair, number in size.items()}
    of_label = {label: sum(root[pair] for pair in root if pair[0] == label) for label, _ in root}
    total = Counter(labels)
    return np.array([total[pair[0]] * root[pair] / (of_label[pair[0]] * size[pair]) for pair in pairs])


def fit(logits: Floats, truth: Truths, weights: Floats | None = None) -> tuple[float, float]:
    """Find temperature and bias of one species: sigmoid(logit / temperature + bias) with the least log loss.

    Platt scaling, by Newton's method on targets that are kept off 0 and 1 (Platt 1999, section 2.2). The bias takes up
    that animals are more frequent in training composites than in photos; `weights` (n,) says how much each photo
    counts. Raises ValueError if a species is in all photos or in none, or if its logit does not grow with its presence.
    """
    weight = np.ones_like(logits) if weights is None else weights
    present, absent = float(weight[truth].sum()), float(weight[~truth].sum())
    if not present or not absent:
        raise ValueError(f"{truth.sum()} photos with and {(~truth).sum()} without the species: both are needed")
    target = np.where(truth, (present + 1) / (present + 2), 1 / (absent + 2))
    centre, spread = float(logits.mean()), float(logits.std()) + 1e-9
    design = np.stack([(logits - centre) / spread, np.ones_like(logits)], axis=1)
    fitted = np.array([1.0, 0.0])
    for _ in range(100):
        chance = _sigmoid(design @ fitted)
        slope = design.T @ (weight * (chance - target))
        bend = design.T @ (design * (weight * chance * (1 - chance))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        fitted -= step * min(1.0, 1.0 / float(np.abs(step).max() + 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    if fitted[0] < 0.01 or spread < 0.01:
        raise ValueError("the logit says nothing about the species, or the opposite")
    return float(spread / fitted[0]), float(fitted[1] - fitted[0] * centre / spread)


def apply(logits: Floats, temperature: float, bias: float) -> Floats:
    """Give calibrated probabilities."""
    return _sigmoid(logits / temperature + bias)


def thresholds(unsure_cost: float) -> tuple[float, float]:
    """Give (present_above, absent_below) of a species for what an `unsure` costs, in wrong answers.

    Chow's rule (1970): answer only where the expected cost of a wrong answer is below that of none, which, with
    calibrated probabilities, is where the chance of being wrong is below the cost. Raises ValueError if the cost is
    not above 0 and at most one half: a guess costs half a wrong answer, so that no `unsure` can be worth more.
    """
    if not 0.0 < unsure_cost <= 0.5:
        raise ValueError(f"an unsure answer costs more than 0 and at most 0.5 of a wrong one, not {unsure_cost}")
    return round(1.0 - unsure_cost, 4), round(unsure_cost, 4)


def affordable(chances: Floats, labels: list[str], unsure_cost: float, most: float = MOST_UNSURE) -> float:
    """Give the cost, from `unsure_cost` up, at which at most the share `most` of each label is unsure.

    `chances` is (n, 2), calibrated. A label with fewer than LEAST_PHOTOS photos decides nothing.
    """
    names = np.array(labels)
    counted = [name for name in sorted(set(labels)) if (names == name).sum() >= LEAST_PHOTOS]
    for cost in np.arange(unsure_cost, 0.5, 0.01):
        present_above, absent_below = thresholds(float(cost))
        unsure = ((chances > absent_below) & (chances < present_above)).any(axis=1)
        if all(float(np.mean(unsure, where=names == name)) <= most for name in counted):
            return round(float(cost), 4)
    return 0.5


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0))), dtype=np.float64)
