"""Log-ins: who gets in, for how long, how guessing and foreign forms end."""

import stat
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.dashboard import throttle
from services.dashboard.access import cookie_name
from services.dashboard.main import offer_first_link
from services.dashboard.parts import Parts
from services.dashboard.settings import Settings
from services.dashboard.store import digest
from services.dashboard.tests.conftest import ORIGIN, PASSWORD, Browser, csrf_of, post
from shared.database import now
from shared.tokens import Role


def parts_of(app: FastAPI) -> Parts:
    parts: Parts = app.state.parts
    return parts


def accept(client: TestClient, link: str, name: str = "Marta", password: str = PASSWORD, again: str = "") -> int:
    path = link.strip().removeprefix("http://127.0.0.1:8000")
    answer = client.post(path, data={"name": name, "new": password, "again": again or password})
    return int(answer.status_code)


def test_the_first_start_leaves_a_link_that_makes_one_administrator(
    app: FastAPI, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, client = parts_of(app), browser()
    link = parts.first_link.read_text()
    assert stat.S_IMODE(parts.first_link.stat().st_mode) == 0o600
    offer_first_link(parts)  # a restart makes another; both are good until somebody exists
    assert capsys.readouterr().out == f"Huella: make the administrator's account at {parts.first_link.read_text()}"
    assert client.get(link.removeprefix("http://127.0.0.1:8000").strip()).status_code == 200
    assert accept(client, link) == 303
    assert not parts.first_link.exists()
    assert accept(client, link, "Eve") == 404
    assert [(person.name, person.role) for person in parts.store.people()] == [("Marta", Role.ADMIN)]
    offer_first_link(parts)
    assert not parts.first_link.exists()


@pytest.mark.parametrize(
    ("name", "password", "again"),
    [("", PASSWORD, ""), ("x" * 41, PASSWORD, ""), ("Marta", "short", ""), ("Marta", "a" * 20, ""),
     ("Marta Lopez Ruiz", "marta lopez ruiz", ""), ("Marta", PASSWORD, "other words here")],
)  # fmt: skip
def test_a_bad_name_or_password_is_told_and_keeps_the_invitation(
    app: FastAPI, browser: Browser, name: str, password: str, again: str
) -> None:
    link = parts_of(app).first_link.read_text()
    assert accept(browser(), link, name, password, again) == 422
    assert accept(browser(), link) == 303


def test_two_names_that_look_alike_are_one(app: FastAPI, browser: Browser) -> None:
    client = browser(Role.ADMIN, "Marta")
    store = parts_of(app).store
    link = f"/invitations/{store.invite(Role.VIEWER, 'Marta', now() + timedelta(hours=1))}"
    assert accept(client_without_session(app), link, "\uff4dARTA ") == 422
    assert client.get("/").status_code == 200


def client_without_session(app: FastAPI) -> TestClient:
    return TestClient(app, base_url=ORIGIN, headers={"Accept": "text/html", "Origin": ORIGIN}, follow_redirects=False)


def test_unknown_names_and_wrong_passwords_get_the_same_answer(browser: Browser) -> None:
    browser(Role.VIEWER, "Marta")
    client = browser()
    answers = [client.post("/login", data={"name": name, "password": "no"}) for name in ("Marta", "Nobody")]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].text.replace("Marta", "X") == answers[1].text.replace("Nobody", "X")


