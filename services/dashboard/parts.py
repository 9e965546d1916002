"""What the pages are made with: one object of everything that lives as long as the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, cast
from zoneinfo import ZoneInfo

import httpx
from fastapi import Depends, Request

from services.dashboard.batches import Batches
from services.dashboard.clients import Aggregation, Classifier, Ingest
from services.dashboard.live import Live
from services.dashboard.photos import Thumbnails
from services.dashboard.render import Renderer
from services.dashboard.settings import Settings
from services.dashboard.store import Store
from services.dashboard.throttle import Throttle
from shared.database import Database
from shared.tokens import Signer


@dataclass(frozen=True)
class Parts:
    """Everything that a page may need."""

    settings: Settings
    store: Store
    ingest: Ingest
    classifier: Classifier
    aggregation: Aggregation
    batches: Batches
    live: Live
    thumbnails: Thumbnails
    renderer: Renderer
    throttle: Throttle

    @property
    def first_link(self) -> Path:
        """The file in which the first start leaves the link that makes the administrator."""
        return self.settings.folder / "first-link"


@asynccontextmanager
async def open_parts(
    settings: Settings, renderer: Renderer, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Parts]:
    """Open everything and close it at the end; `transport` stands in for the network to the other services."""
    signer = Signer(settings.keys_folder, "dashboard")
    database = Database(settings.database_url)
    idle, absolute = timedelta(seconds=settings.session_idle_s), timedelta(seconds=settings.session_absolute_s)
    ingest = Ingest(settings.ingest_url, signer, settings.request_timeout_s, transport)
    classifier = Classifier(settings.classifier_url, signer, settings.request_timeout_s, transport)
    aggregation = Aggregation(settings.aggregation_url, signer, settings.request_timeout_s, transport)
    batches = Batches(settings.classifier_url, signer, settings.request_timeout_s, transport)
    live = Live(aggregation, settings.listeners, ZoneInfo(settings.time_zone))
    thumbnails = Thumbnails(settings.folder / "thumbnails", settings.thumbnail_bytes, settings.thumbnail_s)
    try:
        yield Parts(
            settings,
            Store(database, idle, absolute),
            ingest,
            classifier,
            aggregation,
            batches,
            live,
            thumbnails,
            renderer,
            Throttle(database),
        )
    finally:
        await live.close()
        for client in (ingest, classifier, aggregation, batches):
            await client.close()
        database.close()


def parts_of(request: Request) -> Parts:
    """Return the parts of the app that got the request."""
    return cast(Parts, request.app.state.parts)


PartsOf = Annotated[Parts, Depends(parts_of)]
