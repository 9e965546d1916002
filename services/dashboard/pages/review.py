"""Review: one photo at a time of which the model is unsure, or where somebody disagrees; a key each."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from services.dashboard.access import Viewer
from services.dashboard.clients import Refused
from services.dashboard.parts import PartsOf

router = APIRouter(tags=["pages"])

MOST = 200


@router.get("/review", response_class=HTMLResponse, name="review")
async def show_review(
    request: Request,
    viewer: Viewer,
    parts: PartsOf,
    after: Annotated[str, Query(max_length=64)] = "",
    last: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """Show the next photo to review: the newest, or the one after the receipt `after`; `last` can be undone."""
    waiting = await parts.aggregation.reviews(viewer.person, MOST)
    # Newest first and receipts sort by time, so skipping works although the list changes meanwhile.
    left = [one for one in waiting if not after or one.estimate.receipt < after]
    shown = await parts.live.status(viewer.person)
    names = {space.id: space.name for space in shown.status.spaces} if shown.status else {}
    undo = None
    if last:
        try:
            undo = await parts.aggregation.estimate(viewer.person, last)
        except Refused:
            undo = None  # the address was made up; there is nothing to undo
    return parts.renderer.page(
        request,
        "review.html",
        current=left[0] if left else None,
        coming=[one.estimate.receipt for one in left[1:4]],
        waiting=len(waiting),
        left=len(left),
        skipped=bool(after),
        names=names,
        last=undo if undo is not None and undo.correction is not None else None,
        after=after,
        said_below=undo is not None and undo.correction is not None,
        down=["aggregation"] if shown.down else [],
    )
