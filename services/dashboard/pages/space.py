"""A space: what it showed over time, its photos, its stays, and what an operator decides about them."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from services.dashboard.access import Form, Operator, Viewer, text
from services.dashboard.charts import shortest, timeline
from services.dashboard.clients import ServiceDown
from services.dashboard.domain import safe_next
from services.dashboard.pages.answers import see, whole_number
from services.dashboard.pages.health import or_none
from services.dashboard.pages.now import cameras_or_none
from services.dashboard.parts import PartsOf
from services.dashboard.render import moment_of
from services.dashboard.tiles import tiles
from shared.messages import isoformat

router = APIRouter(tags=["pages"])

SpaceId = Annotated[str, Path(max_length=64)]
PHOTOS = 24
HOURS = (1, 6, 24, 168)


@router.get("/spaces/{space_id}", response_class=HTMLResponse, name="space")
async def show_space(
    request: Request,
    space_id: SpaceId,
    viewer: Viewer,
    parts: PartsOf,
    hours: Annotated[int, Query(ge=0, le=168)] = 0,
    photos: Annotated[int, Query(ge=1, le=200)] = PHOTOS,
) -> HTMLResponse:
    """Show one space; its timeline by default as long as what is known of it, a day at most."""
    moment = moment_of(request)
    since = moment - timedelta(hours=hours or 24)
    person = viewer.person
    cameras, retention, shown = await asyncio.gather(
        cameras_or_none(parts, person), or_none(parts.ingest.retention(person)), parts.live.status(person)
    )
    try:
        space, spans, estimates, stays = await asyncio.gather(
            parts.aggregation.space(person, space_id),
            parts.aggregation.spans(person, space_id, isoformat(since)),
            parts.aggregation.estimates(person, space_id, photos),
            parts.aggregation.stays(person, 20, space_id=space_id),
        )
    except ServiceDown:
        known = [one for one in shown.status.spaces if one.id == space_id] if shown.status else []
        if not known:
            raise
        # What everybody was last shown of it is still worth more than nothing.
        space, spans, estimates, stays = known[0], [], [], []
        shown = replace(shown, down=True)
    if not hours:  # what is known of a new space should not be a thin line at the end of an empty day
        hours = shortest(spans, HOURS[:3], moment)
        since = moment - timedelta(hours=hours)
    here = (
        [one for one in tiles(shown.status, cameras or [], moment) if one.space.id == space_id] if shown.status else []
    )
    return parts.renderer.page(
        request,
        "space.html",
        space=space,
        tile=here[0] if here else None,
        cameras=[camera for camera in cameras or [] if camera.space_id == space_id],
        timeline=timeline(spans, since, moment),
        hours=hours,
        choices=HOURS,
        estimates=estimates,
        photos=photos,
        stays=sorted(stays, key=lambda stay: (stay.until is not None, -stay.from_.timestamp())),
        retention=retention,
        down=(["aggregation"] if shown.down else []) + (["camera_ingest"] if cameras is None else []),
    )


@router.post("/spaces/{space_id}/service", name="set_in_service")
async def set_in_service(space_id: SpaceId, operator: Operator, form: Form, parts: PartsOf) -> RedirectResponse:
    """Take a space out of service, or back."""
    await parts.aggregation.set_in_service(operator.person, space_id, text(form, "in_service") == "yes")
    parts.live.changed()
    return see(f"/spaces/{space_id}", "saved")


@router.post("/stays/{stay_id}", name="decide_stay")
async def decide_stay(
    stay_id: Annotated[str, Path(max_length=64)], operator: Operator, form: Form, parts: PartsOf
) -> RedirectResponse:
    """Decide about a stay."""
    await parts.aggregation.decide_stay(
        operator.person,
        stay_id,
        text(form, "version"),
        state=text(form, "state"),
        number_of_animals=whole_number(text(form, "number_of_animals")),
        note=text(form, "note", 500),
    )
    parts.live.changed()
    return see(safe_next(text(form, "next")), "saved")


@router.post("/frames/{receipt}/correction", name="correct")
async def correct(
    receipt: Annotated[str, Path(max_length=64)], operator: Operator, form: Form, parts: PartsOf
) -> RedirectResponse:
    """Say what a photo shows, or undo what was said."""
    label = text(form, "label")
    if label == "undo":
        await parts.aggregation.undo_correction(operator.person, receipt)
    else:
        await parts.aggregation.correct(operator.person, receipt, label)
    parts.live.changed()
    return see(safe_next(text(form, "next")), "undone" if label == "undo" else "corrected")
