"""Cameras that push as they are: multipart messages, addresses by MAC and channel, secrets in the path, always 200."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from services.camera_ingest import metrics, registry
from services.camera_ingest.bodies import AROUND_THE_PHOTO, EVENT_BYTES, MOST_HEADERS, MOST_PARTS, MultipartBody
from services.camera_ingest.event import Event, parse_mac, read_event
from services.camera_ingest.files import IncomingImage
from services.camera_ingest.registry import Camera, camera_with_secret, digest_of, read_camera, uses_digest
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.messages import FORM, alert, alert_json, alert_xml, message, part, picture
from services.camera_ingest.tests.photos import exif, photo, png_header
from services.camera_ingest.tests.running import Ingest, running
from services.camera_ingest.throttle import FAILURES
from shared.database import Database
from shared.testing import TokenFor
from shared.tokens import Role

MAC = "44:19:b6:0a:01:02"
IMAGE = photo(3)


def post(
    ingest: Ingest, path: str, body: bytes | Iterator[bytes], camera_id: str | None = "c1", **options: Any
) -> httpx.Response:
    """Send a body as a camera does, by default a message with the boundary `boundary`."""
    headers = {"Content-Type": FORM} | options.pop("headers", {})
    auth: Any = None if camera_id is None else (camera_id, ingest.secrets[camera_id])
    return ingest.client.post(path, content=body, headers=headers, auth=auth, **options)


def choose(ingest: Ingest, camera_id: str, status: int = 200, **chosen: Any) -> dict[str, Any]:
    answer = ingest.client.put(
        f"/v1/cameras/{camera_id}", json={"space_id": f"space-{camera_id}", **chosen}, headers=ingest.bearer(Role.ADMIN)
    )
    assert answer.status_code == status, answer.text
    return dict(answer.json())


# Messages of several parts

WHOLE = {
    "Hikvision": message(alert(), picture(IMAGE)),
    "picture first": message(picture(IMAGE), alert()),
    "picture alone": message(picture(IMAGE)),
    "several pictures": message(alert(), picture(IMAGE), picture(photo(4)), picture(photo(5))),
    "event without a file name": message(
        part(alert_xml(MAC, 1, None)[39:], 'Content-Disposition: form-data; name="fielddetection"'), picture(IMAGE)
    ),
    "event in JSON": message(part(alert_json(MAC, 1, "2026-11-22T10:00:00Z")), picture(IMAGE)),
    "texts around": message(part(b"Events[0].Code=VideoMotion"), picture(IMAGE), part(b"x" * 100_000), part(b"")),
    "no last boundary": message(picture(IMAGE), end=b"--boundary\r\n"),
    "line before and words after": b"\r\n" + message(picture(IMAGE)) + b"epilogue",
    "parts without headers": message(part(IMAGE)),
    "broken event": message(part(b"<EventNotificationAlert><macAddress>"), picture(IMAGE)),
    "event in no encoding": message(part(b'<?xml version="1.0" encoding="klingon"?><a/>'), picture(IMAGE)),
}


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("path", ["/v1/cameras/c1/frame", "/v1/frames"])
def test_the_first_picture_of_a_message_is_the_frame(ingest: Ingest, form: str, path: str) -> None:
    answer = post(ingest, path, WHOLE[form])
    assert answer.status_code == 201, answer.text
    assert ingest.parts.files.read(answer.json()["receipt"]) == IMAGE
    assert len(ingest.files()) == 1


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_message_is_the_same_in_whatever_pieces_it_comes(size: int) -> None:
    whole = WHOLE["texts around"]
    body = MultipartBody(FORM)
    pieces = [body.feed(whole[start : start + size]) for start in range(0, len(whole), size)]
    body.end()
    assert b"".join(pieces) == IMAGE


@pytest.mark.parametrize(
    "content_type", [FORM, 'Multipart/Mixed; boundary="boundary"', "multipart/related;boundary=boundary"]
)
def test_every_kind_of_multipart_is_read(ingest: Ingest, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    assert post(ingest, "/v1/cameras/c1/frame", message(picture(IMAGE)), headers=headers).status_code == 201


LARGE = photo().ljust(10 * 1024 * 1024, b"\0")
HOSTILE: list[tuple[str, bytes, int, str]] = [
    ("nothing", b"", 422, "empty"),
    ("only an event", message(alert()), 422, "no-photo"),
    ("no parts", b"--boundary--\r\n", 422, "no-photo"),
    ("picture's address instead", message(part(b"http://10.0.0.9/picture.jpg")), 422, "no-photo"),
    ("a page", message(part(b"<html>no photo</html>")), 422, "no-photo"),
    ("cut in the picture", message(alert(), picture(IMAGE))[: -len(IMAGE) // 2], 422, "broken-message"),
    ("picture without its boundary", message(picture(IMAGE), end=b"")[:-2], 422, "broken-message"),
    ("cut in the headers", message(picture(IMAGE))[:40], 422, "no-photo"),
    ("picture that is cut", message(picture(IMAGE[:100])), 422, "broken-photo"),
    ("bomb", message(picture(png_header(30_000, 30_000))), 422, "too-many-pixels"),
    ("other boundary", message(picture(IMAGE)).replace(b"--boundary", b"--bo-ndary"), 422, "broken-message"),
    ("no message at all", IMAGE, 422, "broken-message"),
    ("too many parts", message(*[part(b"x")] * (MOST_PARTS + 1), picture(IMAGE)), 422, "broken-message"),
    ("too many headers", message(part(IMAGE, *["A: b"] * (MOST_HEADERS + 1))), 422, "broken-message"),
    ("huge header", message(part(IMAGE, "A: " + "b" * 5_000_000)), 422, "broken-message"),
    ("huge header name", message(part(IMAGE, "A" * 5_000_000)), 422, "broken-message"),
    ("NUL in a header", message(part(IMAGE, "A\0: b")), 422, "broken-message"),
    ("endless blanks", part(IMAGE) + b"--boundary" + b" " * 5_000_000, 422, "broken-message"),
    ("huge event", message(part(b"<" + b"x" * EVENT_BYTES), picture(IMAGE)), 422, "broken-message"),
    ("picture too large", message(picture(LARGE + b"\0")), 413, "too-large"),
    ("much around it", message(part(b"x" * AROUND_THE_PHOTO), picture(LARGE)), 413, "too-large"),
]


@pytest.mark.parametrize(("body", "status", "slug"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_hostile_messages_are_told_what_is_wrong_and_leave_nothing(
    ingest: Ingest, body: bytes, status: int, slug: str, chunked: bool
) -> None:
    sent = iter([body[start : start + 60_000] for start in range(0, len(body), 60_000)]) if chunked else body
    answer = post(ingest, "/v1/frames", sent)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:huella:problem:{slug}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert ingest.files() == set()
    assert ingest.audit()["accepted"] == 0


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/x; boundary=" + "b" * 300]
)
def test_a_message_without_a_usable_boundary_is_told_so(ingest: Ingest, content_type: str) -> None:
    answer = post(ingest, "/v1/frames", message(picture(IMAGE)), headers={"Content-Type": content_type})
    assert (answer.status_code, "boundary" in answer.json()["detail"]) == (422, True)


def test_the_greatest_photo_fits_into_a_message(ingest: Ingest) -> None:
    assert post(ingest, "/v1/frames", message(alert(), picture(LARGE))).status_code == 201


def test_a_named_frame_is_one_photo_and_no_message(ingest: Ingest) -> None:
    answer = ingest.put("a", message(picture(IMAGE)), headers={"Content-Type": FORM})
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:huella:problem:not-a-photo")


# What an event message tells

TOLD = "2026-11-22T09:00:00.000000Z"
ENCODINGS = ("klingon", "base64", "idna", "gb2312")  # not known, not for text, raises another error, several bytes


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (message(alert(), picture(IMAGE)), {}, TOLD),
        (message(picture(IMAGE), alert(time="2026-11-22T09:00:00")), {}, "2026-11-22T08:00:00.000000Z"),
        (message(part(alert_json(MAC, 1, "2026-11-22T10:00:00+01:00")), picture(IMAGE)), {}, TOLD),
        (message(alert(time="yesterday"), picture(photo(exif=exif("2026:11:22 10:00:00")))), {}, TOLD),
        (message(alert(time=None), picture(IMAGE)), {}, None),
        (message(alert(), picture(IMAGE)), {"Captured-At": "2026-11-22T07:00:00Z"}, "2026-11-22T07:00:00.000000Z"),
    ],
)
def test_the_event_s_time_comes_after_the_header_s_and_before_that_of_exif(
    make_settings: MakeSettings, token_for: TokenFor, body: bytes, headers: dict[str, str], expected: str | None
) -> None:
    with running(make_settings(camera_timezone="Europe/Madrid"), token_for) as ingest:
        ingest.make_camera()
        assert post(ingest, "/v1/frames", body, headers=headers).json()["captured_at"] == expected


def test_a_message_that_is_sent_again_is_the_same_frame_and_at_another_time_another(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    bodies = [message(alert(time=f"2026-11-22T10:00:0{second}Z"), picture(IMAGE)) for second in (1, 1, 2)]
    answers = [post(ingest, "/v1/frames", body) for body in bodies]
    assert [answer.status_code for answer in answers] == [201, 200, 201]
    same = {"Captured-At": "2026-11-22T10:00:01Z", "Content-Type": "image/jpeg"}
    assert post(ingest, "/v1/cameras/c1/frame", IMAGE, headers=same).json()["receipt"] == answers[0].json()["receipt"]
    assert [post(ingest, "/v1/frames", message(picture(photo(9)))).status_code for _ in range(2)] == [201, 200]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (alert_xml(MAC, 3, "2026-11-22T10:00:00Z"), Event(MAC, 3, "2026-11-22T10:00:00Z")),
        (b"\xef\xbb\xbf\n" + alert_json("44-19-B6-0A-01-02", 3, "now").strip(), Event(MAC, 3, "now")),
        (b'{"EventNotificationAlert": {"macAddress": "4419b60a0102", "channelID": "4"}}', Event(MAC, 4)),
        (b"<a><x><macAddress>no</macAddress></x></a>", Event()),
        (b"<a><channelID>four</channelID></a>", Event()),
        (b"<a><channelID/><dynChannelID>4</dynChannelID></a>", Event(channel=4)),
        (b"<a><channelID>4</channelID><dynChannelID>04</dynChannelID></a>", Event(channel=4)),
        (b"<a><channelID>1</channelID><dynChannelID>2</dynChannelID></a>", Event()),
        (b'{"dynChannelID": 4}', Event(channel=4)),
        (b"<a><channelID>1</channelID><x><channelID>2</channelID></x></a>", Event(channel=1)),
        (b"<a><channelID>1234567</channelID></a>", Event()),
    ],
)
def test_an_event_is_read_as_far_as_it_goes(text: bytes, expected: Event) -> None:
    assert read_event(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"<a><macAddress>here</macAddress></a>", "is not a MAC address"),
        (b"<a><channelID>1</channelID><channelID>2</channelID></a>", "tells channelID twice"),
        (b"<a><channelID>1</channelID><x:channelID/></a>", "tells channelID twice"),
        (b'{"channelID": 1, "channelID": 2}', "tells channelID twice"),
        (b'{"EventNotificationAlert": {"channelID": 1, "channelID": 2}}', "tells channelID twice"),
        (b"<!DOCTYPE a [<!ENTITY x 'x'>]><a>&x;</a>", "has a document type"),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "has a document type"),
        (b"<a>" * 10_000, "is broken XML: no element found"),
        (b"<a>\xff</a>", "is broken XML: not well-formed"),
        (b"", "is broken XML: no element found"),
        *((f'<?xml version="1.0" encoding="{name}"?><a/>'.encode(), "is in an encoding") for name in ENCODINGS),
        (b'{"a": ' * 5_000, "is nested too deeply"),
        (b'{"EventNotificationAlert": []}', "is not an event message"),
        (b"{", "is broken JSON"),
    ],
)
def test_an_event_that_can_not_be_read_is_told_why_and_nothing_is_expanded_or_fetched(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_event(text)


@pytest.mark.parametrize("text", ["44:19:b6:0a:01:02", "4419B60A0102", "44-19-b6-0a-01-02", " 4419.b60a.0102 "])
def test_a_mac_address_is_the_same_however_it_is_written(text: str) -> None:
    assert parse_mac(text) == MAC


# Cameras known by their device's MAC address and their channel


def device(ingest: Ingest) -> None:
    """Make cameras that are channels 1 and 2 of a recorder, one for its others, and one that is a device by itself."""
    for camera_id, address in (
        ("nvr-1", {"mac": "44-19-B6-0A-01-02", "channel": 1}),
        ("nvr-2", {"mac": MAC, "channel": 2}),
        ("whole", {"mac": MAC}),
        ("alone", {"mac": "00:00:00:00:00:01"}),
    ):
        ingest.secrets[camera_id] = choose(ingest, camera_id, 201, **address)["secret"]


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
    said = post(ingest, f"/v1/frames{query}", body, by).json()
    if expected in ingest.secrets:
        assert (said.get("camera_id"), ingest.receipt(said["receipt"])["camera_id"]) == (expected, expected), said
        assert said["space_id"] == ("k1" if expected == "c1" else f"space-{expected}")
    else:
        assert said["type"] == f"urn:huella:problem:{expected}"
        assert ingest.files() == set()


def test_an_address_of_its_own_says_which_camera_it_is_whatever_a_message_tells(ingest: Ingest) -> None:
    device(ingest)
    answer = post(ingest, "/v1/cameras/nvr-1/frame", message(alert(channel=2), picture(IMAGE)), "nvr-1")
    assert answer.json()["camera_id"] == "nvr-1"


def test_a_channel_of_a_device_is_one_camera_s(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    device(ingest)
    taken: list[dict[str, Any]] = [{"mac": MAC, "channel": 1}, {"mac": "000000000001"}]
    for chosen in taken:
        for camera_id in ("c1", "new"):
            assert choose(ingest, camera_id, 409, **chosen)["type"] == "urn:huella:problem:address-taken"
    assert choose(ingest, "c1", 422, channel=4)["type"] == "urn:huella:problem:invalid-request"
    choose(ingest, "nvr-1", mac=None)
    shown = ingest.get("/v1/cameras/nvr-1").json()
    assert (shown["mac"], shown["channel"]) == (None, None)
    choose(ingest, "c1", mac=MAC, channel=1)


def test_what_an_admin_leaves_out_stays_as_it_was(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    chosen: dict[str, Any] = {
        "authentication": "digest",
        "mac": MAC,
        "channel": 0,
        "secret_in_path": True,
        "always_200": True,
    }
    choose(ingest, "c1", **chosen)
    moved = choose(ingest, "c1")
    assert moved == {**moved, **chosen, "space_id": "space-c1"}
    listed = ingest.get("/v1/cameras").json()["items"][0]
    assert listed == {**listed, **chosen, "refused": 0, "last_refusal": None, "last_refused_at": None}


# The secret in the path


def test_a_secret_in_the_path_is_taken_only_where_that_is_switched_on_and_ends_with_the_secret(
    ingest_on_each: Ingest,
) -> None:
    ingest, admin = ingest_on_each, ingest_on_each.bearer(Role.ADMIN)
    path = f"/v1/frames/{ingest.secrets['c1']}"
    assert post(ingest, path, message(picture(IMAGE)), None).status_code == 401
    choose(ingest, "c1", secret_in_path=True)
    sent = [
        post(ingest, path, message(picture(IMAGE)), None),
        post(ingest, path, IMAGE, None, headers={"Content-Type": "image/jpeg"}),
    ]
    assert [answer.status_code for answer in sent] == [201, 200]
    assert post(ingest, "/v1/frames/" + "x" * 16, IMAGE, None).status_code == 401
    rotated = ingest.client.post("/v1/cameras/c1/secrets", headers=admin).json()["secret"]
    ingest.client.delete("/v1/cameras/c1/secrets?which=old", headers=admin)
    assert post(ingest, path, message(picture(photo(5))), None).status_code == 401
    assert ingest.client.put(f"/v1/frames/{rotated}", content=photo(6)).status_code == 201
    choose(ingest, "c1", secret_in_path=False)
    assert ingest.client.put(f"/v1/frames/{rotated}", content=photo(7)).status_code == 401


@pytest.mark.parametrize(
    ("path", "says"), [("/v1/frames/{}", "last part of this address"), ("/v1/frames", "id and secret")]
)
def test_a_secret_that_is_revoked_while_its_photo_comes_is_401_with_what_to_do_about_it(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, path: str, says: str
) -> None:
    choose(ingest, "c1", secret_in_path=True)
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
    choose(ingest, "c1", secret_in_path=True)
    statuses = [post(ingest, f"/v1/frames/guess-{number}", IMAGE, None).status_code for number in range(FAILURES + 2)]
    assert statuses == [401] * FAILURES + [429] * 2
    assert ingest.client.post(f"/v1/frames/{ingest.secrets['c1']}", content=IMAGE).status_code == 201


# Cameras that take nothing but 200


def behind_200(verdict: str) -> float:
    return float(metrics.HIDDEN_REFUSALS.labels(verdict)._value.get())


def test_a_camera_that_takes_only_200_gets_it_and_its_true_verdicts_are_counted(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    choose(ingest, "c1", always_200=True)
    before = behind_200("broken-message")
    taken = post(ingest, "/v1/frames", message(picture(IMAGE)))
    assert (taken.status_code, taken.json()["state"]) == (200, "accepted")
    for body in (message(picture(IMAGE))[:200], b"--boundary--\r\n"):
        refused = post(ingest, "/v1/cameras/c1/frame", body)
        assert (refused.status_code, refused.json()["status"]) == (200, 422)
    late = {"Captured-At": "soon", "Content-Type": "image/jpeg"}
    assert post(ingest, "/v1/cameras/c1/frame", IMAGE, headers=late).status_code == 200
    shown = ingest.get("/v1/cameras/c1").json()
    assert (shown["refused"], shown["last_refusal"]) == (3, "captured-at")
    assert shown["last_refused_at"] is not None
    assert behind_200("broken-message") == before + 1
    assert ingest.audit()["accepted"] == 1


def test_a_channel_that_can_not_be_looked_up_is_a_verdict_too(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    device(ingest)
    choose(ingest, "nvr-1", always_200=True)

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    for question, body in (
        ("camera_at", message(alert(channel=2), picture(IMAGE))),
        ("has_channels", message(alert(channel=None), picture(IMAGE))),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(registry, question, away)
            answers = [post(ingest, "/v1/frames", body, by) for by in ("nvr-1", "whole")]
        assert [answer.status_code for answer in answers] == [200, 503]
        assert answers[0].json()["status"] == 503
    shown = ingest.get("/v1/cameras/nvr-1").json()
    assert (shown["refused"], shown["last_refusal"]) == (2, "unavailable")
    assert ingest.files() == set()


def test_who_does_not_know_the_secret_is_never_answered_200(ingest: Ingest) -> None:
    choose(ingest, "c1", always_200=True)
    assert ingest.put(None, auth=("c1", "wrong")).status_code == 401
    assert ingest.put(None, auth=None).status_code == 401
    assert ingest.get("/v1/cameras/c1").json()["refused"] == 0


def test_a_full_service_is_a_verdict_too(make_settings: MakeSettings, token_for: TokenFor) -> None:
    with running(make_settings(max_in_flight=1), token_for) as ingest:
        ingest.make_camera()
        choose(ingest, "c1", always_200=True)
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
