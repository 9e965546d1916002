"""What an event tells that comes with a photo: when, and of which channel of which device."""

import pytest

from services.camera_ingest.event import Event, parse_mac, read_event
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.messages import MAC, alert, alert_json, alert_xml, message, part, picture
from services.camera_ingest.tests.photos import exif, photo
from services.camera_ingest.tests.running import Ingest, running
from shared.testing import TokenFor

IMAGE = photo(3)
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
        assert ingest.post("/v1/frames", body, headers=headers).json()["captured_at"] == expected


def test_a_message_that_is_sent_again_is_the_same_frame_and_at_another_time_another(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    bodies = [message(alert(time=f"2026-11-22T10:00:0{second}Z"), picture(IMAGE)) for second in (1, 1, 2)]
    answers = [ingest.post("/v1/frames", body) for body in bodies]
    assert [answer.status_code for answer in answers] == [201, 200, 201]
    same = {"Captured-At": "2026-11-22T10:00:01Z", "Content-Type": "image/jpeg"}
    assert ingest.post("/v1/cameras/c1/frame", IMAGE, headers=same).json()["receipt"] == answers[0].json()["receipt"]
    assert [ingest.post("/v1/frames", message(picture(photo(9)))).status_code for _ in range(2)] == [201, 200]


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
