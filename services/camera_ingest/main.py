"""camera_ingest takes cameras' frames and answers for each until it is counted.

Run it with `python -m services.camera_ingest.main`.
"""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from services.camera_ingest import registry
from services.camera_ingest.api import audit, cameras, frames, images, pipeline, receipts, settlements
from services.camera_ingest.api.dependencies import Parts
from services.camera_ingest.capacity import Capacity
from services.camera_ingest.digest import Nonces
from services.camera_ingest.files import ImageFiles
from services.camera_ingest.janitor import Janitor
from services.camera_ingest.memory import keep_for_the_next_photo
from services.camera_ingest.relay import Relay
from services.camera_ingest.remembered import Remembered
from services.camera_ingest.settings import Settings
from services.camera_ingest.throttle import Throttle
from shared import app as service_app
from shared import logs
from shared.broker import CLASSIFY_FRAMES, create_celery, create_redis, queue_length, workers
from shared.database import Database, now
from shared.migrations import migrate
from shared.tokens import Keyring

SERVICE = "camera_ingest"
WORKING = ("image_classifier", "aggregation")
# Frames that are written at once, whole or the next piece of a large one. They have threads of their own, so that
# however many cameras send, the classifier and aggregation need not wait for a thread behind them. They are a plain
# executor's: a change of thread costs a third of what it does through anyio's queue.
PUTTING = 32
MIGRATIONS = Path(__file__).parent / "migrations"


def create_app(settings: Settings) -> FastAPI:
    """Return the app; its database (already migrated), files and threads live from its start to its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = _open(settings)
        app.state.parts = parts
        parts.relay.start()
        parts.janitor.start()
        try:
            yield
        finally:
            parts.relay.stop()
            parts.janitor.stop()
            parts.putting.shutdown(cancel_futures=True)
            parts.database.close()

    app = service_app.create_service(
        service=SERVICE,
        title="Huella camera ingest",
        description="Cameras put photos here and get a receipt for each; accepted means counted.",
        keyring=Keyring(settings.keys_folder),
        checks={
            "database": lambda: app.state.parts.database.check(),
            "images": lambda: app.state.parts.files.check(),
            "relay": lambda: app.state.parts.relay.check(),
            "janitor": lambda: app.state.parts.janitor.check(),
        },
        lifespan=lifespan,
        own_deadlines=frames.OWN_DEADLINES,
    )
    for module in (cameras, frames, receipts, images, settlements, audit, pipeline):
        app.include_router(module.router)
    return app


def _open(settings: Settings) -> Parts:
    database = Database(settings.database_url)
    files = ImageFiles(settings.images_folder)
    celery = create_celery(SERVICE, settings.broker_url)
    redis = create_redis(settings.broker_url)
    length = partial(queue_length, redis)

    def publish(message: dict[str, object]) -> None:
        celery.send_task(CLASSIFY_FRAMES, args=[message], queue=CLASSIFY_FRAMES, ignore_result=True)

    capacity = Capacity(settings, database, files)
    capacity.measure(now())
    return Parts(
        settings=settings,
        database=database,
        files=files,
        capacity=capacity,
        relay=Relay(settings, database, publish=publish, queue_length=length),
        janitor=Janitor(settings, database, files, capacity),
        throttle=Throttle(),
        nonces=Nonces(database.write(lambda connection: registry.shared_key(connection, "nonces"))),
        remembered=Remembered(),
        putting=ThreadPoolExecutor(PUTTING, thread_name_prefix="putting"),
        queue_length=length,
        workers=lambda: workers(redis, *WORKING),
    )


def main() -> None:
    """Run until SIGTERM."""
    settings = Settings()
    logs.configure(SERVICE, settings.log_format, settings.log_level)
    keep_for_the_next_photo()
    settings.images_folder.mkdir(parents=True, exist_ok=True)
    migrate(settings.database_url, MIGRATIONS)
    service_app.serve(create_app(settings), settings.host, settings.port, limit_concurrency=settings.connections)


if __name__ == "__main__":
    main()
