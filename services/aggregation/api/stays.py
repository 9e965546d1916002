"""Stays, and what people decide of them."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from services.aggregation import store, views
from services.aggregation.api.pages import (
    IDENTIFIER,
    Cursor,
    Db,
    Limit,
    StayId,
    Time,
    not_found,
    page,
    read_time_cursor,
    write_time_cursor,
)
from services.aggregation.api.shapes import Stay, StayDecision, StayPage
from shared.auth import Operator, Viewer
from shared.database import now
from shared.problem import Problem

router = APIRouter(prefix="/v1/stays", tags=["stays"])

ADVICE = "GET /v1/stays lists them; one that was not recorded yet may have been withdrawn."


@router.get("")
def list_stays(
    caller: Viewer,
    db: Db,
    open: Annotated[bool | None, Query(description="Only those that go on, or only those that ended.")] = None,
    space_id: Annotated[str | None, Query(pattern=IDENTIFIER)] = None,
    since: Time = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> StayPage:
    """List stays, newest first; `since` leaves out those that ended before it."""
    place = read_time_cursor(cursor)
    with db.read() as connection:
        rows = views.stays_before(connection, limit + 1, place, space_id=space_id, is_open=open, since=since)
    return StayPage(**page(rows, limit, views.stay_view, lambda row: write_time_cursor(row["from_at"], row["id"])))


@router.get("/{stay_id}")
def get_stay(caller: Viewer, stay_id: StayId, db: Db, response: Response) -> Stay:
    """Return a stay; its ETag is what `If-Match` of a PATCH takes."""
    with db.read() as connection:
        row = views.stay_row(connection, stay_id)
    if row is None:
        raise not_found("stay", ADVICE)
    response.headers["ETag"] = f'"{row["version"]}"'
    return Stay(**views.stay_view(row))


@router.patch("/{stay_id}", responses={412: {"description": "It changed since you read it."}})
def decide_stay(
    caller: Operator,
    stay_id: StayId,
    body: StayDecision,
    db: Db,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=100)] = None,
) -> Stay:
    """Decide a stay's adoption state, number of animals or note; from then on its beginning never moves."""
    decision = {name: value for name, value in body.model_dump().items() if value is not None}
    if not decision:
        raise Problem(422, "nothing-decided", "Give at least one of state, number_of_animals and note.")
    at, version = now(), _version(if_match)
    try:
        row = db.write(
            lambda connection: store.decide_stay(connection, stay_id, decision, version, caller.subject[:200], at)
        )
    except store.ChangedMeanwhile:
        raise Problem(
            412, "changed-meanwhile", "The stay changed since you read it. GET it and decide again."
        ) from None
    if row is None:
        raise not_found("stay", ADVICE)
    response.headers["ETag"] = f'"{row["version"]}"'
    return Stay(**views.stay_view(row))


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = re.fullmatch(r'(?:W/)?"(\d{1,9})"', if_match.strip())
    if match is None:
        raise Problem(412, "changed-meanwhile", "`If-Match` is not an ETag of this stay. GET it and decide again.")
    return int(match[1])
