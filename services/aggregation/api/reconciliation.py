"""Whether ingest and aggregation count the same frames."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import httpx
import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from services.aggregation import ledger
from services.aggregation.api.pages import Db, Time
from services.aggregation.api.shapes import LedgerHour, ReconciledHour, Reconciliation
from shared.auth import Viewer
from shared.database import now
from shared.messages import isoformat
from shared.problem import Problem, unavailable
from shared.tokens import ServiceToken

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1/reconciliation", tags=["reconciliation"])

LONGEST = timedelta(days=8)
USUAL = timedelta(hours=48)


class IngestHour(BaseModel):
    """What this service reads of an hour of ingest's audit."""

    model_config = ConfigDict(extra="ignore")

    hour: AwareDatetime
    counted: int
    digest: str


class IngestHours(BaseModel):
    """Ingest's audit by hours."""

    model_config = ConfigDict(extra="ignore")

    items: list[IngestHour]


class IngestAudit:
    """Reads ingest's audit; `transport` stands in for the network in tests."""

    def __init__(self, ingest_url: str, token: ServiceToken, transport: httpx.BaseTransport | None = None) -> None:
        self._url = f"{ingest_url}/v1/audit/hours"
        self._token = token
        self._client = httpx.Client(timeout=httpx.Timeout(10.0, connect=2.0), transport=transport, trust_env=False)

    def hours(self, since: str, until: str) -> list[IngestHour]:
        """Return ingest's hours. Raises Problem 503 if ingest does not answer, or not in its usual shape."""
        try:
            answer = self._client.get(self._url, params={"since": since, "until": until}, headers=self._token.header())
            answer.raise_for_status()
            return IngestHours.model_validate_json(answer.content).items
        except (httpx.HTTPError, ValidationError) as error:
            log.warning("ingest's audit can't be read", kind=type(error).__name__)
            raise unavailable(
                "Ingest does not answer, so there is nothing to compare with. Try again shortly."
            ) from None

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def get_audit(request: Request) -> IngestAudit:
    """Return the app's way to ingest's audit."""
    audit: IngestAudit = request.app.state.ingest_audit
    return audit


@router.get("")
def reconcile(
    caller: Viewer, db: Db, audit: Annotated[IngestAudit, Depends(get_audit)], since: Time = None, until: Time = None
) -> Reconciliation:
    """Compare, hour by hour, the receipts that ingest calls counted with those held here; the last 48 hours by default.

    An hour whose settlements still wait may not agree yet; ask again when `awaiting_settlement` is 0.
    """
    first, last, end = _hours(since, until)
    # Ingest first: what it calls counted was counted here before.
    theirs = {one.hour: one for one in audit.hours(isoformat(first), isoformat(end))}
    with db.read() as connection:
        ours = ledger.hours(connection, first, last)
        waiting = ledger.awaiting_settlement(connection, first, last)
    hours = []
    for hour in sorted({*ours, *theirs}):
        if not first <= hour <= last:
            continue
        other, own = theirs.get(hour), ours.get(hour, ledger.EMPTY)
        ingest = (other.counted, other.digest) if other is not None else ledger.EMPTY
        hours.append(
            ReconciledHour(
                hour=isoformat(hour),
                ingest=LedgerHour(number=ingest[0], digest=ingest[1]),
                aggregation=LedgerHour(number=own[0], digest=own[1]),
                awaiting_settlement=waiting.get(hour, 0),
                agrees=ingest == own,
            )
        )
    return Reconciliation(agrees=all(hour.agrees for hour in hours), hours=hours)


def _hours(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime, datetime]:
    """Return the first and the last hour of a range, and when the last one ends. Raises Problem 422."""
    try:
        # In UTC, whose hours are those of the ledgers; a zone such as +05:30 has others.
        until = (until or now() + timedelta(hours=1)).astimezone(UTC)
        since = (since or until - USUAL).astimezone(UTC)
        first, last = ledger.start_of_hour(since), ledger.start_of_hour(until - timedelta(microseconds=1))
        end = last + timedelta(hours=1)
    except OverflowError:
        raise Problem(422, "no-such-time", "That is before or after all time. Ask for other hours.") from None
    if not timedelta(0) < until - since <= LONGEST:
        raise Problem(422, "bad-range", "`since` must lie before `until`, by eight days at most.")
    return first, last, end
