"""Now: a tile a space, what needs a look first, and the shelter in numbers."""

import asyncio
from collections.abc import AsyncIterator
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from services.dashboard.access import Viewer, cookie_name
from services.dashboard.clients import ServiceDown
from services.dashboard.live import TooManyListeners
from services.dashboard.parts import Parts, PartsOf
from services.dashboard.render import moment_of
from services.dashboard.shapes import Camera
from services.dashboard.store import Person
from services.dashboard.tiles import numbers, tiles, told
from shared.database import now
from shared.problem import Problem

router = APIRouter(tags=["pages"])

MOST_TOLD = 30


@router.get("/", response_class=HTMLResponse, name="now")
async def show_now(request: Request, viewer: Viewer, parts: PartsOf) -> HTMLResponse:
    """Show every space as it is now."""
    moment = moment_of(request)
    shown, cameras = await asyncio.gather(parts.live.status(viewer.person), cameras_or_none(parts, viewer.person))
    down = (["aggregation"] if shown.down else []) + (["camera_ingest"] if cameras is None else [])
    if shown.status is None:
        return parts.renderer.page(request, "now.html", status=503, status_known=False, down=down)
    midnight = moment.astimezone(ZoneInfo(parts.settings.time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return parts.renderer.page(
        request,
        "now.html",
        status_known=True,
        down=down,
        as_of=shown.status.as_of,
        tiles=tiles(shown.status, cameras or [], moment),
        numbers=numbers(shown.status, shown.today, midnight),
        changes=told(shown.today, shown.status.changes, midnight)[:MOST_TOLD],
        names={space.id: space.name for space in shown.status.spaces},
    )


async def cameras_or_none(parts: Parts, person: Person) -> list[Camera] | None:
    """Return the cameras, or None while camera_ingest is down."""
    try:
        return await parts.ingest.cameras(person)
    except ServiceDown:
        return None


@router.get("/events", response_class=EventSourceResponse, name="events")
async def stream_events(request: Request, viewer: Viewer, parts: PartsOf) -> Response:
    """Tell an open page of a `change` (ask again), that aggregation is `down` or `up`, or that the log-in `ended`."""
    secret = request.cookies[cookie_name(parts.settings)]
    if parts.live.full():
        raise Problem(503, "too-many-pages", "Too many pages are open. This one reloads by itself instead.")
    return EventSourceResponse(_events(parts, secret), ping=15, headers={"Cache-Control": "no-store"})


async def _events(parts: Parts, secret: str) -> AsyncIterator[ServerSentEvent]:
    checked_at = now()
    listening = parts.live.listen()
    try:
        async for event in listening:
            if (now() - checked_at).total_seconds() >= 10:
                checked_at = now()
                if await run_in_threadpool(parts.store.session, secret, checked_at, used=False) is None:
                    yield ServerSentEvent("", event="ended")
                    return
            if event is not None:
                yield ServerSentEvent("", event=event)
    except TooManyListeners:
        return
    finally:
        await listening.aclose()
