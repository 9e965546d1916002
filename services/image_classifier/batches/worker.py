"""The worker of batches: a process of its own, which takes the processor's time that nothing else wants.

A camera's frame so never waits for what a batch is at, and where both want a core the system prefers whoever takes,
classifies, counts and shows frames (docs/adr/0016-batches-apart.md).
"""

import os
from datetime import timedelta
from functools import partial
from typing import Any, Final

from services.image_classifier import images
from services.image_classifier.batches import work
from services.image_classifier.classify import Decode
from services.image_classifier.decode import decode
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.settings import Settings
from services.image_classifier.worker import MIGRATIONS, consume, create_watchdog
from shared import logs
from shared.broker import CLASSIFY_BATCHES, create_celery
from shared.database import Database
from shared.migrations import migrate
from shared.tokens import ServiceToken, Signer
from shared.watchdog import Deadline

NICENESS: Final = 10
"""While both want a core, a process of the usual one gets nine times the time of this.

No less: a chunk must end within its lease on a machine that has no time to spare, or its inputs count as tried.
"""

WORKER_NAME: Final = "image_classifier_batches"
"""Under which the broker lists it: whoever counts the workers that take cameras' frames does not count it."""


def main() -> None:
    """Run a worker of batches with the settings of the environment until SIGTERM."""
    run(Settings())


def run(settings: Settings, decode: Decode = decode) -> None:
    """Run a worker of batches until SIGTERM; the chunk in hand is finished first."""
    logs.configure("image_classifier", settings.log_format, settings.log_level)
    migrate(settings.database_url, MIGRATIONS)
    database = Database(settings.database_url)
    lineup = Lineup(settings, database, Journal(database), candidates=False, blames=False)
    app = create_celery("image_classifier", settings.broker_url, worker=WORKER_NAME)
    longest_s = settings.batch_lease_s / 4
    tools = work.Tools(
        model=lambda: lineup.champion,
        decode=decode,
        fetch=partial(
            images.fetch,
            images.create_client(min(settings.fetch_timeout_s, longest_s)),
            ServiceToken(Signer(settings.keys_folder, "image_classifier"), "camera_ingest"),
            f"{settings.ingest_url}/v1/images",
            deadline_s=min(settings.fetch_deadline_s, longest_s),
            image_bytes=settings.image_bytes,
            settled=True,
        ),
        chunk=settings.batch_chunk,
        lease=timedelta(seconds=settings.batch_lease_s),
    )
    tasks = Deadline(settings.task_deadline_s)
    watchdog = create_watchdog(settings, CLASSIFY_BATCHES, tasks, lineup)

    @app.task(name=CLASSIFY_BATCHES)  # type: ignore[untyped-decorator]  # Celery has no types
    def task(message: Any = None) -> None:
        give_way()
        with tasks.task():
            work.classify_batches(database, tools)

    try:
        consume(app, CLASSIFY_BATCHES, settings, settings.batch_metrics_port, watchdog, lineup)
    finally:
        database.close()


def give_way() -> None:
    """Give the thread that calls a low priority, unless it has a lower one: to raise it again takes rights."""
    # Of this thread alone: the start is not held up, nor are those that tell how it is and that watch it.
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


if __name__ == "__main__":
    main()
