"""The demo: the system at work on photos whose truth is known, in the terminal.

It starts the system unless one runs on the data folder, makes spaces and cameras through the public API as a user
would, lets the cameras send, and shows the adoption status beside the truth.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.live import Live

from deploy.local import running, screen
from deploy.local.cameras import Feed, Unexpected, checked, keep, load_kept, register
from deploy.local.photos import FolderPhotos, Photos, find_photos
from deploy.local.running import Interrupted, interruptible
from deploy.local.scenes import LABELS
from deploy.local.sketches import SketchedPhotos, sketched
from deploy.local.story import SPEED, Condition, Event, Story, inhabitants
from deploy.local.system import CannotStart, System
from deploy.local.truth import COMING_S, Tally, verdict
from shared.tokens import PEOPLE, Role, Signer

PHOTO_EVERY_S = 2.0
LOOK_EVERY_S = 0.5
PLAIN_EVERY_S = 10.0
READY_S = 180.0
PREPARED_S = 30.0
DRAIN_S = 30.0
DRAIN_INTERRUPTED_S = 3.0
TOKEN_S = 30 * 86_400
LONGEST_STALE_S = 600
LIFELIKE = 10.0  # up to this speed the rules of aggregation stay those of a real shelter
AILING = {Condition.DARK: "dark", Condition.FROZEN: "frozen", Condition.AHEAD: "clock wrong"}

# The demo's days are minutes long and its animals come and go all the time, so changes may be believed sooner than in a
# shelter.
PACE = {
    "HUELLA_AGGREGATION_SCENE_MEMORY_S": "5",
    "HUELLA_AGGREGATION_REDRAW_S": "200",
    "HUELLA_AGGREGATION_GRACE_S": "10",
}

app = typer.Typer(add_completion=False)


def say(line: str) -> None:
    print(line, flush=True)


@dataclass
class Demo:
    """One showing: clients of the running system, the feed, and what was seen so far."""

    system: System
    ingest: httpx.Client
    aggregation: httpx.Client
    story: Story
    feed: Feed
    tally: Tally = field(default_factory=Tally)
    changes: screen.Changes = field(default_factory=screen.Changes)
    happened: deque[str] = field(default_factory=lambda: deque(maxlen=screen.LAST_LINES))
    told_s: float = 0.0
    status: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, int] = field(default_factory=dict)
    counted_before: int = 0

    def look(self) -> tuple[screen.Picture, list[str]]:
        """Read the status and the audit; return the picture, and the lines that are new since the last look.

        While a service restarts, what was read last is shown again.
        """
        try:
            self.status = checked(self.aggregation.get("/v1/adoption-status")).json()
            self.audit = checked(self.ingest.get("/v1/audit")).json()
            asleep = ""
        except (httpx.HTTPError, Unexpected) as error:
            asleep = f" (no answer just now: {type(error).__name__})"
        if self.feed.failure is not None:
            raise self.feed.failure
        told_s = self.feed.told_s
        clock = screen.clock(self.story.hour(told_s))
        if not self.status or not self.audit:
            return screen.Picture(clock, [], [], [], [f"Waiting for the first answer{asleep}"]), []
        events = self.feed.happened(self.told_s, told_s)
        self.told_s = told_s
        names = {space.id: space.name for space in self.story.spaces}
        new = [f"{screen.clock(self.story.hour(event.at_s))} {names[event.space_id]}: {event.text}" for event in events]
        self.happened.extend(new)
        if not asleep:
            for event in events:
                self.adopt(event)
        rows = self._rows(told_s)
        noticed = self.changes.note(rows, clock)
        rate = self.feed.counts["accepted"] / max(self.feed.running_s, 1)
        lines = [
            screen.totals_line(self.status["totals"]),
            f"{screen.audit_line(self.audit)}; {rate:.1f} a second{asleep}",
            f"The status is {self.tally}",
        ]
        picture = screen.Picture(clock, rows, [*self.happened][::-1], [*self.changes.lines][::-1], lines)
        return picture, [*(f"  {line}" for line in new), *(f"  {line} (Huella)" for line in noticed)]

    def _rows(self, told_s: float) -> list[screen.Row]:
        """Return the demo's spaces as the status has them, beside the truth, and count how right that is."""
        now = datetime.now(UTC)
        found = {space["id"]: space for space in self.status["spaces"]}
        chapters, visited, conditions = self.feed.chapters(), self.feed.visited(), self.feed.conditions()
        spaces = [space for space in self.story.spaces if space.id in found]
        verdicts = {
            space.id: verdict(
                found[space.id]["occupancy"],
                chapters[space.id],
                told_s,
                # A camera that sees again needs as long to be believed as an arrival.
                blind=self.story.blind(space, told_s) or self.story.blind(space, told_s - COMING_S),
            )
            for space in spaces
        }
        self.tally.judge(verdicts)
        self.tally.follow({space.id: found[space.id]["occupancy"] for space in spaces}, chapters, told_s)
        rows = []
        for space in spaces:
            ailing = ", ".join(AILING[conditions[camera]] for camera in space.cameras if conditions[camera] in AILING)
            there = inhabitants(chapters[space.id], visited[space.id])
            rows.append(screen.row(found[space.id], there, ailing, verdicts[space.id], now))
        return rows

    def adopt(self, event: Event) -> None:
        """Let the shelter's people note an adoption, as an operator does on the page."""
        for stay in self.status["stays"]:
            if stay["space_id"] == event.space_id and stay["species"] in event.adopted and stay["until"] is None:
                answer = self.aggregation.patch(f"/v1/stays/{stay['id']}", json={"state": "adopted"})
                if answer.status_code not in (404, 412):  # a stay that changed meanwhile is left to the next demo
                    checked(answer)

    def settled(self, within_s: float) -> bool:
        """Wait until nothing is in flight, and return whether that came within so many seconds."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self.look()
            if self.audit.get("in_flight") == 0:
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def summary(self) -> str:
        counts = self.feed.counts
        counted = self.audit.get("counted", 0) - self.counted_before
        return (
            f"{counts['sent']} photos sent, {counts['accepted']} accepted, {counts['refused']} refused; "
            f"{counted} counted, {self.audit.get('rejected', 0)} rejected, {self.audit.get('in_flight', 0)} in flight. "
            f"The status was {self.tally}."
        )

    def report(self) -> dict[str, Any]:
        """Return how the status followed the truth, and what became of the photos, for a machine."""
        return {**self.tally.report(), "photos": dict(self.feed.counts), "audit": self.audit}


def told_before(system: System, story: Story) -> float:
    """Return the seconds of the story that earlier demos on this data folder told."""
    return float(load_kept(system.data / "demo" / "story.json").get("minutes", 0)) * 60 / story.speed


@contextmanager
def opened(system: System, story: Story, photos: Photos) -> Iterator[Demo]:
    """Make the spaces and cameras of `story` and give a demo whose cameras send until the end of the `with`."""
    signer = Signer(system.keys, "cli")
    headers = {"Authorization": f"Bearer {signer.mint('demo', Role.ADMIN, PEOPLE, TOKEN_S)}"}
    with (
        httpx.Client(base_url=system.url("camera_ingest"), headers=headers, timeout=10, trust_env=False) as ingest,
        httpx.Client(base_url=system.url("aggregation"), headers=headers, timeout=10, trust_env=False) as aggregation,
    ):
        folder = system.data / "demo"
        secrets = load_kept(folder / "cameras.json")
        for space in story.spaces:
            stale_after_s = min(LONGEST_STALE_S, max(20, round(3000 / story.speed)))
            body = {"name": space.name, "purpose": space.purpose, "stale_after_s": stale_after_s}
            checked(aggregation.put(f"/v1/spaces/{space.id}", json=body))
            register(ingest, space, secrets)
            keep(folder / "cameras.json", secrets)
        told_s = told_before(system, story)
        feed = Feed(system.url("camera_ingest"), story, photos, secrets, PHOTO_EVERY_S, told_s)
        demo = Demo(system, ingest, aggregation, story, feed, told_s=told_s or -1.0)
        demo.counted_before = checked(ingest.get("/v1/audit")).json()["counted"]
        feed.start()
        try:
            yield demo
        finally:
            feed.stop()
            keep(folder / "story.json", {"minutes": feed.told_s * story.speed / 60})
            keep(folder / "report.json", demo.report())


def title(demo: Demo) -> str:
    """Return what a new user needs: what this is, and where to look."""
    first_link = demo.system.data / "dashboard" / "first-link"
    try:
        link = f"The page: {first_link.read_text().strip()}  (once: choose a name and a password)"
    except FileNotFoundError:
        link = f"The page: {demo.system.url('dashboard')}"
    return f"Huella at work in a shelter whose time runs {demo.story.speed:g} times as fast. Ctrl-C ends it\n{link}"


def show(demo: Demo, until: float, console: Console) -> None:
    """Show the system at work until `until` (monotonic seconds): a live table in a terminal, else lines."""
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    if not live:
        say(title(demo))
    with live or ExitStack():
        plain_due = time.monotonic()
        while time.monotonic() < until:
            picture, new = demo.look()
            if live:
                live.update(screen.live(title(demo), picture), refresh=True)
            else:
                for line in new:
                    say(line)
                if time.monotonic() >= plain_due:
                    plain_due += PLAIN_EVERY_S
                    say(screen.plain(picture))
            time.sleep(LOOK_EVERY_S)


@contextmanager
def a_running_system(system: System) -> Iterator[None]:
    """Use the system that runs on the data folder, or run one for the length of the `with`."""
    if not running.runs(system):
        with running.running(system, say, READY_S):
            yield
        return
    say(f"Using the system that runs on {system.data}")
    with httpx.Client(timeout=2, trust_env=False) as client:
        if running.not_ready(system, client):
            raise CannotStart(
                f"the system on {system.data} is not ready on ports {system.base_port + 1} and up. "
                "If it was started with another HUELLA_PORT, set the same; else wait a little"
            )
    yield


@app.command()
def main(
    photos: Annotated[Path | None, typer.Option(help="Folder with the sub-folders cat, dog, none, both.")] = None,
    duration: Annotated[float, typer.Option(help="Seconds after which it ends by itself; 0: never.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the story.", min=0)] = 0,
    speed: Annotated[
        float, typer.Option(help="How much faster than life the shelter's time runs.", min=1, max=300)
    ] = SPEED,
) -> None:
    """Show the system at work; with a duration, the exit status says whether every photo was counted."""
    demo: Demo | None = None
    complete = True
    try:
        with interruptible(), ExitStack() as ended:
            if speed > LIFELIKE:
                os.environ.update(PACE | os.environ)
            system = running.configured()
            found = find_photos(photos) if photos else None
            story = Story(labels=list(found or LABELS), seed=seed, speed=speed)
            source = (
                FolderPhotos(found, seed) if found else ended.enter_context(sketched(story, told_before(system, story)))
            )
            ended.enter_context(a_running_system(system))
            if isinstance(source, SketchedPhotos) and not source.prepared(PREPARED_S):
                say("This machine is busy: some cameras need a little longer for their first photos")
            with opened(system, story, source) as demo:
                patience_s = DRAIN_S
                try:
                    show(demo, time.monotonic() + (duration or float("inf")), Console())
                except Interrupted:
                    patience_s = DRAIN_INTERRUPTED_S
                demo.feed.stop()
                complete = demo.settled(patience_s)
    except Interrupted:
        pass  # before there was anything to show
    except (CannotStart, Unexpected, ValueError, httpx.HTTPError) as error:
        print(f"The demo can't go on: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if demo is not None:
        say(demo.summary())
        if duration and not (complete and demo.audit["counted"] > demo.counted_before):
            raise typer.Exit(1)
