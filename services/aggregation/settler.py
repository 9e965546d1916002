"""Tells ingest which frames are finished: a thread that empties the outbox, in bulk, for as long as it takes."""

import threading
from datetime import timedelta

import httpx
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from services.aggregation import metrics
from services.aggregation.settings import Settings
from services.aggregation.settlements import Settlement, claim, delivered, pending, postpone, put_off, resting
from shared.database import Database, now
from shared.problem import Problem
from shared.tokens import ServiceToken, Signer

log = structlog.get_logger(__name__)

BULK = 500
EVERY_S = 1.0
GATHER_S = 0.1
"""How long it waits for company once it is woken: to tell ingest of several messages costs little more than of one, and
nobody waits for it. What is counted is shown before it is settled."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
REFUSED_FOR_CONTENT = (400, 413, 422)


class Settler:
    """Delivers settlements; several processes may each have one. `transport` stands in for the network in tests."""

    def __init__(
        self, database: Database, settings: Settings, signer: Signer, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._database = database
        self._url = settings.settle_url
        self._token = ServiceToken(signer, "camera_ingest")
        self._client = httpx.Client(timeout=httpx.Timeout(5.0, connect=2.0), transport=transport, trust_env=False)
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settler", daemon=True)
        self._failures = 0
        self._bulk = BULK

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def is_working(self) -> bool:
        """Return whether the thread lives."""
        return self._thread.is_alive()

    def is_stopping(self) -> bool:
        """Return whether it was told to end."""
        return self._stopping.is_set()

    def wake(self) -> None:
        """Say that something was just written to the outbox."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread after the delivery it is at; what waits stays in the outbox."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(timeout=15)
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._woken.wait(EVERY_S):
                self._stopping.wait(GATHER_S)
            self._woken.clear()
            try:
                wait_s = self.deliver_all()
            except Exception as error:
                metrics.FAILURES.labels("settler").inc()
                log.error("settler failed; it goes on", exc_info=error)
                wait_s = LONGEST_WAIT_S
            if wait_s:
                self._stopping.wait(wait_s)

    def deliver_all(self) -> float:
        """Deliver until nothing is due; return how many seconds to leave ingest alone after a failure, else 0."""
        try:
            while not self._stopping.is_set() and self._deliver_some():
                pass
            with self._database.read() as connection:
                metrics.SETTLEMENTS_PENDING.set(pending(connection))
                metrics.SETTLEMENTS_REFUSED.set(resting(connection, now()))
        except (httpx.HTTPError, SQLAlchemyError, Problem, ValueError) as error:
            return self._failed(error)
        if self._failures:
            log.info("settlements are delivered again", failures=self._failures)
            self._failures = 0
        return 0.0

    def _deliver_some(self) -> bool:
        """Deliver one bulk; return whether there may be more."""
        bulk = self._bulk
        some = self._database.write(lambda connection: claim(connection, now(), bulk))
        if not some:
            return False
        try:
            unknown = self._post(some)
        except httpx.HTTPError as error:
            wait_s = self._wait_s(self._failures + 1)
            until = now() + timedelta(seconds=wait_s)
            receipts = [one.receipt for one in some]
            self._database.write(lambda connection: postpone(connection, receipts, until))
            if not (isinstance(error, httpx.HTTPStatusError) and error.response.status_code in REFUSED_FOR_CONTENT):
                raise
            self._isolate(some, error)
            return True
        self._bulk = BULK
        self._finish(some, set(unknown))
        metrics.SETTLED.labels("delivered").inc(len(some) - len(unknown))
        if unknown:
            metrics.SETTLED.labels("unknown").inc(len(unknown))
            log.warning("ingest does not know receipts", number=len(unknown), first=unknown[0])
        return len(some) == bulk

    def _post(self, some: list[Settlement]) -> list[str]:
        body = {
            "settlements": [
                {"receipt": one.receipt, "state": one.state}
                | ({"reason": one.reason or "rejected"} if one.state == "rejected" else {})
                for one in some
            ]
        }
        answer = self._client.post(self._url, json=body, headers=self._token.header())
        answer.raise_for_status()
        return [str(receipt) for receipt in answer.json().get("unknown", [])]

    def _isolate(self, some: list[Settlement], error: httpx.HTTPStatusError) -> None:
        """Ingest refuses what a bulk says: go on one by one, and let the one that is at fault rest or go."""
        if self._bulk > 1:
            self._bulk = 1
            receipts = [one.receipt for one in some]
            self._database.write(lambda connection: postpone(connection, receipts, now()))
            return
        self._finish(some, {some[0].receipt})
        metrics.SETTLED.labels("refused").inc()
        log.error("ingest refuses a settlement", receipt=some[0].receipt, status=error.response.status_code)

    def _finish(self, some: list[Settlement], not_taken: set[str]) -> None:
        """Forget what was told, and what ingest does not take but for counted frames: without those the books differ.

        A rejection that is forgotten costs nothing: ingest offers that frame again.
        """
        kept = [one.receipt for one in some if one.state == "counted" and one.receipt in not_taken]
        gone = [one for one in some if one.receipt not in kept]

        def write(connection: Connection) -> None:
            delivered(connection, gone)
            put_off(connection, kept, now())

        self._database.write(write)

    def _wait_s(self, failures: int) -> float:
        return float(min(LONGEST_WAIT_S, SHORTEST_WAIT_S * 2 ** min(failures - 1, 10)))

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        metrics.SETTLED.labels("failed").inc()
        if self._failures == 1:
            log.warning("settlements can't be delivered; they wait", kind=type(error).__name__, error=str(error)[:200])
        return self._wait_s(self._failures)
