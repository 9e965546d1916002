"""The demo: the system at work on photos whose truth is known, in the terminal.

It starts the system unless one runs on the data folder, makes spaces and cameras through the public API as a user
would, lets the cameras send, and shows the adoption status beside the truth.
"""

import os
import sys
import time
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
from deploy.local.running import Interrupted, interruptible
from deploy.local.story import SPACES, DrawnPhotos, FolderPhotos, Photos, Story, find_photos
from deploy.local.system import CannotStart, System
from shared.tokens import PEOPLE, Role, Signer

PHOTO_EVERY_S = 1.5
LOOK_EVERY_S = 0.5
PLAIN_EVERY_S = 10.0
STALE_AFTER_S = 60
READY_S = 180.0
DRAIN_S = 30.0
DRAIN_INTERRUPTED_S = 3.0
TOKEN_S = 30 * 86_400

# The demo's days are minutes long and its animals always move, so absence may be believed sooner than in a shelter.
PACE = {"HUELLA_AGGREGATION_SCENE_MEMORY_S": "5", "HUELLA_AGGREGATION_GRACE_S": "20"}

app = typer.Typer(add_completion=False)


def say(line: str) -> None:
    print(line, flush=True)


@dataclass
class Demo:
    """One showing: clients of the running system, the feed, and what was seen so far."""

    system: System
    ingest: httpx.Client
    aggregation: httpx.Client
    feed: Feed
    tally: screen.Tally = field(default_factory=screen.Tally)
    changes: screen.Changes = field(default_factory=screen.Changes)
    status: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, int] = field(default_factory=dict)
    counted_before: int = 0

    def look(self) -> tuple[list[screen.Row], list[str], list[str]]:
        """Read the status and the audit; return the rows, the lines below them and the changes since the last look.

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
        now = datetime.now(UTC)
        if not self.status or not self.audit:
            return [], [f"Waiting for the first answer{asleep}"], []
        shown = screen.rows(self.status, self.feed.chapters(), self.feed.told_s, now)
        self.tally.add(shown)
        rate = self.feed.counts["accepted"] / max(self.feed.running_s, 1)
        lines = [
            screen.totals_line(self.status["totals"]),
            screen.audit_line(self.audit) + asleep,
            f"Cameras: {self.feed.counts['sent']} photos sent, {rate:.1f} a second, {self.feed.counts['retries']} sent "
            f"again, {self.feed.counts['refused']} refused",
            f"The status is {self.tally}",
        ]
        return shown, lines, self.changes.note(shown, now)

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
            body = {"name": space.name, "purpose": space.purpose, "stale_after_s": STALE_AFTER_S}
            checked(aggregation.put(f"/v1/spaces/{space.id}", json=body))
            register(ingest, space, secrets)
            keep(folder / "cameras.json", secrets)
        told_s = float(load_kept(folder / "story.json").get("told_s", 0))
        feed = Feed(system.url("camera_ingest"), story, photos, secrets, PHOTO_EVERY_S, told_s)
        demo = Demo(system, ingest, aggregation, feed)
        demo.counted_before = checked(ingest.get("/v1/audit")).json()["counted"]
        feed.start()
        try:
            yield demo
        finally:
            feed.stop()
            keep(folder / "story.json", {"told_s": feed.told_s})


def show(demo: Demo, until: float, console: Console) -> None:
    """Show the system at work until `until` (monotonic seconds): a live table in a terminal, else lines."""
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    title = f"Huella: {demo.system.url('aggregation')}/docs has the API. Ctrl-C ends; the data stays"
    with live or ExitStack():
        plain_due = time.monotonic()
        while time.monotonic() < until:
            shown, lines, changed = demo.look()
            if live:
                live.update(screen.table(title, shown, lines, demo.changes), refresh=True)
            else:
                for line in changed:
                    say(line)
                if time.monotonic() >= plain_due:
                    plain_due += PLAIN_EVERY_S
                    say(screen.plain(shown, lines))
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
) -> None:
    """Show the system at work; with a duration, the exit status says whether every photo was counted."""
    demo: Demo | None = None
    complete = True
    try:
        with interruptible():
            os.environ.update(PACE | os.environ)
            system = running.configured()
            if photos is None:
                source: Photos = DrawnPhotos([camera for space in SPACES for camera in space.cameras])
                story = Story(seed=seed)
            else:
                found = find_photos(photos)
                source, story = FolderPhotos(found, seed), Story(labels=list(found), seed=seed)
            with a_running_system(system), opened(system, story, source) as demo:
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
