"""Spaces, and what happened in each."""

from typing import Any

from fastapi import APIRouter, Response

from services.aggregation import store, views
from services.aggregation.api.pages import (
    Config,
    Cursor,
    Db,
    Limit,
    SpaceId,
    Time,
    not_found,
    page,
    read_cursor,
    read_time_cursor,
    write_cursor,
    write_time_cursor,
)
from services.aggregation.api.shapes import (
    EstimatePage,
    Space,
    SpaceChange,
    SpaceDescription,
    SpacePage,
    SpaceWithStays,
    SpanPage,
    StayPage,
)
from shared.auth import Admin, Operator, Viewer
from shared.database import now

router = APIRouter(prefix="/v1/spaces", tags=["spaces"])


@router.put("/{space_id}", responses={201: {"model": Space, "description": "The space is new."}})
def put_space(
    caller: Admin, space_id: SpaceId, body: SpaceDescription, response: Response, db: Db, config: Config
) -> Space:
    """Make a space, or describe it anew."""
    at = now()
    new = db.write(lambda connection: store.put_space(connection, space_id, body.model_dump(), at, config.rules))
    response.status_code = 201 if new else 200
    with db.read() as connection:
        return Space(**views.space_view(_space(connection, space_id), now()))


@router.patch("/{space_id}")
def change_space(caller: Operator, space_id: SpaceId, body: SpaceChange, db: Db, config: Config) -> Space:
    """Take a space out of service, or put it back."""
    at = now()

    def change(connection: Any) -> None:
        space = store.lock_spaces(connection, [space_id]).get(space_id) or _space(connection, space_id)
        described = {name: space[name] for name in ("name", "purpose", "stale_after_s")}
        store.put_space(connection, space_id, {**described, "in_service": body.in_service}, at, config.rules)

    db.write(change)
    with db.read() as connection:
        return Space(**views.space_view(_space(connection, space_id), now()))


@router.get("")
def list_spaces(caller: Viewer, db: Db, limit: Limit = 50, cursor: Cursor = None) -> SpacePage:
    """List spaces by id."""
    after = "" if cursor is None else read_cursor(cursor, 1)[0]
    at = now()
    with db.read() as connection:
        rows = views.spaces_after(connection, after, limit + 1)
    return SpacePage(**page(rows, limit, lambda row: views.space_view(row, at), lambda row: write_cursor(row["id"])))


@router.get("/{space_id}")
def get_space(caller: Viewer, space_id: SpaceId, db: Db) -> SpaceWithStays:
    """Return a space, what is believed of it, and its open stays."""
    with db.read() as connection:
        space = views.space_view(_space(connection, space_id), now())
        stays = views.stays_before(connection, 10, None, space_id=space_id, is_open=True)
    return SpaceWithStays(**space, stays=[views.stay_view(row) for row in stays])


@router.get("/{space_id}/history")
def list_space_history(
    caller: Viewer,
    space_id: SpaceId,
    db: Db,
    since: Time = None,
    until: Time = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> SpanPage:
    """List what was shown of a space, newest first; a span counts if any of it lies between since and until."""
    place = read_time_cursor(cursor)
    before = until if place is None else place[0]
    with db.read() as connection:
        _space(connection, space_id)
        spans = views.spans_before(connection, space_id, limit + 1, before, since)
    return SpanPage(**page(spans, limit, lambda span: span, lambda span: write_cursor(span["from"], "")))


@router.get("/{space_id}/stays")
def list_space_stays(caller: Viewer, space_id: SpaceId, db: Db, limit: Limit = 50, cursor: Cursor = None) -> StayPage:
    """List a space's stays, newest first."""
    with db.read() as connection:
        _space(connection, space_id)
        rows = views.stays_before(connection, limit + 1, read_time_cursor(cursor), space_id=space_id)
    return StayPage(**page(rows, limit, views.stay_view, lambda row: write_time_cursor(row["from_at"], row["id"])))


@router.get("/{space_id}/estimates")
def list_space_estimates(
    caller: Viewer,
    space_id: SpaceId,
    db: Db,
    since: Time = None,
    until: Time = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EstimatePage:
    """List what was estimated of a space's frames, newest first, with corrections."""
    place = read_time_cursor(cursor)
    with db.read() as connection:
        _space(connection, space_id)
        rows = views.estimates_before(connection, space_id, limit + 1, place, since, until)
    return EstimatePage(
        **page(rows, limit, views.estimate_view, lambda row: write_time_cursor(row["observed_at"], row["receipt"]))
    )


def _space(connection: Any, space_id: str) -> dict[str, Any]:
    row = views.space_row(connection, space_id)
    if row is None:
        raise not_found("space", "GET /v1/spaces lists them; PUT makes one.")
    return dict(row)
