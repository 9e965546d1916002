"""Health: whether every photo is accounted for, what is silent, slow or down, and photos that were rejected."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from services.dashboard.access import Form, Operator, Viewer
from services.dashboard.clients import Refused, ServiceDown
from services.dashboard.domain import camera_fault
from services.dashboard.pages.answers import see
from services.dashboard.parts import PartsOf
from services.dashboard.render import moment_of
from services.dashboard.tiles import natural, seen

router = APIRouter(tags=["pages"])

REJECTED = 50
T = TypeVar("T")


@router.get("/health", response_class=HTMLResponse, name="health")
async def show_health(request: Request, viewer: Viewer, parts: PartsOf) -> HTMLResponse:
    """Show how the system is; each part stands alone, so that an outage hides nothing else."""
    person, moment = viewer.person, moment_of(request)
    clients = (parts.ingest, parts.classifier, parts.aggregation)
    (ready, shown), (audit, reconciliation, pipeline, cameras, rejected) = await asyncio.gather(
        asyncio.gather(asyncio.gather(*(or_none(client.ready()) for client in clients)), parts.live.status(person)),
        asyncio.gather(
            or_none(parts.ingest.audit(person)),
            or_none(parts.aggregation.reconciliation(person)),
            or_none(parts.ingest.pipeline(person)),
            or_none(parts.ingest.cameras(person)),
            or_none(parts.ingest.rejected(person, REJECTED)),
        ),
    )
    spaces = {space.id: space for space in (shown.status.spaces if shown.status else [])}
    watched = []
    for camera in sorted(cameras or [], key=lambda camera: natural(camera.camera_id)):
        space = spaces.get(camera.space_id)
        silent_after = timedelta(seconds=space.stale_after_s) if space else timedelta(minutes=10)
        watched.append((camera, camera_fault(seen(camera), silent_after, moment)))
    services = {client.service: checks for client, checks in zip(clients, ready, strict=True)}
    return parts.renderer.page(
        request,
        "health.html",
        services=services,
        audit=audit,
        reconciliation=reconciliation,
        disagreeing=[hour for hour in reconciliation.hours if not hour.agrees] if reconciliation else [],
        pipeline=pipeline,
        cameras=None if cameras is None else sorted(watched, key=lambda pair: pair[1] is None),
        names={space.id: space.name for space in spaces.values()},
        rejected=rejected,
        most=REJECTED,
        down=[name for name, checks in services.items() if checks is None],
    )


async def or_none(asked: Awaitable[T]) -> T | None:
    """Return what was asked for, or None while the service is down or does not know the question."""
    try:
        return await asked
    except (ServiceDown, Refused):
        return None


@router.post("/receipts/{receipt}/offers", name="offer_again")
async def offer_again(
    receipt: Annotated[str, Path(max_length=64)], operator: Operator, form: Form, parts: PartsOf
) -> RedirectResponse:
    """Offer a rejected photo to the model again."""
    await parts.ingest.offer_again(operator.person, receipt)
    return see("/health", "offered")
