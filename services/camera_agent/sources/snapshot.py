"""`http://` and `https://`: a URL that answers with the camera's present picture."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event

import httpx

from services.camera_agent.config import Camera
from services.camera_agent.ingest import trusted
from services.camera_agent.photo import MOST_BYTES
from services.camera_agent.sources.photos import Photo, Photos, SourceFailure, ticks

TIMEOUT_S = 10.0
DEADLINE_S = 20.0
"""For one whole photo: a camera that sends a byte now and then passes every time-out between bytes."""
MOST_REDIRECTS = 3


def photos(camera: Camera, stopped: Event, transport: httpx.BaseTransport | None = None) -> Photos:
    """Give the picture at the camera's URL each `every_s` seconds. Raises SourceFailure."""
    with httpx.Client(
        # Photos are packed already; what is packed once more could unpack to anything.
        headers={"Accept-Encoding": "identity"},
        timeout=TIMEOUT_S,
        trust_env=False,
        follow_redirects=False,
        verify=trusted(camera.ca_file),
        transport=transport,
    ) as client:
        credentials = _credentials(camera)
        for _ in ticks(camera.entry.every_s, stopped):
            yield _fetch(client, camera, credentials)


def _credentials(camera: Camera) -> httpx.Auth | None:
    if camera.entry.user is None or camera.address != camera.entry.source:  # then the address says who we are
        return None
    kind = httpx.BasicAuth if camera.entry.auth == "basic" else httpx.DigestAuth
    return kind(camera.entry.user, camera.password or "")


def _fetch(client: httpx.Client, camera: Camera, credentials: httpx.Auth | None) -> Photo:
    own = httpx.URL(camera.address)
    named = {own.host, *camera.entry.hosts}
    deadline = time.monotonic() + DEADLINE_S
    request = client.build_request("GET", own)
    try:
        for _ in range(MOST_REDIRECTS):
            # The password is for the server that it was given for, and no less hidden on its way.
            safer = (request.url.scheme, request.url.port) == ("https", None)
            same = (request.url.scheme, request.url.port) == (own.scheme, own.port)
            ours = request.url.host == own.host and (same or safer)
            auth = credentials if ours else None
            answer = _answered(client, request, auth)
            try:
                if answer.next_request is None:
                    return _read(answer, camera, deadline)
                request = answer.next_request
            finally:
                answer.close()
            if request.url.host not in named or request.url.scheme not in ("http", "https"):
                there = f"{request.url.scheme}://{request.url.host}"
                hint = "correct the source, or add that host to `hosts`"
                raise SourceFailure("redirected", f"it sends us to {there}, which the file does not name: {hint}")
    except httpx.TimeoutException:
        raise SourceFailure("stalled", f"it did not answer within {TIMEOUT_S:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceFailure("unreachable", f"it can't be reached ({type(error).__name__})") from None
    raise SourceFailure("redirected", f"it redirects more than {MOST_REDIRECTS - 1} times")


def _answered(client: httpx.Client, request: httpx.Request, credentials: httpx.Auth | None) -> httpx.Response:
    """Send a request, and once more if it is challenged.

    The client would do the same, but read the challenge's whole body first, which may have no end.
    """
    if credentials is None:
        return client.send(request, stream=True)
    flow = credentials.auth_flow(request)
    answer = client.send(next(flow), auth=None, stream=True)
    with suppress(StopIteration):  # it is content with the answer
        again = flow.send(answer)
        answer.close()
        answer = client.send(again, auth=None, stream=True)
    return answer


def _read(answer: httpx.Response, camera: Camera, deadline: float) -> Photo:
    captured_at = datetime.now(UTC)
    if answer.status_code == 401:
        asked = answer.headers.get("www-authenticate", "").partition(" ")[0].lower()
        hint = "check user and password"
        if camera.entry.user is None:
            hint = "it wants a user and a password: give `user` and password_file"
        elif asked in ("basic", "digest") and asked != camera.entry.auth:
            hint = f"it asks for {asked}: set `auth: {asked}`"
        raise SourceFailure("unauthorized", f"it answered 401; {hint}")
    if answer.status_code != 200:
        raise SourceFailure("answered", f"it answered {answer.status_code} {answer.reason_phrase}; check the address")
    image = bytearray()
    for piece in answer.iter_raw():
        image += piece
        if len(image) > MOST_BYTES:
            raise SourceFailure(
                "not-a-photo", f"it answered with over {MOST_BYTES} bytes: ask it for a smaller picture"
            )
        if time.monotonic() > deadline:
            raise SourceFailure("stalled", f"its picture was not whole within {DEADLINE_S:g} s")
    return Photo(captured_at, bytes(image))
