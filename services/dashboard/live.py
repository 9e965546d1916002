"""What everybody looks at, asked for once: the adoption status of this moment, and the stream of its changes.

However many pages are open, a process asks aggregation at most once at a time and holds one event stream; while
aggregation is down the last status is shown, with its age.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

import structlog
from prometheus_client import Counter

from services.dashboard.clients import Aggregation, ServiceDown
from services.dashboard.shapes import Status, Stay
from services.dashboard.store import Person
from shared.messages import isoformat

log = structlog.get_logger(__name__)

FRESH_S = 1.0
FRESH_WHILE_TOLD_S = 10.0  # with the stream open, a change makes the status old at once
WAITING_EVENTS = 50
MOST_STAYS = 2000
SHORTEST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
SHORTEST_STREAM_S = 10.0  # one that ends sooner has met a fault

FAILURES = Counter("huella_page_stream_failures_total", "Times that following the changes met an unforeseen error.")

Event = Literal["change", "down", "up"]


@dataclass(frozen=True)
class Shown:
    """The newest status that is known, the stays that went on today, and whether aggregation answered just now."""

    status: Status | None
    today: list[Stay]
    down: bool


class TooManyListeners(Exception):
    """As many pages are open as this process tells of changes."""


class Live:
    """The shared status and the shared event stream of one process."""

    def __init__(self, aggregation: Aggregation, listeners: int, zone: tzinfo) -> None:
        self._aggregation = aggregation
        self._zone = zone
        self._most = listeners
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._stream: asyncio.Task[None] | None = None
        self._told = False
        self._lock = asyncio.Lock()
        self._status: Status | None = None
        self._etag: str | None = None
        self._today: list[Stay] = []
        self._midnight: datetime | None = None
        self._asked_at = float("-inf")

    def changed(self) -> None:
        """Make the next reader ask anew."""
        self._asked_at = float("-inf")

    async def status(self, person: Person) -> Shown:
        """Return the status of this moment, asked for with the rights of `person` if nobody asked just before."""
        async with self._lock:
            fresh_s = FRESH_WHILE_TOLD_S if self._told else FRESH_S
            if self._status is not None and time.monotonic() - self._asked_at < fresh_s:
                return Shown(self._status, self._today, down=False)
            asked_at = time.monotonic()
            midnight = datetime.now(self._zone).replace(hour=0, minute=0, second=0, microsecond=0)
            try:
                status, etag = await self._aggregation.status(person, self._etag)
                if status is not None or midnight != self._midnight:
                    self._today = await self._aggregation.stays(person, MOST_STAYS, since=isoformat(midnight))
            except ServiceDown:
                return Shown(self._status, self._today, down=True)
            self._status, self._etag, self._midnight = status or self._status, etag, midnight
            self._asked_at = asked_at
            return Shown(self._status, self._today, down=False)

    def full(self) -> bool:
        """Return whether one listener more would be too many."""
        return len(self._listeners) >= self._most

    async def listen(self) -> AsyncGenerator[Event | None, None]:
        """Give each change as it happens, and None after 15 quiet seconds. Raises TooManyListeners."""
        if self.full():
            raise TooManyListeners
        events: asyncio.Queue[Event] = asyncio.Queue(WAITING_EVENTS)
        self._listeners.add(events)
        if self._stream is None or self._stream.done():
            self._stream = asyncio.create_task(self._follow())
        elif not self._told:
            events.put_nowait("down")
        try:
            while True:
                try:
                    yield await asyncio.wait_for(events.get(), 15)
                except TimeoutError:
                    yield None
        finally:
            self._listeners.discard(events)
            if not self._listeners:
                await self.close()

    async def close(self) -> None:
        """End the stream."""
        stream, self._stream, self._told = self._stream, None, False
        if stream is not None:
            stream.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stream

    async def _follow(self) -> None:
        last_id: str | None = None
        pause_s = SHORTEST_PAUSE_S
        while True:
            try:
                async with self._aggregation.events(last_id) as lines:
                    self._told, pause_s, opened_at = True, SHORTEST_PAUSE_S, time.monotonic()
                    self._tell("up")
                    async for line in lines:
                        field, _, value = line.partition(":")
                        if field == "id":
                            last_id = value.strip()
                        elif field == "data":
                            self._tell("change")
                if time.monotonic() - opened_at > SHORTEST_STREAM_S:
                    continue  # it ended with its token: it is opened anew at once, and goes on where it was
            except ServiceDown:
                log.warning("stream of changes is cut", again_in_s=pause_s)
            except Exception:  # open pages must hear of changes again, whatever this one was
                FAILURES.inc()
                log.exception("stream of changes failed", again_in_s=pause_s)
            if self._told or pause_s <= SHORTEST_PAUSE_S:
                self._told = False
                self._tell("down")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _tell(self, event: Event) -> None:
        self.changed()
        for events in self._listeners:
            # A page that reads slowly needs only know that something changed: it reloads all of it.
            with contextlib.suppress(asyncio.QueueFull):
                events.put_nowait(event)
