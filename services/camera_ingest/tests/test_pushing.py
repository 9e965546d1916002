"""Cameras that push as they are: known by MAC and channel, secrets in the path, always 200."""

from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from services.camera_ingest import metrics, registry
from services.camera_ingest.files import IncomingImage
from services.camera_ingest.registry import Camera, camera_with_secret, digest_of, read_camera, uses_digest
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.messages import MAC, alert, message, part, picture
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest, running
from services.camera_ingest.throttle import FAILURES
from shared.database import Database
from shared.testing import TokenFor
from shared.tokens import Role

IMAGE = photo(3)

# Cameras known by their device's MAC address and their channel


def device(ingest: Ingest) -> None:
    """Make cameras that are channels 1 and 2 of a recorder, one for its others, and one that is a device by itself."""
    for camera_id, address in (
        ("nvr-1", {"mac": "44-19-B6-0A-01-02", "channel": 1}),
        ("nvr-2", {"mac": MAC, "channel": 2}),
        ("whole", {"mac": MAC}),
        ("alone", {"mac": "00:00:00:00:00:01"}),
    ):
        ingest.secrets[camera_id] = ingest.choose(camera_id, 201, **address)["secret"]


@pytest.mark.parametrize(
    ("by", "query", "body", "expected"),
    [
        ("nvr-1", "", message(alert(channel=1), picture(IMAGE)), "nvr-1"),
        ("nvr-1", "", message(alert(channel=2), picture(IMAGE)), "nvr-2"),
        ("nvr-1", "", message(picture(IMAGE), alert(channel=2)), "nvr-2"),
        ("nvr-2", "", message(alert(channel=1), picture(IMAGE)), "nvr-1"),
        ("nvr-1", "?channel=2", message(alert(channel=1), picture(IMAGE)), "nvr-2"),
        ("nvr-1", "?mac=4419b60a0102&channel=2", message(picture(IMAGE)), "nvr-2"),
        ("nvr-2", "", message(picture(IMAGE)), "nvr-2"),
        ("nvr-1", "", message(alert(channel=7), picture(IMAGE)), "unknown-channel"),
        ("nvr-1", "", message(alert(mac="00:00:00:00:00:01"), picture(IMAGE)), "forbidden"),
        ("nvr-1", "", message(alert(channel=None), picture(IMAGE)), "unknown-channel"),
        ("nvr-1", "", message(picture(IMAGE), alert(channel="four")), "unknown-channel"),
        ("nvr-1", "", message(alert(channel=123456), picture(IMAGE)), "unknown-channel"),
        ("nvr-1", "", message(alert(channel="1</channelID><channelID>2"), picture(IMAGE)), "broken-event"),
        ("nvr-1", "?channel=2", message(alert(channel="four"), picture(IMAGE)), "nvr-2"),
        ("whole", "", message(alert(channel=None), picture(IMAGE)), "unknown-channel"),
        ("whole", "", message(alert(channel=7), picture(IMAGE)), "whole"),
        ("alone", "", message(alert(mac="000000000001", channel=None), picture(IMAGE)), "alone"),
        ("nvr-1", "?mac=00:00:00:00:00:01", message(picture(IMAGE)), "forbidden"),
        ("nvr-1", "?mac=nonsense", message(picture(IMAGE)), "invalid-request"),
        ("nvr-1", "?channel=-1", message(picture(IMAGE)), "invalid-request"),
        ("nvr-1", "", message(part(b"<broken"), picture(IMAGE)), "broken-event"),
        ("nvr-1", "", message(part(b'<?xml version="1.0" encoding="klingon"?><a/>'), picture(IMAGE)), "broken-event"),
        ("alone", "", message(alert(mac="000000000001", channel=5), picture(IMAGE)), "alone"),
        ("alone", "", message(alert(), picture(IMAGE)), "forbidden"),
        ("c1", "", message(alert(channel=2), picture(IMAGE)), "c1"),
        ("c1", f"?mac={MAC}&channel=2", message(picture(IMAGE)), "c1"),
    ],
)
def test_the_channel_says_which_camera_of_the_sender_s_own_device_it_is(
    ingest_on_each: Ingest, by: str, query: str, body: bytes, expected: str
) -> None:
    ingest = ingest_on_each
    device(ingest)
    said = ingest.post(f"/v1/frames{query}", body, by).json()
    if expected in ingest.secrets:
        assert (said.get("camera_id"), ingest.receipt(said["receipt"])["camera_id"]) == (expected, expected), said
        assert said["space_id"] == ("k1" if expected == "c1" else f"space-{expected}")
    else:
        assert said["type"] == f"urn:huella:problem:{expected}"
        assert ingest.files() == set()


