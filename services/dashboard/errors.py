"""Errors as a person sees them: a page that says what happened and where to go; programs get a problem document."""

from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from services.dashboard.access import REFRESH, Forbidden, ForeignForm, NotLoggedIn
from services.dashboard.clients import Refused, ServiceDown
from services.dashboard.render import Renderer
from services.dashboard.store import BadInvitation
from shared.problem import Problem

log = structlog.get_logger(__name__)


def install(app: FastAPI, renderer: Renderer) -> None:
    """Answer every error of `app` as a page to browsers."""

    def answer(request: Request, problem: Problem, **context: object) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return problem.response()
        page = {"kind": problem.slug, "detail": problem.detail, "service": "", "down": [], **context}
        page["again"] = str(request.url.path) if request.method == "GET" else "/"
        return renderer.page(request, "error.html", status=problem.status, headers=problem.headers, **page)

    @app.exception_handler(NotLoggedIn)
    async def _log_in(request: Request, error: NotLoggedIn) -> Response:
        wants_page = "text/html" in request.headers.get("accept", "") and REFRESH not in request.headers
        if wants_page:
            onward = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            onward = onward if request.method == "GET" else "/"
            return RedirectResponse(f"/login?next={quote(onward, safe='/')}", status_code=303)
        return Problem(401, "not-logged-in", "Log in at /login.", headers={"WWW-Authenticate": "Cookie"}).response()

    @app.exception_handler(Forbidden)
    async def _forbidden(request: Request, error: Forbidden) -> Response:
        problem = Problem(403, "forbidden", f"This needs the role {error.needed.value}.")
        return answer(request, problem, needed=error.needed.value)

    @app.exception_handler(ForeignForm)
    async def _foreign(request: Request, error: ForeignForm) -> Response:
        problem = Problem(403, "foreign-form", "This form is not of your present log-in. Reload the page, try again.")
        return answer(request, problem)

    @app.exception_handler(BadInvitation)
    async def _invitation(request: Request, error: BadInvitation) -> Response:
        return answer(request, Problem(404, "bad-invitation", "This invitation is used up, withdrawn or has ended."))

    @app.exception_handler(ServiceDown)
    async def _down(request: Request, error: ServiceDown) -> Response:
        detail = f"{error.service} does not answer. Try again shortly."
        problem = Problem(503, "service-down", detail, headers={"Retry-After": "5"})
        return answer(request, problem, service=error.service, down=[error.service])

    @app.exception_handler(Refused)
    async def _refused(request: Request, error: Refused) -> Response:
        slug = {404: "not-found", 410: "gone", 412: "changed-meanwhile"}.get(error.status, "refused")
        return answer(request, Problem(error.status, slug, error.detail), service=error.service)

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return answer(request, error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        slug = {404: "not-found", 413: "content-too-large"}.get(error.status_code, "refused")
        headers = dict(error.headers or {})
        return answer(request, Problem(error.status_code, slug, str(error.detail), headers=headers))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, Problem(422, "invalid-request", "This address or form has a value that can't be."))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        # The route's template, never the path: a path may carry an invitation.
        log.error("unexpected error", route=getattr(request.scope.get("route"), "path", None), exc_info=error)
        return answer(request, Problem(500, "internal-error", "This is a fault of ours; it is in the log."))
