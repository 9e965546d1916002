"""What people say of frames."""

from fastapi import APIRouter, Response

from services.aggregation import store, views
from services.aggregation.api.pages import Config, Db, ReceiptId, not_found
from services.aggregation.api.shapes import Correction, CorrectionOfFrame, CorrectionRequest, Estimate
from services.aggregation.domain import Label
from services.aggregation.settings import Settings
from shared.auth import Operator, Viewer
from shared.database import Database, clock

router = APIRouter(prefix="/v1/estimates", tags=["corrections"])

ADVICE = "A frame can be corrected once it is counted: GET /v1/spaces/{space_id}/estimates lists those."
HISTORY = 50


@router.get("/{receipt}")
def get_estimate(caller: Viewer, receipt: ReceiptId, db: Db) -> Estimate:
    """Return what was estimated of a frame."""
    with db.read() as connection:
        row = views.estimate_row(connection, receipt)
    if row is None:
        raise not_found("counted frame", ADVICE)
    return Estimate(**views.estimate_view(row))


@router.put("/{receipt}/correction", responses={201: {"model": CorrectionOfFrame, "description": "It is new."}})
def put_correction(
    caller: Operator, receipt: ReceiptId, body: CorrectionRequest, response: Response, db: Db, config: Config
) -> CorrectionOfFrame:
    """Say what a frame shows; people are believed over models."""
    outcome = _correct(db, config, receipt, body.label, caller.subject)
    if outcome is None:
        raise not_found("counted frame", ADVICE)
    response.status_code = 201 if outcome == "new" else 200
    return _correction(db, receipt)


@router.delete("/{receipt}/correction", status_code=204)
def delete_correction(caller: Operator, receipt: ReceiptId, db: Db, config: Config) -> None:
    """Undo the correction of a frame; the history keeps it."""
    if _correct(db, config, receipt, None, caller.subject) is None:
        raise not_found("correction", "There is nothing to undo.")


@router.get("/{receipt}/correction")
def get_correction(caller: Viewer, receipt: ReceiptId, db: Db) -> CorrectionOfFrame:
    """Return the correction of a frame and its history."""
    return _correction(db, receipt)


def _correct(db: Database, config: Settings, receipt: str, label: Label | None, by: str) -> str | None:
    return db.write(
        lambda connection: store.correct(connection, receipt, label, by[:200], clock(connection), config.rules)
    )


def _correction(db: Database, receipt: str) -> CorrectionOfFrame:
    with db.read() as connection:
        row = views.estimate_row(connection, receipt)
        history = views.correction_history(connection, receipt, HISTORY)
    if row is None:
        raise not_found("counted frame", ADVICE)
    said = views.estimate_view(row)["correction"]
    correction = None if said is None else Correction(**said)
    return CorrectionOfFrame(receipt=receipt, correction=correction, history=history)
