"""The gateway in front of the running stack: what goes through, what does not, and what it says itself."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from shared.testing import wait_until
from tests.containers.stack import FOLDERS, PATIENCE_S, REPLICAS, Stack, photo
from tests.photos import solid

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600, func_only=True)]

MEGABYTE = 1_000_000
PROBLEM = "application/problem+json"
CONNECTIONS = 600  # limit_conn of deploy/gateway/nginx.conf
SILENCE_S = 60  # proxy_read_timeout of what is no event stream


@pytest.fixture(scope="module", autouse=True)
def events(system: Stack) -> Iterator[tuple[Iterator[str], float]]:
    """The lines of an event stream that is open while all else of this file happens, and when it was opened."""
    with system.aggregation.stream("GET", "/v1/adoption-status/events", timeout=httpx.Timeout(30)) as stream:
        yield stream.iter_lines(), time.monotonic()


def says(answer: httpx.Response, status: int) -> None:
    """Check that an answer is a problem document of this status with advice."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


def connect(system: Stack, head: str, body: bytes = b"") -> socket.socket:
    """Open a connection and send the head of a request, with the rest of its lines, and a piece of its body."""
    url = urlsplit(system.address)
    connection = socket.create_connection((url.hostname, url.port), timeout=90)
    connection.sendall(f"{head}\r\nHost: {url.netloc}\r\n\r\n".encode() + body)
    return connection


def answer_on(connection: socket.socket) -> httpx.Response:
    """Return the whole answer that comes on a connection."""
    text = b""
    while b"\r\n\r\n" not in text or len(text.partition(b"\r\n\r\n")[2]) < length(text):
        piece = connection.recv(65536)
        if not piece:
            break
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


def length(text: bytes) -> int:
    lines = [line for line in text.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lines[0].partition(b":")[2]) if lines else MEGABYTE


NOT_ROUTED = [
    "/metrics",
    "/v1/images",
    "/v1/settlements",
    "//v1/settlements",
    "/v1/cameras/..%2fsettlements",
    "/readyz",
    "//metrics",
    "/x/..%2fmetrics",
    "/docs",
    "/openapi.json",
]


@pytest.mark.parametrize("path", NOT_ROUTED)
def test_what_is_not_for_outsiders_is_not_found(system: Stack, path: str) -> None:
    for method in ("GET", "POST"):
        # The whole address: joined to a base, two slashes would begin a host's name.
        says(system.ingest.request(method, f"{system.address}{path}"), 404)


def test_too_large_a_photo_is_told_so_by_whoever_sees_it_first(system: Stack) -> None:
    camera = system.camera("large", "large")
    auth = httpx.BasicAuth(camera.camera_id, camera.secret)
    for size in (10 * 1024 * 1024 + 1, 12 * 1024 * 1024):
        body = solid() + b"\0" * size
        says(httpx.put(f"{system.address}/v1/cameras/large/frames/x", content=body, auth=auth, trust_env=False), 413)


@pytest.mark.parametrize(
    ("line", "megabytes"),
    [
        ("PUT /v1/spaces/large", 1),
        ("POST /v1/frames", 11),
        ("POST /v1/frames/secret-secret-12", 11),
        ("PUT /v1/models/huella/9", 33),
        ("POST /v1/batches", 513),
    ],
)
def test_a_body_over_its_address_s_bound_is_refused_by_its_length_alone(
    system: Stack, line: str, megabytes: int
) -> None:
    announced = f"{line} HTTP/1.1\r\nContent-Length: {megabytes * 1024 * 1024 + 1}"
    with connect(system, announced) as connection:
        says(answer_on(connection), 413)


def test_too_large_a_header_is_told_so(system: Stack) -> None:
    says(system.ingest.get("/v1/audit", headers={"X-Large": "x" * 40_000}), 431)


def test_a_body_that_does_not_come_on_is_told_so_by_the_service(system: Stack) -> None:
    """Before the gateway would cut it off without a word: its own patience is longer on purpose."""
    camera = system.camera("slow", "slow")
    credentials = httpx.BasicAuth(camera.camera_id, camera.secret)
    request = next(credentials.auth_flow(httpx.Request("PUT", system.address)))
    head = f"PUT /v1/cameras/slow/frames/x HTTP/1.1\r\nAuthorization: {request.headers['authorization']}"
    with connect(system, f"{head}\r\nContent-Length: 100000", photo("slow")[:5000]) as connection:
        says(answer_on(connection), 408)
    assert system.audit()["in_flight"] == 0


