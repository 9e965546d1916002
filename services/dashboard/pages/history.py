"""History: animals over days, arrivals and departures, length of stay; drawn on the server, and as CSV."""

import csv
import io
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from services.dashboard.access import Viewer
from services.dashboard.charts import paired, stacked
from services.dashboard.domain import csv_cell
from services.dashboard.history import by_day, day_rows, length_rows, lengths, median_length
from services.dashboard.parts import Parts, PartsOf
from services.dashboard.render import moment_of
from services.dashboard.shapes import Stay
from services.dashboard.store import Person
from shared.messages import isoformat

router = APIRouter(tags=["pages"])

CHOICES = (7, 30, 90)
MOST_STAYS = 5000
Days = Annotated[int, Query(ge=1, le=366)]
DaysShown = Annotated[int, Query(ge=0, le=366)]


@router.get("/history", response_class=HTMLResponse, name="history")
async def show_history(request: Request, viewer: Viewer, parts: PartsOf, days: DaysShown = 0) -> HTMLResponse:
    """Show the last days: a month, or a week while nothing older is known."""
    moment, zone = moment_of(request), ZoneInfo(parts.settings.time_zone)
    stays = await _stays(request, viewer.person, parts, days or CHOICES[1])
    if not days:
        week_ago = moment - timedelta(days=CHOICES[0] - 1)
        days = CHOICES[0] if all(stay.from_ >= week_ago for stay in stays) else CHOICES[1]
    table = by_day(stays, days, moment, zone)
    ended = lengths(stays)
    return parts.renderer.page(
        request,
        "history.html",
        days=days,
        choices=CHOICES,
        table=table,
        present=stacked(table),
        moves=paired(table),
        lengths=ended,
        longest=max([max(length.cats, length.dogs) for length in ended], default=0),
        medians={species: median_length(stays, species) for species in ("cat", "dog")},
        cut=len(stays) >= MOST_STAYS,
        number=len(stays),
        down=[],
    )


@router.get("/history/days.csv", response_class=Response, name="days_csv")
async def days_csv(request: Request, viewer: Viewer, parts: PartsOf, days: Days = 30) -> Response:
    """Return the days as a table."""
    stays = await _stays(request, viewer.person, parts, days)
    zone = ZoneInfo(parts.settings.time_zone)
    return _csv(f"huella-days-{days}.csv", day_rows(by_day(stays, days, moment_of(request), zone)))


@router.get("/history/stays.csv", response_class=Response, name="stays_csv")
async def stays_csv(request: Request, viewer: Viewer, parts: PartsOf, days: Days = 30) -> Response:
    """Return the stays of those days as a table."""
    head: list[object] = ["stay", "space", "species", "from", "until", "hours", "state", "number_of_animals", "note"]
    rows = [head]
    for stay in await _stays(request, viewer.person, parts, days):
        length = (stay.until or moment_of(request)) - stay.from_
        until = isoformat(stay.until) if stay.until else ""
        hours = round(length / timedelta(hours=1), 2)
        decided: list[object] = [stay.state, stay.number_of_animals, stay.note]
        rows.append([stay.id, stay.space_id, stay.species, isoformat(stay.from_), until, hours, *decided])
    return _csv(f"huella-stays-{days}.csv", rows)


@router.get("/history/lengths.csv", response_class=Response, name="lengths_csv")
async def lengths_csv(request: Request, viewer: Viewer, parts: PartsOf, days: Days = 30) -> Response:
    """Return how long the stays that ended lasted, as a table."""
    stays = await _stays(request, viewer.person, parts, days)
    return _csv(f"huella-lengths-{days}.csv", length_rows(stays))


async def _stays(request: Request, person: Person, parts: Parts, days: int) -> list[Stay]:
    first = moment_of(request).astimezone(ZoneInfo(parts.settings.time_zone)) - timedelta(days=days - 1)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    return await parts.aggregation.stays(person, MOST_STAYS, since=isoformat(midnight))


def _csv(name: str, rows: Iterable[list[object]]) -> Response:
    text = io.StringIO()
    csv.writer(text).writerows([[csv_cell(cell) for cell in row] for row in rows])
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)
