"""The rules of camera_ingest: what time a frame has, when and with whom it is offered, when it is given up.

Only the standard library is imported, nothing is read or written, so every rule can be tested as a table.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

CLOCK_AHEAD = timedelta(minutes=2)
CLOCKS_WERE_RESET_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
REPEAT_WITHIN = timedelta(seconds=10)
MOST_ATTEMPTS = 3
GAVE_UP = f"gave up after {MOST_ATTEMPTS} attempts"

RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


class State(StrEnum):
    """Where a frame stands: `accepted` is in flight, the other two are settled."""

    ACCEPTED = "accepted"
    COUNTED = "counted"
    REJECTED = "rejected"


def parse_captured_at(text: str) -> datetime:
    """Return the `Captured-At` header as UTC. Raises ValueError unless it is RFC 3339 with a zone."""
    if not RFC3339.fullmatch(text):
        raise ValueError("is not an RFC 3339 time with a zone, such as 2026-11-22T10:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is a time that does not exist") from None


def parse_exif_time(text: str | None, offset: str | None, zone: tzinfo) -> datetime | None:
    """Return EXIF's DateTimeOriginal (`2026:11:22 10:00:00`) as UTC, or None when the camera wrote nothing sensible.

    `offset` is OffsetTimeOriginal (`+01:00`); without one the time is taken to be in `zone`.
    """
    try:
        naive = datetime.strptime(text or "", "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - EXIF keeps the zone elsewhere
        if offset:
            return datetime.fromisoformat(f"{naive.isoformat()}{offset}").astimezone(UTC)
        return naive.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_event_time(text: str | None, zone: tzinfo) -> datetime | None:
    """Return the time in a camera's event message as UTC, or None when it is not sensible.

    ISO 8601; without an offset the time is taken to be in `zone`.
    """
    try:
        moment = datetime.fromisoformat(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Address:
    """Which device, by its MAC address, and which of its channels; as far as told."""

    mac: str | None = None
    channel: int | None = None


def observed_at(captured_at: datetime | None, received_at: datetime) -> datetime:
    """Return the time we believe: the camera's unless it is missing or its clock is plainly wrong."""
    if captured_at is None or captured_at < CLOCKS_WERE_RESET_BEFORE or captured_at > received_at + CLOCK_AHEAD:
        return received_at
    return captured_at


def settled_state(current: State, wanted: State) -> State:
    """Return the state after a settlement: accepted → any, rejected → counted, never out of counted."""
    if current is State.ACCEPTED or wanted is State.COUNTED:
        return wanted
    return current


@dataclass(frozen=True)
class DueFrame:
    """A frame whose next offer is due; `attempt_at` is set while an attempt has begun and is not finished."""

    receipt: str
    offers: int
    offered_at: datetime | None
    attempt_at: datetime | None
    attempts: int


@dataclass(frozen=True)
class Offer:
    """The frame is to be offered, alone if it may be what ended a worker; `attempts` count against it so far."""

    receipt: str
    alone: bool
    attempts: int


@dataclass(frozen=True)
class GiveUp:
    """The frame has had all its attempts."""

    receipt: str
    attempts: int


def decide(frame: DueFrame, later_one_settled: bool) -> Offer | GiveUp:
    """Return what becomes of a due frame.

    An unfinished attempt counts against it only if `later_one_settled`: a frame offered after it was settled since
    the attempt began. Then the way was clear and the fault lies with the frame; else it merely waits like all others.
    """
    attempts = frame.attempts + (frame.attempt_at is not None and later_one_settled)
    if attempts >= MOST_ATTEMPTS:
        return GiveUp(frame.receipt, attempts)
    return Offer(frame.receipt, alone=frame.attempt_at is not None or attempts > 0, attempts=attempts)


def plan_chunks(offers: Sequence[Offer], waiting: int, *, chunk: int, max_chunks: int) -> list[list[Offer]]:
    """Return the chunks to send now, in order, while `waiting` messages are still in the queue.

    Frames are gathered to `chunk` a message, and while the queue is not empty a chunk that is not full yet waits for
    more: one frame's latency when quiet, full batches under load. A frame that is offered alone, since it may end the
    worker that takes it, goes last; and while others wait too, one at a time and only into an empty queue. Else a few
    such frames would keep all others out, and with nothing else settled they would never be given up.
    """
    room = max(0, max_chunks - waiting)
    others = [offer for offer in offers if not offer.alone]
    alone = [[offer] for offer in offers if offer.alone]
    chunks = [others[start : start + chunk] for start in range(0, len(others), chunk)]
    if chunks and waiting and len(chunks[-1]) < chunk:
        chunks.pop()
    if not others:
        return alone[:room]
    kept = chunks[: room - 1] if alone and not waiting else chunks[:room]
    return kept + alone[: 0 if waiting else 1]


def next_offer_at(offers: int, offered_at: datetime, *, after_s: float, every_s: float) -> datetime:
    """Return when a frame comes due again after the offer at `offered_at`, its `offers`-th (from 1)."""
    return offered_at + timedelta(seconds=after_s if offers <= 1 else every_s)
