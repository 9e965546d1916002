"""HTTP snapshots: log-ins, redirects, and what is no picture."""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from services.camera_agent.sources import snapshot
from services.camera_agent.sources.photos import SourceFailure
from services.camera_agent.tests.cameras import camera, scene

URL = "http://10.0.0.12/snapshot.jpg"
PICTURE = scene(90)
Handler = Callable[[httpx.Request], httpx.Response]


def first(handler: Handler, **keys: Any) -> bytes:
    stopped = threading.Event()
    photos = snapshot.photos(camera(URL, every_s=0.1, **keys), stopped, httpx.MockTransport(handler))
    return next(photos).image


def failure(handler: Handler, **keys: Any) -> SourceFailure:
    with pytest.raises(SourceFailure) as caught:
        first(handler, **keys)
    return caught.value


def picture(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(PICTURE))


def digest(algorithm: str) -> Handler:
    """Answer as a camera with Digest does (RFC 7616)."""
    name = {"MD5": "md5", "SHA-256": "sha256"}[algorithm]

    def hashed(text: str) -> str:
        return hashlib.new(name, text.encode()).hexdigest()

    def answer(request: httpx.Request) -> httpx.Response:
        sent = dict(re.findall(r'(\w+)="?([^",]+)"?', request.headers.get("authorization", "")))
        own = hashed("viewer:camera:hunter2-hunter2")
        told = f"{sent.get('nonce')}:{sent.get('nc')}:{sent.get('cnonce')}:{sent.get('qop')}"
        if sent.get("response") == hashed(f"{own}:{told}:{hashed('GET:/snapshot.jpg')}"):
            return picture(request)
        challenge = f'Digest realm="camera", qop="auth", nonce="abc", algorithm={algorithm}'
        return httpx.Response(401, headers={"WWW-Authenticate": challenge})

    return answer


def basic(request: httpx.Request) -> httpx.Response:
    if request.headers.get("authorization") == httpx.BasicAuth("viewer", "hunter2-hunter2")._auth_header:
        return picture(request)
    return httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="camera"'})


@pytest.mark.parametrize(
    ("handler", "keys"),
    [
        (picture, {}),
        (basic, {"user": "viewer", "auth": "basic"}),
        (digest("MD5"), {"user": "viewer"}),
        (digest("SHA-256"), {"user": "viewer"}),
    ],
)
def test_a_picture_is_fetched_with_each_kind_of_log_in(handler: Handler, keys: dict[str, object]) -> None:
    assert first(handler, **keys) == PICTURE


def test_a_password_is_not_sent_in_the_clear_to_who_merely_asks_for_it() -> None:
    seen = []

    def asking(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return basic(request)

    said = failure(asking, user="viewer")
    assert (said.reason, "set `auth: basic`" in str(said)) == ("unauthorized", True)
    assert seen == [None]


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (httpx.Response(401), "unauthorized", "wants a user and a password"),
        (httpx.Response(404), "answered", "404 Not Found; check the address"),
        (httpx.Response(500), "answered", "500"),
        (httpx.Response(200, stream=httpx.ByteStream(bytes(11 * 1024 * 1024))), "not-a-photo", "smaller picture"),
        (httpx.Response(302, headers={"Location": URL}), "redirected", "more than 2 times"),
        (
            httpx.Response(302, headers={"Location": "http://169.254.1.1/"}),
            "redirected",
            "to http://169.254.1.1, which",
        ),
        (httpx.Response(302, headers={"Location": "file:///etc/passwd"}), "redirected", "does not name"),
        (httpx.Response(302, headers={"Location": "http://[bad"}), "redirected", "does not name"),
    ],
)
def test_what_went_wrong_is_said_with_what_to_do(answer: httpx.Response, reason: str, said: str) -> None:
    found = failure(lambda request: answer)
    assert (found.reason, said in str(found)) == (reason, True), str(found)


def test_redirects_are_followed_only_to_hosts_in_the_file_and_the_password_stays_here() -> None:
    seen: list[tuple[str, str | None]] = []

    def moving(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers.get("authorization")))
        target = {"/snapshot.jpg": "http://10.0.0.12/now.jpg", "/now.jpg": "http://media.local/1.jpg"}
        if request.url.path in target:
            return httpx.Response(307, headers={"Location": target[request.url.path]})
        return picture(request)

    assert failure(moving, user="viewer", auth="basic").reason == "redirected"
    assert [url for url, _ in seen] == [URL, "http://10.0.0.12/now.jpg"]
    seen.clear()
    assert first(moving, user="viewer", auth="basic", hosts=["media.local"]) == PICTURE
    assert [password is not None for _, password in seen] == [True, True, False]


@pytest.mark.parametrize(
    ("moved", "told"),
    [
        ("http://10.0.0.12:8080/b.jpg", False),
        ("https://10.0.0.12/b.jpg", True),
        ("https://10.0.0.12:8443/b.jpg", False),
        ("http://10.0.0.12:80/b.jpg", True),
    ],
)
def test_a_password_goes_to_no_other_server_on_the_same_host(moved: str, told: bool) -> None:
    def moving(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/b.jpg":
            return httpx.Response(307, headers={"Location": moved})
        assert ("authorization" in request.headers) is told
        return picture(request)

    assert first(moving, user="viewer", auth="basic") == PICTURE


def test_a_password_with_a_place_in_the_address_goes_there_alone() -> None:
    def asked(request: httpx.Request) -> httpx.Response:
        assert request.url.params["password"] == "hunter2-hunter2"
        assert "authorization" not in request.headers
        return picture(request)

    one = camera(f"{URL}?user=viewer&password={{password}}", every_s=0.1, user="viewer", password_env="P", auth="basic")
    assert next(snapshot.photos(one, threading.Event(), httpx.MockTransport(asked))).image == PICTURE


def test_a_camera_that_sends_a_byte_now_and_then_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            except OSError:
                pass  # the client has gone, as it should

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    monkeypatch.setattr(snapshot, "DEADLINE_S", 0.5)
    with ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            dripping = camera(f"http://127.0.0.1:{server.server_port}/", every_s=0.1)
            with pytest.raises(SourceFailure, match="not whole within"):
                next(snapshot.photos(dripping, threading.Event()))
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("challenge", "keys"), [("Basic", {"auth": "basic"}), ('Digest realm="camera", qop="auth", nonce="abc"', {})]
)
def test_the_body_of_a_challenge_is_not_read(challenge: str, keys: dict[str, Any]) -> None:
    taken: list[bytes] = []

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while len(taken) < 100:
                taken.append(b"x" * 1000)
                yield taken[-1]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, headers={"WWW-Authenticate": challenge}, stream=Endless())

    assert failure(answer, user="viewer", **keys).reason == "unauthorized"
    assert not taken
