"""What the HTTP service holds between its start and its end: the loaded model version and the bounds on its work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter, to_thread

from services.image_classifier.classify import predict_each
from services.image_classifier.decode import Picture
from services.image_classifier.micro_batch import MicroBatcher
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.settings import Settings
from services.image_classifier.shipped import load_default


@dataclass(frozen=True, slots=True)
class Serving:
    """`places` bounds the images in memory, `decoders` those decoded at once, `batcher` asks the model."""

    settings: Settings
    model: ModelVersion
    batcher: MicroBatcher[Picture, Prediction]
    places: asyncio.Semaphore
    decoders: CapacityLimiter


@asynccontextmanager
async def open_serving(settings: Settings) -> AsyncIterator[Serving]:
    """Load the default model version and give what serves it. Raises InvalidModelVersion."""
    model = await to_thread.run_sync(load_default, settings)
    batcher: MicroBatcher[Picture, Prediction] = MicroBatcher(
        partial(predict_each, model), batch_limit=settings.batch_limit, waiting_limit=settings.predictions_at_once
    )
    try:
        yield Serving(
            settings=settings,
            model=model,
            batcher=batcher,
            places=asyncio.Semaphore(settings.predictions_at_once),
            decoders=CapacityLimiter(settings.decoders),
        )
    finally:
        await batcher.close()
