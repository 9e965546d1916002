"""The classifier's HTTP service: predictions on request, and the model versions that there are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from fastapi import FastAPI

from services.image_classifier.api import models, predictions
from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.serving import open_serving
from services.image_classifier.settings import Settings
from shared import logs
from shared.app import create_service, serve
from shared.database import Database, migrate
from shared.tokens import Keyring

MIGRATIONS = Path(__file__).parent / "migrations"
DESCRIPTION = "Says of photos whether they show cats, dogs, both or none, how sure it is, and by which model version."


def create_app(settings: Settings) -> FastAPI:
    """Return the app; its database must be migrated, and the model is loaded when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings.database_url)
        app.state.database = database
        try:
            async with open_serving(settings) as app.state.serving:
                yield
        finally:
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
        checks={"model": model_answers, "database": lambda: app.state.database.check()},
        lifespan=lifespan,
        own_deadlines={"create_prediction"},
    )
    app.include_router(predictions.router)
    app.include_router(models.router)
    return app


def main() -> None:
    """Serve with the settings of the environment until SIGTERM."""
    settings = Settings()
    logs.configure("image_classifier", settings.log_format, settings.log_level)
    migrate(settings.database_url, MIGRATIONS)
    serve(create_app(settings), settings.host, settings.port)


if __name__ == "__main__":
    main()
