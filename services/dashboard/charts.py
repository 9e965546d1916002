"""Geometry of what is drawn as SVG, in a box 1000 wide and 100 high; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.dashboard.history import Day
from services.dashboard.shapes import Span

WIDTH = 1000.0
HEIGHT = 100.0


@dataclass(frozen=True, slots=True)
class Band:
    """A part of a timeline: what was shown from `from_` to `until`, drawn at `x`, `width` wide."""

    occupancy: str
    from_: datetime
    until: datetime
    probability: float
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a day: `kind` says which colour and hatch it has."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars and the value that their box's height stands for."""

    bars: list[Bar]
    top: float


def timeline(spans: Sequence[Span], since: datetime, until: datetime) -> list[Band]:
    """Return the bands of spans sorted by time, cut to [since, until]; nothing where nothing is known."""
    whole = (until - since).total_seconds()
    bands = []
    for index, span in enumerate(spans):
        following = spans[index + 1].from_ if index + 1 < len(spans) else until
        start, end = max(span.from_, since), min(span.until or following, until)
        if end > start:
            x = (start - since).total_seconds() / whole * WIDTH
            width = (end - start).total_seconds() / whole * WIDTH
            bands.append(Band(span.occupancy, start, end, span.probability, round(x, 2), round(max(width, 0.5), 2)))
    return bands


def shortest(spans: Sequence[Span], choices: Sequence[int], now: datetime) -> int:
    """Return the least of `choices`, hours before now in rising order, that shows all the spans, else the last."""
    oldest = min((span.from_ for span in spans), default=now)
    return next((hours for hours in choices if now - oldest <= timedelta(hours=hours)), choices[-1])


def stacked(days: Sequence[Day]) -> Bars:
    """Return a bar a day: the mean number of cats present, and of dogs on top."""
    top = _round_top(max([day.cats + day.dogs for day in days], default=0.0))
    bars = []
    for x, width, day in _columns(days):
        cats, dogs = _heights(top, day.cats, day.dogs)
        bars += [
            Bar("cat", x, round(HEIGHT - cats, 2), width, cats),
            Bar("dog", x, round(HEIGHT - cats - dogs, 2), width, dogs),
        ]
    return Bars([bar for bar in bars if bar.height], top)


def paired(days: Sequence[Day]) -> Bars:
    """Return two bars a day side by side: arrivals and departures."""
    top = _round_top(max([float(max(day.arrivals, day.departures)) for day in days], default=0.0))
    bars = []
    for x, width, day in _columns(days):
        arrivals, departures = _heights(top, day.arrivals, day.departures)
        half = round(width / 2 - 0.5, 2)
        bars += [
            Bar("arrived", x, round(HEIGHT - arrivals, 2), half, arrivals),
            Bar("left", round(x + width / 2, 2), round(HEIGHT - departures, 2), half, departures),
        ]
    return Bars([bar for bar in bars if bar.height], top)


def _round_top(value: float) -> float:
    return float(max(1, math.ceil(value)))


def _columns(days: Sequence[Day]) -> list[tuple[float, float, Day]]:
    step = WIDTH / max(len(days), 1)
    gap = min(step * 0.2, 12)
    return [(round(index * step + gap / 2, 2), round(step - gap, 2), day) for index, day in enumerate(days)]


def _heights(top: float, *values: float) -> list[float]:
    return [round(value / top * HEIGHT, 2) for value in values]
