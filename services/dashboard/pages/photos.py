"""Photos and their small pictures, for people who are logged in."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Path
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from services.dashboard.access import Viewer
from services.dashboard.clients import Refused
from services.dashboard.parts import PartsOf
from services.dashboard.photos import UNSHOWABLE
from services.dashboard.render import FOLDER

router = APIRouter(tags=["photos"])

Receipt = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$")]
IfNoneMatch = Annotated[str | None, Header(max_length=1000)]
NO_PHOTO = (FOLDER / "static" / "no-photo.svg").read_bytes()
# A photo never changes, but whether one may see it does: the browser keeps it for an hour, for this person alone.
KEEP = {"Cache-Control": "private, max-age=3600", "Vary": "Cookie"}


@router.get("/photos/{receipt}", response_class=Response, name="photo")
async def show_photo(receipt: Receipt, viewer: Viewer, parts: PartsOf) -> Response:
    """Show a photo as ingest gives it: whole, without metadata."""
    content, media_type = await parts.ingest.image(viewer.person, receipt)
    allowed = media_type in ("image/jpeg", "image/png", "image/webp")
    return Response(content, media_type=media_type if allowed else "application/octet-stream", headers=KEEP)


@router.get("/photos/{receipt}/thumbnail", response_class=Response, name="thumbnail")
async def show_thumbnail(
    receipt: Receipt, viewer: Viewer, parts: PartsOf, if_none_match: IfNoneMatch = None
) -> Response:
    """Show a photo small; it is made on the first request and kept for a day.

    Of one that can't be decoded or that retention has removed, a drawing says so: a page should not look broken.
    """
    small = await run_in_threadpool(parts.thumbnails.kept, receipt)
    if small is None:
        try:
            photo, _ = await parts.ingest.image(viewer.person, receipt)
        except Refused as error:
            if error.status not in (404, 410):
                raise
            return Response(NO_PHOTO, media_type="image/svg+xml", headers=KEEP)
        small = await run_in_threadpool(parts.thumbnails.make, receipt, photo)
    if small == UNSHOWABLE:
        return Response(NO_PHOTO, media_type="image/svg+xml", headers=KEEP)
    etag = f'"{hashlib.sha256(small).hexdigest()[:32]}"'
    if if_none_match and etag in (part.strip().removeprefix("W/") for part in if_none_match.split(",")):
        return Response(status_code=304, headers={**KEEP, "ETag": etag})
    return Response(small, media_type="image/jpeg", headers={**KEEP, "ETag": etag})
