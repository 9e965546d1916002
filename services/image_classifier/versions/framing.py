"""How the process of a graph and its parent talk over a socket: a JSON head and plain bytes, no pickles."""

import json
import socket
import struct
import time
from typing import Any

LENGTHS = struct.Struct("<II")
HEAD_LIMIT = 2_000_000
BODY_LIMIT = 300_000_000


class Ended(Exception):
    """The other side has gone, or says what can't be."""


def send(channel: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
    """Send one message; the socket's time-out is the longest that it may take. Raises OSError."""
    text = json.dumps(head).encode()
    channel.sendall(LENGTHS.pack(len(text), len(body)) + text)
    channel.sendall(body)


def receive(
    channel: socket.socket, deadline: float | None = None, body_limit: int = BODY_LIMIT
) -> tuple[dict[str, Any], bytes]:
    """Return one message, until `deadline` (time.monotonic). Raises Ended, TimeoutError or OSError."""
    head_size, body_size = LENGTHS.unpack(_exactly(channel, LENGTHS.size, deadline))
    if head_size > HEAD_LIMIT or body_size > body_limit:
        raise Ended("a message is too large")
    head = json.loads(_exactly(channel, head_size, deadline))
    return head, _exactly(channel, body_size, deadline)


def _exactly(channel: socket.socket, size: int, deadline: float | None) -> bytes:
    content = bytearray(size)
    view, reached = memoryview(content), 0
    while reached < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer is late")
            channel.settimeout(left)
        number = channel.recv_into(view[reached:])
        if number == 0:
            raise Ended("the other side has gone")
        reached += number
    return bytes(content)
