"""What the routes share: the database, ids in paths, limits and cursors of pages."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from pydantic import AwareDatetime

from services.aggregation.settings import Settings
from shared.database import Database
from shared.problem import Problem

IDENTIFIER = r"^[A-Za-z0-9._-]{1,64}$"

SpaceId = Annotated[str, Path(pattern=IDENTIFIER, description="1 to 64 of `A-Z a-z 0-9 . _ -`.")]
ReceiptId = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$", description="The receipt of a frame.")]
StayId = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Limit = Annotated[int, Query(ge=1, le=200, description="Most items in one answer.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the answer before.")]
Time = Annotated[
    AwareDatetime | None, Query(description="RFC 3339 time with its offset, such as 2026-11-22T10:00:00Z.")
]


def get_database(request: Request) -> Database:
    """Return the app's database."""
    database: Database = request.app.state.database
    return database


def get_settings(request: Request) -> Settings:
    """Return the app's settings."""
    settings: Settings = request.app.state.settings
    return settings


Db = Annotated[Database, Depends(get_database)]
Config = Annotated[Settings, Depends(get_settings)]


def page(
    rows: Sequence[Any], limit: int, view: Callable[[Any], dict[str, Any]], cursor: Callable[[Any], str]
) -> dict[str, Any]:
    """Return a page of `limit` items from rows that were read with one to spare."""
    items = [view(row) for row in rows[:limit]]
    return {"items": items, "next": cursor(rows[limit - 1]) if len(rows) > limit else None}


def write_cursor(*parts: str) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode("\n".join(parts).encode()).decode().rstrip("=")


def read_cursor(cursor: str, number: int) -> list[str]:
    """Return the parts of a cursor. Raises Problem 422 if it is not one of ours."""
    try:
        parts = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("\n")
    except (binascii.Error, ValueError):
        parts = []
    # PostgreSQL has no text with NUL in it, and nor has any cursor of ours.
    if len(parts) != number or "\0" in "".join(parts):
        raise _bad_cursor()
    return parts


def write_time_cursor(moment: datetime, key: str) -> str:
    """Return a cursor at (moment, key)."""
    return write_cursor(moment.astimezone(UTC).isoformat(), key)


def read_time_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Return the place of `write_time_cursor`. Raises Problem 422 if it is not one of ours."""
    if cursor is None:
        return None
    moment, key = read_cursor(cursor, 2)
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        raise _bad_cursor() from None
    if at.tzinfo is None:
        raise _bad_cursor()
    return at, key


def _bad_cursor() -> Problem:
    return Problem(422, "bad-cursor", "`cursor` is not one that this address gave. Begin again without it.")


def not_found(what: str, advice: str) -> Problem:
    """Return a 404 that says what to do."""
    return Problem(404, "not-found", f"There is no such {what}. {advice}")


def not_modified(if_none_match: str | None, tag: str) -> bool:
    """Return whether the caller's tags hold this one, compared weakly (RFC 9110, 8.8.3.2)."""
    if if_none_match is None:
        return False
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return "*" in known or tag.removeprefix("W/") in known
