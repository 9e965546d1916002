"""Cameras as a resource, and who may do what with their secrets."""

import base64

import pytest

from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest
from services.camera_ingest.throttle import FAILURES, REMEMBERED, WINDOW_S, Throttle
from shared.tokens import Role


def test_a_camera_is_made_once_and_changed_after_that(ingest_on_each: Ingest) -> None:
    ingest, admin = ingest_on_each, ingest_on_each.bearer(Role.ADMIN)
    made = ingest.client.put("/v1/cameras/c2", json={"space_id": "k2"}, headers=admin)
    assert (made.status_code, len(made.json()["secret"])) == (201, 16)
    changed = ingest.client.put("/v1/cameras/c2", json={"space_id": "k3"}, headers=admin)
    assert (changed.status_code, "secret" in changed.json(), changed.json()["space_id"]) == (200, False, "k3")
    assert ingest.put("a", camera_id="c2", auth=("c2", made.json()["secret"])).json()["space_id"] == "k3"


def test_a_frame_keeps_the_space_that_it_was_accepted_for(ingest: Ingest) -> None:
    receipt = ingest.accept("a")
    ingest.client.put("/v1/cameras/c1", json={"space_id": "k9"}, headers=ingest.bearer(Role.ADMIN))
    assert ingest.receipt(receipt)["space_id"] == "k1"


