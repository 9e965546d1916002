"""Models: which versions are in use, what they have shown, and for administrators how to change it."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from services.dashboard.access import Admin, Form, Viewer, text
from services.dashboard.clients import Refused
from services.dashboard.pages.answers import see
from services.dashboard.parts import Parts, PartsOf
from services.dashboard.store import Person

router = APIRouter(tags=["pages"])

CHANGES = 20


@router.get("/models", response_class=HTMLResponse, name="models")
async def show_models(request: Request, viewer: Viewer, parts: PartsOf) -> HTMLResponse:
    """Show the running rollout with its evidence."""
    return await _page(request, viewer.person, parts)


@router.post("/models/rollout", response_class=HTMLResponse, name="change_rollout")
async def change_rollout(request: Request, admin: Admin, form: Form, parts: PartsOf) -> Response:
    """Put another rollout in force; a candidate is compared with the champion by the chosen strategy."""
    champion, candidate = text(form, "champion", 130), text(form, "candidate", 130)
    chosen = [(champion, "champion")] + ([(candidate, "candidate")] if candidate else [])
    variants = [
        {"model": name.partition("/")[0], "version": name.partition("/")[2], "role": role} for name, role in chosen
    ]
    body: dict[str, object] = {
        "strategy": text(form, "strategy", 16),
        "variants": variants,
        "reason": text(form, "reason", 500),
    }
    try:
        await parts.classifier.put_rollout(admin.person, body)
    except Refused as error:
        return await _page(request, admin.person, parts, problem=error.detail, status=422)
    return see("/models", "saved")


@router.post("/models/undo", response_class=HTMLResponse, name="undo_rollout")
async def undo_rollout(request: Request, admin: Admin, form: Form, parts: PartsOf) -> Response:
    """Take the last change back."""
    try:
        await parts.classifier.undo_rollout(admin.person, text(form, "reason", 500))
    except Refused as error:
        return await _page(request, admin.person, parts, problem=error.detail, status=422)
    return see("/models", "saved")


async def _page(request: Request, person: Person, parts: Parts, problem: str = "", status: int = 200) -> HTMLResponse:
    rollout, report, changes, versions = await asyncio.gather(
        parts.classifier.rollout(person),
        parts.classifier.report(person),
        parts.classifier.changes(person, CHANGES),
        parts.classifier.versions(person),
    )
    page = parts.renderer.page(
        request,
        "models.html",
        rollout=rollout,
        report=report,
        changes=changes,
        versions=versions,
        problem=problem,
        down=[],
        strategies=("single", "silent", "ab", "canary", "bandit"),
    )
    page.status_code = status
    return page
