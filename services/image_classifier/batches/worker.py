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
from services.image_classifier.worker import consume, opened
from shared.broker import CLASSIFY_BATCHES, create_celery
from shared.tokens import ServiceToken, Signer

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
    with opened(settings) as database:
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

        def classify(message: Any) -> None:
            give_way()
            work.classify_batches(database, tools)

        consume(app, CLASSIFY_BATCHES, classify, settings, settings.batch_metrics_port, lineup)


def give_way() -> None:
    """Give the thread that calls a low priority, unless it has a lower one: to raise it again takes rights."""
    # Of this thread alone: the start is not held up, nor are those that tell how it is and that watch it.
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


if __name__ == "__main__":
    main()
