"""Whatever is sent to the running system, it answers with what was wrong and goes on; never with a fault of its own."""

import base64
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.cameras import Camera
from tests.photos import drawn, named, solid
from tests.system import System

pytestmark = pytest.mark.system

GOOD = solid()
MEGABYTE = 1024 * 1024


def png(width: int, height: int) -> bytes:
    """Return a small, well-formed PNG that claims a size; its one row of pixels is all that it has."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def streamed() -> Iterator[bytes]:
    """Give 11 MB without telling the length before."""
    yield GOOD
    for _ in range(11):
        yield b"\0" * MEGABYTE


BAD_PHOTOS: dict[str, tuple[Callable[[], bytes | Iterator[bytes]], set[int]]] = {
    "empty": (lambda: b"", {422}),
    "a few bytes": (lambda: b"\xff\xd8\xff", {415, 422}),
    "a header cut short": (lambda: drawn("cat")[:120], {415, 422}),
    "30,000 x 30,000 pixels": (lambda: png(30_000, 30_000), {422}),
    "a size of nothing": (lambda: png(0, 0), {415, 422}),
    "a PDF": (lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n" * 50, {415}),
    "a GIF": (lambda: b"GIF89a\x01\0\x01\0\0\0\0;", {415}),
    "a page": (lambda: b"<html><img src=x></html>", {415}),
    "11 MB": (lambda: GOOD + b"\0" * (11 * MEGABYTE), {413}),
    "11 MB of unknown length": (streamed, {413}),
    "noise": (lambda: bytes(range(256)) * 40, {415}),
}
LONG = "x" * 300
BAD_PATHS = {
    "a slash in the name": ("frames/a/b", {404}),
    "an encoded slash": ("frames/a%2Fb", {404, 422}),
    "300 characters": (f"frames/{LONG}", {422}),
    "no name": ("frames/", {404, 405, 307}),
    "dots and slashes": ("frames/..%2F..%2Fetc%2Fpasswd", {404, 422}),
    "a null": ("frames/a%00b", {422}),
    "a space": ("frames/a%20b", {422}),
    "not UTF-8": ("frames/%ff%fe", {422}),
    "a line break": ("frames/a%0Ab", {422}),
}


@pytest.fixture(scope="module")
def camera(system: System) -> Camera:
    return system.camera("bad-input", "bad-input")


@pytest.fixture
def nothing_accepted(system: System) -> Iterator[None]:
    before = system.audit()["accepted"]
    yield
    assert system.audit()["accepted"] == before
    assert httpx.get(f"{system.ingest.base_url}/readyz", trust_env=False).status_code == 200


def told(answer: httpx.Response, statuses: set[int]) -> None:
    """Check that an answer is one of `statuses` and a problem document that says what to do."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.json()["detail"]


@pytest.mark.usefixtures("nothing_accepted")
@pytest.mark.parametrize(("make", "statuses"), BAD_PHOTOS.values(), ids=BAD_PHOTOS.keys())
def test_a_bad_photo_is_refused_with_its_reason(
    system: System, camera: Camera, make: Callable[[], bytes | Iterator[bytes]], statuses: set[int]
) -> None:
    url = f"{system.ingest.base_url}/v1/cameras/{camera.camera_id}/frames/a.jpg"
    headers = {"Content-Type": "image/jpeg"}
    told(
        httpx.put(url, content=make(), auth=(camera.camera_id, camera.secret), headers=headers, trust_env=False),
        statuses,
    )


@pytest.mark.parametrize(("make", "statuses"), BAD_PHOTOS.values(), ids=BAD_PHOTOS.keys())
def test_a_bad_photo_is_not_predicted(
    system: System, make: Callable[[], bytes | Iterator[bytes]], statuses: set[int]
) -> None:
    told(system.classifier.post("/v1/predictions", content=make()), statuses if 413 in statuses else {415, 422})


