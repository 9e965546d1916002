"""The demo's story: which spaces there are, who is in each of them at any time, and how their cameras fare.

A shelter's time is counted in minutes from START_HOUR on; the demo's in seconds, `speed` times as fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from deploy.local.scenes import LABELS

START_HOUR = 17.0
SPEED = 100.0
EVENT_EVERY_MIN = 40.0
POSE_S = 24.0  # for how long animals keep still
OCCUPANCY = {"cat": "cat", "dog": "dog", "both": "both", "none": "empty"}
NEXT = {"cat": ("none", "both"), "dog": ("none", "both"), "both": ("cat", "dog"), "none": ("cat", "dog")}
# A name for each coat of drawing/coats.py.
NAMES = {
    "cat": ("Luna", "Canela", "Milo", "Fígaro", "Mota", "Yuki", "Niebla", "Nube", "Pixel"),
    "dog": ("Sol", "Rex", "Toby", "Lola", "Domino", "Cacao", "Bimba", "Bruno", "Nala"),
}


class Condition(StrEnum):
    """How a camera is: it sees, it is covered, it repeats its last photo, or its clock is an hour ahead."""

    WELL = "well"
    DARK = "dark"
    FROZEN = "frozen"
    AHEAD = "ahead"


@dataclass(frozen=True)
class Space:
    """A space of the demo, who is in it at the beginning, and its cameras: at its front, and perhaps at its back."""

    id: str
    name: str
    purpose: str
    first: str
    cameras: tuple[str, ...]


SPACES = (
    Space("k1", "Kennel 1", "adoption", "dog", ("k1-front",)),
    Space("k2", "Kennel 2", "adoption", "cat", ("k2-front",)),
    Space("k3", "Kennel 3", "adoption", "none", ("k3-front",)),
    Space("k4", "Kennel 4", "adoption", "dog", ("k4-front", "k4-back")),
    Space("k5", "Kennel 5", "adoption", "dog", ("k5-front",)),
    Space("cattery", "Cattery", "adoption", "cat", ("cattery-front",)),
    Space("room", "Living room", "adoption", "both", ("room-front", "room-back")),
    Space("quarantine", "Quarantine", "quarantine", "none", ("quarantine-front",)),
)

# How the first hours go, in minutes after the start: who is there from then on.
SCRIPT = (
    (40.0, "quarantine", "cat"),
    (62.0, "k1", "none"),
    (112.0, "room", "dog"),
    (135.0, "k2", "both"),
    (165.0, "k3", "dog"),
    (195.0, "k1", "cat"),
    (235.0, "k4", "none"),
)
VISITS = (("k3", 20.0, 52.0), ("k1", 45.0, 62.0), ("k4", 215.0, 235.0))
DAY_MIN = 24 * 60.0
# Every day, from one minute after the start to another.
FAULTS = (
    ("k5-front", 75.0, 225.0, Condition.DARK),
    ("room-back", 90.0, 300.0, Condition.FROZEN),
    ("cattery-front", 0.0, DAY_MIN, Condition.AHEAD),
)
TOLD = {
    Condition.DARK: "the camera {camera} goes dark",
    Condition.FROZEN: "the camera {camera} freezes: the same photo again and again",
    Condition.AHEAD: "the clock of the camera {camera} is an hour ahead",
}


@dataclass(frozen=True)
class Chapter:
    """Who is in a space from `since_s` seconds after the start on.

    `seed` says which animals they are, and `somebody_left` that fewer species are there than before.
    """

    since_s: float
    label: str
    seed: int
    somebody_left: bool = False


@dataclass(frozen=True)
class Event:
    """What happens in the shelter at a time; `adopted` is the species of an animal that finds a home."""

    at_s: float
    space_id: str
    text: str
    adopted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """What there is to see for a camera: who is there, perhaps with a visitor, at which hour (0 to 24).

    `pose` is the seed of how everybody holds themselves, `moment` of what differs between photos of the same.
    """

    chapter: Chapter
    visitor: bool
    hour: float
    pose: int
    moment: int


class Story:
    """Arrivals and departures: SCRIPT first, then one every EVENT_EVERY_MIN somewhere; the same for the same seed.

    Only `labels` occur (those of which there are photos). Raises ValueError if there are none.
    """

    def __init__(
        self,
        spaces: Sequence[Space] = SPACES,
        labels: Sequence[str] = LABELS,
        seed: int = 0,
        speed: float = SPEED,
    ) -> None:
        if not labels:
            raise ValueError("a story needs photos of at least one label")
        self.spaces = tuple(spaces)
        self.speed = speed
        self._labels = tuple(label for label in LABELS if label in labels)
        self._rng = np.random.default_rng(seed)
        self._coats = self._rng.permutation(len(NAMES["cat"]))
        self._animals = 0
        self._chapters: dict[str, list[Chapter]] = {}
        self._events: list[Event] = []
        for index, space in enumerate(self.spaces):
            first = space.first if space.first in self._labels else self._labels[index % len(self._labels)]
            self._chapters[space.id] = [Chapter(0, first, self._seed())]
        for minute, space_id, label in SCRIPT:
            if space_id in self._chapters and label in self._labels:
                self._change(space_id, label, minute)
        self._round: list[str] = []
        self._told_until_min = EVENT_EVERY_MIN * (SCRIPT[-1][0] // EVENT_EVERY_MIN + 1)

    def _seed(self) -> int:
        """Return the next animal's seed: nine in a row have different coats, and so different names."""
        number, self._animals = self._animals, self._animals + 1
        return int(self._coats[number % len(self._coats)]) + len(self._coats) * number

    def _seconds(self, minutes: float) -> float:
        return minutes * 60 / self.speed

    def now(self, space_id: str, elapsed_s: float) -> Chapter:
        """Return who is in the space `elapsed_s` seconds after the start."""
        self._tell_until(elapsed_s)
        return next(chapter for chapter in reversed(self._chapters[space_id]) if chapter.since_s <= elapsed_s)

    def visited(self, space_id: str, elapsed_s: float) -> bool:
        """Return whether a visitor is in the space."""
        minute = elapsed_s * self.speed / 60
        return any(visited == space_id and since <= minute < until for visited, since, until in VISITS)

    def condition(self, camera_id: str, elapsed_s: float) -> Condition:
        """Return how a camera is."""
        minute = elapsed_s * self.speed / 60 % DAY_MIN
        found = [what for camera, since, until, what in FAULTS if camera == camera_id and since <= minute < until]
        return found[0] if found else Condition.WELL

    def blind(self, space: Space, elapsed_s: float) -> bool:
        """Return whether no camera of a space sees what is there now."""
        unseeing = (Condition.DARK, Condition.FROZEN)
        return all(self.condition(camera, elapsed_s) in unseeing for camera in space.cameras)

    def hour(self, elapsed_s: float) -> float:
        """Return the shelter's time of day, 0 to 24."""
        return (START_HOUR + elapsed_s * self.speed / 3600) % 24

    def shot(self, camera_id: str, elapsed_s: float, moment: int) -> Shot:
        """Return what a camera has before it. The light moves on in steps, so that drawings can be used again."""
        index, space = next((n, space) for n, space in enumerate(self.spaces) if camera_id in space.cameras)
        chapter = self.now(space.id, elapsed_s)
        step = max(0.5, POSE_S * self.speed / 3600)
        # Spaces take turns at moving, so that not everything has to be drawn anew at one moment.
        turn = index / len(self.spaces)
        hour = round(self.hour(elapsed_s) / step + turn) * step % 24
        pose = chapter.seed + int(elapsed_s / POSE_S + turn)
        return Shot(chapter, self.visited(space.id, elapsed_s), hour, pose, moment)

    def happened(self, since_s: float, until_s: float) -> list[Event]:
        """Return what happened later than `since_s` and not later than `until_s`, in order."""
        self._tell_until(until_s)
        days = range(int(until_s * self.speed / 60 / DAY_MIN) + 1)
        events = [*self._events, *self._visits(), *(event for day in days for event in self._faults(day))]
        return sorted((e for e in events if since_s < e.at_s <= until_s), key=lambda event: event.at_s)

    def _visits(self) -> list[Event]:
        known = self._chapters.keys()
        return [
            Event(self._seconds(since), space_id, "a visitor comes in")
            for space_id, since, _ in VISITS
            if space_id in known
        ]

    def _faults(self, day: int) -> list[Event]:
        spaces = {camera: space.id for space in self.spaces for camera in space.cameras}
        events = []
        for camera, since, until, what in FAULTS:
            if camera in spaces and (day == 0 or what is not Condition.AHEAD):
                at_s = self._seconds(since + day * DAY_MIN)
                events.append(Event(at_s, spaces[camera], TOLD[what].format(camera=camera)))
                if what is not Condition.AHEAD:
                    over_s = self._seconds(until + day * DAY_MIN)
                    events.append(Event(over_s, spaces[camera], f"the camera {camera} works again"))
        return events

    def _tell_until(self, elapsed_s: float) -> None:
        while self._seconds(self._told_until_min) <= elapsed_s:
            self._tell(self._told_until_min)
            self._told_until_min += EVENT_EVERY_MIN

    def _tell(self, minute: float) -> None:
        """Add the next event, in a space whose turn it is: each has one before any has its next."""
        if not self._round:
            self._round = [self.spaces[index].id for index in self._rng.permutation(len(self.spaces))]
        space_id = self._round.pop()
        before = self._chapters[space_id][-1].label
        possible = [label for label in NEXT[before] if label in self._labels]
        possible = possible or [label for label in self._labels if label != before]
        if possible:
            self._change(space_id, possible[self._rng.integers(len(possible))], minute)

    def _change(self, space_id: str, label: str, minute: float) -> None:
        """Add a chapter and its event; who stays keeps its seed."""
        before = self._chapters[space_id][-1]
        were, are = species_of(before.label), species_of(label)
        left, came = were - are, are - were
        if not left and not came:
            return
        seed = before.seed if were & are else self._seed()
        at_s = self._seconds(minute)
        self._chapters[space_id].append(Chapter(at_s, label, seed, somebody_left=bool(left)))
        purpose = next(space.purpose for space in self.spaces if space.id == space_id)
        goes = "is adopted" if purpose == "adoption" else "moves out"
        told = [f"{named(species, before.seed)} {goes}" for species in sorted(left)]
        told += [f"{named(species, seed)} arrives" for species in sorted(came)]
        adopted = tuple(sorted(left)) if purpose == "adoption" else ()
        self._events.append(Event(at_s, space_id, ", ".join(told), adopted))


def species_of(label: str) -> set[str]:
    """Return the species that a label says are there."""
    return {species for species in ("cat", "dog") if label in (species, "both")}


def named(species: str, seed: int) -> str:
    """Return an animal's name with what it is: "Luna the cat"."""
    return f"{NAMES[species][seed % len(NAMES[species])]} the {species}"


def inhabitants(chapter: Chapter, visitor: bool) -> str:
    """Return who is in a space, by name."""
    there = [named(species, chapter.seed) for species in sorted(species_of(chapter.label))]
    return " and ".join([*there, *(["a visitor"] if visitor else [])]) or "nobody"
