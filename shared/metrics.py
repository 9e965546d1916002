"""What every HTTP service measures of itself, and how metrics are served.

Labels are bounded: a route's template, never a path; a status class; a camera only where a service says so.
"""

import time

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = Counter("huella_http_requests_total", "Requests answered.", ["method", "route", "status"])
DURATION = Histogram(
    "huella_http_request_duration_seconds",
    "Time from a request's first byte to its answer's last.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15),
)
REFUSED = Counter("huella_http_requests_refused_total", "Requests refused since too many were in progress.")


class MeasureRequests:
    """ASGI middleware that counts and times every request by its route's template."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            REQUESTS.labels(scope["method"], route, str(status)).inc()
            DURATION.labels(scope["method"], route).observe(time.perf_counter() - started)


def install(app: FastAPI) -> None:
    """Measure every request of `app` and serve `/metrics`, which no gateway routes."""
    app.add_middleware(MeasureRequests)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