def test_an_address_of_its_own_says_which_camera_it_is_whatever_a_message_tells(ingest: Ingest) -> None:
    device(ingest)
    answer = ingest.post("/v1/cameras/nvr-1/frame", message(alert(channel=2), picture(IMAGE)), "nvr-1")
    assert answer.json()["camera_id"] == "nvr-1"


def test_a_channel_of_a_device_is_one_camera_s(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    device(ingest)
    taken: list[dict[str, Any]] = [{"mac": MAC, "channel": 1}, {"mac": "000000000001"}]
    for chosen in taken:
        for camera_id in ("c1", "new"):
            assert ingest.choose(camera_id, 409, **chosen)["type"] == "urn:huella:problem:address-taken"
    assert ingest.choose("c1", 422, channel=4)["type"] == "urn:huella:problem:invalid-request"
    ingest.choose("nvr-1", mac=None)
    shown = ingest.get("/v1/cameras/nvr-1").json()
    assert (shown["mac"], shown["channel"]) == (None, None)
    ingest.choose("c1", mac=MAC, channel=1)


def test_what_an_admin_leaves_out_stays_as_it_was(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    chosen: dict[str, Any] = {
        "authentication": "digest",
        "mac": MAC,
        "channel": 0,
        "secret_in_path": True,
        "always_200": True,
    }
    ingest.choose("c1", **chosen)
    moved = ingest.choose("c1")
    assert moved == {**moved, **chosen, "space_id": "space-c1"}
    listed = ingest.get("/v1/cameras").json()["items"][0]
    assert listed == {**listed, **chosen, "refused": 0, "last_refusal": None, "last_refused_at": None}


# The secret in the path


def test_a_secret_in_the_path_is_taken_only_where_that_is_switched_on_and_ends_with_the_secret(
    ingest_on_each: Ingest,
) -> None:
    ingest, admin = ingest_on_each, ingest_on_each.bearer(Role.ADMIN)
    path = f"/v1/frames/{ingest.secrets['c1']}"
    assert ingest.post(path, message(picture(IMAGE)), None).status_code == 401
    ingest.choose("c1", secret_in_path=True)
    sent = [
        ingest.post(path, message(picture(IMAGE)), None),
        ingest.post(path, IMAGE, None, headers={"Content-Type": "image/jpeg"}),
    ]
    assert [answer.status_code for answer in sent] == [201, 200]
    assert ingest.post("/v1/frames/" + "x" * 16, IMAGE, None).status_code == 401
    rotated = ingest.client.post("/v1/cameras/c1/secrets", headers=admin).json()["secret"]
    ingest.client.delete("/v1/cameras/c1/secrets?which=old", headers=admin)
    assert ingest.post(path, message(picture(photo(5))), None).status_code == 401
    assert ingest.client.put(f"/v1/frames/{rotated}", content=photo(6)).status_code == 201
    ingest.choose("c1", secret_in_path=False)
    assert ingest.client.put(f"/v1/frames/{rotated}", content=photo(7)).status_code == 401


@pytest.mark.parametrize(
    ("path", "says"), [("/v1/frames/{}", "last part of this address"), ("/v1/frames", "id and secret")]
)
def test_a_secret_that_is_revoked_while_its_photo_comes_is_401_with_what_to_do_about_it(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, path: str, says: str
) -> None:
    ingest.choose("c1", secret_in_path=True)
    make_durable = IncomingImage.make_durable

    def revoke_meanwhile(incoming: IncomingImage) -> str:
        ingest.parts.database.write(lambda connection: registry.keep_newest_secrets(connection, "c1", 0))
        return make_durable(incoming)

    monkeypatch.setattr(IncomingImage, "make_durable", revoke_meanwhile)
    secret = ingest.secrets["c1"]
    auth: Any = None if "{}" in path else ("c1", secret)
    answer = ingest.client.put(path.format(secret), content=IMAGE, auth=auth)
    assert answer.status_code == 401
    assert says in answer.json()["detail"]
    assert ingest.files() == set()


def test_guessing_in_the_path_is_slowed_down_and_the_right_secret_always_passes(ingest: Ingest) -> None:
    ingest.choose("c1", secret_in_path=True)
    statuses = [ingest.post(f"/v1/frames/guess-{number}", IMAGE, None).status_code for number in range(FAILURES + 2)]
    assert statuses == [401] * FAILURES + [429] * 2
    assert ingest.client.post(f"/v1/frames/{ingest.secrets['c1']}", content=IMAGE).status_code == 201


# Cameras that take nothing but 200


def behind_200(verdict: str) -> float:
    return float(metrics.HIDDEN_REFUSALS.labels(verdict)._value.get())


def test_a_camera_that_takes_only_200_gets_it_and_its_true_verdicts_are_counted(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    ingest.choose("c1", always_200=True)
    before = behind_200("broken-message")
    taken = ingest.post("/v1/frames", message(picture(IMAGE)))
    assert (taken.status_code, taken.json()["state"]) == (200, "accepted")
    for body in (message(picture(IMAGE))[:200], b"--boundary--\r\n"):
        refused = ingest.post("/v1/cameras/c1/frame", body)
        assert (refused.status_code, refused.json()["status"]) == (200, 422)
    late = {"Captured-At": "soon", "Content-Type": "image/jpeg"}
    assert ingest.post("/v1/cameras/c1/frame", IMAGE, headers=late).status_code == 200
    shown = ingest.get("/v1/cameras/c1").json()
    assert (shown["refused"], shown["last_refusal"]) == (3, "captured-at")
    assert shown["last_refused_at"] is not None
    assert behind_200("broken-message") == before + 1
    assert ingest.audit()["accepted"] == 1


def test_a_channel_that_can_not_be_looked_up_is_a_verdict_too(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    device(ingest)
    ingest.choose("nvr-1", always_200=True)

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    for question, body in (
        ("camera_at", message(alert(channel=2), picture(IMAGE))),
        ("has_channels", message(alert(channel=None), picture(IMAGE))),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(registry, question, away)
            answers = [ingest.post("/v1/frames", body, by) for by in ("nvr-1", "whole")]
        assert [answer.status_code for answer in answers] == [200, 503]
        assert answers[0].json()["status"] == 503
    shown = ingest.get("/v1/cameras/nvr-1").json()
    assert (shown["refused"], shown["last_refusal"]) == (2, "unavailable")
    assert ingest.files() == set()


def test_who_does_not_know_the_secret_is_never_answered_200(ingest: Ingest) -> None:
    ingest.choose("c1", always_200=True)
    assert ingest.put(None, auth=("c1", "wrong")).status_code == 401
    assert ingest.put(None, auth=None).status_code == 401
    assert ingest.get("/v1/cameras/c1").json()["refused"] == 0


def test_a_full_service_is_a_verdict_too(make_settings: MakeSettings, token_for: TokenFor) -> None:
    with running(make_settings(max_in_flight=1), token_for) as ingest:
        ingest.make_camera()
        ingest.choose("c1", always_200=True)
        ingest.parts.janitor.stop()  # it would measure that nothing is
        ingest.parts.capacity.in_flight = 1
        assert ingest.put("b").json()["status"] == 503
        assert ingest.get("/v1/cameras/c1").json()["last_refusal"] == "unavailable"


def test_processes_of_the_version_before_go_on_with_the_new_columns(database: Database) -> None:
    """A migration only adds: what they write has the defaults, and a camera of theirs can send."""
    old = "INSERT INTO cameras (camera_id, space_id, created_at) VALUES ('old', 'k1', 0)"
    secret = f"INSERT INTO camera_secrets (camera_id, sha256, created_at) VALUES ('old', '{digest_of('s')}', 0)"

    def insert(connection: Connection) -> None:
        connection.exec_driver_sql(old)
        connection.exec_driver_sql(secret)

    database.write(insert)
    with database.read() as connection:
        assert camera_with_secret(connection, "old", "s") == Camera("old", "k1", secret=digest_of("s"))
        assert camera_with_secret(connection, "old", "s", in_path=True) is None
        assert uses_digest(connection, "old") is False
        row = read_camera(connection, "old")
    assert row is not None
    assert (row.authentication, row.mac, row.always_200, row.refused) == ("basic", None, False, 0)
