"""The worker: takes chunks from the queue, one at a time, and publishes their estimates.

It runs `--pool solo`: one process, one core, scaled by starting more. A watchdog ends a process that can't go on, and
whoever supervises it starts a fresh one; what it held is offered again by ingest's relay.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, signals
from kombu.exceptions import OperationalError
from prometheus_client import start_http_server
from redis import RedisError

from services.image_classifier import images
from services.image_classifier.classify import Decode, PublishFailed, Tools, classify_frames
from services.image_classifier.decode import decode
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.settings import Settings
from shared import logs
from shared.broker import (
    CLASSIFY_FRAMES,
    RECORD_ESTIMATES,
    create_celery,
    create_redis,
    messages_waiting,
    worker_arguments,
)
from shared.database import Database
from shared.migrations import migrate
from shared.tokens import ServiceToken, Signer
from shared.watchdog import Deadline, Deafness, Watchdog, memory_bound

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"


def main() -> None:
    """Run a worker with the settings of the environment until SIGTERM."""
    run(Settings())


def run(settings: Settings, decode: Decode = decode) -> None:
    """Run a worker until SIGTERM; the task in hand is finished first."""
    with opened(settings) as database:
        journal = Journal(database)
        lineup = Lineup(settings, database, journal, candidates=True)
        app = create_celery("image_classifier", settings.broker_url)
        fetch = partial(
            images.fetch,
            images.create_client(settings.fetch_timeout_s),
            ServiceToken(Signer(settings.keys_folder, "image_classifier"), "camera_ingest"),
            deadline_s=settings.fetch_deadline_s,
            image_bytes=settings.image_bytes,
        )
        tools = Tools(
            ingest_url=settings.ingest_url,
            in_force=lambda: lineup.now,
            decode=decode,
            fetch=fetch,
            publish=publisher(app),
            record=journal.add,
            candidate_deadline_s=settings.candidate_deadline_s,
        )

        def work(message: Any) -> None:
            classify_frames(message, tools)

        consume(app, CLASSIFY_FRAMES, work, settings, settings.worker_metrics_port, lineup)


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Give the database of a worker's process, migrated; logs are configured before anything is said."""
    logs.configure("image_classifier", settings.log_format, settings.log_level)
    migrate(settings.database_url, MIGRATIONS)
    database = Database(settings.database_url)
    try:
        yield database
    finally:
        database.close()


def consume(
    app: Celery, queue: str, work: Callable[[Any], None], settings: Settings, metrics_port: int, lineup: Lineup
) -> None:
    """Follow the rollout and do `work` with each message of `queue` until SIGTERM; the one in hand is finished first.

    The task is named as its queue. A watchdog ends the process when it can't go on.
    """
    tasks = Deadline(settings.task_deadline_s)

    @app.task(name=queue)  # type: ignore[untyped-decorator]  # Celery has no types
    def task(message: Any = None) -> None:
        with tasks.task():
            work(message)

    # A receiver of this signal keeps Celery's hands off the logs, which are configured already.
    signals.setup_logging.connect(_keep_logs, weak=False)
    start_http_server(metrics_port, addr=settings.host)
    _watchdog(settings, queue, tasks, lineup).start()
    lineup.start()
    champion = lineup.champion.manifest
    log.info("worker starts", queue=queue, model=champion.name, version=champion.version)
    # Quiet, because the banner is no JSON.
    try:
        app.worker_main(["--quiet", *worker_arguments(queue)])
    finally:
        lineup.stop()


def _watchdog(settings: Settings, queue: str, tasks: Deadline, lineup: Lineup) -> Watchdog:
    waiting = partial(messages_waiting, create_redis(settings.broker_url), queue)
    deafness = Deafness(tasks, settings.deaf_s, waiting)

    def deaf() -> str | None:
        reason = deafness.look()
        if reason:
            lineup.excuse()  # a lost connection is no version's fault; a long task or much memory may be
        return reason

    return Watchdog(lineup.stuck, tasks.look, memory_bound(settings.memory_limit_bytes), deaf)


def publisher(app: Celery) -> Callable[[dict[str, object]], None]:
    """Return what publishes a `record_estimates` message over a kept connection; it raises PublishFailed, soon."""

    def publish(message: dict[str, object]) -> None:
        try:
            app.send_task(RECORD_ESTIMATES, args=[message])
        except (OperationalError, RedisError, OSError) as error:
            raise PublishFailed(f"{type(error).__name__}: {str(error)[:200]}") from error

    return publish


def _keep_logs(**_: Any) -> None:
    """Do nothing, on purpose."""


if __name__ == "__main__":
    main()
