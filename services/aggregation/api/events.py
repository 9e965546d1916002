"""The stream of changes, as server-sent events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from services.aggregation import metrics, views
from services.aggregation.api.pages import Db
from services.aggregation.listeners import AT_ONCE, Change, Listener, Listeners
from shared.auth import Viewer
from shared.database import Database
from shared.problem import Problem

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1/adoption-status", tags=["adoption status"])

HEARTBEAT_S = 15
SEND_TIMEOUT_S = 30


class Stream(EventSourceResponse):
    """An event stream that ends when its client has read nothing for `SEND_TIMEOUT_S`; its client may resume."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            # The connection is given up: what its client did not read can't be told apart from what it did.
            metrics.LISTENERS_STALLED.inc()
            log.warning("an event stream stalled")


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "An event a change, its id the sequence."}},
)
async def stream_changes(
    caller: Viewer,
    request: Request,
    db: Db,
    after: Annotated[int | None, Query(ge=0, description="Resume after this sequence.")] = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> EventSourceResponse:
    """Stream changes as they happen; resume by `Last-Event-ID` or `?after=`.

    An event is named by its kind, its id is the sequence. `reset` says that changes in between are no longer kept:
    GET the adoption status and go on from there. A comment comes every 15 seconds. The stream ends with the token
    that it was opened with: resume it with a new one.
    """
    listeners: Listeners = request.app.state.listeners
    resume = _sequence(last_event_id) if last_event_id else after
    listeners.check_room()
    # Where to start is settled before the answer begins: whoever has the answer misses nothing from then on.
    last, newest, reset = await asyncio.to_thread(_where_to_start, db, resume)
    return Stream(
        _events(listeners, db, last, newest, reset, caller.until),
        ping=HEARTBEAT_S,
        send_timeout=SEND_TIMEOUT_S,
        headers={"Cache-Control": "no-store"},
    )


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Problem(422, "bad-event-id", "`Last-Event-ID` is not one of this stream. Begin again without it.")
    return int(text)


async def _events(
    listeners: Listeners, db: Database, last: int, newest: int, reset: bool, until: float
) -> AsyncIterator[ServerSentEvent]:
    # The listener is there before the past is read, so nothing falls in between; what comes twice is skipped.
    async with listeners.listen(newest) as listener:
        if reset:
            yield ServerSentEvent(json.dumps({"sequence": last}), event="reset", id=str(last))
        while time.time() < until and (changes := await asyncio.to_thread(_read, db, last)):
            for change in changes:
                last = change["sequence"]
                yield _event(change)
        while (live := await _next(listener, until)) is not None:
            if live["sequence"] > last:
                last = live["sequence"]
                yield _event(live)


async def _next(listener: Listener, until: float) -> Change | None:
    """Return the next change, or None when the stream or the right to it (`until`, seconds since 1970) has ended."""
    left_s = until - time.time()
    if left_s <= 0:
        return None
    try:
        async with asyncio.timeout(left_s):
            return await listener.queue.get()
    except TimeoutError:
        return None


def _event(change: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(change), event=change["kind"], id=str(change["sequence"]))


def _where_to_start(db: Database, resume: int | None) -> tuple[int, int, bool]:
    """Return the sequence to go on after, the newest one, and whether what the listener knew can't be continued."""
    with db.read() as connection:
        newest = views.newest_sequence(connection)
        oldest = views.oldest_sequence(connection)
    if resume is None:
        return newest, newest, False
    first_kept = newest + 1 if oldest is None else oldest
    if resume > newest or resume < first_kept - 1:
        return newest, newest, True
    return resume, newest, False


def _read(db: Database, after: int) -> list[dict[str, Any]]:
    with db.read() as connection:
        return views.changes_after(connection, after, AT_ONCE)
