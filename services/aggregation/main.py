"""The aggregation's HTTP service: spaces, stays, corrections and the adoption status, with the ticker beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from services.aggregation.api import corrections, events, reconciliation, reviews, spaces, status, stays
from services.aggregation.api.reconciliation import IngestAudit
from services.aggregation.listeners import Listeners
from services.aggregation.settings import Settings
from services.aggregation.ticker import Ticker
from shared import logs
from shared.app import create_service, serve
from shared.database import Database
from shared.migrations import migrate
from shared.tokens import Keyring, ServiceToken, Signer

MIGRATIONS = Path(__file__).parent / "migrations"
DESCRIPTION = (
    "Which spaces hold cats, dogs, both or nobody, since when, how sure that is, and what it means for adoption."
)


def create_app(settings: Settings, *, ingest_transport: httpx.BaseTransport | None = None) -> FastAPI:
    """Return the app; its database must be migrated. `ingest_transport` stands in for the network in tests."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings.database_url)
        token = ServiceToken(Signer(settings.keys_folder, "aggregation"), "camera_ingest")
        audit = IngestAudit(settings.ingest_url, token, ingest_transport)
        listeners = Listeners(database, settings.listeners)
        ticker = Ticker(database, settings)
        app.state.settings = settings
        app.state.database = database
        app.state.ingest_audit = audit
        app.state.listeners = listeners
        app.state.ticker = ticker
        ticker.start()
        try:
            async with listeners.polling():
                yield
        finally:
            ticker.stop()
            audit.close()
            database.close()

    app = create_service(
        service="aggregation",
        title="Huella: aggregation",
        description=DESCRIPTION,
        keyring=Keyring(settings.keys_folder),
        checks={
            "database": lambda: app.state.database.check(),
            "ticker": lambda: app.state.ticker.check(),
            "poller": lambda: app.state.listeners.check(),
        },
        lifespan=lifespan,
    )
    for router in (
        status.router,
        events.router,
        spaces.router,
        stays.router,
        corrections.router,
        reviews.router,
        reconciliation.router,
    ):
        app.include_router(router)
    return app


def main() -> None:
    """Serve with the settings of the environment until SIGTERM."""
    settings = Settings()
    logs.configure("aggregation", settings.log_format, settings.log_level)
    migrate(settings.database_url, MIGRATIONS)
    serve(create_app(settings), settings.host, settings.port)


if __name__ == "__main__":
    main()
