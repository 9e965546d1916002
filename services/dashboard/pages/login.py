"""Log in, log out, take an invitation, and switch language or theme."""

import math

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from services.dashboard import passwords
from services.dashboard.access import Anybody, Form, cookie_name, set_session, text
from services.dashboard.domain import LANGUAGES, THEMES, clean_name, good_password, safe_next
from services.dashboard.pages.answers import see
from services.dashboard.parts import Parts, PartsOf
from services.dashboard.render import LANGUAGE_COOKIE, THEME_COOKIE, moment_of
from services.dashboard.store import NameTaken

log = structlog.get_logger(__name__)
router = APIRouter(tags=["log-in"])

YEAR_S = 365 * 86400


@router.get("/login", response_class=HTMLResponse, name="login")
async def show_login(request: Request, session: Anybody, parts: PartsOf, next: str = "/") -> Response:
    """Ask who it is."""
    if session is not None:
        return see(safe_next(next))
    first = not await run_in_threadpool(parts.store.has_people)
    return parts.renderer.page(request, "login.html", next=safe_next(next), problem="", name="", first=first, down=[])


@router.post("/login", response_class=HTMLResponse, name="log_in")
async def log_in(request: Request, form: Form, parts: PartsOf) -> Response:
    """Log in; unknown names and wrong passwords get the same answer after the same time."""
    name, password, onward = text(form, "name", 200), str(form.get("password", ""))[:500], safe_next(text(form, "next"))
    address = request.client.host if request.client else ""
    wait_s = await run_in_threadpool(parts.throttle.take, name, address, moment_of(request))
    if wait_s:
        log.warning("log-in throttled", address=address)
        headers = {"Retry-After": str(math.ceil(wait_s))}
        return _again(request, parts, onward, "wait", name, 429, headers, math.ceil(wait_s))
    known = await run_in_threadpool(parts.store.password_of, name)
    if not await run_in_threadpool(passwords.matches, known[1] if known else None, password) or known is None:
        log.warning("log-in refused", address=address)
        return _again(request, parts, onward, "wrong", name, 422)
    person, kept = known
    await run_in_threadpool(parts.throttle.right, name, address)
    if passwords.outdated(kept):
        hashed = await run_in_threadpool(passwords.make_hash, password)
        await run_in_threadpool(parts.store.rehash, person.key, kept, hashed)
    # A new session at each log-in: one that was planted in the browser before is worth nothing.
    secret, _ = await run_in_threadpool(parts.store.begin_session, person.key, moment_of(request))
    log.info("logged in", person=person.name)
    answer = see(onward)
    set_session(answer, parts.settings, secret)
    return answer


def _again(
    request: Request,
    parts: Parts,
    onward: str,
    problem: str,
    name: str,
    status: int,
    headers: dict[str, str] | None = None,
    wait_s: int = 0,
) -> HTMLResponse:
    return parts.renderer.page(
        request,
        "login.html",
        status=status,
        headers=headers,
        next=onward,
        problem=problem,
        wait_s=wait_s,
        name=name,
        first=False,
        down=[],
    )


@router.post("/logout", name="log_out")
async def log_out(session: Anybody, form: Form, parts: PartsOf) -> RedirectResponse:
    """End this log-in; the browser forgets the photos that it keeps."""
    if session is not None:
        await run_in_threadpool(parts.store.end_session, session.digest)
    answer = see("/login", "left")
    answer.delete_cookie(cookie_name(parts.settings), path="/", secure=parts.settings.secure, httponly=True)
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


@router.get("/invitations/{secret}", response_class=HTMLResponse, name="invitation")
async def show_invitation(request: Request, secret: str, session: Anybody, parts: PartsOf) -> HTMLResponse:
    """Ask the invited person for a name and a password."""
    invitation = await run_in_threadpool(parts.store.invitation, secret[:100], moment_of(request))
    return parts.renderer.page(request, "invitation.html", role=invitation.role.value, problem="", name="", down=[])


@router.post("/invitations/{secret}", response_class=HTMLResponse, name="accept_invitation")
async def accept_invitation(request: Request, secret: str, form: Form, parts: PartsOf) -> Response:
    """Make the invited person's account."""
    invitation = await run_in_threadpool(parts.store.invitation, secret[:100], moment_of(request))
    typed, password = text(form, "name", 200), str(form.get("new", ""))[:500]
    name = clean_name(typed)
    problem = ""
    if name is None:
        problem = "bad_name"
    elif not good_password(password, name):
        problem = "weak"
    elif password != form.get("again"):
        problem = "differ"
    if not problem and name is not None:
        hashed = await run_in_threadpool(passwords.make_hash, password)
        try:
            person = await run_in_threadpool(parts.store.accept, secret[:100], name, hashed, moment_of(request))
        except NameTaken:
            problem = "taken"
        else:
            log.info("invitation accepted", person=person.name, role=person.role.value)
            parts.first_link.unlink(missing_ok=True)
            return see("/login", "welcome")
    return parts.renderer.page(
        request, "invitation.html", status=422, role=invitation.role.value, problem=problem, name=typed, down=[]
    )


@router.post("/preferences", name="prefer")
async def prefer(form: Form, parts: PartsOf) -> RedirectResponse:
    """Switch the language or the theme, in this browser."""
    answer = see(safe_next(text(form, "next")))
    for name, allowed, cookie in (("language", LANGUAGES, LANGUAGE_COOKIE), ("theme", THEMES, THEME_COOKIE)):
        if text(form, name) in allowed:
            answer.set_cookie(
                cookie, text(form, name), max_age=YEAR_S, path="/", secure=parts.settings.secure, samesite="lax"
            )
    return answer
