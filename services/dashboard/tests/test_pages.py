"""The pages between fake services: what each shows, to whom, and what is left when a service is down."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.dashboard.headers import POLICY
from services.dashboard.tests.conftest import Browser, csrf_of, post
from services.dashboard.tests.fake_services import FakeServices, jpeg, receipt
from shared.tokens import Role

PAGES = (
    *("/", "/spaces/k1", "/review", "/try", "/batches", "/batches/b1", "/history", "/health", "/setup"),
    *("/models", "/cameras/door", "/people", "/me"),
)


class Strict(HTMLParser):
    """Collects what the content security policy forbids, and ids that come twice."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "style" or name.startswith("on") or (value or "").startswith("javascript:"):
                self.forbidden.append(f"{tag} {name}={value}")
            if name in ("src", "href", "action") and re.match(r"(https?:)?//", value or ""):
                self.forbidden.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.forbidden.append(tag)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "es"])
def test_every_page_is_there_in_both_languages_without_anything_inline(
    browser: Browser, path: str, language: str
) -> None:
    answer = browser(Role.ADMIN).get(path, headers={"Accept-Language": f"{language}, fr;q=0.9"})
    assert answer.status_code == 200
    assert f'<html lang="{language}"' in answer.text
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    found = Strict(answer.text)
    assert found.forbidden == []
    assert len(found.ids) == len(set(found.ids))


def test_the_policy_allows_nothing_inline_and_no_frame() -> None:
    assert "unsafe" not in POLICY
    assert "frame-ancestors 'none'" in POLICY


@pytest.mark.parametrize("path", [*PAGES, "/events", f"/photos/{receipt(1)}", f"/photos/{receipt(1)}/thumbnail"])
def test_strangers_are_asked_to_log_in_and_see_nothing(browser: Browser, services: FakeServices, path: str) -> None:
    answer = browser().get(path)
    assert answer.headers["location"] == f"/login?next={path}"
    assert browser().get(path, headers={"Accept": "image/*"}).status_code == 401
    assert services.asked == []


def test_what_needs_a_look_comes_first_and_names_are_escaped(browser: Browser) -> None:
    page = browser(Role.VIEWER).get("/").text
    order = re.findall(r'data-key="tile-(\w+)"', page)
    assert order == ["k10", "k2", "k1"]  # stale before unsure before clear
    assert "Kennel &lt;2&gt;" in page
    assert "A camera is silent" not in page.split('data-key="tile-k1"')[1]
    assert "No camera sends photos" in page
    assert "a_kind_of_tomorrow" not in page
    assert re.search(r"Up for adoption</dt><dd><span>2 <small>cats", page)


def test_each_call_has_the_person_s_name_and_role(browser: Browser, services: FakeServices) -> None:
    browser(Role.OPERATOR, "Marta").get("/spaces/k1")
    assert {(caller.subject, caller.role, caller.issuer) for _, _, caller, _ in services.asked} == {
        ("Marta", Role.OPERATOR, "dashboard")
    }


@pytest.mark.parametrize(
    ("down", "path", "missing", "kept"),
    [
        ("camera_ingest", "/", "/photos/", "Kennel 10"),
        ("camera_ingest", "/spaces/k1", 'class="hero-photo"><a', "Stays"),
        ("camera_ingest", "/health", "The books balance", "Adoption status"),
        ("image_classifier", "/health", "nothing", "The books balance"),
        ("aggregation", "/health", "nothing", "The books balance"),
        ("aggregation", "/setup", "Change</summary>", "Add a camera"),
    ],
)
def test_an_outage_is_said_and_the_rest_stays(
    browser: Browser, services: FakeServices, down: str, path: str, missing: str, kept: str
) -> None:
    client = browser(Role.ADMIN)
    services.down = {down}
    answer = client.get(path)
    assert answer.status_code == 200
    assert "this service does not answer now" in answer.text
    assert missing not in answer.text
    assert kept in answer.text


def test_the_last_status_is_shown_while_aggregation_is_down(browser: Browser, services: FakeServices) -> None:
    client = browser(Role.VIEWER)
    services.down = {"aggregation"}
    assert client.get("/").status_code == 503
    assert client.get("/spaces/k1").status_code == 503
    services.down = set()
    assert client.get("/").status_code == 200
    services.down = {"aggregation"}
    client.app.state.parts.live.changed()  # type: ignore[attr-defined]  # TestClient's app is any ASGI app
    page = client.get("/")
    assert (page.status_code, "Kennel 10" in page.text) == (200, True)
    assert "may be old" in page.text