def test_a_head_that_does_not_come_is_cut_off(system: Stack) -> None:
    """With a reset, so that it holds nothing any more: nobody reads an answer who has not said what is asked."""
    url = urlsplit(system.address)
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        connection.sendall(b"GET /v1/audit HTTP/1.1\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(65536)


def test_a_camera_whose_secret_is_wrong_too_often_is_told_to_wait(system: Stack) -> None:
    system.camera("guessed", "guessed")
    path = f"{system.address}/v1/cameras/guessed/frames/x"

    def guess() -> httpx.Response:
        return httpx.put(path, content=solid(), auth=("guessed", "wrong-wrong-1234"), trust_env=False)

    # Each replica counts for itself.
    answers = [guess() for _ in range(12 * REPLICAS["camera-ingest"])]
    assert {answer.status_code for answer in answers} == {401, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    says(refused, 429)
    assert int(refused.headers["retry-after"]) > 0


def test_too_many_connections_of_one_address_are_told_so_and_harm_nobody_later(system: Stack) -> None:
    """A flood of requests whose bodies never come; behind a published port all clients may be one address."""
    with ExitStack() as flood:
        for _ in range(CONNECTIONS):
            head = "PUT /v1/spaces/flood HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100"
            flood.enter_context(connect(system, head))

        def refused() -> bool:
            return httpx.get(f"{system.address}/v1/audit", trust_env=False).status_code == 429

        wait_until("one more is too many", refused, PATIENCE_S)
        answer = httpx.get(f"{system.address}/v1/audit", trust_env=False)
        says(answer, 429)
        assert answer.headers["retry-after"]
    wait_until("others are let in again", lambda: system.ingest.get("/v1/audit").status_code == 200, PATIENCE_S)


@pytest.mark.parametrize("service", [service for service in FOLDERS if service != "dashboard"])
def test_each_service_has_its_page_behind_the_gateway(system: Stack, service: str) -> None:
    page = system.ingest.get(f"/docs/{service}")
    assert page.status_code == 200
    assert f"/docs/{service}/openapi.json" in page.text
    assert system.ingest.get(f"/docs/{service}/openapi.json").json()["paths"]


def test_the_operators_page_is_behind_the_gateway_and_told_of_changes_at_once(system: Stack) -> None:
    (link,) = re.findall(rf"{system.address}/invitations/\S+", system.said)
    headers = {"Origin": system.address, "Accept": "text/html"}
    with httpx.Client(base_url=system.address, headers=headers, timeout=30, trust_env=False) as person:
        assert person.get("/").headers["location"] == "/login?next=/"
        account = {"name": "Marta", "new": "four warm paws here", "again": "four warm paws here"}
        assert person.post(urlsplit(link).path, data=account).status_code == 303
        answer = person.post("/login", data={"name": "Marta", "password": account["new"]})
        assert answer.headers["location"] == "/"
        with person.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            system.aggregation.put("/v1/spaces/told", json={"name": "Told to Marta"}).raise_for_status()
            events = (line for line in stream.iter_lines() if line.startswith("event:"))
            assert next(events).split(":")[1].strip() in ("up", "change")

        def shown() -> bool:
            page = person.get("/")
            assert page.status_code == 200
            return "Told to Marta" in page.text

        wait_until("the page shows the new space", shown, PATIENCE_S)


def test_an_event_stream_outlives_the_silence_that_ends_other_answers(
    system: Stack, events: tuple[Iterator[str], float]
) -> None:
    lines, opened = events
    for _ in lines:  # a comment each 15 seconds
        if time.monotonic() - opened > SILENCE_S + 5:
            break
    system.space("heard", stale_after_s=600)
    system.camera("heard", "heard").put("x", photo("heard"))
    assert any(event["space_id"] == "heard" for event in data(lines))  # others may have gone stale meanwhile


def data(lines: Iterator[str]) -> Iterator[dict[str, object]]:
    return (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
