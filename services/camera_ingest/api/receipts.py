"""Receipts: what became of a frame, the list of frames, offering a rejected one again."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Row

from services.camera_ingest import registry, store
from services.camera_ingest.api.credentials import Secret, camera_credentials, identify_camera
from services.camera_ingest.api.dependencies import NAME, Cursor, Ingest, Parts, ReceiptPath
from services.camera_ingest.domain import State
from services.camera_ingest.janitor import receipts_before
from shared.auth import Operator, ViewerOrService, bearer, require
from shared.database import now
from shared.messages import isoformat
from shared.problem import Problem
from shared.tokens import Role

router = APIRouter(tags=["receipts"])


class Receipt(BaseModel):
    """A frame as its receipt tells it; times are RFC 3339 in UTC."""

    receipt: str
    camera_id: str
    frame_id: str
    space_id: str
    state: State
    reason: str | None = Field(description="Why it was rejected.")
    attempts: int = Field(description="Attempts that count against it; at three it is given up.")
    offers: int = Field(description="How often it was offered to the classifier.")
    received_at: str
    observed_at: str = Field(description="The time that we believe.")
    captured_at: str | None = Field(description="The time that the camera told, by header, event message or EXIF.")
    settled_at: str | None
    sha256: str
    size: int = Field(description="Bytes as sent.")
    media_type: str
    width: int
    height: int
    image: str | None = Field(description="Where its image is, without metadata; null once removed.")


class ReceiptPage(BaseModel):
    """Frames in the order in which they were received; `next` is the cursor of the next page."""

    items: list[Receipt]
    next: str | None


def describe(row: Row[Any]) -> Receipt:
    """Return a frame's row as a receipt."""
    return Receipt(
        receipt=row.receipt,
        camera_id=row.camera_id,
        frame_id=row.frame_id,
        space_id=row.space_id,
        state=State(row.state),
        reason=row.reason,
        attempts=row.attempts,
        offers=row.offers,
        received_at=isoformat(row.received_at),
        observed_at=isoformat(row.observed_at),
        captured_at=_optional(row.captured_at),
        settled_at=_optional(row.settled_at),
        sha256=row.sha256,
        size=row.size,
        media_type=row.media_type,
        width=row.width,
        height=row.height,
        image=None if row.image_removed_at else f"/v1/receipts/{row.receipt}/image",
    )


def _optional(moment: datetime | None) -> str | None:
    return None if moment is None else isoformat(moment)


def unknown_receipt() -> Problem:
    """Return the 404 of a receipt that is not known."""
    return Problem(404, "unknown-receipt", "There is no such receipt, or its row was removed after its time.")


async def _viewer_or_camera(
    request: Request, parts: Ingest, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> registry.Camera | None:
    """Return the camera that asks, or None when a viewer does."""
    sent = camera_credentials(request)
    if sent is None:
        await require(Role.VIEWER)(request, credentials)
        return None
    claimed = sent.camera_id if isinstance(sent, Secret) else sent.username
    return await run_in_threadpool(identify_camera, parts, request, sent, claimed or "")


@router.get("/v1/receipts/{receipt}")
def get_receipt(
    receipt: ReceiptPath, parts: Ingest, camera: Annotated[registry.Camera | None, Depends(_viewer_or_camera)]
) -> Receipt:
    """Return what became of a frame, to a viewer or to the camera that sent it."""
    row = read_row(parts, receipt)
    if camera is not None and camera.camera_id != row.camera_id:
        raise Problem(403, "forbidden", "This receipt is of another camera's frame. A camera may read its own only.")
    return describe(row)


@router.get("/v1/receipts")
def list_receipts(
    caller: ViewerOrService,
    parts: Ingest,
    state: State | None = None,
    camera_id: Annotated[str | None, Query(max_length=64, pattern=NAME)] = None,
    since: Annotated[AwareDatetime | None, Query(description="Received at or after.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Received before.")] = None,
    newest_first: Annotated[bool, Query(description="Begin with the newest.")] = False,
    cursor: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ReceiptPage:
    """List frames in the order in which they were received, or the newest first."""
    first = receipts_before(since) if since else ""
    after, before = (first, cursor) if newest_first else (max(cursor, first), None)
    with parts.database.read() as connection:
        rows = store.list_frames(
            connection,
            after=after,
            before=before,
            until=receipts_before(until) if until else None,
            limit=limit + 1,
            state=state,
            camera_id=camera_id,
        )
    return ReceiptPage(
        items=[describe(row) for row in rows[:limit]], next=rows[limit - 1].receipt if len(rows) > limit else None
    )


@router.post("/v1/receipts/{receipt}/offers", status_code=202)
def create_offer(receipt: ReceiptPath, operator: Operator, parts: Ingest) -> Receipt:
    """Offer a rejected frame to the classifier again, with no attempt against it."""
    row = parts.database.write(lambda c: store.offer_again(c, receipt, now()))
    if row is None:
        raise unknown_receipt()
    if row.state == State.COUNTED:
        raise Problem(409, "already-counted", "This frame is counted; there is nothing to offer.")
    if row.image_removed_at is not None:
        raise image_gone()
    parts.relay.wake(arrived=1)
    return describe(row)


def read_row(parts: Parts, receipt: str) -> Row[Any]:
    """Return a frame's row. Raises Problem 404."""
    with parts.database.read() as connection:
        row = store.read_frame(connection, receipt)
    if row is None:
        raise unknown_receipt()
    return row


def image_gone() -> Problem:
    """Return the 410 of an image that the janitor removed."""
    return Problem(410, "image-removed", "This frame's image was removed after its time; what is known of it stays.")
