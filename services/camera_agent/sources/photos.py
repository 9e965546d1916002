"""What every source gives, how it fails, and its pace."""

import random
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event

SPREAD_S = 5.0


@dataclass(frozen=True)
class Photo:
    """One photo as the camera made it: the bytes of a JPEG, PNG or WebP, and when it was captured (UTC)."""

    captured_at: datetime
    image: bytes
    unreadable: Event = field(default_factory=Event, compare=False, repr=False)
    """Set by whoever took it and found that it is no whole photo; a source that owns its file keeps that then."""


Photos = Generator[Photo, None, None]


class SourceFailure(Exception):
    """A source gives nothing now and may later; the message says what to do, and `reason` is one word for it.

    `unreachable`, `unauthorized`, `answered` (with an error), `redirected`, `not-a-photo`, `stalled` or `disk` (ours).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def ticks(every_s: float, stopped: Event) -> Iterator[None]:
    """Give a tick each `every_s` seconds until stopped, the first at once or nearly so.

    Cameras that start together are spread over some seconds. Whoever was late goes on from then: ticks that were
    missed don't follow all at once.
    """
    due = time.monotonic() + random.random() * min(every_s, SPREAD_S)  # noqa: S311 - it spreads load, it hides nothing
    while not stopped.wait(max(0.0, due - time.monotonic())):
        yield
        due = max(due + every_s, time.monotonic())
