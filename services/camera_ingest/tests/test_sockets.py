"""What only a real socket shows: slow, gone and impatient senders, and 100-continue."""

import base64
import socket
import time
from collections.abc import Iterator

import pytest

from services.camera_ingest import metrics
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest, serving
from shared import app
from shared.testing import TokenFor, wait_until


@pytest.fixture
def impatient(make_settings: MakeSettings, token_for: TokenFor) -> Iterator[Ingest]:
    """For bodies that do not come: they are given up after a second."""
    with serving(make_settings(body_deadline_s=1), token_for) as ingest:
        ingest.make_camera()
        yield ingest


@pytest.fixture
def served(make_settings: MakeSettings, token_for: TokenFor) -> Iterator[Ingest]:
    with serving(make_settings(body_deadline_s=30), token_for) as ingest:
        ingest.make_camera()
        yield ingest


def head(ingest: Ingest, secret: str | None = None, *lines: str) -> bytes:
    credentials = base64.b64encode(f"c1:{secret or ingest.secrets['c1']}".encode()).decode()
    first = ["PUT /v1/cameras/c1/frames/a HTTP/1.1", "Host: ingest", f"Authorization: Basic {credentials}", *lines]
    return "\r\n".join([*first, "", ""]).encode()


def connect(ingest: Ingest) -> socket.socket:
    return socket.create_connection(("127.0.0.1", ingest.parts.settings.port), timeout=30)


def answer(connection: socket.socket) -> bytes:
    """Return all that the server says until it closes or has answered with a body."""
    received = b""
    while b"\r\n\r\n" not in received or b"}" not in received:
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received


def outcome(name: str) -> float:
    return float(metrics.FRAMES.labels(name)._value.get())


@pytest.mark.parametrize("sent", [0, 100, 300_000])
def test_a_body_that_stalls_is_408_and_leaves_nothing(impatient: Ingest, sent: int) -> None:
    with connect(impatient) as connection:
        connection.sendall(head(impatient, None, "Content-Length: 400000") + photo().ljust(400_000, b"\x00")[:sent])
        said = answer(connection)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in said
        assert b"connection: close" in said.lower()
        assert connection.recv(1) == b""
    assert impatient.files() == set()


def test_a_body_that_drips_is_408_however_steadily(impatient: Ingest) -> None:
    with connect(impatient) as connection:
        connection.sendall(head(impatient, None, "Content-Length: 400000"))
        connection.settimeout(0.05)
        said = b""
        deadline = time.monotonic() + 30
        while not said and time.monotonic() < deadline:
            connection.sendall(b"\xff")
            try:
                said = connection.recv(65536)
            except TimeoutError:
                continue
    assert said.startswith(b"HTTP/1.1 408 ")
    assert impatient.files() == set()


@pytest.mark.parametrize("sent", [0, 300_000])
def test_a_client_that_goes_away_leaves_nothing_and_is_counted(served: Ingest, sent: int) -> None:
    before = outcome("client-gone")
    with connect(served) as connection:
        connection.sendall(head(served, None, "Content-Length: 400000") + photo().ljust(400_000, b"\x00")[:sent])
    wait_until("the leave is noticed", lambda: outcome("client-gone") == before + 1)
    assert served.files() == set()
    assert served.audit()["accepted"] == 0


def test_a_wrong_secret_is_told_before_the_body_is_sent(served: Ingest) -> None:
    with connect(served) as connection:
        connection.sendall(head(served, "wrong", "Content-Length: 400000", "Expect: 100-continue"))
        assert answer(connection).startswith(b"HTTP/1.1 401 ")


def test_a_camera_that_asks_first_is_told_to_go_on(served: Ingest) -> None:
    image = photo()
    with connect(served) as connection:
        connection.sendall(head(served, None, f"Content-Length: {len(image)}", "Expect: 100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(image)
        assert answer(connection).startswith(b"HTTP/1.1 201 ")


def test_a_body_announced_as_too_large_is_refused_unseen(served: Ingest) -> None:
    with connect(served) as connection:
        connection.sendall(head(served, None, "Content-Length: 11000000", "Expect: 100-continue"))
        assert answer(connection).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_taken_and_http_1_0_too(served: Ingest) -> None:
    image = photo(1)
    with connect(served) as connection:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(image), image)
        connection.sendall(head(served, None, "Transfer-Encoding: chunked") + body)
        assert answer(connection).startswith(b"HTTP/1.1 201 ")
    with connect(served) as connection:
        old = head(served, None, f"Content-Length: {len(image)}").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        connection.sendall(old + image)
        assert b" 200 " in answer(connection).split(b"\r\n")[0]


@pytest.mark.parametrize("length", ["-1", "abc", "1e3"])
def test_a_length_that_is_none_never_makes_a_5xx(served: Ingest, length: str) -> None:
    with connect(served) as connection:
        connection.sendall(head(served, None, f"Content-Length: {length}") + photo())
        connection.settimeout(10)
        assert b" 4" in answer(connection).split(b"\r\n")[0]
    assert served.files() == set()


def test_strangers_whose_json_stalls_are_let_go_and_cameras_keep_their_own_time(
    make_settings: MakeSettings, token_for: TokenFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "BODY_DEADLINE_S", 3)
    with serving(make_settings(body_deadline_s=8), token_for) as ingest:
        ingest.make_camera()
        for method, path in (("PUT", "/v1/cameras/c1"), ("POST", "/v1/settlements"), ("POST", "/v1/images")):
            with connect(ingest) as connection:
                start = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                connection.sendall(f'{start}Content-Length: 99\r\n\r\n{{"a":'.encode())
                said = answer(connection)
                assert said.startswith(b"HTTP/1.1 408 "), path
                assert b"application/problem+json" in said
                assert connection.recv(1) == b""
        own = (b"/v1/cameras/c1/frames/a ", b"/v1/cameras/c1/frame ", b"/v1/frames ")
        for address in own:
            with connect(ingest) as connection:
                connection.sendall(head(ingest, None, "Content-Length: 4000").replace(own[0], address, 1))
                assert b"within 8 s" in answer(connection)