@pytest.mark.usefixtures("nothing_accepted")
@pytest.mark.parametrize(("path", "statuses"), BAD_PATHS.values(), ids=BAD_PATHS.keys())
def test_a_bad_name_is_refused(system: System, camera: Camera, path: str, statuses: set[int]) -> None:
    url = f"{system.ingest.base_url}/v1/cameras/{camera.camera_id}/{path}"
    answer = httpx.put(
        url, content=GOOD, auth=(camera.camera_id, camera.secret), follow_redirects=False, trust_env=False
    )
    assert answer.status_code in statuses, answer.text


@pytest.mark.usefixtures("nothing_accepted")
@pytest.mark.parametrize(
    ("authorization", "statuses"),
    [
        (None, {401}),
        ("Basic", {401}),
        ("Basic !!!!", {401}),
        ("Basic " + base64.b64encode(b"no colon").decode(), {401}),
        ("Basic " + base64.b64encode(b"bad-input:wrong").decode(), {401}),
        ("Basic " + base64.b64encode(b"nobody:wrong").decode(), {401}),
        ("Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), {401}),
        ("Bearer wrong", {401}),
        ("Bearer " + "x" * 20_000, {400, 401, 431}),
        ("Digest username=x", {401}),
    ],
)
def test_wrong_credentials_are_refused(system: System, authorization: str | None, statuses: set[int]) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    url = f"{system.ingest.base_url}/v1/cameras/bad-input/frames/a"
    answer = httpx.put(url, content=GOOD, headers=headers, trust_env=False)
    assert answer.status_code in statuses, answer.text


@pytest.mark.usefixtures("nothing_accepted")
def test_a_camera_writes_only_its_own_frames(system: System, camera: Camera) -> None:
    other = system.camera("another", "bad-input")
    url = f"{system.ingest.base_url}/v1/cameras/{other.camera_id}/frames/a"
    told(httpx.put(url, content=GOOD, auth=(camera.camera_id, camera.secret), trust_env=False), {401, 403})


@pytest.mark.usefixtures("nothing_accepted")
@pytest.mark.parametrize(
    "moment", ["yesterday", "2026-13-01T00:00:00Z", "1e99", "9" * 500, "-1", "0001-01-01T00:00:00+14:00"]
)
def test_a_bad_time_is_refused(system: System, camera: Camera, moment: str) -> None:
    url = f"{system.ingest.base_url}/v1/cameras/{camera.camera_id}/frames/a"
    auth = (camera.camera_id, camera.secret)
    told(httpx.put(url, content=GOOD, auth=auth, headers={"Captured-At": moment}, trust_env=False), {422})


@pytest.mark.parametrize("moment", ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
def test_a_clock_that_is_wrong_is_not_believed(system: System, camera: Camera, moment: str) -> None:
    receipt = camera.put(f"clock-{moment[:4]}", named(GOOD, moment), moment)
    answer = system.receipt(receipt)
    assert answer["observed_at"] == answer["received_at"]


def request_head(camera: Camera, length: int) -> bytes:
    credentials = base64.b64encode(f"{camera.camera_id}:{camera.secret}".encode()).decode()
    return (
        f"PUT /v1/cameras/{camera.camera_id}/frames/slow HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Basic {credentials}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.usefixtures("nothing_accepted")
def test_a_body_that_stalls_is_given_up(system: System, camera: Camera) -> None:
    with socket.create_connection(("127.0.0.1", system.base_port + 1), timeout=30) as connection:
        connection.sendall(request_head(camera, 100_000) + GOOD)
        started = time.monotonic()
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 25


@pytest.mark.usefixtures("nothing_accepted")
def test_a_camera_that_goes_away_in_the_middle_leaves_nothing(system: System, camera: Camera) -> None:
    with socket.create_connection(("127.0.0.1", system.base_port + 1), timeout=30) as connection:
        connection.sendall(request_head(camera, 100_000) + GOOD)
    # The next answer proves that the service went on after it.
    assert system.ingest.get(f"/v1/cameras/{camera.camera_id}").status_code == 200


def test_what_is_no_http_is_no_matter_to_others(system: System) -> None:
    for junk in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"A" * 100_000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", system.base_port + 1), timeout=10) as connection:
            try:
                connection.sendall(junk)
                connection.shutdown(socket.SHUT_WR)
                assert not connection.recv(65536).startswith(b"HTTP/1.1 5")
            except ConnectionError:
                pass  # hanging up on it is a good answer too
    assert system.audit()["accepted"] >= 0


def test_the_same_name_with_other_content_is_a_conflict(system: System, camera: Camera) -> None:
    receipt = camera.put("conflict", named(GOOD, "one"))
    assert camera.put("conflict", named(GOOD, "one")) == receipt
    url = f"{system.ingest.base_url}/v1/cameras/{camera.camera_id}/frames/conflict"
    told(httpx.put(url, content=named(GOOD, "two"), auth=(camera.camera_id, camera.secret), trust_env=False), {409})


def test_a_photo_that_does_not_decode_ends_rejected_with_its_reason_alone(system: System, camera: Camera) -> None:
    before = system.audit()
    whole = drawn("dog")
    good = [camera.put(f"good-{n}", named(whole, f"good-{n}")) for n in range(3)]
    bad = camera.put("cut", whole[: len(whole) // 2])
    good += [camera.put(f"good-{n}", named(whole, f"good-{n}")) for n in range(3, 6)]
    audit = system.wait_settled(before["accepted"] + 7)
    assert audit["rejected"] == before["rejected"] + 1
    answer = system.receipt(bad)
    assert answer["state"] == "rejected"
    assert "cut" in answer["reason"] or "truncated" in answer["reason"] or "decode" in answer["reason"]
    assert {system.receipt(receipt)["state"] for receipt in good} == {"counted"}
    assert system.reconciliation()["agrees"]


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "statuses"),
    [
        ("ingest", "PUT", "/v1/cameras/a", b"", {422}),
        ("ingest", "PUT", "/v1/cameras/a", b"not json", {422}),
        ("ingest", "PUT", "/v1/cameras/a", b'{"space_id": "a/b"}', {422}),
        ("ingest", "PUT", "/v1/cameras/a", b'{"space_id": 1e999}', {422}),
        ("ingest", "PUT", f"/v1/cameras/{LONG}", b'{"space_id": "a"}', {422}),
        ("ingest", "PUT", "/v1/cameras/a", b"[" * 60_000, {400, 422}),
        ("ingest", "PUT", "/v1/cameras/a", b"x" * 100_000, {413}),
        ("ingest", "GET", "/v1/receipts/unknown", b"", {404, 422}),
        ("ingest", "GET", f"/v1/receipts/{LONG}", b"", {404, 422}),
        ("ingest", "POST", "/v1/settlements", b"{}", {403}),
        ("ingest", "POST", "/v1/images", b"{}", {403}),
        ("ingest", "GET", "/v1/audit/hours?since=never", b"", {422}),
        ("ingest", "GET", "/v1/cameras?cursor=%00&limit=99999999999999999999", b"", {400, 422}),
        ("classifier", "GET", "/v1/models/..%2F..%2Fetc/1", b"", {404, 422}),
        ("classifier", "GET", f"/v1/models/{LONG}/1", b"", {404, 422}),
        ("aggregation", "PUT", "/v1/spaces/a", b'{"purpose": "disco"}', {422}),
        ("aggregation", "PUT", "/v1/spaces/a", b'{"name": "a", "stale_after_s": -1}', {422}),
        ("aggregation", "GET", "/v1/spaces/unknown", b"", {404}),
        ("aggregation", "GET", "/v1/spaces/unknown/estimates?cursor=%ff", b"", {400, 404, 422}),
        ("aggregation", "PATCH", "/v1/stays/unknown", b"{}", {404, 422}),
        ("aggregation", "PATCH", "/v1/stays/1", b'{"number_of_animals": 0}', {404, 422}),
        ("aggregation", "PUT", "/v1/estimates/unknown/correction", b'{"label": "raccoon"}', {404, 422}),
        ("aggregation", "GET", "/v1/reconciliation?since=2026-01-01", b"", {200, 422}),
    ],
)
def test_a_bad_request_is_told_what_to_correct(
    system: System, service: str, method: str, path: str, body: bytes, statuses: set[int]
) -> None:
    client: httpx.Client = getattr(system, service)
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in statuses, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
