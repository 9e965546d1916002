"""What may be concluded from counts, also when one looks at them every second.

Sources: Robbins (1970) and Howard, Ramdas, McAuliffe and Sekhon (2021) for confidence sequences by mixtures; Johari,
Koomen, Pekelis and Walsh (2017) for the mixture test of a difference, Lai (1976) for the one whose variance is
estimated from few groups; McCullagh and Nelder (1989, 4.5) for overdispersion; Horvitz and Thompson (1952) and
Hajek (1971) for weighting by inverse propensity; Russo and others (2018) for Thompson sampling.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

PRIOR_SPREAD = 0.1
"""Standard deviation of the differences between versions that the mixture test is most sensitive to."""
Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Difference:
    """candidate - champion of two shares, its interval that holds at every look, and the p-value that does."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Value:
    """An estimated mean with its 95 % confidence interval, from `size` decisions."""

    mean: float
    low: float
    high: float
    size: int


def bounds(successes: int, trials: int, alpha: float) -> tuple[float, float]:
    """Return an interval that holds the true share at all times at once with chance 1 - alpha.

    Those p whose likelihood is less than 1/alpha times below the mean likelihood under a uniform prior (a beta-binomial
    mixture martingale with Ville's inequality; Howard and others, 2021).
    """
    if trials == 0:
        return 0.0, 1.0
    failures = trials - successes
    mixture = math.lgamma(successes + 1) + math.lgamma(failures + 1) - math.lgamma(trials + 2)
    least = mixture + math.log(alpha)

    def inside(p: float) -> bool:
        likelihood = (successes * math.log(p) if successes else 0.0) + (failures * math.log1p(-p) if failures else 0.0)
        return likelihood >= least

    seen = min(max(successes / trials, 1e-12), 1 - 1e-12)
    low = 0.0 if successes == 0 else _edge(1e-12, seen, inside_above=True, inside=inside)
    high = 1.0 if failures == 0 else _edge(seen, 1 - 1e-12, inside_above=False, inside=inside)
    return low, high


def _edge(low: float, high: float, *, inside_above: bool, inside: Callable[[float], bool]) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        if inside(middle) is inside_above:
            high = middle
        else:
            low = middle
    return (low + high) / 2


@dataclass(frozen=True, slots=True)
class Clusters:
    """How trials of one group resemble each other: the variance is `factor` (1 or more) times that of single trials,
    which is known from `freedom` groups more than there are shares; infinite where each trial was drawn by itself."""

    factor: float = 1.0
    freedom: float = math.inf


DRAWN_ALONE = Clusters()


def clusters(a: Sequence[tuple[int, int]], b: Sequence[tuple[int, int]]) -> Clusters:
    """Estimate that of two shares from their groups (successes, trials), by Pearson's statistic."""
    squares, groups = 0.0, 0
    for side in (a, b):
        share = _smooth(sum(wins for wins, _ in side), sum(trials for _, trials in side))
        squares += sum((wins - share * trials) ** 2 / (trials * share * (1 - share)) for wins, trials in side)
        groups += len(side)
    freedom = groups - 2
    return Clusters(max(1.0, squares / freedom), freedom) if freedom > 0 else Clusters(1.0, 0)


def difference(
    a: tuple[int, int], b: tuple[int, int], alpha: float, alike: Clusters = DRAWN_ALONE
) -> Difference | None:
    """Compare two shares (successes, trials), b - a; None while either has no trial.

    The mixture sequential probability ratio test for a difference of means, normal approximation with a variance
    that is smoothed by one success and one failure (Johari and others, 2017, section 5); with `alike`, that of
    Student's t. Without any freedom nothing can be told.
    """
    if not a[1] or not b[1]:
        return None
    value = b[0] / b[1] - a[0] / a[1]
    if not alike.freedom:
        return Difference(value, -1.0, 1.0, 1.0)
    variance = alike.factor * sum(_smooth(*share) * (1 - _smooth(*share)) / share[1] for share in (a, b))
    gain = PRIOR_SPREAD**2 / variance
    half = math.sqrt(variance * _square_with(-math.log(alpha), gain, alike.freedom))
    ratio = _log_mixture(value**2 / variance, gain, alike.freedom)
    return Difference(value, max(-1.0, value - half), min(1.0, value + half), min(1.0, math.exp(-max(ratio, 0.0))))


