"""Cameras as a resource, and their secrets."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import Row

from services.camera_ingest import store
from services.camera_ingest.api.dependencies import NAME, CameraId, Cursor, Ingest
from shared.auth import Admin, Viewer
from shared.database import now
from shared.messages import isoformat
from shared.problem import Problem
from shared.receipts import given_at

router = APIRouter(tags=["cameras"])


class CameraChoice(BaseModel):
    """What an admin says of a camera."""

    space_id: str = Field(min_length=1, max_length=64, pattern=NAME, description="The space that it looks at.")


class Camera(BaseModel):
    """A camera; `secret` is there only when it was just made, and is never shown again."""

    camera_id: str
    space_id: str
    created_at: str
    last_frame_at: str | None = Field(description="When its newest frame was received.")
    last_receipt: str | None = Field(description="The receipt of its newest frame.")
    secrets: int = Field(description="Number of secrets that are valid now, at most two.")
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
    """Make a camera, or say which space it looks at from now on; frames keep the space they had."""
    secret = parts.database.write(lambda c: store.put_camera(c, camera_id, choice.space_id, now()))
    response.status_code = 200 if secret is None else 201
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
        rows = store.list_cameras(connection, cursor, limit + 1)
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
    if not parts.database.write(lambda c: store.remove_camera(c, camera_id)):
        raise _unknown()


@router.post("/v1/cameras/{camera_id}/secrets", status_code=201)
def create_camera_secret(camera_id: CameraId, admin: Admin, parts: Ingest) -> NewSecret:
    """Give a camera one more secret; two are valid at a time, a third replaces the oldest."""
    secret = parts.database.write(lambda c: store.add_secret(c, camera_id, now()))
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
    if not parts.database.write(lambda c: store.keep_newest_secrets(c, camera_id, 1)):
        raise _unknown()


def _read(parts: Ingest, camera_id: str, secret: str | None = None) -> Camera:
    with parts.database.read() as connection:
        row = store.read_camera(connection, camera_id)
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
        secret=secret,
    )


def _unknown() -> Problem:
    return Problem(404, "unknown-camera", "There is no such camera. An admin makes it by PUT at this address.")
