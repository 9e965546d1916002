"""Messages of several parts, as cameras send them that push: whole, in pieces, and hostile."""

import pytest

from services.camera_ingest.bodies import AROUND_THE_PHOTO, EVENT_BYTES, MOST_HEADERS, MOST_PARTS, MultipartBody
from services.camera_ingest.tests.messages import FORM, MAC, alert, alert_json, alert_xml, message, part, picture
from services.camera_ingest.tests.photos import photo, png_header
from services.camera_ingest.tests.running import Ingest

IMAGE = photo(3)
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
    answer = ingest.post(path, WHOLE[form])
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
    assert ingest.post("/v1/cameras/c1/frame", message(picture(IMAGE)), headers=headers).status_code == 201


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
    answer = ingest.post("/v1/frames", sent)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:huella:problem:{slug}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert ingest.files() == set()
    assert ingest.audit()["accepted"] == 0


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/x; boundary=" + "b" * 300]
)
def test_a_message_without_a_usable_boundary_is_told_so(ingest: Ingest, content_type: str) -> None:
    answer = ingest.post("/v1/frames", message(picture(IMAGE)), headers={"Content-Type": content_type})
    assert (answer.status_code, "boundary" in answer.json()["detail"]) == (422, True)


def test_the_greatest_photo_fits_into_a_message(ingest: Ingest) -> None:
    assert ingest.post("/v1/frames", message(alert(), picture(LARGE))).status_code == 201


def test_a_named_frame_is_one_photo_and_no_message(ingest: Ingest) -> None:
    answer = ingest.put("a", message(picture(IMAGE)), headers={"Content-Type": FORM})
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:huella:problem:not-a-photo")
