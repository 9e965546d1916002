"""The demo knows the truth: how often the status was right, and how fast it followed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from deploy.local.story import OCCUPANCY, Chapter

# How long after a change the status may still show what was before. That an animal is gone takes longer to believe than
# that one came, since a camera often misses an animal that is there.
COMING_S = 20.0
LEAVING_S = 60.0
# What a space may show, besides the truth, of which no camera sees anything: that nobody knows.
UNKNOWING = ("stale", "unsure")


def verdict(shown: str, chapter: Chapter, elapsed_s: float, *, blind: bool) -> bool | None:
    """Return whether the status is right, or None while a change is too fresh to be judged.

    Of a space that is `blind` (no camera sees what is there) the truth is right, and so is that nobody knows; that it
    is empty is wrong if it is not; what it held before is not judged.
    """
    truth = OCCUPANCY[chapter.label]
    if blind:
        return True if shown == truth or shown in UNKNOWING else False if shown == "empty" else None
    if elapsed_s - chapter.since_s < (LEAVING_S if chapter.somebody_left else COMING_S):
        return None
    return shown == truth


@dataclass
class Tally:
    """How often the status was right when it was looked at, and how long each change took to be shown (seconds)."""

    right: int = 0
    judged: int = 0
    arrivals_s: list[float] = field(default_factory=list)
    departures_s: list[float] = field(default_factory=list)
    missed: int = 0
    pending: dict[str, Chapter] = field(default_factory=dict)
    chapters: dict[str, Chapter] = field(default_factory=dict)

    def judge(self, verdicts: Mapping[str, bool | None]) -> None:
        """Count one look at the status."""
        known = [right for right in verdicts.values() if right is not None]
        self.judged += len(known)
        self.right += sum(known)

    def follow(self, shown: Mapping[str, str], chapters: Mapping[str, Chapter], elapsed_s: float) -> None:
        """Note which spaces have changed, and which changes the status shows by now."""
        for space_id, chapter in chapters.items():
            before = self.chapters.get(space_id)
            self.chapters[space_id] = chapter
            if before is not None and before.since_s != chapter.since_s:
                self.missed += self.pending.pop(space_id, None) is not None
                self.pending[space_id] = chapter
            waited = self.pending.get(space_id)
            if waited and shown.get(space_id) == OCCUPANCY[waited.label]:
                del self.pending[space_id]
                (self.departures_s if waited.somebody_left else self.arrivals_s).append(elapsed_s - waited.since_s)

    @property
    def share(self) -> float | None:
        return self.right / self.judged if self.judged else None

    def report(self) -> dict[str, Any]:
        """Return the figures for a machine: shares from 0 to 1, and seconds."""
        return {
            "right": self.share,
            "judged": self.judged,
            "arrivals_s": self.arrivals_s,
            "departures_s": self.departures_s,
            "missed": self.missed,
        }

    def __str__(self) -> str:
        if self.share is None:
            return f"not judged yet (that starts {COMING_S:.0f} s after a change)"
        parts = [f"right {self.share:.0%} of the time"]
        for lags, what in ((self.arrivals_s, "arrivals"), (self.departures_s, "departures")):
            if lags:
                parts.append(f"{len(lags)} {what} shown after {median(lags):.0f} s")
        if self.missed:
            parts.append(f"{self.missed} changes not shown before the next")
        return ", ".join(parts)
