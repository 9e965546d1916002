"""How every HTTP service is made and served, so that all of them answer alike."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import OperationalError

from shared import health, metrics, problem
from shared.collector import collect_rarely
from shared.tokens import Keyring

log = structlog.get_logger(__name__)

BODY_LIMIT = 64 * 1024


def create_service(
    *,
    service: str,
    title: str,
    description: str,
    keyring: Keyring,
    checks: Mapping[str, health.Check],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """Return an app with problem documents, health, metrics, OpenAPI with an offline page, and a 64 kB body limit.

    A route that takes more says so with its own `max_body_size`.
    """
    app: FastAPI = FastAPIOffline(
        title=title,
        description=description,
        version="1",
        redoc_url=None,
        lifespan=lifespan,
        max_body_size=BODY_LIMIT,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.state.keyring = keyring
    problem.install(app)
    _answer_for_the_database(app)
    metrics.install(app)
    health.install(app, checks)
    return app


def _answer_for_the_database(app: FastAPI) -> None:
    """Make a database that is away, full or busy a 503: what was asked is not done, and may be asked again."""

    @app.exception_handler(OperationalError)
    async def _away(request: Request, error: OperationalError) -> JSONResponse:
        log.error("database failed", error=str(error.orig)[:200])
        return problem.unavailable("The database does not answer just now. Send it again later.").response()


def serve(app: FastAPI, host: str, port: int, *, limit_concurrency: int = 200) -> None:
    """Serve `app` until SIGTERM; logs are configured already, and at most `limit_concurrency` requests run at once."""
    collect_rarely()
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=limit_concurrency,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=64 * 1024,
    )
