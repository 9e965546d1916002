"""Cameras as a resource, and their secrets."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, Field, model_validator
from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError

from services.camera_ingest import registry
from services.camera_ingest.api.dependencies import NAME, CameraId, Cursor, Ingest
from services.camera_ingest.event import HIGHEST_CHANNEL, parse_mac
from shared.auth import Admin, Viewer
from shared.database import now
from shared.messages import isoformat
from shared.problem import Problem
from shared.receipts import given_at

router = APIRouter(tags=["cameras"])


Authentication = Literal["basic", "digest"]


def _mac(text: str | None) -> str | None:
    return None if text is None else parse_mac(text)


class CameraChoice(BaseModel):
    """What an admin says of a camera; of what is left out, nothing changes."""

    space_id: str = Field(min_length=1, max_length=64, pattern=NAME, description="The space that it looks at.")
    authentication: Authentication = Field(
        "basic", description="`digest`: it is asked for Digest, and what that needs is kept of its secrets."
    )
    mac: Annotated[str | None, AfterValidator(_mac)] = Field(
        None, max_length=32, description="MAC address of its device, which a vendor's messages tell."
    )
    channel: int | None = Field(
        None, ge=0, le=HIGHEST_CHANNEL, description="Its channel, if the device has several; needs the MAC address."
    )
    secret_in_path: bool = Field(
        False, description="It may send its secret in the path, for firmware that can only be given an address."
    )
    always_200: bool = Field(
        False, description="It is answered 200 whatever comes of its frames, for firmware that repeats for ever else."
    )

    @model_validator(mode="after")
    def _channel_of_a_device(self) -> Self:
        if self.channel is not None and self.mac is None:
            raise ValueError("a channel is one of a device: give the device's mac with it")
        return self


class Camera(BaseModel):
    """A camera; `secret` is there only when it was just made or given one, and is never shown again."""

    camera_id: str
    space_id: str
    created_at: str
    last_frame_at: str | None = Field(description="When its newest frame was received.")
    last_receipt: str | None = Field(description="The receipt of its newest frame.")
    secrets: int = Field(description="Number of secrets that are valid now, at most two.")
    authentication: Authentication
    mac: str | None
    channel: int | None
    secret_in_path: bool
    always_200: bool
    refused: int = Field(description="Frames that were refused although the camera was answered 200.")
    last_refusal: str | None = Field(description="The kind of problem that the newest of these had.")
    last_refused_at: str | None
    secret: str | None = None


class CameraPage(BaseModel):
    """Cameras by id; `next` is the cursor of the next page."""

    items: list[Camera]
    next: str | None


class NewSecret(BaseModel):
    """A secret, shown this once."""

    camera_id: str
    secret: str
    secrets: int


@router.put(
    "/v1/cameras/{camera_id}",
    response_model=Camera,
    response_model_exclude_none=True,
    responses={201: {"model": Camera, "description": "A new camera, with its secret."}},
)
def put_camera(camera_id: CameraId, choice: CameraChoice, admin: Admin, parts: Ingest, response: Response) -> Camera:
    """Make a camera, or say which space it looks at from now on; frames keep the space they had.

    An old camera that is switched to Digest is given one more secret, since Digest can't use those that it has.
    """
    chosen = choice.model_dump(exclude_unset=True)
    if "mac" in chosen and chosen["mac"] is None:
        chosen["channel"] = None
    try:
        created, secret = parts.database.write(lambda c: registry.put_camera(c, camera_id, now=now(), **chosen))
    except IntegrityError:
        raise Problem(
            409, "address-taken", "Another camera is that channel of that device. Change or remove it first."
        ) from None
    response.status_code = 201 if created else 200
    return _read(parts, camera_id, secret)


@router.get("/v1/cameras", response_model=CameraPage, response_model_exclude={"items": {"__all__": {"secret"}}})
def list_cameras(
    viewer: Viewer,
    parts: Ingest,
    cursor: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> CameraPage:
    """List cameras by id."""
    with parts.database.read() as connection:
        rows = registry.list_cameras(connection, cursor, limit + 1)
    return CameraPage(
        items=[_camera(row) for row in rows[:limit]], next=rows[limit - 1].camera_id if len(rows) > limit else None
    )


@router.get("/v1/cameras/{camera_id}", response_model=Camera, response_model_exclude={"secret"})
def get_camera(camera_id: CameraId, viewer: Viewer, parts: Ingest) -> Camera:
    """Return one camera."""
    return _read(parts, camera_id)


@router.delete("/v1/cameras/{camera_id}", status_code=204)
def delete_camera(camera_id: CameraId, admin: Admin, parts: Ingest) -> None:
    """Remove a camera and its secrets; its frames stay."""
    if not parts.database.write(lambda c: registry.remove_camera(c, camera_id)):
        raise _unknown()


@router.post("/v1/cameras/{camera_id}/secrets", status_code=201)
def create_camera_secret(camera_id: CameraId, admin: Admin, parts: Ingest) -> NewSecret:
    """Give a camera one more secret; two are valid at a time, a third replaces the oldest."""
    secret = parts.database.write(lambda c: registry.add_secret(c, camera_id, now()))
    if secret is None:
        raise _unknown()
    return NewSecret(camera_id=camera_id, secret=secret, secrets=_read(parts, camera_id).secrets)


@router.delete("/v1/cameras/{camera_id}/secrets", status_code=204)
def delete_camera_secrets(
    camera_id: CameraId,
    admin: Admin,
    parts: Ingest,
    which: Annotated[Literal["old"], Query(description="`old`: all but the newest.")],
) -> None:
    """Revoke a camera's old secrets, once it uses its newest."""
    if not parts.database.write(lambda c: registry.keep_newest_secrets(c, camera_id, 1)):
        raise _unknown()


def _read(parts: Ingest, camera_id: str, secret: str | None = None) -> Camera:
    with parts.database.read() as connection:
        row = registry.read_camera(connection, camera_id)
    if row is None:
        raise _unknown()
    return _camera(row, secret)


def _camera(row: Row[Any], secret: str | None = None) -> Camera:
    return Camera(
        camera_id=row.camera_id,
        space_id=row.space_id,
        created_at=isoformat(row.created_at),
        last_frame_at=isoformat(given_at(row.last_receipt)) if row.last_receipt else None,
        last_receipt=row.last_receipt,
        secrets=row.secrets,
        authentication=row.authentication,
        mac=row.mac,
        channel=row.channel,
        secret_in_path=row.secret_in_path,
        always_200=row.always_200,
        refused=row.refused,
        last_refusal=row.last_refusal,
        last_refused_at=isoformat(row.last_refused_at) if row.last_refused_at else None,
        secret=secret,
    )


def _unknown() -> Problem:
    return Problem(404, "unknown-camera", "There is no such camera. An admin makes it by PUT at this address.")
