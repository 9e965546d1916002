"""What the demo shows: a live table in a terminal, plain lines elsewhere."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deploy.local.story import OCCUPANCY, Chapter

# How long after a change the status may still show what was before. That an animal is gone takes longer to believe than
# that one came, since a camera often misses an animal that is there.
COMING_S = 30.0
LEAVING_S = 90.0
COLOURS = {"cat": "yellow", "dog": "cyan", "both": "magenta", "empty": "green", "unsure": "red", "stale": "dim"}
LAST_CHANGES = 5


@dataclass(frozen=True)
class Row:
    """One space on the screen; `right` is None while a change is too fresh to be judged."""

    space_id: str
    name: str
    shown: str
    probability: float | None
    since: str
    truth: str
    right: bool | None


@dataclass
class Tally:
    """How often the status was right, of the moments later than COMING_S or LEAVING_S after a change."""

    right: int = 0
    judged: int = 0

    def add(self, rows: list[Row]) -> None:
        judged = [row for row in rows if row.right is not None]
        self.judged += len(judged)
        self.right += sum(row.right is True for row in judged)

    def __str__(self) -> str:
        if not self.judged:
            return f"not judged yet (that starts {COMING_S:.0f} s after a change)"
        return (
            f"right {self.right / self.judged:.0%} of the time (looked at from {COMING_S:.0f} s after an arrival "
            f"and {LEAVING_S:.0f} s after a departure on)"
        )


@dataclass
class Changes:
    """The last changes of what is shown, as lines."""

    shown: dict[str, str] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_CHANGES))

    def note(self, rows: list[Row], now: datetime) -> list[str]:
        """Return a line for each space that shows something else than the last time."""
        new = []
        for row in rows:
            before = self.shown.get(row.space_id)
            if before != row.shown:
                self.shown[row.space_id] = row.shown
                change = f"{before} → {row.shown}" if before else row.shown
                sure = "" if row.probability is None else f" ({row.probability:.0%})"
                new.append(f"{now:%H:%M:%S} {row.name}: {change}{sure}; truth: {row.truth}")
        self.lines.extend(new)
        return new


def rows(status: Mapping[str, Any], chapters: Mapping[str, Chapter], elapsed_s: float, now: datetime) -> list[Row]:
    """Return the demo's spaces as the status has them, beside the truth."""
    found = {space["id"]: space for space in status["spaces"]}
    result = []
    for space_id, chapter in chapters.items():
        space = found.get(space_id)
        if space is None:
            continue
        truth = OCCUPANCY[chapter.label]
        judged = elapsed_s - chapter.since_s >= (LEAVING_S if chapter.somebody_left else COMING_S)
        result.append(
            Row(
                space_id=space_id,
                name=space["name"],
                shown=space["occupancy"],
                probability=None if space["occupancy"] == "stale" else space["probability"],
                since=ago(space["since"], now),
                truth=truth,
                right=space["occupancy"] == truth if judged else None,
            )
        )
    return result


def ago(moment: str | None, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, in a few characters; an empty string for none."""
    if moment is None:
        return ""
    seconds = max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    return (
        f"{seconds // 60} min {seconds % 60:02d} s"
        if seconds < 3600
        else f"{seconds // 3600} h {seconds % 3600 // 60} min"
    )


def totals_line(totals: Mapping[str, Any]) -> str:
    up = totals["up_for_adoption"]
    spaces = ", ".join(f"{totals[name]} {name}" for name in ("cat", "dog", "both", "empty", "unsure", "stale"))
    return f"Spaces: {spaces}. Up for adoption: {up['cats']} cats, {up['dogs']} dogs. Free: {totals['spaces_free']}"


def audit_line(audit: Mapping[str, int]) -> str:
    whole = audit["counted"] + audit["rejected"] + audit["in_flight"]
    sign = "=" if whole == audit["accepted"] else "≠"
    return (
        f"Frames: {audit['accepted']} accepted {sign} {audit['counted']} counted + {audit['rejected']} rejected"
        f" + {audit['in_flight']} in flight"
    )


def table(title: str, shown: list[Row], lines: list[str], changes: Changes) -> RenderableType:
    """Return the live screen."""
    grid = Table(title=title, title_style="bold", title_justify="left", expand=False)
    for heading in ("Space", "Shown", "Probability", "Since", "Truth", ""):
        grid.add_column(heading, justify="right" if heading in ("Probability", "Since") else "left")
    marks = {True: Text("✓", "green"), False: Text("✗", "red"), None: Text("…", "dim")}
    for row in shown:
        grid.add_row(
            row.name,
            Text(row.shown, COLOURS.get(row.shown, "")),
            "" if row.probability is None else f"{row.probability:.0%}",
            row.since,
            row.truth,
            marks[row.right],
        )
    recent = [Text(f"  {line}", "dim") for line in reversed(changes.lines)]
    return Group(grid, *(Text(line) for line in lines), Text("Last changes", "bold"), *recent)


def plain(shown: list[Row], lines: list[str]) -> str:
    """Return the same as one line a space, then the totals."""
    width = max((len(row.name) for row in shown), default=0)
    spaces = [
        f"  {row.name:<{width}}  {row.shown:<6} "
        f"{'' if row.probability is None else f'{row.probability:.0%}':>4}  truth: {row.truth}"
        f"{'' if row.right is not False else '   <- wrong'}"
        for row in shown
    ]
    return "\n".join([f"{datetime.now(UTC):%H:%M:%S}", *spaces, *(f"  {line}" for line in lines)])
