"""The dashboard: the page that operators look at."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles

from services.dashboard import errors
from services.dashboard.headers import SafeHeaders
from services.dashboard.pages import (
    batches,
    health,
    history,
    login,
    models,
    now,
    people,
    photos,
    review,
    setup,
    space,
    try_photo,
)
from services.dashboard.parts import Parts, open_parts
from services.dashboard.render import Renderer
from services.dashboard.settings import Settings
from shared import database, logs, migrations
from shared.app import create_service, serve
from shared.tokens import Keyring, Role

FOLDER = Path(__file__).parent
DESCRIPTION = "The operators' page. Made for browsers: programs use the other services."
PAGES = (now, space, review, try_photo, batches, history, health, models, setup, people, login, photos)


def create_app(settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Return the app; `transport` stands in for the network to the other services. The database must be migrated."""
    renderer = Renderer(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_parts(settings, renderer, transport) as app.state.parts:
            await run_in_threadpool(offer_first_link, app.state.parts)
            yield

    app = create_service(
        service="dashboard",
        title="Huella: dashboard",
        description=DESCRIPTION,
        keyring=Keyring(settings.keys_folder),
        checks={"database": lambda: app.state.parts.store.database.check()},
        lifespan=lifespan,
        own_deadlines={"send_batch"},
    )
    # Its interactive page needs inline scripts, which the content security policy of the pages forbids.
    app.router.routes[:] = [route for route in app.router.routes if not _interactive(route)]
    errors.install(app, renderer)
    app.add_middleware(SafeHeaders, secure=settings.secure)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    for page in PAGES:
        app.include_router(page.router)
    return app


def _interactive(route: BaseRoute) -> bool:
    return str(getattr(route, "path", "")).startswith(("/docs", "/static-offline-docs"))


def offer_first_link(parts: Parts) -> None:
    """While nobody can log in, leave a link in `first-link` (for its owner's eyes) that makes the administrator."""
    if parts.store.has_people():
        parts.first_link.unlink(missing_ok=True)
        return
    settings = parts.settings
    until = database.now() + timedelta(seconds=settings.invitation_s)
    base = (
        settings.public_url or f"http://{'127.0.0.1' if settings.host == '0.0.0.0' else settings.host}:{settings.port}"
    )
    link = f"{base}/invitations/{parts.store.invite(Role.ADMIN, None, until)}"
    parts.first_link.parent.mkdir(parents=True, exist_ok=True)
    parts.first_link.unlink(missing_ok=True)
    descriptor = os.open(parts.first_link, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(link + "\n")
    # For whoever starts it, once, and good for one administrator: this is no log line, so it is no JSON.
    sys.stdout.write(f"Huella: make the administrator's account at {link}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve with the settings of the environment until SIGTERM."""
    settings = Settings()
    logs.configure("dashboard", settings.log_format, settings.log_level)
    migrations.migrate(settings.database_url, FOLDER / "migrations")
    serve(create_app(settings), settings.host, settings.port, limit_concurrency=settings.listeners + 100)


if __name__ == "__main__":
    main()
