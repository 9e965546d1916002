"""`/v1/batches`: many photos as one job, its progress, its end."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from services.image_classifier.api import batch_bodies
from services.image_classifier.api.batch_shapes import (
    Batch,
    BatchChange,
    BatchCreated,
    BatchId,
    BatchPage,
    Parts,
    described,
    find,
    tag,
)
from services.image_classifier.api.problems import problems
from services.image_classifier.batches import store, views
from services.image_classifier.batches.janitor import forget_contents, remove
from services.image_classifier.batches.rules import UNFINISHED, BatchState
from shared.auth import Operator, Viewer
from shared.database import Database, now
from shared.problem import Problem, unavailable

router = APIRouter(prefix="/v1/batches", tags=["batches"])

# What a setting may allow at most; the setting itself is looked at while the body arrives.
BODY_LIMIT = 1_000_000_001
LOOK_EVERY_S = 1.0
HEARTBEAT_S, SEND_TIMEOUT_S = 15, 30

Cursor = Annotated[str | None, Query(max_length=36, pattern=r"^[0-9a-z-]+$", description="`next` of the page before.")]

Key = Annotated[str | None, Header(max_length=36, description="A new UUID of version 7, which becomes the batch's id.")]


@router.post(
    "",
    status_code=202,
    max_body_size=BODY_LIMIT,
    summary="Predict many photos",
    responses=problems(401, 403, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=batch_bodies.BODY,
)
async def create_batch(
    request: Request, caller: Operator, parts: Parts, response: Response, idempotency_key: Key = None
) -> BatchCreated:
    """Send a zip, a multipart body of files, or JSON that names frames. The answer comes once all of it is kept.

    With an `Idempotency-Key` it may be sent again, should the answer not arrive: the same key and content of the same
    client is the same batch, which is answered as it is by then.
    """
    client = f"{caller.issuer}:{caller.subject}"[:200]
    created = await batch_bodies.take(request, parts, client, idempotency_key)
    response.headers["Location"] = f"/v1/batches/{created.id}"
    return created


@router.get("", summary="List the batches", responses=problems(401, 403, 422))
def list_batches(
    caller: Viewer, parts: Parts, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Cursor = None
) -> BatchPage:
    """The newest first."""
    with parts.database.read() as connection:
        rows = views.newest(connection, limit + 1, cursor)
    items = [described(row) for row in rows[:limit]]
    return BatchPage(items=items, next=items[-1].id if len(rows) > limit else None)


@router.get("/{batch_id}", summary="What a batch is at", responses=problems(401, 403, 404, 422))
def get_batch(
    batch_id: BatchId,
    caller: Viewer,
    parts: Parts,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Batch:
    """Ask again with `If-None-Match`, or listen to its events."""
    batch = find(parts.database, batch_id)
    etag = f'"{tag(batch)}"'
    if if_none_match and etag in (part.strip().removeprefix("W/") for part in if_none_match.split(",")):
        return Response(status_code=304, headers={"ETag": etag})  # type: ignore[return-value]  # FastAPI passes it on
    response.headers["ETag"] = etag
    return batch


@router.patch("/{batch_id}", summary="Cancel a batch", responses=problems(401, 403, 404, 409, 422))
def change_batch(batch_id: BatchId, change: BatchChange, caller: Operator, parts: Parts) -> Batch:
    """Cancel it: what is predicted stays, the rest ends as an error and its photos are removed."""
    stopped = parts.database.write(lambda connection: store.cancel(connection, batch_id, now()))
    batch = find(parts.database, batch_id)
    if not stopped and batch.state is not BatchState.CANCELLED:
        raise Problem(409, "already-ended", f"This batch is {batch.state.value}; there is nothing left to cancel.")
    forget_contents(parts.database, batch_id)
    return batch


@router.delete("/{batch_id}", status_code=204, summary="Remove a batch", responses=problems(401, 403, 404, 422))
def remove_batch(batch_id: BatchId, caller: Operator, parts: Parts) -> None:
    """Remove its photos and results; one that is not ended is cancelled by it."""
    find(parts.database, batch_id)
    parts.database.write(lambda connection: store.hide(connection, batch_id))
    remove(parts.database, batch_id)


class Stream(EventSourceResponse):
    """An event stream that ends when its client has read nothing for SEND_TIMEOUT_S; its client may resume.

    It has one of the `places` as long as it lasts; raises Problem 503 if none is free.
    """

    def __init__(self, places: asyncio.Semaphore, events: AsyncIterator[ServerSentEvent]) -> None:
        headers = {"Cache-Control": "no-store"}
        super().__init__(events, ping=HEARTBEAT_S, send_timeout=SEND_TIMEOUT_S, headers=headers)
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Looked at and taken without a wait between: after the first byte it is too late for a 503.
        if self._places.locked():
            raise unavailable("Too many event streams are open. Try again shortly, or poll with If-None-Match.", 5)
        try:
            async with self._places:
                await super().__call__(scope, receive, send)
        except SendTimeoutError:
            # The connection is given up; whoever was at its end asks for the batch, or listens again.
            return


@router.get(
    "/{batch_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "`progress` events, each with the whole batch."},
        204: {"description": "It has ended, and `Last-Event-ID` is its last event."},
        **problems(401, 403, 404, 422, 503),
    },
)
async def stream_batch(
    batch_id: BatchId,
    caller: Viewer,
    parts: Parts,
    last_event_id: Annotated[str | None, Header(max_length=80)] = None,
) -> Response:
    """Stream a batch's progress until it ends; the last event has its final state.

    Each event has the batch as `GET` gives it, so none that was missed matters: with `Last-Event-ID` the stream begins
    with the first change after it. A comment comes every 15 seconds. The stream ends with the token that it was opened
    with: resume it with a new one.
    """
    batch = await asyncio.to_thread(find, parts.database, batch_id)
    if batch.state not in UNFINISHED and last_event_id == tag(batch):
        # All was told. By a 204 a browser knows that, where it would ask again after an empty stream for ever.
        return Response(status_code=204)
    return Stream(parts.streams, _progress(parts.database, batch_id, last_event_id or "", caller.until))


async def _progress(database: Database, batch_id: str, last: str, until: float) -> AsyncIterator[ServerSentEvent]:
    while time.time() < until:  # the right to it ends with the token
        try:
            batch = await asyncio.to_thread(find, database, batch_id)
        except Problem:  # it was removed meanwhile
            yield ServerSentEvent("{}", event="removed")
            return
        if tag(batch) != last:
            last = tag(batch)
            yield ServerSentEvent(batch.model_dump_json(), event="progress", id=last)
        if batch.state not in UNFINISHED:
            return
        await asyncio.sleep(LOOK_EVERY_S)
