"""The audit: at any moment, accepted = counted + rejected + in flight."""

from datetime import UTC, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from services.camera_ingest import ledger
from services.camera_ingest.api.dependencies import Ingest
from shared.auth import ViewerOrService
from shared.database import now
from shared.messages import isoformat
from shared.problem import Problem

router = APIRouter(tags=["audit"])

DEFAULT_SPAN = timedelta(hours=48)
LONGEST_SPAN = timedelta(days=100)


class Audit(BaseModel):
    """All frames ever accepted, by where they stand."""

    accepted: int
    counted: int
    rejected: int
    in_flight: int


class AuditHour(Audit):
    """The same for the receipts given in one hour; `digest` is that of the counted ones."""

    hour: str = Field(description="Start of the hour.")
    digest: str = Field(description="Sum modulo 2^64 of the first 8 bytes of each receipt's SHA-256, as 16 hex digits.")


class AuditHours(BaseModel):
    """Hours that have frames, in order."""

    items: list[AuditHour]


@router.get("/v1/audit")
def get_audit(caller: ViewerOrService, parts: Ingest) -> Audit:
    """Return the books of the whole service, consistent within themselves."""
    with parts.database.read() as connection:
        return Audit(**ledger.audit(connection))


@router.get("/v1/audit/hours")
def get_audit_hours(
    caller: ViewerOrService,
    parts: Ingest,
    since: Annotated[AwareDatetime | None, Query(description="Default: 48 hours before `until`.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Default: now.")] = None,
) -> AuditHours:
    """Return the books by the hour in which receipts were given, at most 100 days at once.

    The hours are those that begin in [`since`, `until`), where `since` is taken to the start of its hour.
    """
    try:
        end = (until or now()).astimezone(UTC)
        start = (since or end - DEFAULT_SPAN).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    except OverflowError:
        raise Problem(422, "no-such-time", "That is before or after all time. Ask for other hours.") from None
    if end - start > LONGEST_SPAN:
        raise Problem(422, "span-too-long", f"Ask for at most {LONGEST_SPAN.days} days at a time.")
    with parts.database.read() as connection:
        hours = ledger.audit_hours(connection, start, end)
    return AuditHours(
        items=[
            AuditHour(
                hour=isoformat(one.hour),
                accepted=one.accepted,
                counted=one.counted,
                rejected=one.rejected,
                in_flight=one.in_flight,
                digest=one.digest,
            )
            for one in hours
        ]
    )
