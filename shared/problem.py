"""Errors as RFC 9457 `application/problem+json`, made in one place.

Problem
  raised anywhere below a route; carries status, slug, title, and a detail that says what to do next.
Everything else that reaches the edge (validation, unknown route, unexpected exception) becomes one too.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error that a client gets told: `slug` names its kind for programs, `detail` says what to do about it.

    `challenges` are the ways in which a 401 lets a client say who it is.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        challenges: Sequence[str] = (),
        **extra: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.headers = dict(headers or {})
        self.challenges = tuple(challenges)
        self.extra = extra

    @property
    def title(self) -> str:
        return self.slug.replace("-", " ").capitalize()

    def response(self) -> JSONResponse:
        body: dict[str, Any] = {
            "type": f"urn:huella:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }
        response = JSONResponse(body, status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE)
        for challenge in self.challenges:  # a header each, since few clients can part two in one
            response.headers.append("WWW-Authenticate", challenge)
        return response


def unavailable(detail: str, retry_after_s: int = 5) -> Problem:
    """Return a 503 that says when to try again."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after_s)})


class TellTooLarge:
    """ASGI middleware that makes a problem document of the plain 413 with which Starlette's body limit answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def tell(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 413:
                replaced = Headers(raw=message["headers"]).get("content-type") != MEDIA_TYPE
                if replaced:
                    await too_large().response()(scope, receive, send)
            if not replaced:
                await send(message)

        await self.app(scope, receive, tell)


def too_large() -> Problem:
    """Return the 413 of a body past its address's limit."""
    return Problem(413, "content-too-large", "The body is larger than this address takes. Send a smaller one.")


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    # The body limit answers from outside every middleware that can be added, so it has to be wrapped whole.
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: TellTooLarge(build())  # type: ignore[method-assign]  # see above

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> JSONResponse:
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"where": ".".join(str(part) for part in item["loc"]), "what": item["msg"]} for item in error.errors()[:20]
        ]
        first = errors[0] if errors else {"where": "request", "what": "is not valid"}
        detail = f"{first['where']}: {first['what']}. Correct the request and send it again."
        return Problem(422, "invalid-request", detail, errors=errors).response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 413:
            return too_large().response()
        slug = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        return Problem(error.status_code, slug, _advice(request, error), headers=error.headers).response()

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        # The route's template, never the path: a path may carry a secret.
        log.error("unexpected error", route=getattr(request.scope.get("route"), "path", None), exc_info=error)
        return Problem(500, "internal-error", "This is a fault of ours; it is in the log. Try again later.").response()


def _advice(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return "Nothing is at this address. /docs lists what this service answers."
    if error.status_code == 405:
        return f"{request.method} is not answered here. /docs lists what is."
    return str(error.detail)
