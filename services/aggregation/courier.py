"""Tells the classifier what people say and what was counted: a thread that empties its outbox until acknowledged."""

import threading

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.aggregation import metrics
from services.aggregation.deliveries import (
    PAUSE,
    Delivery,
    claim,
    counts,
    delivered,
    described,
    pending,
    postpone,
)
from services.aggregation.settings import Settings
from shared.database import EPOCH, Database, clock
from shared.problem import Problem
from shared.tokens import ServiceToken, Signer

log = structlog.get_logger(__name__)

BULK = 200
EVERY_S = 1.0
LONGEST_WAIT_S = 30.0
REFUSED_FOR_CONTENT = (400, 413, 422)


class Courier:
    """Delivers; several processes may each have one. `transport` stands in for the network in tests."""

    def __init__(
        self, database: Database, settings: Settings, signer: Signer, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._database = database
        self._url = f"{settings.classifier_url}/v1/feedback"
        self._token = ServiceToken(signer, "image_classifier")
        self._client = httpx.Client(timeout=httpx.Timeout(5.0, connect=2.0), transport=transport, trust_env=False)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._failures = 0
        self._bulk = BULK
        self._told: dict[tuple[object, ...], int] = {}

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the delivery it is at; what waits stays in the outbox."""
        self._stopping.set()
        self._thread.join(timeout=15)
        self._client.close()

    def _run(self) -> None:
        wait_s = EVERY_S
        while not self._stopping.wait(wait_s):
            try:
                wait_s = self.deliver()
            except Exception as error:
                metrics.FAILURES.labels("courier").inc()
                log.error("courier failed; it goes on", exc_info=error)
                wait_s = LONGEST_WAIT_S

    def deliver(self) -> float:
        """Deliver what is due; return how many seconds to wait, longer after each failure."""
        try:
            while self._deliver_some() and not self._stopping.is_set():
                pass
            with self._database.read() as connection:
                metrics.DELIVERIES_PENDING.set(pending(connection))
        except (httpx.HTTPError, SQLAlchemyError, Problem) as error:
            self._failures += 1
            metrics.DELIVERED.labels("failed").inc()
            if self._failures == 1:
                log.warning("corrections can't be delivered; they wait", error=repr(error)[:200])
            return float(min(LONGEST_WAIT_S, EVERY_S * 2 ** min(self._failures, 10)))
        self._failures = 0
        return EVERY_S

    def _deliver_some(self) -> bool:
        """Deliver one bulk, if there is something new; return whether there may be more."""
        some = self._database.write(lambda connection: claim(connection, clock(connection), self._bulk))
        with self._database.read() as connection:
            corrections = described(connection, some)
            numbers = counts(connection, BULK)
        if self._bulk == 1 and some:
            numbers = []  # so that it is this one's fault if it is refused
        fresh = [one for one in numbers if self._told.get(_key(one)) != one["number"]]
        if corrections or fresh:
            body = {"corrections": corrections, "counted": fresh}
            try:
                self._client.post(self._url, json=body, headers=self._token.header()).raise_for_status()
            except httpx.HTTPStatusError as error:
                if not (some and error.response.status_code in REFUSED_FOR_CONTENT):
                    raise
                self._isolate(some, error)
                return True
            if numbers:
                self._told = {_key(one): one["number"] for one in numbers}
            metrics.DELIVERED.labels("delivered").inc(len(corrections))
        if some:
            self._database.write(lambda connection: delivered(connection, some))
        went_one_by_one, self._bulk = self._bulk == 1, BULK
        return went_one_by_one or len(some) == BULK

    def _isolate(self, some: list[Delivery], error: httpx.HTTPStatusError) -> None:
        """The classifier refuses what a bulk says: go on one by one, and let the one that is at fault rest."""
        if self._bulk > 1:
            self._bulk = 1
            self._database.write(lambda connection: postpone(connection, some, EPOCH))
            return
        self._database.write(lambda connection: postpone(connection, some, clock(connection) + PAUSE))
        metrics.DELIVERED.labels("refused").inc()
        log.error("the classifier refuses a correction", receipt=some[0].receipt, status=error.response.status_code)


def _key(one: dict[str, object]) -> tuple[object, ...]:
    return tuple(one[name] for name in ("revision", "model", "version", "variant", "stripe"))
