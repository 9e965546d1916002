"""People: who may log in and with which role, invitations, and one's own password and log-ins."""

from datetime import timedelta
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from services.dashboard import passwords
from services.dashboard.access import Admin, Form, Viewer, cookie_name, text
from services.dashboard.domain import good_password
from services.dashboard.pages.answers import see
from services.dashboard.parts import PartsOf
from services.dashboard.render import moment_of
from services.dashboard.store import LastAdministrator
from shared.problem import Problem
from shared.tokens import Role

log = structlog.get_logger(__name__)
router = APIRouter(tags=["people"])

ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
PersonKey = Annotated[str, Path(max_length=64)]


def checked_role(value: str) -> Role:
    """Return a role of people. Raises Problem 422."""
    if value not in [role.value for role in ROLES]:
        raise Problem(422, "bad-role", "A person's role is viewer, operator or admin.")
    return Role(value)


@router.get("/people", response_class=HTMLResponse, name="people")
def show_people(request: Request, admin: Admin, parts: PartsOf) -> HTMLResponse:
    """Show who may log in."""
    return _people(request, parts, "")


@router.post("/people/invitations", response_class=HTMLResponse, name="invite")
def invite(request: Request, admin: Admin, form: Form, parts: PartsOf) -> HTMLResponse:
    """Make an invitation and show its link, this once."""
    role = checked_role(text(form, "role"))
    until = moment_of(request) + timedelta(seconds=parts.settings.invitation_s)
    secret = parts.store.invite(role, admin.person.name, until)
    log.info("invited", by=admin.person.name, role=role.value)
    base = parts.settings.public_url or str(request.base_url).rstrip("/")
    return _people(request, parts, f"{base}/invitations/{secret}")


@router.post("/people/invitations/{digest}/withdrawal", name="withdraw_invitation")
def withdraw(digest: PersonKey, admin: Admin, form: Form, parts: PartsOf) -> RedirectResponse:
    """Withdraw an invitation."""
    parts.store.withdraw(digest)
    return see("/people", "withdrawn")


@router.post("/people/{person}/role", name="set_role")
def set_role(person: PersonKey, admin: Admin, form: Form, parts: PartsOf) -> RedirectResponse:
    """Give somebody another role."""
    role = checked_role(text(form, "role"))
    try:
        parts.store.set_role(person, role)
    except LastAdministrator:
        raise _last() from None
    log.info("role changed", by=admin.person.name, of=person, role=role.value)
    return see("/people", "saved")


@router.post("/people/{person}/removal", name="remove_person")
def remove(person: PersonKey, admin: Admin, form: Form, parts: PartsOf) -> RedirectResponse:
    """Remove somebody; their log-ins end."""
    try:
        parts.store.remove(person)
    except LastAdministrator:
        raise _last() from None
    log.info("person removed", by=admin.person.name, person=person)
    return see("/people", "removed")


def _last() -> Problem:
    return Problem(409, "last-administrator", "Somebody must administer: make another person administrator first.")


def _people(request: Request, parts: PartsOf, link: str) -> HTMLResponse:
    return parts.renderer.page(
        request,
        "people.html",
        people=parts.store.people(),
        invitations=parts.store.invitations(moment_of(request)),
        roles=[role.value for role in ROLES],
        link=link,
        down=[],
    )


@router.get("/me", response_class=HTMLResponse, name="me")
def show_me(request: Request, viewer: Viewer, parts: PartsOf) -> HTMLResponse:
    """Show one's own account."""
    return _me(request, viewer, parts, "")


@router.post("/me/password", response_class=HTMLResponse, name="change_password")
async def change_password(request: Request, viewer: Viewer, form: Form, parts: PartsOf) -> Response:
    """Change one's own password, knowing the old one; every log-in ends."""
    person = viewer.person
    address = request.client.host if request.client else ""
    wait_s = await run_in_threadpool(parts.throttle.take, person.key, address, moment_of(request))
    known = await run_in_threadpool(parts.store.password_of, person.name)
    old = text(form, "old", 500)
    if wait_s or known is None or not await run_in_threadpool(passwords.matches, known[1], old):
        return await run_in_threadpool(_me, request, viewer, parts, "old_wrong")
    await run_in_threadpool(parts.throttle.right, person.key, address)
    new = str(form.get("new", ""))[:500]
    if not good_password(new, person.name):
        return await run_in_threadpool(_me, request, viewer, parts, "weak")
    if new != form.get("again"):
        return await run_in_threadpool(_me, request, viewer, parts, "differ")
    hashed = await run_in_threadpool(passwords.make_hash, new)
    await run_in_threadpool(parts.store.set_password, person.key, hashed)
    log.info("password changed", person=person.name)
    answer = see("/login", "password")
    answer.delete_cookie(cookie_name(parts.settings), path="/", secure=parts.settings.secure, httponly=True)
    return answer


@router.post("/me/sessions", name="end_sessions")
def end_sessions(viewer: Viewer, form: Form, parts: PartsOf) -> RedirectResponse:
    """Log out everywhere."""
    parts.store.end_sessions(viewer.person.key)
    return see("/login", "left_everywhere")


def _me(request: Request, viewer: Viewer, parts: PartsOf, problem: str) -> HTMLResponse:
    return parts.renderer.page(
        request,
        "me.html",
        status=422 if problem else 200,
        sessions=parts.store.number_of_sessions(viewer.person.key, moment_of(request)),
        problem=problem,
        down=[],
    )
