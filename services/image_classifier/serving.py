"""What the HTTP service holds between its start and its end: the loaded model version and the bounds on its work."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter, to_thread

from services.image_classifier.classify import predict_each
from services.image_classifier.decode import Picture
from services.image_classifier.micro_batch import MicroBatcher
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.settings import Settings
from shared.database import Database
from shared.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Serving:
    """`places` bounds the images in memory, `decoders` those decoded at once, `batcher` asks the model."""

    settings: Settings
    lineup: Lineup
    batcher: MicroBatcher[tuple[ModelVersion, Picture], Prediction]
    places: asyncio.Semaphore
    decoders: CapacityLimiter

    @property
    def model(self) -> ModelVersion:
        """The version that is trusted now; take it once a request."""
        return self.lineup.champion


@asynccontextmanager
async def open_serving(settings: Settings, database: Database) -> AsyncIterator[Serving]:
    """Load the version in force and give what serves it. Raises InvalidModelVersion.

    Meanwhile a watchdog ends this process if a version does not answer: whoever waits for it could wait for ever.
    """
    lineup = await to_thread.run_sync(partial(Lineup, settings, database, Journal(database), candidates=False))
    watchdog = Watchdog(lineup.stuck)
    watchdog.start()
    await to_thread.run_sync(lineup.start)
    batcher: MicroBatcher[tuple[ModelVersion, Picture], Prediction] = MicroBatcher(
        _predict, batch_limit=settings.batch_limit, waiting_limit=settings.predictions_at_once
    )
    try:
        yield Serving(
            settings=settings,
            lineup=lineup,
            batcher=batcher,
            places=asyncio.Semaphore(settings.predictions_at_once),
            decoders=CapacityLimiter(settings.decoders),
        )
    finally:
        await batcher.close()
        await to_thread.run_sync(lineup.stop)
        watchdog.stop()


def _predict(asked: Sequence[tuple[ModelVersion, Picture]]) -> list[Prediction | Exception]:
    """Predict each picture with the version that it was decoded for: the champion may change in between."""
    if all(model is asked[0][0] for model, _ in asked):
        return predict_each(asked[0][0], [picture for _, picture in asked])
    return [said for model, picture in asked for said in predict_each(model, [picture])]
