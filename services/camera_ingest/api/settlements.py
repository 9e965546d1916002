"""Settlements: how the system downstream says that a frame is finished."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.camera_ingest import ledger, metrics
from services.camera_ingest.api.dependencies import Ingest
from services.camera_ingest.domain import State
from shared import messages
from shared.auth import Aggregation
from shared.database import now

router = APIRouter(tags=["settlements"])

MOST = 1000
BODY_LIMIT = 1024 * 1024


class Counted(BaseModel):
    """The frame's estimate is counted."""

    receipt: messages.Receipt
    state: Literal["counted"]


class Rejected(BaseModel):
    """The frame can never be counted, and why."""

    receipt: messages.Receipt
    state: Literal["rejected"]
    reason: messages.Reason


class Settlements(BaseModel):
    """Frames that are finished."""

    settlements: list[Annotated[Counted | Rejected, Field(discriminator="state")]] = Field(max_length=MOST)


class Settled(BaseModel):
    """`settled` receipts are settled now, whether by this request or before; `unknown` ones are not known here."""

    settled: int
    unknown: list[str]


@router.post("/v1/settlements", max_body_size=BODY_LIMIT)
def create_settlements(body: Settlements, service: Aggregation, parts: Ingest) -> Settled:
    """Settle frames, in bulk and as often as one likes; a counted frame stays counted."""
    settlements = [
        ledger.Settlement(one.receipt, State(one.state), one.reason if isinstance(one, Rejected) else None)
        for one in body.settlements
    ]
    if not settlements:
        return Settled(settled=0, unknown=[])
    changed, unknown = parts.database.write(lambda c: ledger.settle(c, settlements, now()))
    for state, number in changed.items():
        metrics.SETTLED.labels(state).inc(number)
    metrics.REJECTED.labels("downstream").inc(changed.get(State.REJECTED.value, 0))
    parts.relay.wake()
    return Settled(settled=len({one.receipt for one in settlements}) - len(unknown), unknown=unknown)