def _log_mixture(square: float, gain: float, freedom: float) -> float:
    """Return the logarithm of the mixture's likelihood ratio for a squared statistic of t."""
    least = -math.log1p(gain) / 2
    if math.isinf(freedom):
        return least + square * gain / (2 * (1 + gain))
    return least + (freedom + 1) / 2 * (math.log1p(square / freedom) - math.log1p(square / freedom / (1 + gain)))


def _square_with(ratio: float, gain: float, freedom: float) -> float:
    """Return the squared statistic at which `_log_mixture` is `ratio`; infinite if it never is."""
    needed = ratio + math.log1p(gain) / 2
    if math.isinf(freedom):
        return 2 * (1 + gain) / gain * needed
    factor = math.exp(2 * needed / (freedom + 1))
    return freedom * (factor - 1) / (1 - factor / (1 + gain)) if factor < 1 + gain else math.inf


def _smooth(successes: int, trials: int) -> float:
    return (successes + 1) / (trials + 2)


def chances_of_best(arms: Sequence[tuple[int, int]]) -> list[float]:
    """Return the chance that each arm (successes, trials) is the best one, under Beta(1, 1) priors; they add up to 1.

    By numerical integration of pdf_i(x) * product of cdf_j(x) over x.
    """
    shapes = [(wins + 1.0, trials - wins + 1.0) for wins, trials in arms]
    spread = [math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1))) for a, b in shapes]
    low = max(0.0, min(a / (a + b) - 8 * s for (a, b), s in zip(shapes, spread, strict=True)))
    high = min(1.0, max(a / (a + b) + 8 * s for (a, b), s in zip(shapes, spread, strict=True)))
    steps = min(2000, max(200, int(5 * (high - low) / min(spread))))
    width = (high - low) / steps
    grid = [low + (n + 0.5) * width for n in range(steps)]
    densities = []
    for a, b in shapes:
        scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        densities.append([math.exp(scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)) for x in grid])
    cumulative = []
    for density in densities:
        reached, sums = 0.0, []
        for height in density:
            sums.append(reached + height * width / 2)
            reached += height * width
        cumulative.append(sums)
    chances = []
    for i, density in enumerate(densities):
        total = 0.0
        for n, height in enumerate(density):
            total += height * math.prod(cumulative[j][n] for j in range(len(arms)) if j != i)
        chances.append(total * width)
    whole = sum(chances)
    return [chance / whole for chance in chances]


def propensities(arms: Sequence[tuple[int, int]], floor: float) -> list[float]:
    """Return the share of frames of each arm: Thompson sampling draws an arm as often as it is the best, mixed with a
    `floor` (0 to 1 / arms) so that every arm is still looked at and every propensity is bounded away from 0."""
    rest = 1.0 - floor * len(arms)
    return [floor + rest * chance for chance in chances_of_best(arms)]


def off_policy(rewards: Iterable[tuple[bool, float, float]]) -> Value:
    """Say what another policy would have earned, from a log of (chosen by both, propensity above 0, reward 0 to 1).

    The mean of the rewards of those decisions that both would take, each with the weight 1 / propensity (the
    self-normalized form of Horvitz and Thompson's, by Hajek, 1971, which stays between 0 and 1), with the 95 % interval
    of its linearized variance; one success and one failure of the usual weight are added for that, as in `_smooth`.
    """
    log = [(1.0 / propensity, reward) if chosen else (0.0, reward) for chosen, propensity, reward in rewards]
    whole = sum(weight for weight, _ in log)
    if whole == 0:
        return Value(0.0, 0.0, 1.0, len(log))
    mean = sum(weight * reward for weight, reward in log) / whole
    usual = sum(weight**2 for weight, _ in log) / whole
    smoothed = [*log, (usual, 1.0), (usual, 0.0)]
    whole += 2 * usual
    middle = sum(weight * reward for weight, reward in smoothed) / whole
    half = Z95 * math.sqrt(sum((weight * (reward - middle)) ** 2 for weight, reward in smoothed)) / whole
    return Value(mean, max(0.0, middle - half), min(1.0, middle + half), len(log))


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    """Return the population stability index of two histograms over the same bins, each smoothed by half a count.

    sum of (q - p) ln(q / p); under 0.1 is no change, over 0.25 a large one (Siddiqi, 2006).
    """
    p, q = ([(count + 0.5) / (sum(counts) + 0.5 * len(counts)) for count in counts] for counts in (before, after))
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
