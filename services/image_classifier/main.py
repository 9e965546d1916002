"""The classifier's HTTP service: predictions on request, and the model versions that there are."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from fastapi import FastAPI

from services.image_classifier import images
from services.image_classifier.api import batch_predictions, batches, feedback, inference, models, predictions, rollout
from services.image_classifier.api.batch_shapes import Batching
from services.image_classifier.batches.bell import open_bell
from services.image_classifier.batches.ingest import IngestReceipts
from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.rollout.controller import Controller
from services.image_classifier.serving import open_serving
from services.image_classifier.settings import Settings
from shared import logs
from shared.app import create_service, serve
from shared.database import Database
from shared.migrations import migrate
from shared.tokens import Keyring, ServiceToken, Signer

MIGRATIONS = Path(__file__).parent / "migrations"
DESCRIPTION = "Says of photos whether they show cats, dogs, both or none, how sure it is, and by which model version."


def create_app(settings: Settings, *, ingest_transport: httpx.BaseTransport | None = None) -> FastAPI:
    """Return the app; its database must be migrated, and the model is loaded when it starts.

    `ingest_transport` stands in for the network in tests.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings.database_url)
        app.state.database = database
        controller = Controller(database, settings)
        app.state.controller = controller
        controller.start()
        try:
            with (
                _batching(settings, database, ingest_transport) as app.state.batching,
                _photos(settings, ingest_transport) as app.state.photos,
            ):
                async with open_serving(settings, database) as app.state.serving:
                    yield
        finally:
            controller.stop()
            database.close()

    def model_answers() -> None:
        model = app.state.serving.model
        size = model.manifest.input_size
        model.predict([Picture(np.zeros((size, size, 3), dtype=np.uint8), Quality.DARK)])

    app = create_service(
        service="image_classifier",
        title="Huella: image_classifier",
        description=DESCRIPTION,
        keyring=Keyring(settings.keys_folder),
        checks={
            "model": model_answers,
            "database": lambda: app.state.database.check(),
            "bell": lambda: app.state.batching.bell.check(),
            "controller": lambda: app.state.controller.check(),
        },
        lifespan=lifespan,
        own_deadlines={"create_prediction", "create_batch", "infer", "infer_by_version"},
    )
    for router in (
        predictions.router,
        models.router,
        rollout.router,
        feedback.router,
        inference.router,
        batches.router,
        batch_predictions.router,
    ):
        app.include_router(router)
    inference.tell_errors(app)
    return app


@contextmanager
def _batching(
    settings: Settings, database: Database, ingest_transport: httpx.BaseTransport | None
) -> Iterator[Batching]:
    """Open what batches need, and ring for work while the app runs."""
    settings.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = ServiceToken(Signer(settings.keys_folder, "image_classifier"), "camera_ingest")
    parts = Batching(
        settings=settings,
        database=database,
        bell=open_bell(database, settings),
        receipts=IngestReceipts(settings.ingest_url, token, ingest_transport),
        uploads=asyncio.Semaphore(settings.batch_uploads),
        streams=asyncio.Semaphore(settings.batch_streams),
    )
    parts.bell.start()
    try:
        yield parts
    finally:
        parts.bell.stop()
        parts.receipts.close()


@contextmanager
def _photos(settings: Settings, ingest_transport: httpx.BaseTransport | None) -> Iterator[feedback.Photos]:
    """Give what exports get photos with; it has no connection before one is asked for."""
    token = ServiceToken(Signer(settings.keys_folder, "image_classifier"), "camera_ingest")
    with images.create_client(settings.fetch_timeout_s, ingest_transport) as client:
        yield feedback.Photos(
            partial(
                images.fetch,
                client,
                token,
                f"{settings.ingest_url}/v1/images",
                deadline_s=settings.fetch_deadline_s,
                image_bytes=settings.image_bytes,
                settled=True,
            )
        )


def main() -> None:
    """Serve with the settings of the environment until SIGTERM."""
    settings = Settings()
    logs.configure("image_classifier", settings.log_format, settings.log_level)
    migrate(settings.database_url, MIGRATIONS)
    serve(create_app(settings), settings.host, settings.port)


if __name__ == "__main__":
    main()
