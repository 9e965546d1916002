"""What the demo shows: a live table in a terminal, plain lines elsewhere."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

COLOURS = {"cat": "yellow", "dog": "cyan", "both": "magenta", "empty": "green", "unsure": "red", "stale": "dim"}
LAST_LINES = 5
MARKS = {True: Text("✓", "green"), False: Text("✗", "red"), None: Text("…", "dim")}


@dataclass(frozen=True)
class Row:
    """One space on the screen: who is there in truth, what Huella shows, and what is wrong with its cameras.

    `right` is None while a change is too fresh to be judged.
    """

    space_id: str
    name: str
    there: str
    cameras: str
    shown: str
    probability: float | None
    since: str
    right: bool | None


@dataclass
class Changes:
    """The last changes of what is shown, as lines."""

    shown: dict[str, str] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def note(self, rows: Sequence[Row], clock: str) -> list[str]:
        """Return a line for each space that shows something else than the last time."""
        new = []
        for row in rows:
            before = self.shown.get(row.space_id)
            if before != row.shown:
                self.shown[row.space_id] = row.shown
                if before is None and row.shown == "stale":
                    continue  # of a space that is new nobody knows anything yet: that is no news
                change = f"{before} → {row.shown}" if before else row.shown
                sure = "" if row.probability is None else f" ({row.probability:.0%})"
                new.append(f"{clock} {row.name}: {change}{sure}")
        self.lines.extend(new)
        return new


@dataclass(frozen=True)
class Picture:
    """All that a look at the system gives: the shelter's clock, its spaces, what happened, and lines on the whole."""

    clock: str
    rows: Sequence[Row]
    happened: Sequence[str]
    noticed: Sequence[str]
    lines: Sequence[str]


def row(space: Mapping[str, Any], there: str, cameras: str, right: bool | None, now: datetime) -> Row:
    """Return a space of the adoption status as a row of the screen."""
    return Row(
        space_id=space["id"],
        name=space["name"],
        there=there,
        cameras=cameras,
        shown=space["occupancy"],
        probability=None if space["occupancy"] == "stale" else space["probability"],
        since=ago(space["since"], now),
        right=right,
    )


def clock(hour: float) -> str:
    """Return an hour of the day (0 to 24) as a clock shows it."""
    minutes = int(hour * 60) % (24 * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


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
        f"Photos: {audit['accepted']} accepted {sign} {audit['counted']} counted + {audit['rejected']} rejected"
        f" + {audit['in_flight']} in flight"
    )


def live(title: str, picture: Picture) -> RenderableType:
    """Return the live screen."""
    # Not the table's title, which would wrap the link at the table's width.
    above = [Text(line, "bold") for line in (*title.splitlines(), f"In the shelter it is {picture.clock}")]
    grid = Table()
    for heading in ("Space", "In the shelter", "Cameras", "Huella says", "sure", "since", ""):
        grid.add_column(heading, justify="right" if heading in ("sure", "since") else "left")
    for shown in picture.rows:
        grid.add_row(
            shown.name,
            Text(shown.there, "" if shown.there != "nobody" else "dim"),
            Text(shown.cameras, "red" if shown.cameras else ""),
            Text(shown.shown, f"bold {COLOURS.get(shown.shown, '')}"),
            "" if shown.probability is None else f"{shown.probability:.0%}",
            shown.since,
            MARKS[shown.right],
        )
    below = [Text(line) for line in picture.lines]
    happened = [Text(f"  {line}") for line in picture.happened]
    noticed = [Text(f"  {line}", "dim") for line in picture.noticed]
    return Group(
        *above,
        grid,
        Text("In the shelter", "bold"),
        *happened,
        Text("Huella noticed", "bold"),
        *noticed,
        Text(""),
        *below,
    )


def plain(picture: Picture) -> str:
    """Return the same as one line a space, then the totals."""
    width = max((len(shown.name) for shown in picture.rows), default=0)
    wide = max((len(shown.there) for shown in picture.rows), default=0)
    spaces = [
        f"  {shown.name:<{width}}  {shown.shown:<6} "
        f"{'' if shown.probability is None else f'{shown.probability:.0%}':>4}  truth: {shown.there:<{wide}}"
        f"{'  <- wrong' if shown.right is False else ''}{f'  ({shown.cameras})' if shown.cameras else ''}".rstrip()
        for shown in picture.rows
    ]
    head = f"{datetime.now(UTC):%H:%M:%S}, in the shelter {picture.clock}"
    return "\n".join([head, *spaces, *(f"  {line}" for line in picture.lines)])
