"""Who is asking: the session of a request, the rights a page needs, and forms that nobody else can send for them."""

import hmac
from collections.abc import AsyncIterator, Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from services.dashboard.parts import Parts, PartsOf
from services.dashboard.render import moment_of
from services.dashboard.settings import Settings
from services.dashboard.store import Session
from shared.tokens import RANK, Role

REFRESH = "X-Huella-Refresh"


class NotLoggedIn(Exception):
    """There is no log-in, or it has ended."""


class Forbidden(Exception):
    """The person's role is too small; carries the one needed."""

    def __init__(self, needed: Role) -> None:
        super().__init__(needed.value)
        self.needed = needed


class ForeignForm(Exception):
    """A form was sent by another site, or by a page of an ended log-in."""


def cookie_name(settings: Settings) -> str:
    """Return the session cookie's name: cookies know no ports, and two systems may share a host."""
    return "__Host-huella" if settings.secure else f"huella_{settings.base_port}"


def set_session(response: Response, settings: Settings, secret: str) -> None:
    """Give the browser the session's secret, out of reach of scripts and of other sites."""
    response.set_cookie(
        cookie_name(settings),
        secret,
        max_age=int(settings.session_absolute_s),
        path="/",
        secure=settings.secure,
        httponly=True,
        samesite="lax",
    )


async def session_or_none(request: Request, parts: PartsOf) -> Session | None:
    """Return the session of the request, or None; a page that refreshes itself does not keep a log-in from ending."""
    secret = request.cookies.get(cookie_name(parts.settings), "")
    session = None
    if 0 < len(secret) <= 100:
        used = REFRESH not in request.headers
        session = await run_in_threadpool(parts.store.session, secret, moment_of(request), used=used)
    request.state.session = session
    return session


def require(role: Role) -> Callable[..., Session]:
    """Return a dependency that lets in who has the rights of `role`."""

    def dependency(session: Annotated[Session | None, Depends(session_or_none)]) -> Session:
        if session is None:
            raise NotLoggedIn
        if RANK[session.person.role] < RANK[role]:
            raise Forbidden(role)
        return session

    return dependency


Anybody = Annotated[Session | None, Depends(session_or_none)]
Viewer = Annotated[Session, Depends(require(Role.VIEWER))]
Operator = Annotated[Session, Depends(require(Role.OPERATOR))]
Admin = Annotated[Session, Depends(require(Role.ADMIN))]


def from_our_page(request: Request, parts: Parts) -> bool:
    """Return whether the browser says that one of our own pages sent this; what says nothing is not believed."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    if parts.settings.public_url and hmac.compare_digest(origin.encode(), parts.settings.public_url.encode()):
        return True
    return bool(urlsplit(origin).netloc) and urlsplit(origin).netloc == request.headers.get("host")


async def own_form(request: Request, parts: PartsOf, session: Anybody) -> AsyncIterator[FormData]:
    """Give the fields of a form of ours; one of a log-in carries that log-in's token. Raises ForeignForm."""
    if not from_our_page(request, parts):
        raise ForeignForm
    form = await request.form(max_files=1, max_fields=30)
    try:
        if session is not None and not hmac.compare_digest(text(form, "csrf").encode(), session.csrf.encode()):
            raise ForeignForm
        yield form
    finally:
        await form.close()


Form = Annotated[FormData, Depends(own_form)]


def text(form: FormData, name: str, longest: int = 2000) -> str:
    """Return a text field of a form, without surrounding space; "" if it is missing or no text."""
    value = form.get(name)
    return value.strip()[:longest] if isinstance(value, str) else ""
