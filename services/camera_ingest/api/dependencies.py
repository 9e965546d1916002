"""What routes ask for in their signatures: the service's parts, ids, and the camera that calls."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security.http import HTTPBase
from pydantic import AfterValidator

from services.camera_ingest import metrics, store
from services.camera_ingest.capacity import Capacity
from services.camera_ingest.files import ImageFiles
from services.camera_ingest.janitor import Janitor
from services.camera_ingest.relay import QueueLengths, Relay
from services.camera_ingest.settings import Settings
from services.camera_ingest.throttle import Throttle
from shared.database import Database
from shared.problem import Problem

NAME = r"^[A-Za-z0-9._-]+$"
CameraId = Annotated[str, Path(min_length=1, max_length=64, pattern=NAME, description="The camera's id.")]
FrameId = Annotated[
    str, Path(min_length=1, max_length=64, pattern=NAME, description="The camera's name for the photo.")
]
ReceiptPath = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$", description="A receipt.")]

CHALLENGE = 'Basic realm="huella", charset="UTF-8"'


@dataclass(frozen=True)
class Parts:
    """The parts of one running camera_ingest."""

    settings: Settings
    database: Database
    files: ImageFiles
    capacity: Capacity
    relay: Relay
    janitor: Janitor
    throttle: Throttle
    queue_lengths: Callable[[], QueueLengths]


async def _parts(request: Request) -> Parts:  # a coroutine costs no change of thread
    parts: Parts = request.app.state.parts
    return parts


Ingest = Annotated[Parts, Depends(_parts)]


def _printable(text: str) -> str:
    if not text.isprintable():  # PostgreSQL takes no NUL
        raise ValueError("is no cursor that this service gave")
    return text


Cursor = Annotated[str, Query(max_length=64), AfterValidator(_printable)]


def camera_credentials(request: Request) -> tuple[str | None, str] | None:
    """Return (camera id or None, secret) as sent by Basic, or by a bearer token that is no signed one; else None."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip() and value.count(".") != 2:
        return None, value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        camera_id, colon, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:  # not base64, or not text
        return None
    return (camera_id, secret) if colon and re.fullmatch(NAME, camera_id) else None


def identify_camera(parts: Parts, credentials: tuple[str | None, str] | None, claimed: str) -> store.Camera:
    """Return the camera whose credentials these are. Raises Problem 401, or 429 after too many wrong ones.

    A wrong secret and an unknown camera get the same answer. `claimed` is the id under which failures are counted.
    """
    if credentials is not None:
        camera_id, secret = credentials
        with parts.database.read() as connection:
            camera = store.camera_with_secret(connection, camera_id, secret)
        if camera is not None:
            return camera
        metrics.WRONG_SECRETS.inc()
        wait_s = parts.throttle.failed(camera_id or claimed)
        if wait_s is not None:
            raise Problem(
                429,
                "too-many-wrong-secrets",
                "Wrong secrets again and again. Check the camera's settings; an admin can give it a new secret.",
                headers={"Retry-After": str(wait_s)},
            )
    raise Problem(
        401,
        "unauthorized",
        "Send the camera's id and secret (Basic), or its secret as bearer token. An admin can give it a new secret.",
        headers={"WWW-Authenticate": CHALLENGE},
    )


# Only told to OpenAPI: what is sent is read by `camera_credentials`, which takes either and refuses both alike.
_basic = HTTPBase(scheme="basic", scheme_name="camera", auto_error=False, description="The camera's id and its secret.")
_secret = HTTPBase(
    scheme="bearer", scheme_name="camera_secret", auto_error=False, description="The camera's secret alone."
)


def _sending_camera(camera_id: CameraId, request: Request, parts: Ingest) -> store.Camera:
    camera = identify_camera(parts, camera_credentials(request), camera_id)
    if camera.camera_id != camera_id:
        raise Problem(403, "forbidden", "These are the credentials of another camera. Put frames under its own id.")
    return camera


SendingCamera = Annotated[store.Camera, Depends(_sending_camera)]
shown_in_openapi = [Security(_basic), Security(_secret)]
