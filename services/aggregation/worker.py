"""The process that counts: one Celery worker on the queue `record_estimates`, with the settler beside it."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import start_http_server
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from services.aggregation import metrics
from services.aggregation.courier import Courier
from services.aggregation.settings import Settings
from services.aggregation.settler import Settler
from services.aggregation.store import Recorded, record
from services.aggregation.window import Windows
from shared import logs
from shared.broker import RECORD_ESTIMATES, create_celery, create_redis, messages_waiting, worker_arguments
from shared.database import Database, now
from shared.messages import EstimateResult, RecordEstimates, Result
from shared.migrations import migrate
from shared.receipts import given_at
from shared.tokens import Signer
from shared.watchdog import EXIT_CODE, Deadline, Deafness, Watchdog, memory_bound

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
ATTEMPTS = 3


def record_estimates(
    database: Database, settings: Settings, message: Mapping[str, Any], windows: Windows | None = None
) -> Recorded | None:
    """Count one message; None if it is refused, which is logged and counted and never raises.

    `windows` is what this process remembers of spaces between messages.

    Raises DBAPIError if the database fails: then nothing was counted, and ingest offers the frames again.
    """
    try:
        parsed = RecordEstimates.model_validate(message)
    except ValidationError as error:
        _refuse("invalid", errors=[f"{item['loc']}: {item['msg']}" for item in error.errors()[:5]])
        return None
    if parsed.settle_url != settings.settle_url:
        _refuse("settle_url", chunk=parsed.chunk, expected=settings.settle_url)
        return None
    results = [result for result in parsed.results if _is_receipt(result.receipt) and _is_text(result)]
    recorded = _record(database, settings, results, windows)
    _measure(recorded)
    return recorded


def _record(database: Database, settings: Settings, results: list[Result], windows: Windows | None) -> Recorded:
    """Write the results; a deadlock or a lost connection is worth another try at once, for the write is all or none."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return database.write(
                lambda connection: record(connection, results, now(), settings.rules, settings.stale_after_s, windows)
            )
        except DBAPIError as error:
            if attempt == ATTEMPTS:
                raise
            log.warning("write failed, trying again", attempt=attempt, error=type(error.orig).__name__)
    raise AssertionError("unreachable")


def _is_receipt(receipt: str) -> bool:
    try:
        given_at(receipt)
    except ValueError:
        _refuse("receipt", receipt=receipt)
        return False
    return True


def _is_text(result: Result) -> bool:
    """Return whether a database takes the free text of a result: PostgreSQL has no text with NUL in it."""
    text = result.quality if isinstance(result, EstimateResult) else result.reason
    if "\0" in text:
        _refuse("text", receipt=result.receipt, text=text)
    return "\0" not in text


def _refuse(reason: str, **details: object) -> None:
    metrics.BAD_MESSAGES.labels(reason).inc()
    log.error("message refused", reason=reason, **details)


def _measure(recorded: Recorded) -> None:
    visible_at = datetime.now(UTC)
    for result in recorded.counted:
        metrics.ESTIMATES.labels(result.label).inc()
        metrics.VISIBLE.observe(max(0.0, (visible_at - given_at(result.receipt)).total_seconds()))
    metrics.REPEATED.inc(recorded.repeated)
    metrics.LATE.inc(recorded.late)
    metrics.REJECTED.inc(recorded.rejected)
    for change in recorded.changes:
        metrics.CHANGES.labels(change.kind).inc()


def end_with(settler: Settler, end: Callable[[int], None] = os._exit, every_s: float = 1.0) -> None:
    """End this process, so that it is started afresh, once its settler is dead: it would count and never settle."""

    def watch() -> None:
        while settler.is_working():
            time.sleep(every_s)
        if not settler.is_stopping():
            log.critical("process ends itself", reason="its settler is dead")
            end(EXIT_CODE)

    threading.Thread(target=watch, name="settler-watch", daemon=True).start()


def main() -> None:
    """Consume until SIGTERM, with the settings of the environment."""
    settings = Settings()
    logs.configure("aggregation-worker", settings.log_format, settings.log_level)
    migrate(settings.database_url, MIGRATIONS)
    database = Database(settings.database_url)
    settler = Settler(database, settings, Signer(settings.keys_folder, "aggregation"))
    settler.start()
    courier = Courier(database, settings, Signer(settings.keys_folder, "aggregation"))
    courier.start()
    redis = create_redis(settings.broker_url)
    tasks = Deadline(settings.task_deadline_s)
    watchdog = Watchdog(
        tasks.look,
        memory_bound(settings.worker_memory_mb * 1024 * 1024),
        Deafness(tasks, settings.deaf_s, lambda: messages_waiting(redis, RECORD_ESTIMATES)).look,
    )
    windows = Windows()
    celery = create_celery("aggregation", settings.broker_url)

    @celery.task(name=RECORD_ESTIMATES)  # type: ignore[untyped-decorator]  # Celery has no types
    def task(message: dict[str, Any]) -> None:
        with tasks.task():
            recorded = record_estimates(database, settings, message, windows)
            if recorded is not None:
                settler.wake()

    start_http_server(settings.worker_metrics_port, addr=settings.host)
    watchdog.start()
    end_with(settler)
    try:
        celery.worker_main(["--quiet", *worker_arguments(RECORD_ESTIMATES), "-n", f"aggregation-{os.getpid()}@%h"])
    finally:
        courier.stop()
        settler.stop()
        database.close()


if __name__ == "__main__":
    main()
