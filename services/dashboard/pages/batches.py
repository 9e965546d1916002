"""Batches: many photos at once; how far each is, what the model says of each photo, the results as a file."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from services.dashboard.access import ForeignForm, Form, Operator, Viewer, from_our_page
from services.dashboard.clients import Refused
from services.dashboard.pages.answers import see
from services.dashboard.parts import Parts, PartsOf
from services.dashboard.store import Person
from shared.problem import Problem

router = APIRouter(tags=["pages"])

# As much as the service may be set to take; it counts by itself.
BODY_LIMIT = 1_000_000_001
PIECE_S = 15.0
AT_ONCE = 48
KEEP = {"Cache-Control": "private, max-age=3600", "Vary": "Cookie"}

BatchId = Annotated[str, Path(pattern=r"^[0-9a-z-]{1,36}$")]
Cursor = Annotated[str | None, Query(pattern=r"^[0-9a-z-]{1,36}$")]


@router.get("/batches", response_class=HTMLResponse, name="batches")
async def list_batches(request: Request, viewer: Viewer, parts: PartsOf, cursor: Cursor = None) -> HTMLResponse:
    """Show the batches, the newest first, and the form for another."""
    return await _list(request, viewer.person, parts, cursor)


async def _list(
    request: Request, person: Person, parts: Parts, cursor: str | None, problem: str = "", status: int = 200
) -> HTMLResponse:
    page = await parts.batches.list(person, cursor)
    return parts.renderer.page(
        request, "batches.html", status=status, batches=page.items, next=page.next, problem=problem, down=[]
    )


@router.post("/batches", response_class=HTMLResponse, name="send_batch", max_body_size=BODY_LIMIT)
async def send_batch(
    request: Request, operator: Operator, parts: PartsOf, csrf: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """Hand the photos on as they come; the form's token is in its address, since the body is not read here."""
    if not from_our_page(request, parts) or not hmac.compare_digest(csrf.encode(), operator.csrf.encode()):
        raise ForeignForm
    headers = {name: request.headers[name] for name in ("content-type", "content-length") if name in request.headers}
    try:
        batch_id = await parts.batches.send(operator.person, _pieces(request), headers)
    except Refused as error:
        return await _list(request, operator.person, parts, None, problem=error.detail, status=error.status)
    return see(f"/batches/{batch_id}")


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Give the body as it comes; one that stalls is cut, and the service then answers nothing of it."""
    pieces = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(PIECE_S):
                piece = await anext(pieces, None)
        except TimeoutError:
            detail = f"Nothing came for {PIECE_S:g} s. Send the photos again, in smaller batches."
            raise Problem(408, "request-timeout", detail, headers={"Connection": "close"}) from None
        if piece is None:
            return
        yield piece


@router.get("/batches/{batch_id}", response_class=HTMLResponse, name="batch")
async def show_batch(
    batch_id: BatchId,
    request: Request,
    viewer: Viewer,
    parts: PartsOf,
    after: Annotated[int, Query(ge=0, le=1000)] = 0,
) -> HTMLResponse:
    """Show how far a batch is, and what the model says of its photos."""
    batch = await parts.batches.batch(viewer.person, batch_id)
    page = await parts.batches.predictions(viewer.person, batch_id, AT_ONCE, after)
    return parts.renderer.page(
        request, "batch.html", batch=batch, predictions=page.items, next=page.next, after=after, down=[]
    )


@router.get("/batches/{batch_id}/pictures/{number}", response_class=Response, name="batch_picture")
async def show_picture(
    batch_id: BatchId, number: Annotated[int, Path(ge=1, le=1000)], viewer: Viewer, parts: PartsOf
) -> Response:
    """Show a photo of a batch small."""
    content = await parts.batches.thumbnail(viewer.person, batch_id, number)
    return Response(content, media_type="image/jpeg", headers=KEEP)


@router.get("/batches/{batch_id}/results.csv", response_class=Response, name="batch_results")
async def download_results(batch_id: BatchId, viewer: Viewer, parts: PartsOf) -> StreamingResponse:
    """Return the results as a table."""
    stack = AsyncExitStack()
    pieces = await stack.enter_async_context(parts.batches.results(viewer.person, batch_id))

    async def body() -> AsyncIterator[bytes]:
        async with stack:
            async for piece in pieces:
                yield piece

    headers = {"Content-Disposition": f'attachment; filename="batch-{batch_id}.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(body(), media_type="text/csv", headers=headers)


@router.post("/batches/{batch_id}/cancellation", name="cancel_batch")
async def cancel_batch(batch_id: BatchId, operator: Operator, form: Form, parts: PartsOf) -> RedirectResponse:
    """Cancel a batch; one that ended meanwhile is shown as it is."""
    try:
        await parts.batches.cancel(operator.person, batch_id)
    except Refused as error:
        if error.status != 409:
            raise
        return see(f"/batches/{batch_id}")
    return see(f"/batches/{batch_id}", "cancelled")


@router.post("/batches/{batch_id}/removal", name="remove_batch")
async def remove_batch(batch_id: BatchId, operator: Operator, form: Form, parts: PartsOf) -> RedirectResponse:
    """Remove a batch with all that it has."""
    await parts.batches.remove(operator.person, batch_id)
    return see("/batches", "removed")