def test_an_empty_shelter_says_what_to_do(browser: Browser, services: FakeServices) -> None:
    services.spaces, services.cameras, services.stays, services.reviews = [], [], [], []
    client = browser(Role.ADMIN)
    for path, said in (
        ("/", "No spaces yet"),
        ("/history", "No stays"),
        ("/review", "Nothing left"),
        ("/setup", "Add a"),
    ):
        assert said in client.get(path).text


def test_an_operator_corrects_decides_and_takes_out_of_service(browser: Browser, services: FakeServices) -> None:
    client = browser(Role.OPERATOR)
    assert post(client, f"/frames/{receipt(9)}/correction", label="cat", next="/review?last=x") == (
        "/review?last=x&done=corrected"
    )
    assert post(client, f"/frames/{receipt(9)}/correction", label="undo", next="//evil") == "/?done=undone"
    fields = {"state": "reserved", "number_of_animals": "3", "note": "for Ana", "version": "3", "next": "/spaces/k1"}
    assert post(client, "/stays/s1", **fields) == "/spaces/k1?done=saved"
    assert post(client, "/stays/s1", **{**fields, "number_of_animals": "many"}) == "422"
    assert post(client, "/spaces/k1/service", in_service="no") == "/spaces/k1?done=saved"
    assert post(client, f"/receipts/{receipt(5)}/offers") == "/health?done=offered"
    changes = [(method, path, body) for method, path, _, body in services.asked if method != "GET"]
    assert changes == [
        ("PUT", f"/v1/estimates/{receipt(9)}/correction", {"label": "cat"}),
        ("DELETE", f"/v1/estimates/{receipt(9)}/correction", b""),
        ("PATCH", "/v1/stays/s1", {"state": "reserved", "number_of_animals": 3, "note": "for Ana"}),
        ("PATCH", "/v1/spaces/k1", {"in_service": False}),
        ("POST", f"/v1/receipts/{receipt(5)}/offers", b""),
    ]


def test_what_somebody_else_changed_meanwhile_is_told(browser: Browser, services: FakeServices) -> None:
    services.refuse["/v1/stays/s1"] = (412, "changed")
    client = browser(Role.OPERATOR)
    token = csrf_of(client.get("/me").text)
    fields = {"csrf": token, "state": "reserved", "number_of_animals": "3", "note": "", "version": "2"}
    answer = client.post("/stays/s1", data=fields)
    assert (answer.status_code, "Somebody was faster" in answer.text) == (412, True)


def test_viewers_get_no_forms_that_they_may_not_send(browser: Browser) -> None:
    client = browser(Role.VIEWER)
    for path in ("/spaces/k1", "/review", "/health", "/setup", "/cameras/door"):
        actions = set(re.findall(r'<form method="post" action="([^"]+)"', client.get(path).text))
        assert actions <= {"/preferences", "/logout"}, path


def test_a_new_camera_s_secret_is_shown_once_with_a_line_to_try_it(browser: Browser, services: FakeServices) -> None:
    client = browser(Role.ADMIN)
    token = csrf_of(client.get("/setup").text)
    fields = {"csrf": token, "camera_id": "yard", "space_id": "k1"}
    page = client.post("/setup/cameras", data=fields).text
    assert "curl -T photo.jpg -u 'yard:s3cret-of-camera'" in page
    assert "/v1/cameras/yard/frame" in page
    assert "Waiting for the first photo" in page
    assert "s3cret-of-camera" not in client.get("/cameras/yard").text
    assert post(client, "/setup/cameras", camera_id="yard/../x", space_id="k1") == "422"
    rotated = client.post("/cameras/door/secrets", data={"csrf": token}).text
    assert "s3cret-of-camera" in rotated
    assert post(client, "/cameras/door/secrets", what="revoke") == "/cameras/door?done=revoked"


