"""What the HTTP service holds between its start and its end: the loaded model version and the bounds on its work."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter, to_thread

from services.image_classifier.classify import predict_each
from services.image_classifier.decode import Picture, decode
from services.image_classifier.micro_batch import MicroBatcher
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.settings import Settings
from shared.database import Database
from shared.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Serving:
    """`places` bounds the images in memory, `batcher` decodes them and asks the model, `threads` bounds other work."""

    settings: Settings
    lineup: Lineup
    batcher: MicroBatcher[tuple[ModelVersion, bytes], Prediction]
    places: asyncio.Semaphore
    threads: CapacityLimiter

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
    batcher: MicroBatcher[tuple[ModelVersion, bytes], Prediction] = MicroBatcher(
        _predict,
        threads=settings.predictors,
        batch_limit=settings.batch_limit,
        waiting_limit=settings.predictions_at_once,
    )
    try:
        yield Serving(
            settings=settings,
            lineup=lineup,
            batcher=batcher,
            places=asyncio.Semaphore(settings.predictions_at_once),
            threads=CapacityLimiter(settings.predictors),
        )
    finally:
        await batcher.close()
        await to_thread.run_sync(lineup.stop)
        watchdog.stop()


def _predict(asked: Sequence[tuple[ModelVersion, bytes]]) -> list[Prediction | Exception]:
    """Decode each image for the version that it is asked of, and ask; the champion may change among them."""
    said: list[Prediction | Exception | Picture] = [_decoded(model, content) for model, content in asked]
    for version in dict.fromkeys(model for model, _ in asked):
        pictures = {n: one for n, one in enumerate(said) if isinstance(one, Picture) and asked[n][0] is version}
        for n, answer in zip(pictures, predict_each(version, list(pictures.values())), strict=True):
            said[n] = answer
    return [one for one in said if not isinstance(one, Picture)]


def _decoded(model: ModelVersion, content: bytes) -> Picture | Exception:
    try:
        return decode(content, model.manifest.input_size)
    except Exception as error:  # noqa: BLE001 - whatever one image does to its reader is no matter of its neighbours
        return error
