"""One poller a process for all event streams: it asks the database for changes and hands them to every listener."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog

from services.aggregation import metrics, views
from shared.database import Database
from shared.problem import unavailable

log = structlog.get_logger(__name__)

EVERY_S = 0.25
AT_ONCE = 500
BUFFERED = 1000

Change = dict[str, Any]


class Listener:
    """One event stream's own queue; `None` in it ends the stream."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Change | None] = asyncio.Queue(BUFFERED)


class Listeners:
    """All event streams of a process, at most `limit`."""

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._listeners: set[Listener] = set()
        self._last: int | None = None
        self._open = 0  # with those that were dropped and whose connection is not closed yet
        self._someone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        """Poll while the app runs; at the end every stream is ended."""
        task = self._task = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for listener in list(self._listeners):
                self._drop(listener)

    def check(self) -> None:
        """Raise if nobody polls."""
        if self._task is None or self._task.done():
            raise RuntimeError("the poller has ended")

    def check_room(self) -> None:
        """Raise Problem 503 when there are as many streams as may be."""
        if self._open >= self._limit:
            raise unavailable("Too many event streams are open. Try again shortly, or poll with If-None-Match.", 5)

    @asynccontextmanager
    async def listen(self, newest: int) -> AsyncIterator[Listener]:
        """Give a listener that gets every change after `newest`, a sequence read before, that is not read yet.

        A poller at rest starts at `newest` and not at what it finds when it wakes: a change may come in between.
        """
        if self._last is None:
            self._last = newest
        listener = Listener()
        self._listeners.add(listener)
        self._open += 1
        self._someone.set()
        metrics.LISTENERS.set(self._open)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._open -= 1
            metrics.LISTENERS.set(self._open)

    async def _poll(self) -> None:
        failing = False
        while True:
            await self._someone.wait()
            try:
                changes = await asyncio.to_thread(self._new_changes)
                failing = False
            except Exception as error:
                metrics.FAILURES.labels("poller").inc()
                if not failing:
                    log.warning("changes can't be read; trying on", exc_info=error)
                failing, changes = True, []
            for change in changes:
                self._hand_out(change)
            if len(changes) < AT_ONCE:
                await asyncio.sleep(EVERY_S)
            if not self._listeners:
                self._someone.clear()
                self._last = None

    def _new_changes(self) -> list[Change]:
        with self._database.read() as connection:
            newest = views.newest_sequence(connection)
            if self._last is None or newest <= self._last:
                return []
            changes = views.changes_after(connection, self._last, AT_ONCE)
        self._last = changes[-1]["sequence"] if changes else newest
        return changes

    def _hand_out(self, change: Change) -> None:
        for listener in list(self._listeners):
            try:
                listener.queue.put_nowait(change)
            except asyncio.QueueFull:
                metrics.LISTENERS_DROPPED.inc()
                self._drop(listener)

    def _drop(self, listener: Listener) -> None:
        """End a stream: its client resumes by Last-Event-ID, from the database."""
        self._listeners.discard(listener)
        while listener.queue.full():
            listener.queue.get_nowait()
        listener.queue.put_nowait(None)