def test_cameras_are_listed_in_pages_without_their_secrets(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    for number in range(2, 6):
        ingest.make_camera(f"c{number}")
    ingest.accept("a", camera_id="c3")
    seen, cursor = [], ""
    while cursor is not None:
        page = ingest.get("/v1/cameras", params={"limit": 2, "cursor": cursor}).json()
        seen += page["items"]
        cursor = page["next"]
    assert [camera["camera_id"] for camera in seen] == ["c1", "c2", "c3", "c4", "c5"]
    assert [bool(camera["last_frame_at"]) for camera in seen] == [False, False, True, False, False]
    one = ingest.get("/v1/cameras/c3")
    assert one.json() == seen[2]
    for secret in ingest.secrets.values():
        assert secret not in str(seen) + one.text


def test_no_secret_is_kept_in_clear(ingest: Ingest) -> None:
    ingest.accept("a")
    kept = b"".join(path.read_bytes() for path in ingest.parts.settings.data.rglob("*.db*"))
    assert b"camera_secrets" in kept
    assert ingest.secrets["c1"].encode() not in kept


def test_two_secrets_are_valid_while_a_camera_changes_over(ingest_on_each: Ingest) -> None:
    ingest, admin = ingest_on_each, ingest_on_each.bearer(Role.ADMIN)
    path = "/v1/cameras/c1/secrets"

    def valid(*secrets: str) -> list[bool]:
        return [ingest.put("a", auth=("c1", secret)).status_code in (200, 201) for secret in secrets]

    first, second = ingest.secrets["c1"], ingest.client.post(path, headers=admin).json()["secret"]
    assert valid(first, second) == [True, True]
    third = ingest.client.post(path, headers=admin).json()
    assert third["secrets"] == 2
    assert valid(first, second, third["secret"]) == [False, True, True]
    assert ingest.client.delete(path, headers=admin).status_code == 422  # says what is missing, revokes nothing
    assert ingest.client.delete(path, params={"which": "old"}, headers=admin).status_code == 204
    assert valid(first, second, third["secret"]) == [False, False, True]


def test_a_camera_that_is_removed_is_refused_and_its_frames_stay(ingest_on_each: Ingest) -> None:
    ingest, admin = ingest_on_each, ingest_on_each.bearer(Role.ADMIN)
    receipt = ingest.accept("a")
    assert ingest.client.delete("/v1/cameras/c1", headers=admin).status_code == 204
    assert ingest.put("b").status_code == 401
    assert ingest.receipt(receipt)["state"] == "accepted"
    assert ingest.client.delete("/v1/cameras/c1", headers=admin).status_code == 404
    assert ingest.get("/v1/cameras/c1").status_code == 404
    old = ingest.secrets["c1"]
    ingest.make_camera("c1")
    assert ingest.put("b", auth=("c1", old)).status_code == 401
    assert ingest.put("b").status_code == 201


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_the_secrets_of_an_unknown_camera_are_not_found(ingest: Ingest, method: str) -> None:
    answer = ingest.client.request(method, "/v1/cameras/nobody/secrets?which=old", headers=ingest.bearer(Role.ADMIN))
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("PUT", "/v1/cameras/c1", {Role.ADMIN}),
        ("DELETE", "/v1/cameras/nobody", {Role.ADMIN}),
        ("POST", "/v1/cameras/nobody/secrets", {Role.ADMIN}),
        ("DELETE", "/v1/cameras/nobody/secrets?which=old", {Role.ADMIN}),
        ("GET", "/v1/cameras", {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
        ("GET", "/v1/cameras/c1", {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
        ("GET", "/v1/cameras/c1/latest-image", {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
        ("GET", "/v1/receipts", set(Role)),
        ("GET", "/v1/receipts/x", {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
        ("GET", "/v1/receipts/x/image", {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
        ("POST", "/v1/receipts/x/offers", {Role.OPERATOR, Role.ADMIN}),
        ("GET", "/v1/audit", set(Role)),
        ("GET", "/v1/audit/hours", set(Role)),
        ("GET", "/v1/pipeline", {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
        ("GET", "/v1/retention", {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
        ("POST", "/v1/images", {Role.SERVICE}),
        ("POST", "/v1/settlements", {Role.SERVICE}),
    ],
)
def test_each_route_is_for_its_roles_only(ingest: Ingest, method: str, path: str, roles: set[Role]) -> None:
    assert ingest.client.request(method, path).status_code == 401
    camera = ("c1", ingest.secrets["c1"])
    if path not in ("/v1/receipts/x",):  # where a camera may ask too
        assert ingest.client.request(method, path, auth=camera).status_code == 401
    for role in Role:
        issuer = "image_classifier" if path == "/v1/images" else "aggregation"
        status = ingest.client.request(method, path, headers=ingest.bearer(role, issuer)).status_code
        assert (status == 403) is (role not in roles), (role, status)


@pytest.mark.parametrize(
    ("path", "body", "allowed"),
    [
        ("/v1/images", {"receipts": ["x"]}, "image_classifier"),
        ("/v1/settlements", {"settlements": []}, "aggregation"),
    ],
)
@pytest.mark.parametrize("issuer", ["image_classifier", "aggregation", "camera_ingest"])
def test_no_service_does_another_s_work(
    ingest: Ingest, path: str, body: dict[str, list[str]], allowed: str, issuer: str
) -> None:
    answer = ingest.client.post(path, json=body, headers=ingest.bearer(Role.SERVICE, issuer))
    assert answer.status_code == (200 if issuer == allowed else 403)


def test_every_route_is_in_the_table_above_or_is_a_camera_s(ingest: Ingest) -> None:
    marks = test_each_route_is_for_its_roles_only.pytestmark  # type: ignore[attr-defined]  # pytest puts it there
    checked = {(method, path.split("?")[0]) for method, path, _ in marks[0].args[1]}
    checked = {
        (m, p.replace("nobody", "{camera_id}").replace("c1", "{camera_id}").replace("/x", "/{receipt}"))
        for m, p in checked
    }
    routes = {
        (method.upper(), path)
        for path, operations in ingest.client.get("/openapi.json").json()["paths"].items()
        for method in operations
    }
    nameless = ("/v1/cameras/{camera_id}/frame", "/v1/frames", "/v1/frames/{secret}")
    cameras = {(method, path) for method in ("PUT", "POST") for path in nameless}
    assert routes - checked == cameras | {("PUT", "/v1/cameras/{camera_id}/frames/{frame_id}")}


@pytest.mark.parametrize("camera_id", ["c1", "nobody", "c1\n", ""])
def test_a_wrong_secret_and_an_unknown_camera_are_answered_alike(ingest: Ingest, camera_id: str) -> None:
    known = ingest.put("a", auth=("c1", "x" * 16))
    answer = ingest.put("a", auth=(camera_id, "y" * 16))
    assert (answer.status_code, answer.json()) == (401, known.json())
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="huella", charset="UTF-8"'


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no-colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + "A" * 5000,
        "Basic " + base64.b64encode(b"c1\0:x").decode(),
        "Basic \xe9\xe9\xe9\xe9",
        "Digest username=c1",
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
    ],
)
def test_credentials_that_are_no_credentials_are_401(ingest: Ingest, authorization: str) -> None:
    headers = [(b"Authorization", authorization.encode("latin-1"))] if authorization else []
    answer = ingest.client.put("/v1/cameras/c1/frames/a", content=photo(), headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")


@pytest.mark.parametrize("path", ["/v1/cameras?cursor=%00", "/v1/receipts?cursor=%00", "/v1/receipts?camera_id=%00"])
def test_no_text_from_outside_reaches_the_database_unchecked(ingest: Ingest, path: str) -> None:
    """PostgreSQL takes no NUL, and would make a 500 of it."""
    assert ingest.get(path).status_code == 422


def test_the_secret_is_taken_as_a_bearer_token_too(ingest: Ingest) -> None:
    secret = {"Authorization": f"Bearer {ingest.secrets['c1']}"}
    assert ingest.client.put("/v1/cameras/c1/frames/a", content=photo(), headers=secret).status_code == 201
    ingest.make_camera("c2")
    assert ingest.client.put("/v1/cameras/c2/frames/a", content=photo(), headers=secret).status_code == 403


def test_a_token_of_people_is_no_camera_s(ingest: Ingest) -> None:
    answer = ingest.client.put("/v1/cameras/c1/frames/a", content=photo(), headers=ingest.bearer(Role.ADMIN))
    assert answer.status_code == 401


def test_a_camera_reads_its_own_receipts_only(ingest: Ingest) -> None:
    ingest.make_camera("c2")
    receipt = ingest.accept("a")
    path, own, other = f"/v1/receipts/{receipt}", ("c1", ingest.secrets["c1"]), ("c2", ingest.secrets["c2"])
    assert ingest.client.get(path, auth=own).json()["receipt"] == receipt
    assert ingest.client.get(path, auth=other).status_code == 403
    assert ingest.client.get(path, auth=("c1", "wrong")).status_code == 401
    assert ingest.client.get(path).status_code == 401
    bearer = {"Authorization": f"Bearer {ingest.secrets['c1']}"}
    assert ingest.client.get(path, headers=bearer).status_code == 200


def test_guessing_is_slowed_down_and_the_right_secret_always_passes(ingest: Ingest) -> None:
    answers = [ingest.put("a", auth=("c1", f"guess-{number}")) for number in range(FAILURES + 2)]
    assert [answer.status_code for answer in answers] == [401] * FAILURES + [429] * 2
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= WINDOW_S + 1
    assert ingest.put("a").status_code == 201
    ingest.make_camera("c2")
    assert ingest.put("a", camera_id="c2", auth=("c2", "wrong")).status_code == 401


def test_the_brake_forgets_after_its_window_and_stays_small() -> None:
    now = 0.0
    throttle = Throttle(clock=lambda: now)
    answers = [throttle.failed("c1") for _ in range(FAILURES + 1)]
    assert answers[:-1] == [None] * FAILURES
    assert answers[-1] == WINDOW_S + 1
    now = WINDOW_S
    assert throttle.failed("c1") is None
    for number in range(REMEMBERED + 10):
        throttle.failed(f"stranger-{number}")
    assert len(throttle._failures) == REMEMBERED