def test_what_a_camera_s_firmware_needs_is_switched_on_and_what_a_form_leaves_out_stays(
    browser: Browser, services: FakeServices
) -> None:
    client = browser(Role.ADMIN)
    switches = {"authentication": "digest", "secret_in_path": "yes", "always_200": "no"}
    assert post(client, "/setup/cameras", camera_id="door", space_id="k1", **switches) == "/cameras/door?done=saved"
    assert post(client, "/setup/cameras", camera_id="door", space_id="k2", always_200="") == "/cameras/door?done=saved"
    put = [body for method, path, _, body in services.asked if (method, path) == ("PUT", "/v1/cameras/door")]
    assert put == [
        {"space_id": "k1", "authentication": "digest", "secret_in_path": True, "always_200": False},
        {"space_id": "k2"},
    ]
    services.asked.clear()
    services.cameras[0] |= {"mac": "44:19:b6:0a:01:02", "channel": 3}
    page = client.get("/cameras/door").text
    assert "<code>44:19:b6:0a:01:02</code>, channel 3" in page
    device = {"device": "told", "mac": "44-19-b6-0a-01-02"}
    for channel in ("4", ""):
        post(client, "/setup/cameras", camera_id="door", space_id="k1", channel=channel, **device)
    post(client, "/setup/cameras", camera_id="door", space_id="k1", device="told", mac="", channel="")
    put = [body for method, path, _, body in services.asked if (method, path) == ("PUT", "/v1/cameras/door")]
    assert [(body["mac"], body["channel"]) for body in put] == [
        ("44-19-b6-0a-01-02", 4),
        ("44-19-b6-0a-01-02", None),
        (None, None),
    ]
    services.cameras[0] |= {"always_200": True, "refused": 3, "last_refusal": "no-photo", "secret_in_path": True}
    page = client.get("/cameras/door").text
    assert "3 <span" in page
    assert "no-photo" in page
    token = csrf_of(page)
    assert "/v1/frames/s3cret-of-camera" in client.post("/cameras/door/secrets", data={"csrf": token}).text


def test_a_tried_photo_is_shown_with_why_the_model_is_unsure(browser: Browser) -> None:
    client = browser(Role.VIEWER)
    token = csrf_of(client.get("/try").text)
    answer = client.post("/try", data={"csrf": token}, files={"photo": ("a.jpg", jpeg())})
    assert (answer.status_code, "The model is unsure:" in answer.text) == (200, True)
    assert 'src="data:image/jpeg;base64,' in answer.text
    assert client.post("/try", data={"csrf": token}).status_code == 422
    assert client.post("/try", data={"csrf": token}, files={"photo": ("a.jpg", b"no photo")}).status_code == 422
    large = client.post("/try", data={"csrf": token}, files={"photo": ("a.jpg", bytes(12 * 2**20))})
    assert large.status_code == 413


def test_photos_go_on_as_they_come_and_lead_to_their_batch(browser: Browser, services: FakeServices) -> None:
    client = browser(Role.OPERATOR)
    token = csrf_of(client.get("/batches").text)
    files = [("photos", ("a.jpg", jpeg())), ("photos", ("b.jpg", jpeg()))]
    answer = client.post("/batches", params={"csrf": token}, files=files)
    assert (answer.status_code, answer.headers["location"]) == (303, "/batches/b1")
    method, path, caller, body = services.asked[-1]
    assert (method, path, caller.subject) == ("POST", "/v1/batches", "operator")
    assert jpeg() in body
    assert client.post("/batches", params={"csrf": "another's"}, files=files).status_code == 403
    services.refuse["/v1/batches"] = (422, "'a.jpg' is in it more than once.")
    assert client.post("/batches", params={"csrf": token}, files=files).status_code == 422
    services.refuse.clear()


def test_a_batch_shows_its_progress_its_photos_and_its_errors(browser: Browser, services: FakeServices) -> None:
    page = browser(Role.VIEWER).get("/batches/b1").text
    assert 'data-live="2"' in page
    assert "2 of 3 photos, 1 of them errors." in page
    assert "kennel/&lt;1&gt;.jpg" in page
    assert "The photo is cut off: its end is missing" in page
    assert "/batches/b1/pictures/1" in page
    assert "/batches/b1/cancellation" not in page
    client = browser(Role.OPERATOR, "else")
    assert post(client, "/batches/b1/cancellation") == "/batches/b1?done=cancelled"
    assert post(client, "/batches/b1/removal") == "/batches?done=removed"
    assert client.get("/batches/b1/pictures/1").content == jpeg(128, 128)
    results = client.get("/batches/b1/results.csv")
    assert (results.text, results.headers["content-type"].partition(";")[0]) == ("input,label\r\n", "text/csv")


