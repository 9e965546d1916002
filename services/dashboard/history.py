"""History from stays: animals present a day, arrivals, departures, how long animals stay; pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from services.dashboard.shapes import Stay

LENGTHS = (
    ("under_1_hour", timedelta(hours=1)),
    ("under_1_day", timedelta(days=1)),
    ("under_3_days", timedelta(days=3)),
    ("under_1_week", timedelta(weeks=1)),
    ("under_4_weeks", timedelta(weeks=4)),
    ("longer", timedelta.max),
)


@dataclass(frozen=True, slots=True)
class Day:
    """A day: the mean number of cats and dogs present over its time so far, stays that began and that ended.

    On the day of the first stay that is known, the mean is over the time since.
    """

    day: date
    cats: float
    dogs: float
    arrivals: int
    departures: int


@dataclass(frozen=True, slots=True)
class Length:
    """How many stays that ended lasted as long as `name` says."""

    name: str
    cats: int
    dogs: int


def by_day(stays: Iterable[Stay], days: int, now: datetime, zone: tzinfo) -> list[Day]:
    """Return the last `days` days in `zone`, today the last."""
    known = list(stays)
    today = now.astimezone(zone).date()
    first = min((stay.from_ for stay in known), default=now)
    return [_day(known, today - timedelta(days=back), first, now, zone) for back in reversed(range(days))]


def _day(stays: Sequence[Stay], day: date, first: datetime, now: datetime, zone: tzinfo) -> Day:
    # Midnights of the zone: a day of a clock change has 23 or 25 hours.
    start = datetime.combine(day, time(), zone)
    end = datetime.combine(day + timedelta(days=1), time(), zone)
    so_far = min(end, max(now, start + timedelta(microseconds=1)))
    present = {"cat": 0.0, "dog": 0.0}
    for stay in stays:
        overlap = (min(stay.until or now, so_far) - max(stay.from_, start)).total_seconds()
        present[stay.species] += max(overlap, 0.0) * stay.number_of_animals
    seconds = (so_far - (first if start < first < so_far else start)).total_seconds()
    return Day(
        day,
        present["cat"] / seconds,
        present["dog"] / seconds,
        sum(start <= stay.from_ < end for stay in stays),
        sum(stay.until is not None and start <= stay.until < end for stay in stays),
    )


def lengths(stays: Iterable[Stay]) -> list[Length]:
    """Return the stays that ended by how long they lasted."""
    counts = {name: {"cat": 0, "dog": 0} for name, _ in LENGTHS}
    for stay in stays:
        if stay.until is not None:
            name = next(name for name, bound in LENGTHS if stay.until - stay.from_ < bound)
            counts[name][stay.species] += 1
    return [Length(name, count["cat"], count["dog"]) for name, count in counts.items()]


def median_length(stays: Iterable[Stay], species: str) -> timedelta | None:
    """Return the middle length of the species' stays that ended, or None if none did."""
    ended = sorted(stay.until - stay.from_ for stay in stays if stay.until is not None and stay.species == species)
    return ended[len(ended) // 2] if ended else None


def length_rows(stays: Sequence[Stay]) -> Iterator[list[object]]:
    """Return a table of the lengths of stays that ended, its head first, and their medians in hours last."""
    yield ["length", "cats", "dogs"]
    for length in lengths(stays):
        yield [length.name, length.cats, length.dogs]
    medians = [median_length(stays, species) for species in ("cat", "dog")]
    yield ["median_hours", *("" if one is None else round(one / timedelta(hours=1), 2) for one in medians)]


def day_rows(days: Iterable[Day]) -> Iterator[list[object]]:
    """Return a table of the days, its head first."""
    yield ["day", "cats_present_mean", "dogs_present_mean", "arrivals", "departures"]
    for day in days:
        yield [day.day.isoformat(), round(day.cats, 3), round(day.dogs, 3), day.arrivals, day.departures]
