"""Where cameras put their frames. Every route says only who sends; `accept.py` does the same for all."""

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.routing import APIRoute

from services.camera_ingest.api.accept import Arrival, accept
from services.camera_ingest.api.credentials import (
    CameraByCredentials,
    CameraByPath,
    SendingCamera,
    ToldAddress,
    sending_camera,
    shown_in_openapi,
)
from services.camera_ingest.api.dependencies import NAME, NAME_LENGTH, FrameId, Ingest, Parts
from services.camera_ingest.api.receipts import Receipt

router = APIRouter(tags=["frames"])

# The limit that counts is the setting `frame_bytes`, which answers with a problem document; this one only lifts the
# 64 kB of all other routes.
NO_LIMIT_OF_ITS_OWN = 2**40

CapturedAt = Annotated[
    str | None, Header(description="When the photo was taken, RFC 3339 with a zone; without it EXIF's time is used.")
]
FORMS = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
IMAGE = {name: {"schema": {"type": "string", "format": "binary"}} for name in FORMS}
IMAGE_BODY = {"requestBody": {"required": True, "content": IMAGE}}
MESSAGE = {"multipart/form-data": {"schema": {"type": "object", "description": "Its first part that is a photo."}}}
IMAGE_OR_MESSAGE_BODY = {"requestBody": {"required": True, "content": IMAGE | MESSAGE}}
ANSWERS = {201: {"model": Receipt, "description": "Accepted: it will be counted."}}


class AtCamera(APIRoute):
    """A route at a camera's address, which most frames take: the few arguments are read here.

    For FastAPI to do it costs three times as much as all else between the socket and `accept`. It still does where a
    name is none, and says so; and its OpenAPI comes from the function's signature, as everywhere.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        by_fastapi = super().get_route_handler()

        async def handle(request: Request) -> Response:
            named = request.path_params
            if not all(len(name) <= NAME_LENGTH and re.fullmatch(NAME, name) for name in named.values()):
                return await by_fastapi(request)
            parts: Parts = request.app.state.parts
            camera = await sending_camera(named["camera_id"], request, parts)
            told = request.headers.get("captured-at")
            return await accept(parts, request, Arrival(camera, named.get("frame_id"), told))

        return handle


async def _put_frame(
    frame_id: FrameId, camera: SendingCamera, request: Request, parts: Ingest, captured_at: CapturedAt = None
) -> Response:
    """Take a photo that the camera names; the same again is 200, another under the same name 409."""
    return await accept(parts, request, Arrival(camera, frame_id, captured_at))


async def _frame_without_name(
    camera: SendingCamera, request: Request, parts: Ingest, captured_at: CapturedAt = None
) -> Response:
    """Take a photo of a camera that can't name its photos, alone or in a multipart message.

    It is the same again if bytes and `Captured-At` are equal; without the header, if equal bytes came within 10 s.
    """
    return await accept(parts, request, Arrival(camera, None, captured_at))


async def _frame_by_credentials(
    camera: CameraByCredentials, told: ToldAddress, request: Request, parts: Ingest, captured_at: CapturedAt = None
) -> Response:
    """Take a photo of a camera without an address of its own: it is known by its credentials.

    If its device has several channels, the address or the event message beside the photo says which of them it is.
    """
    return await accept(parts, request, Arrival(camera, None, captured_at, told))


async def _frame_by_path(
    camera: CameraByPath, told: ToldAddress, request: Request, parts: Ingest, captured_at: CapturedAt = None
) -> Response:
    """Take a photo of a camera that can only be given an address, where that is switched on: it holds the secret."""
    return await accept(parts, request, Arrival(camera, None, captured_at, told))


OWN_DEADLINES = set()
for path, name, route, methods in (
    ("/v1/cameras/{camera_id}/frames/{frame_id}", "frame", _put_frame, ("PUT",)),
    ("/v1/cameras/{camera_id}/frame", "frame_without_name", _frame_without_name, ("PUT", "POST")),
    ("/v1/frames", "frame_by_credentials", _frame_by_credentials, ("PUT", "POST")),
    ("/v1/frames/{secret}", "frame_by_path", _frame_by_path, ("PUT", "POST")),
):
    for method in methods:
        OWN_DEADLINES.add(f"{method.lower()}_{name}")
        router.add_api_route(
            path,
            route,
            methods=[method],
            name=f"{method.lower()}_{name}",
            response_model=Receipt,
            responses=ANSWERS,  # type: ignore[arg-type]  # FastAPI's type is wider than any literal's
            openapi_extra=IMAGE_BODY if route is _put_frame else IMAGE_OR_MESSAGE_BODY,
            dependencies=[] if route is _frame_by_path else shown_in_openapi,
            max_body_size=NO_LIMIT_OF_ITS_OWN,
            route_class_override=AtCamera if "{camera_id}" in path else None,
        )
