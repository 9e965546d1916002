"""`/v1/batches/{id}/predictions`: what became of each input, as pages of JSON or whole as CSV."""

import csv
import io
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from services.image_classifier.api.batch_shapes import BatchId, BatchPredictions, Parts, find, predicted
from services.image_classifier.api.problems import problems
from services.image_classifier.batches import views
from services.image_classifier.batches.rules import UNFINISHED, csv_cell, prefers_csv
from shared.auth import Viewer
from shared.database import Database
from shared.problem import Problem

router = APIRouter(prefix="/v1/batches/{batch_id}/predictions", tags=["batches"])

CSV = "text/csv"
COLUMNS = ("input", "label", "cat", "dog", "quality", "model", "version", "error")


@router.get(
    "",
    summary="What became of each input",
    response_model=BatchPredictions,
    responses={200: {"content": {CSV: {"schema": {"type": "string"}}}}, **problems(401, 403, 404, 409, 422)},
)
def list_batch_predictions(
    batch_id: BatchId,
    caller: Viewer,
    parts: Parts,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=6, pattern=r"^[0-9]+$", description="`next` of a page.")] = None,
    accept: Annotated[str, Header(max_length=1000)] = "",
) -> BatchPredictions | Response:
    """Inputs that ended, in the order of the batch; with `Accept: text/csv` all of them in one file.

    While a batch runs its inputs may end in any order: ask again from the start when it has ended; until then there is
    no CSV. In it a name that a spreadsheet would take for a formula has a quote before it.
    """
    batch = find(parts.database, batch_id)
    wants_csv = prefers_csv(accept)
    if wants_csv and batch.state in UNFINISHED:
        detail = f"This batch is {batch.state.value}. Ask for its CSV when it has ended, or for pages of JSON now."
        raise Problem(409, "not-ended", detail, headers={"Retry-After": "5"})
    if wants_csv:
        headers = {"Content-Disposition": f'attachment; filename="batch-{batch_id}.csv"', "Vary": "Accept"}
        return StreamingResponse(_csv(parts.database, batch_id), media_type=CSV, headers=headers)
    with parts.database.read() as connection:
        rows = views.ended(connection, batch_id, int(cursor or 0), limit + 1)
    response.headers["Vary"] = "Accept"
    items = [predicted(row) for row in rows[:limit]]
    return BatchPredictions(items=items, next=str(items[-1].number) if len(rows) > limit else None)


def _csv(database: Database, batch_id: str) -> Iterator[str]:
    yield ",".join(COLUMNS) + "\r\n"
    for rows in views.every_ended(database, batch_id):
        text = io.StringIO()
        writer = csv.writer(text)
        for row in rows:
            found = [row.label, row.cat, row.dog, row.quality, row.model, row.version, row.error]
            writer.writerow([csv_cell(row.name), *("" if value is None else value for value in found)])
        yield text.getvalue()


@router.get(
    "/{number}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}, "description": "A small JPEG."}, **problems(401, 403, 404, 422)},
)
def get_batch_thumbnail(
    batch_id: BatchId, number: Annotated[int, Path(ge=1, le=1000)], caller: Viewer, parts: Parts
) -> Response:
    """Return what the model saw of an input: the whole photo, squashed into a small square, without metadata."""
    with parts.database.read() as connection:
        content = views.thumbnail(connection, batch_id, number)
    if content is None:
        raise Problem(404, "no-thumbnail", "There is no picture of such an input: it has no prediction, or is removed.")
    headers = {"Cache-Control": "private, max-age=86400, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type="image/jpeg", headers=headers)