def test_guessing_is_slowed_down_and_says_for_how_long(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    # The rule's first wait is over in a second; `test_rules.py` has the times.
    monkeypatch.setattr(throttle, "wait_after", lambda failures, free, longest_s: 20.0 if failures >= free else 0.0)
    browser(Role.VIEWER, "Marta")
    client = browser()
    statuses = [client.post("/login", data={"name": "Marta", "password": "no"}).status_code for _ in range(6)]
    assert statuses == [422] * 5 + [429]
    right = client.post("/login", data={"name": "Marta", "password": PASSWORD})
    assert right.status_code == 429
    assert 1 <= int(right.headers["retry-after"]) <= 30


def test_a_log_in_ends_when_idle_and_after_its_time(app: FastAPI, settings: Settings, browser: Browser) -> None:
    client = browser(Role.VIEWER)
    store, secret = parts_of(app).store, client.cookies[cookie_name(settings)]
    begun = now()
    assert store.session(secret, begun + store.idle - timedelta(minutes=1), used=False) is not None
    assert store.session(secret, begun + store.idle + timedelta(minutes=1), used=False) is None
    moment = begun
    while moment < begun + store.absolute - store.idle:  # used again and again
        moment += store.idle / 2
        assert store.session(secret, moment) is not None
        store.database.write(lambda connection: None)  # what was noted is written
    assert store.session(secret, begun + store.absolute + timedelta(minutes=1)) is None


def test_a_page_that_refreshes_itself_keeps_no_log_in_alive(app: FastAPI, settings: Settings, browser: Browser) -> None:
    client = browser(Role.VIEWER)
    store, secret = parts_of(app).store, client.cookies[cookie_name(settings)]
    later = now() + timedelta(minutes=30)
    assert store.session(secret, later, used=False) is not None
    assert store.session(secret, later + store.idle - timedelta(minutes=10), used=False) is None


def test_only_a_digest_of_the_session_is_kept_and_its_cookie_is_out_of_reach(
    app: FastAPI, settings: Settings, browser: Browser
) -> None:
    browser(Role.VIEWER, "Marta")
    answer = browser().post("/login", data={"name": "Marta", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    secret = cookie.split("=", 1)[1].split(";")[0]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    kept = b"".join(path.read_bytes() for path in settings.folder.glob("dashboard.db*"))
    assert digest(secret).encode() in kept
    assert secret.encode() not in kept
    assert PASSWORD.encode() not in kept


def test_logging_out_ends_the_session_and_empties_the_cache(browser: Browser) -> None:
    client = browser(Role.VIEWER)
    token = csrf_of(client.get("/").text)
    cookies = dict(client.cookies)
    answer = client.post("/logout", data={"csrf": token})
    assert answer.headers["clear-site-data"] == '"cache"'
    client.cookies.update(cookies)  # a stolen copy of the cookie
    assert client.get("/").headers["location"] == "/login?next=/"


def test_logging_out_everywhere_and_a_new_password_end_every_session(app: FastAPI, browser: Browser) -> None:
    first = browser(Role.VIEWER, "Marta")
    second = browser()
    second.post("/login", data={"name": "Marta", "password": PASSWORD})
    assert post(first, "/me/sessions") == "/login?done=left_everywhere"
    assert [client.get("/").status_code for client in (first, second)] == [303, 303]
    second.post("/login", data={"name": "Marta", "password": PASSWORD})
    wanted = {"new": "another good phrase", "again": "another good phrase"}
    assert post(second, "/me/password", old="wrong", **wanted) == "422"
    assert post(second, "/me/password", old=PASSWORD, **wanted) == "/login?done=password"
    assert second.get("/").status_code == 303
    assert second.post("/login", data={"name": "Marta", "password": PASSWORD}).status_code == 422


@pytest.mark.parametrize("headers", [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://testserver.evil.example"},
    {"Origin": "", "Sec-Fetch-Site": "cross-site"},
])  # fmt: skip
def test_a_form_from_elsewhere_does_nothing(browser: Browser, headers: dict[str, str]) -> None:
    client = browser(Role.ADMIN)
    token = csrf_of(client.get("/").text)
    assert client.post("/me/sessions", data={"csrf": token}, headers=headers).status_code == 403
    assert client.get("/").status_code == 200
    assert browser().post("/login", data={"name": "admin", "password": PASSWORD}, headers=headers).status_code == 403


def test_a_form_without_the_session_s_token_does_nothing(browser: Browser) -> None:
    client, other = browser(Role.ADMIN), browser(Role.VIEWER)
    for token in ("", "x", csrf_of(other.get("/").text)):
        assert client.post("/me/sessions", data={"csrf": token}).status_code == 403


@pytest.mark.parametrize("onward", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", ""])
def test_a_log_in_never_leads_elsewhere(browser: Browser, onward: str) -> None:
    browser(Role.VIEWER, "Marta")
    answer = browser().post("/login", data={"name": "Marta", "password": PASSWORD, "next": onward})
    assert answer.headers["location"] == "/"


def test_people_are_invited_changed_and_removed_but_never_the_last_administrator(browser: Browser) -> None:
    admin = browser(Role.ADMIN, "Marta")
    token = csrf_of(admin.get("/people").text)
    page = admin.post("/people/invitations", data={"csrf": token, "role": "viewer"}).text
    path = page.split(f'id="link-text">{ORIGIN}')[1].split("<")[0]
    guest = browser()
    assert accept(guest, path, "Leo") == 303
    guest.post("/login", data={"name": "leo", "password": PASSWORD})
    assert guest.get("/people").status_code == 403
    assert post(admin, "/people/leo/role", role="admin") == "/people?done=saved"
    assert guest.get("/people").status_code == 200  # from the next request on
    assert post(admin, "/people/leo/removal") == "/people?done=removed"
    assert guest.get("/").status_code == 303
    assert post(admin, "/people/marta/removal") == "409"
    assert post(admin, "/people/marta/role", role="viewer") == "409"
    assert post(admin, "/people/marta/role", role="service") == "422"


def test_over_tls_the_cookie_is_for_tls_alone(settings: Settings) -> None:
    secure = settings.model_copy(update={"public_url": "https://huella.example"})
    assert cookie_name(secure).startswith("__Host-")
    assert secure.secure
