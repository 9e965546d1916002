"""Fetches the images of a chunk from camera_ingest: one request over a kept-alive connection, one image at a time.

FetchFailed
  camera_ingest can't be reached, answers with an error, or its answer is not what it should be.
"""

import json
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

from shared.tokens import ServiceToken

MAX_INDEX_BYTES: Final = 100_000
SKIPPABLE: Final = 4
END: Final = bytes(tarfile.BLOCKSIZE)
# camera_ingest closes a connection after 30 s of silence; a request must not meet it half closed.
KEEP_ALIVE_S: Final = 15


class FetchFailed(Exception):
    """The images, or the rest of them, can't be had now; the message is one line for the log."""


@dataclass(frozen=True, slots=True)
class Images:
    """The answer of camera_ingest: the `state` of each receipt that it knows, then the bytes of the accepted ones.

    `members` gives (receipt, bytes), or (receipt, None) for an image that is too large; it can be walked once, and
    raises FetchFailed if the connection is cut in the middle.
    """

    states: dict[str, str]
    members: Iterator[tuple[str, bytes | None]]


def create_client(timeout_s: float, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Return a client that keeps its connection and follows no redirect; tests bring a `transport` of their own."""
    return httpx.Client(
        transport=transport,
        timeout=httpx.Timeout(timeout_s, connect=3.0),
        limits=httpx.Limits(max_connections=2, keepalive_expiry=KEEP_ALIVE_S),
        headers={"Accept-Encoding": "identity", "Accept": "application/x-tar"},
        trust_env=False,
    )


def same_origin(url: str, other: str) -> bool:
    """Return whether both URLs have the same scheme, host and port; a URL with user or password never matches."""
    try:
        first, second = urlsplit(url), urlsplit(other)
        ports = [part.port or {"http": 80, "https": 443}.get(part.scheme) for part in (first, second)]
    except ValueError:
        return False
    return (
        first.scheme in ("http", "https")
        and "@" not in first.netloc
        and (first.scheme, first.hostname, ports[0]) == (second.scheme, second.hostname, ports[1])
    )


@contextmanager
def fetch(
    client: httpx.Client,
    token: ServiceToken,
    url: str,
    receipts: Sequence[str],
    *,
    deadline_s: float,
    image_bytes: int,
    settled: bool = False,
) -> Iterator[Images]:
    """Ask `url` for the images of `receipts`, each of up to `image_bytes`; of `settled` frames too, for a batch.

    The answer is read while it is walked, within `deadline_s` seconds in all. Raises FetchFailed.
    """
    try:
        with client.stream(
            "POST", url, json={"receipts": list(receipts), "settled": settled}, headers=token.header()
        ) as response:
            if response.status_code != 200:
                raise FetchFailed(f"camera_ingest answered {response.status_code}")
            # An image that is too large is skipped, not held, so a few of them may pass.
            # tar rounds each member up to 512 bytes, adds as much before it, and ends in up to 10 kB of zeros.
            limit = MAX_INDEX_BYTES + len(receipts) * (SKIPPABLE * image_bytes + 2048) + 20_000
            body = _Body(response.iter_raw(), limit, time.monotonic() + deadline_s)
            yield Images(_index(body), _members(body, image_bytes))
            body.drain()
    except httpx.HTTPError as error:
        raise FetchFailed(f"camera_ingest: {type(error).__name__}") from error


def _index(body: "_Body") -> dict[str, str]:
    member = _next_member(body)
    if member is None or member.name != "index.json" or member.size > MAX_INDEX_BYTES:
        raise FetchFailed("the answer of camera_ingest has no index")
    try:
        frames = json.loads(_content(body, member))["frames"]
        return {str(frame["receipt"]): str(frame["state"]) for frame in frames}
    except (ValueError, KeyError, TypeError) as error:
        raise FetchFailed(f"the index of camera_ingest is not valid ({type(error).__name__})") from error


def _members(body: "_Body", image_bytes: int) -> Iterator[tuple[str, bytes | None]]:
    try:
        while (member := _next_member(body)) is not None:
            if member.size <= image_bytes:
                yield member.name, _content(body, member)
            else:
                body.skip(_in_blocks(member.size))
                yield member.name, None
    except httpx.HTTPError as error:
        raise FetchFailed(f"camera_ingest: {type(error).__name__}") from error


def _next_member(body: "_Body") -> tarfile.TarInfo | None:
    """Read the head of the next member; None at the end of the archive.

    tarfile's own reader of streams copies each byte several times more, which costs more than all else of a fetch.
    """
    head = body.read(tarfile.BLOCKSIZE)
    if head == END:
        return None
    try:
        member = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
    except (tarfile.TarError, ValueError) as error:
        raise FetchFailed(f"the answer of camera_ingest is not a whole tar ({error})") from error
    if not member.isreg() or member.size < 0:
        raise FetchFailed("the answer of camera_ingest has a member that is no file")
    return member


def _content(body: "_Body", member: tarfile.TarInfo) -> bytes:
    content = body.read(member.size)
    body.skip(_in_blocks(member.size) - member.size)
    return content


def _in_blocks(size: int) -> int:
    """Return what so many bytes take in a tar."""
    return size + -size % tarfile.BLOCKSIZE


class _Body:
    """The bytes of a streamed answer, copied once; raises FetchFailed past its bounds, or if it ends too soon."""

    def __init__(self, pieces: Iterator[bytes], limit: int, deadline: float) -> None:
        self._pieces = pieces
        self._left = limit
        self._deadline = deadline
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        return b"".join(self._parts(size))

    def skip(self, size: int) -> None:
        for _ in self._parts(size):
            pass

    def drain(self) -> None:
        """Read what follows, so that the connection can be used again; what goes wrong here costs only that."""
        with suppress(FetchFailed, httpx.HTTPError):
            while self._next():
                pass

    def _parts(self, missing: int) -> Iterator[memoryview]:
        while missing > 0:
            if not self._rest:
                self._rest = memoryview(self._next())
                if not self._rest:
                    raise FetchFailed("the answer of camera_ingest is not a whole tar (it ends too soon)")
            part, self._rest = self._rest[:missing], self._rest[missing:]
            missing -= len(part)
            yield part

    def _next(self) -> bytes:
        piece = next(self._pieces, b"")
        self._left -= len(piece)
        if self._left < 0:
            raise FetchFailed("the answer of camera_ingest is larger than its images may be")
        if time.monotonic() > self._deadline:
            raise FetchFailed("camera_ingest took too long to send the images")
        return piece
