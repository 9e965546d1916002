"""Cameras and spaces: add and change them, rotate a camera's secret, wait for its first photo."""

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import FormData

from services.dashboard.access import Admin, Form, Viewer, text
from services.dashboard.clients import ServiceDown
from services.dashboard.pages.answers import see, whole_number
from services.dashboard.pages.health import or_none
from services.dashboard.pages.now import cameras_or_none
from services.dashboard.parts import Parts, PartsOf
from services.dashboard.tiles import natural
from shared.problem import Problem

router = APIRouter(tags=["pages"])

NAME = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
CameraId = Annotated[str, Path(max_length=64)]


def checked_id(value: str) -> str:
    """Return an id that a person typed. Raises Problem 422 if no service would take it."""
    if not NAME.match(value) or value in (".", ".."):
        raise Problem(422, "bad-id", "An id has 1 to 64 letters (a to z), digits, dots, dashes or underscores.")
    return value


@router.get("/setup", response_class=HTMLResponse, name="setup")
async def show_setup(request: Request, viewer: Viewer, parts: PartsOf) -> HTMLResponse:
    """Show every space with its cameras."""
    shown, cameras, retention = await asyncio.gather(
        parts.live.status(viewer.person),
        cameras_or_none(parts, viewer.person),
        or_none(parts.ingest.retention(viewer.person)),
    )
    down = (["aggregation"] if shown.down else []) + (["camera_ingest"] if cameras is None else [])
    spaces = sorted(shown.status.spaces, key=lambda space: natural(space.name)) if shown.status else None
    known = {space.id for space in spaces or []}
    return parts.renderer.page(
        request,
        "setup.html",
        spaces=spaces,
        cameras=sorted(cameras or [], key=lambda camera: natural(camera.camera_id)),
        lost=[camera for camera in cameras or [] if camera.space_id not in known],
        cameras_known=cameras is not None,
        retention=retention,
        down=down,
    )


@router.post("/setup/spaces", name="put_space")
async def put_space(admin: Admin, form: Form, parts: PartsOf) -> RedirectResponse:
    """Make or change a space."""
    space_id = checked_id(text(form, "space_id"))
    await parts.aggregation.put_space(
        admin.person,
        space_id,
        name=text(form, "name", 200) or space_id,
        purpose=text(form, "purpose"),
        stale_after_s=whole_number(text(form, "stale_after_min")) * 60,
        in_service=text(form, "in_service") == "yes",
    )
    parts.live.changed()
    return see("/setup", "saved")


@router.post("/setup/cameras", response_class=HTMLResponse, name="put_camera")
async def put_camera(request: Request, admin: Admin, form: Form, parts: PartsOf) -> Response:
    """Make a camera and show its secret, or let one look at another space or send in another way."""
    camera_id = checked_id(text(form, "camera_id"))
    secret = await parts.ingest.put_camera(admin.person, camera_id, checked_id(text(form, "space_id")), _switches(form))
    if secret is None:
        return see(f"/cameras/{camera_id}", "saved")
    return await _camera_page(request, parts, admin, camera_id, secret)


def _switches(form: FormData) -> dict[str, str | bool | int | None]:
    """Return what a form says of the camera's firmware; an empty choice changes nothing, should there be a camera.

    Only the form of a camera that is known (`device`) takes its MAC address and channel away by leaving them empty.
    """
    chosen: dict[str, str | bool | int | None] = {}
    if text(form, "authentication"):
        chosen["authentication"] = text(form, "authentication")
    for name in ("secret_in_path", "always_200"):
        if text(form, name):
            chosen[name] = text(form, name) == "yes"
    mac, channel = text(form, "mac", 32), text(form, "channel", 9)
    if mac or channel or text(form, "device"):
        chosen |= {"mac": mac or None, "channel": whole_number(channel) if channel else None}
    return chosen


@router.get("/cameras/{camera_id}", response_class=HTMLResponse, name="camera")
async def show_camera(request: Request, camera_id: CameraId, viewer: Viewer, parts: PartsOf) -> HTMLResponse:
    """Show one camera."""
    return await _camera_page(request, parts, viewer, checked_id(camera_id), None)


@router.post("/cameras/{camera_id}/secrets", response_class=HTMLResponse, name="rotate_secret")
async def rotate_secret(request: Request, camera_id: CameraId, admin: Admin, form: Form, parts: PartsOf) -> Response:
    """Give a camera a new secret and show it this once, or end the old one."""
    checked_id(camera_id)
    if text(form, "what") == "revoke":
        await parts.ingest.revoke_old_secret(admin.person, camera_id)
        return see(f"/cameras/{camera_id}", "revoked")
    secret = await parts.ingest.rotate_secret(admin.person, camera_id)
    return await _camera_page(request, parts, admin, camera_id, secret)


@router.post("/cameras/{camera_id}/removal", name="remove_camera")
async def remove_camera(camera_id: CameraId, admin: Admin, form: Form, parts: PartsOf) -> RedirectResponse:
    """Remove a camera."""
    await parts.ingest.remove_camera(admin.person, checked_id(camera_id))
    return see("/setup", "removed")


async def _camera_page(
    request: Request, parts: Parts, viewer: Viewer, camera_id: str, secret: str | None
) -> HTMLResponse:
    camera, shown = await asyncio.gather(
        parts.ingest.camera(viewer.person, camera_id), parts.live.status(viewer.person)
    )
    rejection = None
    if camera.last_receipt is not None:
        try:
            rejection = await parts.ingest.receipt(viewer.person, camera.last_receipt)
        except ServiceDown:
            rejection = None  # the page says what it knows
    return parts.renderer.page(
        request,
        "camera.html",
        camera=camera,
        last=rejection,
        secret=secret,
        address=parts.settings.origin_for_cameras,
        spaces=sorted(shown.status.spaces, key=lambda space: natural(space.name)) if shown.status else [],
        names={space.id: space.name for space in shown.status.spaces} if shown.status else {},
        down=["aggregation"] if shown.down else [],
    )
