"""Latencies as counts in bins, four to each doubling: they add up over processes; percentiles are within 10 %."""

import math
from collections.abc import Mapping

LEAST_S = 1e-4
PER_DOUBLING = 4
HIGHEST = 80


def bin_of(seconds: float) -> int:
    """Return the bin of a time in seconds, 0 to HIGHEST."""
    if seconds <= LEAST_S:
        return 0
    return min(HIGHEST, 1 + int(PER_DOUBLING * math.log2(seconds / LEAST_S)))


def percentile(bins: Mapping[int, int], share: float = 0.95) -> float | None:
    """Return the seconds under which `share` of the counted times lie, None if there are none."""
    total = sum(bins.values())
    reached = 0
    for place in sorted(bins):
        reached += bins[place]
        if total and reached >= share * total:
            return float(LEAST_S * 2 ** ((place - 0.5) / PER_DOUBLING)) if place else LEAST_S
    return None
