"""Which camera calls: by Basic, by its secret as bearer token or in the path, or by Digest where that is on."""

import asyncio
import base64
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security.http import HTTPBase
from pydantic import AfterValidator
from starlette.requests import ClientDisconnect

from services.camera_ingest import digest, metrics, registry
from services.camera_ingest.api.dependencies import NAME, CameraId, Ingest, Parts
from services.camera_ingest.bodies import AROUND_THE_PHOTO
from services.camera_ingest.domain import Address
from services.camera_ingest.event import HIGHEST_CHANNEL, parse_mac
from shared.problem import Problem

BASIC = 'Basic realm="huella", charset="UTF-8"'

IN_HEADER = (
    "Send the camera's id and secret (Basic, or Digest where that is asked for), or its secret as bearer token. "
    "An admin can give it a new secret."
)
IN_PATH = (
    "The last part of this address is no secret of a camera, or of none that may send it so. An admin can give a "
    "camera a new secret, and switch this on for it."
)


@dataclass(frozen=True)
class Secret:
    """A camera's secret as it was sent, with the camera's id if that was told too."""

    camera_id: str | None
    secret: str
    in_path: bool = False


Credentials = Secret | digest.Answer


def camera_credentials(request: Request) -> Credentials | None:
    """Return what was sent by Basic, by Digest, or by a bearer token that is no signed one; else None."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    scheme, value = scheme.lower(), value.strip()
    if scheme == "bearer" and value and value.count(".") != 2:
        return Secret(None, value)
    if scheme == "digest":
        answer = digest.read_answer(value)
        return answer if answer and answer.uri == _target(request) and re.fullmatch(NAME, answer.username) else None
    if scheme != "basic":
        return None
    try:
        camera_id, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not text
        return None
    return Secret(camera_id, secret) if colon and re.fullmatch(NAME, camera_id) else None


def _target(request: Request) -> str:
    """Return the request's target as it was sent."""
    path, query = request.scope.get("raw_path", b""), request.scope["query_string"]
    return str((path + (b"?" + query if query else b"")).decode("latin-1"))


def identify_camera(parts: Parts, request: Request, sent: Credentials | None, claimed: str) -> registry.Camera:
    """Return the camera whose credentials these are. Raises Problem 401, or 429 after too many wrong ones.

    A wrong secret and an unknown camera get the same answer. `claimed` is the id, or the MAC address, of the camera
    that it is said to be: under it failures are counted, and how it does authenticate is what the 401 asks for.
    """
    stale = False
    if sent is not None:
        camera = _camera_of(parts, request, sent)
        if camera is None:
            _count_wrong(parts, (sent.username if isinstance(sent, digest.Answer) else sent.camera_id) or claimed)
        # Right, but made for another time or used before: it is asked again, with nothing counted against it.
        elif isinstance(sent, digest.Answer) and not (parts.nonces.is_fresh(sent.nonce) and parts.nonces.use(sent)):
            stale = True
        else:
            return camera
    raise Problem(
        401,
        "unauthorized",
        IN_PATH if isinstance(sent, Secret) and sent.in_path else IN_HEADER,
        challenges=_challenges(parts, claimed, stale),
    )


def _camera_of(parts: Parts, request: Request, sent: Credentials) -> registry.Camera | None:
    with parts.database.read() as connection:
        if isinstance(sent, digest.Answer):
            return registry.camera_with_answer(connection, sent, request.method)
        return registry.camera_with_secret(connection, sent.camera_id, sent.secret, sent.in_path)


def _count_wrong(parts: Parts, name: str) -> None:
    metrics.WRONG_SECRETS.inc()
    wait_s = parts.throttle.failed(name)
    if wait_s is not None:
        raise Problem(
            429,
            "too-many-wrong-secrets",
            "Wrong secrets again and again. Check the camera's settings; an admin can give it a new secret.",
            headers={"Retry-After": str(wait_s)},
        )


def _challenges(parts: Parts, claimed: str, stale: bool) -> list[str]:
    """Return the challenges for a camera: Digest's where it has Digest, else Basic's, never both.

    An id that no camera has is asked for Digest as often as cameras are, and always alike, so that the challenge does
    not tell which ids there are.
    """
    with parts.database.read() as connection:
        uses = registry.uses_digest(connection, claimed)
    if stale or uses is True or (uses is not False and parts.nonces.share_of(claimed) < uses):
        return digest.challenges(parts.nonces.make(), stale)
    return [BASIC]


