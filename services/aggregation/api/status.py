"""The adoption status of the whole shelter."""

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import JSONResponse, Response

from services.aggregation import views
from services.aggregation.api.pages import Db, not_modified
from services.aggregation.api.shapes import AdoptionStatus
from shared.auth import Viewer
from shared.database import now

router = APIRouter(prefix="/v1/adoption-status", tags=["adoption status"])

CACHE = {"Cache-Control": "private, no-cache"}


@router.get("", response_model=AdoptionStatus, responses={304: {"description": "Nothing changed."}})
def get_adoption_status(
    caller: Viewer, db: Db, if_none_match: Annotated[str | None, Header(max_length=1000)] = None
) -> Response:
    """Return which spaces hold cats, dogs, both or nobody, the stays now open, totals, and what changed last."""
    at = now()
    with db.read() as connection:
        tag = views.status_tag(connection, at)
        headers = {**CACHE, "ETag": tag}
        if not_modified(if_none_match, tag):
            return Response(status_code=304, headers=headers)
        # Made here rather than through the response model: validating 500 spaces costs more than reading them.
        return JSONResponse(views.status(connection, at), headers=headers)
