"""How every HTTP service is made and served, so that all of them answer alike."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import health, metrics, problem
from shared.collector import collect_rarely
from shared.tokens import Keyring

log = structlog.get_logger(__name__)

BODY_LIMIT = 64 * 1024
BODY_DEADLINE_S = 30.0
BODY_HEADERS = (b"content-length", b"transfer-encoding")


def create_service(
    *,
    service: str,
    title: str,
    description: str,
    keyring: Keyring,
    checks: Mapping[str, health.Check],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    own_deadlines: Collection[str] = (),
) -> FastAPI:
    """Return an app with problem documents, health, metrics, OpenAPI with an offline page, and limits for bodies.

    A body may have 64 kB and take 30 s. A route that takes more says so with its own `max_body_size`; the names of
    routes that read their body under a deadline of their own are `own_deadlines`.
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
    app.add_middleware(BodyDeadline, deadline_s=BODY_DEADLINE_S, own_deadlines=frozenset(own_deadlines))
    metrics.install(app)
    health.install(app, checks)
    return app


class BodyDeadline:
    """ASGI middleware that answers 408 to a body that is not whole `deadline_s` seconds after it was first asked for.

    FastAPI reads a body before it asks who sends it, so without this strangers could hold every place for ever.
    """

    def __init__(self, app: ASGIApp, deadline_s: float, own_deadlines: Collection[str]) -> None:
        self.app = app
        self.deadline_s = deadline_s
        self.own_deadlines = own_deadlines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not any(name in BODY_HEADERS for name, _ in scope["headers"]):
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        whole = started = False

        async def receive_in_time() -> Message:
            nonlocal deadline, whole
            # Which route it is stands in the scope by the time that somebody asks for the body. After its end, only
            # the end of the connection is waited for.
            if whole or getattr(scope.get("route"), "name", None) in self.own_deadlines:
                return await receive()
            deadline = deadline or loop.time() + self.deadline_s
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                if started:  # it is too late for another answer, and nobody will get this one
                    return {"type": "http.disconnect"}
                detail = f"The body did not arrive within {self.deadline_s:g} s. Send it again."
                # Starlette's, not ours: FastAPI makes a 400 of any other exception while it reads a body.
                raise HTTPException(408, detail, headers={"Connection": "close"}) from None
            whole = not message.get("more_body", False)
            return message

        async def note_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        await self.app(scope, receive_in_time, note_start)


class LimitRequests:
    """ASGI middleware that answers 503 at once, and when to come again, while `limit` requests are in progress."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.running >= self.limit:
            metrics.REFUSED.inc()
            full = problem.unavailable("Too many requests are being answered. Send it again shortly.", 2)
            await full.response()(scope, receive, send)
            return
        self.running += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.running -= 1


def _answer_for_the_database(app: FastAPI) -> None:
    """Make a database that is away, full or busy a 503: what was asked is not done, and may be asked again."""

    async def away(request: Request, error: Exception) -> JSONResponse:
        failure = error.orig if isinstance(error, DBAPIError) else error
        log.error("database failed", error=str(failure)[:200], kind=type(failure).__name__)
        return problem.unavailable("The database does not answer just now. Send it again later.").response()

    # InterfaceError: the driver lost the connection that it had.
    for kind in (OperationalError, InterfaceError, NoConnectionFree):
        app.add_exception_handler(kind, away)


def serve(app: FastAPI, host: str, port: int, *, limit_concurrency: int = 200) -> None:
    """Serve `app` until SIGTERM; logs are configured already, and at most `limit_concurrency` requests run at once."""
    collect_rarely()
    uvicorn.run(
        LimitRequests(app, limit_concurrency),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        # The second line, which counts connections too, idle ones among them; it answers in plain text.
        limit_concurrency=2 * limit_concurrency,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=64 * 1024,
    )
