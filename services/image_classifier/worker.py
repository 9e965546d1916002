"""The worker: takes chunks from the queue, one at a time, and publishes their estimates; and works on batches
while no camera waits.

It runs `--pool solo`: one process, one core, scaled by starting more. A watchdog ends a process that can't go on, and
whoever supervises it starts a fresh one; what it held is offered again by ingest's relay.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, signals
from kombu.exceptions import OperationalError
from prometheus_client import start_http_server
from redis import RedisError

from services.image_classifier import images
from services.image_classifier.batches import work
from services.image_classifier.classify import Decode, PublishFailed, Tools, classify_frames
from services.image_classifier.decode import decode
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.settings import Settings
from shared import logs
from shared.broker import (
    CLASSIFY_BATCHES,
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
    logs.configure("image_classifier", settings.log_format, settings.log_level)
    migrate(settings.database_url, MIGRATIONS)
    database = Database(settings.database_url)
    journal = Journal(database)
    lineup = Lineup(settings, database, journal, candidates=True)
    app = create_celery("image_classifier", settings.broker_url)
    redis = create_redis(settings.broker_url)
    token = ServiceToken(Signer(settings.keys_folder, "image_classifier"), "camera_ingest")
    fetch = partial(
        images.fetch,
        images.create_client(settings.fetch_timeout_s),
        token,
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
    batch_tools = work.Tools(
        model=lambda: lineup.champion,
        decode=decode,
        fetch=partial(
            images.fetch,
            images.create_client(min(settings.fetch_timeout_s, settings.batch_lease_s / 4)),
            token,
            f"{settings.ingest_url}/v1/images",
            deadline_s=min(settings.fetch_deadline_s, settings.batch_lease_s / 4),
            image_bytes=settings.image_bytes,
            settled=True,
        ),
        # While the broker does not answer no camera's frame can be waiting in it.
        cameras_wait=lambda: bool(messages_waiting(redis, CLASSIFY_FRAMES)),
        chunk=settings.batch_chunk,
        lease=timedelta(seconds=settings.batch_lease_s),
    )
    tasks = Deadline(settings.task_deadline_s)
    waiting = partial(messages_waiting, redis, CLASSIFY_FRAMES, CLASSIFY_BATCHES)
    watchdog = Watchdog(
        lineup.stuck,
        tasks.look,
        memory_bound(settings.memory_limit_bytes),
        Deafness(tasks, settings.deaf_s, waiting).look,
    )

    @app.task(name=CLASSIFY_FRAMES)  # type: ignore[untyped-decorator]  # Celery has no types
    def task(message: Any = None) -> None:
        with tasks.task():
            classify_frames(message, tools)

    @app.task(name=CLASSIFY_BATCHES)  # type: ignore[untyped-decorator]  # as above
    def batch_task(message: Any = None) -> None:
        with tasks.task():
            work.classify_batches(database, batch_tools)

    # A receiver of this signal keeps Celery's hands off the logs, which are configured already.
    signals.setup_logging.connect(_keep_logs, weak=False)
    start_http_server(settings.worker_metrics_port, addr=settings.host)
    watchdog.start()
    lineup.start()
    champion = lineup.champion.manifest
    log.info("worker starts", model=champion.name, version=champion.version)
    # Quiet, because the banner is no JSON.
    try:
        app.worker_main(["--quiet", *worker_arguments(CLASSIFY_FRAMES, CLASSIFY_BATCHES)])
    finally:
        lineup.stop()
        database.close()


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