# Only told to OpenAPI: what is sent is read by `camera_credentials`, which takes each and refuses all alike.
_basic = HTTPBase(scheme="basic", scheme_name="camera", auto_error=False, description="The camera's id and its secret.")
_secret = HTTPBase(
    scheme="bearer", scheme_name="camera_secret", auto_error=False, description="The camera's secret alone."
)
_digest = HTTPBase(
    scheme="digest",
    scheme_name="camera_digest",
    auto_error=False,
    description="The camera's id and its secret, where Digest is switched on for it.",
)
shown_in_openapi = [Security(_basic), Security(_secret), Security(_digest)]


async def _identified(parts: Parts, request: Request, sent: Credentials | None, claimed: str) -> registry.Camera:
    try:
        return await run_in_threadpool(identify_camera, parts, request, sent, claimed)
    except Problem as problem:
        if problem.status == 401 and problem.challenges[0] != BASIC:
            await _let_it_finish(request, parts)
        raise


async def _let_it_finish(request: Request, parts: Parts) -> None:
    """Read and forget a body that was sent without an answer to the challenge, where that comes before the end.

    A camera that does Digest sends every photo so first. If its connection ends with the 401, bytes that nobody read
    would reset it, and the camera might never see the challenge; one that is kept is read on anyway.
    """
    ends = request.scope["http_version"] == "1.0" or request.headers.get("connection", "").lower() == "close"
    if not ends or "expect" in request.headers:
        return
    left = parts.settings.frame_bytes + AROUND_THE_PHOTO
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(parts.settings.body_deadline_s):
            async for piece in request.stream():
                left -= len(piece)
                if left < 0:
                    return


async def sending_camera(camera_id: CameraId, request: Request, parts: Ingest) -> registry.Camera:
    """Return the camera of a PUT at a camera's own address: one that is remembered, or from the database."""
    sent = camera_credentials(request)
    if isinstance(sent, Secret) and sent.camera_id in (None, camera_id):
        remembered = parts.remembered.find(camera_id, registry.digest_of(sent.secret))
        if remembered is not None:
            return remembered
    camera = await _identified(parts, request, sent, camera_id)
    if camera.camera_id != camera_id:
        raise Problem(403, "forbidden", "These are the credentials of another camera. Put frames under its own id.")
    if camera.secret is not None:  # by an answer to a challenge no camera is found again
        parts.remembered.note(camera)
    return camera


def ask_again(parts: Parts, camera: registry.Camera) -> registry.Camera:
    """Return a camera that was known by its secret as it is now. Raises Problem as `identify_camera` does."""
    assert camera.secret is not None
    with parts.database.read() as connection:
        found = registry.camera_with_sha256(connection, camera.camera_id, camera.secret, camera.in_path)
    if found is None:
        _count_wrong(parts, camera.camera_id)
        raise Problem(
            401,
            "unauthorized",
            IN_PATH if camera.in_path else IN_HEADER,
            challenges=_challenges(parts, camera.camera_id, stale=False),
        )
    return found


def _mac(text: str | None) -> str | None:
    return None if text is None else parse_mac(text)


def _told_address(
    mac: Annotated[
        str | None, Query(max_length=32, description="MAC address of the device."), AfterValidator(_mac)
    ] = None,
    channel: Annotated[int | None, Query(ge=0, le=HIGHEST_CHANNEL, description="Channel of the device.")] = None,
) -> Address:
    return Address(mac, channel)


ToldAddress = Annotated[Address, Depends(_told_address)]


async def _camera_by_credentials(request: Request, parts: Ingest, told: ToldAddress) -> registry.Camera:
    return await _identified(parts, request, camera_credentials(request), told.mac or "")


async def _camera_by_path(
    secret: Annotated[str, Path(min_length=1, max_length=64, pattern=NAME, description="The camera's secret.")],
    request: Request,
    parts: Ingest,
    told: ToldAddress,
) -> registry.Camera:
    return await _identified(parts, request, Secret(None, secret, in_path=True), told.mac or "")


SendingCamera = Annotated[registry.Camera, Depends(sending_camera)]
CameraByCredentials = Annotated[registry.Camera, Depends(_camera_by_credentials)]
CameraByPath = Annotated[registry.Camera, Depends(_camera_by_path)]