def test_a_thumbnail_is_made_once_and_has_an_etag(app: FastAPI, browser: Browser, services: FakeServices) -> None:
    client = browser(Role.VIEWER)
    path = f"/photos/{receipt(1)}/thumbnail"
    first, second = client.get(path), client.get(path)
    assert first.content == second.content
    assert len(first.content) < 20_000
    assert [asked[1] for asked in services.asked].count(f"/v1/receipts/{receipt(1)}/image") == 1
    assert client.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert first.headers["cache-control"].startswith("private")


def test_a_photo_that_is_gone_or_broken_is_drawn_as_such_and_tried_once(
    browser: Browser, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browser(Role.VIEWER)
    services.refuse[f"/v1/receipts/{receipt(3)}/image"] = (410, "removed by age")
    assert client.get(f"/photos/{receipt(3)}/thumbnail").headers["content-type"] == "image/svg+xml"
    monkeypatch.setattr("services.dashboard.tests.fake_services.jpeg", lambda: b"no photo")
    answers = [client.get(f"/photos/{receipt(4)}/thumbnail") for _ in range(2)]
    assert {answer.headers["content-type"] for answer in answers} == {"image/svg+xml"}
    assert [asked[1] for asked in services.asked].count(f"/v1/receipts/{receipt(4)}/image") == 1


def test_history_as_csv_never_runs_a_formula(browser: Browser) -> None:
    rows = list(csv.DictReader(io.StringIO(browser(Role.VIEWER).get("/history/stays.csv").text)))
    assert [row["note"] for row in rows] == ["'=SUM(A1)", "'=SUM(A1)"]
    days = list(csv.DictReader(io.StringIO(browser(Role.OPERATOR).get("/history/days.csv?days=7").text)))
    assert len(days) == 7
    assert sum(int(day["arrivals"]) for day in days) == 2


def test_the_lengths_of_stays_that_are_drawn_are_given_as_csv_too(browser: Browser) -> None:
    rows = list(csv.DictReader(io.StringIO(browser(Role.VIEWER).get("/history/lengths.csv?days=7").text)))
    assert {row["length"]: row["dogs"] for row in rows if row["dogs"] != "0"} == {
        "under_3_days": "1",
        "median_hours": "49.0",
    }


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ({"image_classifier": 2, "aggregation": 1}, "2 at work"),
        ({"image_classifier": 0, "aggregation": 1}, "No worker is there: photos wait until one starts."),
        (None, "Photos are counted as they come."),
    ],
)
def test_health_tells_how_many_workers_there_are_now(
    browser: Browser, services: FakeServices, workers: dict[str, int] | None, said: str
) -> None:
    services.workers = workers
    assert said in browser(Role.VIEWER).get("/health").text


def test_a_space_shows_what_is_known_of_it_while_aggregation_is_away(browser: Browser, services: FakeServices) -> None:
    client = browser(Role.VIEWER)
    assert "They are removed after 30 days." in client.get("/spaces/k1").text
    services.down.add("aggregation")
    page = client.get("/spaces/k1")
    assert page.status_code == 200
    for said in ("this service does not answer now", "Kennel 1", f"/photos/{receipt(1)}/thumbnail", "Not known now"):
        assert said in page.text
    assert client.get("/spaces/never-seen").status_code == 503


@pytest.mark.parametrize(("path", "status"), [("/spaces/none", 404), ("/nowhere", 404), ("/spaces/k1?hours=x", 422)])
def test_errors_are_pages_with_a_way_on(browser: Browser, path: str, status: int) -> None:
    answer = browser(Role.VIEWER).get(path)
    assert answer.status_code == status
    assert 'href="/"' in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_the_language_and_the_theme_can_be_switched(browser: Browser) -> None:
    client: TestClient = browser()
    assert client.post("/preferences", data={"language": "es", "next": "/login"}).headers["location"] == "/login"
    client.post("/preferences", data={"theme": "dark"})
    page = client.get("/login").text
    assert '<html lang="es" data-theme="dark">' in page
    assert "Contraseña" in page


def test_two_hundred_spaces_fit_into_300_kb(browser: Browser, services: FakeServices) -> None:
    services.spaces = [services.space(f"k{number}", f"Kennel {number}", "unsure") for number in range(200)]
    services.stays = [services.stay(f"s{number}", f"k{number}", "cat", 5, None) for number in range(200)]
    assert len(browser(Role.VIEWER).get("/").content) < 300_000
