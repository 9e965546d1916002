"""Frames that a person should look at."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Connection, select

from services.aggregation import tables, views
from services.aggregation.api.pages import Db, Limit
from services.aggregation.api.shapes import Estimate, Review, ReviewPage
from services.aggregation.reviews import seen, to_review
from shared.auth import Viewer
from shared.database import now

router = APIRouter(prefix="/v1/reviews", tags=["corrections"])

REACH = timedelta(hours=24)
NEWEST = 3000
UNSURE = 1000


@router.get("")
def list_reviews(
    caller: Viewer,
    db: Db,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the answer before.")] = None,
) -> ReviewPage:
    """List frames of the last day that a person should look at, newest first, and why.

    The model is unsure (`unsure`), another camera saw something else (`camera`), a person said otherwise of a frame
    taken just before or after (`person`), or another model version did (`model`). Frames that are corrected already are
    left out.
    """
    with db.read() as connection:
        rows = _rows(connection, now() - REACH)
    reviews = [
        (receipt, reasons) for receipt, reasons in to_review(map(seen, rows.values())) if receipt < (cursor or "~")
    ]
    items = [
        Review(estimate=Estimate(**views.estimate_view(rows[receipt])), reasons=reasons)
        for receipt, reasons in reviews[:limit]
    ]
    return ReviewPage(items=items, next=reviews[limit - 1][0] if len(reviews) > limit else None)


def _rows(connection: Connection, since: datetime) -> dict[str, dict[str, Any]]:
    """Return by receipt the newest estimates since a time, and the newest of those that are unsure."""
    table, said = tables.estimates, tables.corrections
    # Receipts sort by the time at which they were given, so both walk the primary key from its end.
    milliseconds = int(since.timestamp() * 1000)
    first = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-"
    query = (
        select(table, said.c.label.label("said"), said.c.corrected_by, said.c.corrected_at)
        .outerjoin(said, said.c.receipt == table.c.receipt)
        .where(table.c.receipt >= first)
        .order_by(table.c.receipt.desc())
    )
    unsure = query.where(table.c.label == "unsure", said.c.label.is_(None)).limit(UNSURE)
    rows = [*connection.execute(query.limit(NEWEST)).mappings(), *connection.execute(unsure).mappings()]
    return {row["receipt"]: dict(row) for row in rows}
