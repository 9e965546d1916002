"""The agent's rules: what is worth sending, what an answer of ingest means, how long to wait; all pure."""

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FINGERPRINT = (64, 48)
"""Width and height of a fingerprint: the photo in grey, each cell the mean of its part, one byte a cell."""
NOTICED = 12
ENOUGH = 8
"""A photo has changed when ENOUGH cells differ by NOTICED grey levels: a cat at the far wall is about ten cells, while
sensor noise, averaged over some hundred pixels a cell, stays below three levels."""

LEAST_WAIT_S = 1.0
MOST_WAIT_S = 60.0
MOST_ASKED_S = 3600.0

NAMED = "%Y%m%dT%H%M%S%fZ"


def changed(before: bytes, after: bytes) -> bool:
    """Return whether two fingerprints show a different scene. Raises ValueError if their sizes differ."""
    return sum(abs(a - b) >= NOTICED for a, b in zip(before, after, strict=True)) >= ENOUGH


@dataclass(frozen=True)
class Shown:
    """The last photo that was sent on: its fingerprint, and when it was captured."""

    fingerprint: bytes
    captured_at: datetime


def worth_sending(last: Shown | None, now: Shown, heartbeat_s: float) -> bool:
    """Return whether `now` tells anything new: a change, or that the camera still sees (once a heartbeat).

    Compared with the last photo that was sent, not the last that was seen, so that slow changes add up. A clock that
    was put back counts as a heartbeat.
    """
    if last is None:
        return True
    passed_s = (now.captured_at - last.captured_at).total_seconds()
    return not 0 <= passed_s < heartbeat_s or changed(last.fingerprint, now.fingerprint)


def name_frame(captured_at: datetime, sha256: str) -> str:
    """Return a frame's name: from its time and bytes alone, so that whoever sends it again sends the same frame."""
    return f"{captured_at.astimezone(UTC).strftime(NAMED)}-{sha256[:12]}"


def time_of_frame(frame_id: str) -> datetime:
    """Return the capture time in a name that `name_frame` made. Raises ValueError for any other name."""
    return datetime.strptime(frame_id.rpartition("-")[0], NAMED).replace(tzinfo=UTC)


class Verdict(enum.Enum):
    """What an answer of ingest means for the frame."""

    TAKEN = "taken"
    """Ingest has it: forget it."""
    REFUSED = "refused"
    """This frame will never be taken: drop it, and say why."""
    MISCONFIGURED = "misconfigured"
    """No frame of this camera will be taken until a person corrects something: keep all, and ask now and then."""
    LATER = "later"
    """Keep it and send it again."""


def judge(status: int) -> Verdict:
    """Return what ingest's answer to a PUT means (docs/cameras.md, "What the answers mean")."""
    if status in (200, 201):
        return Verdict.TAKEN
    if status in (408, 425, 429) or status >= 500:
        return Verdict.LATER
    # 3xx: the agent follows nobody away from the address in its file. 405: the address is something else's.
    if status in (401, 403, 404, 405, 407) or status < 400:
        return Verdict.MISCONFIGURED
    return Verdict.REFUSED


def is_about_the_frame(status: int) -> bool:
    """Return whether an answer of "later" may be this one frame's fault: its body timed out, or a fault in serving it.

    Others tell of a gateway, or of an ingest that takes no frame at all.
    """
    return status in (408, 500)


def wait_s(failures: int, luck: float, asked_s: float = 0.0) -> float:
    """Return the seconds to wait after the `failures`-th failure in a row (from 1): doubled each time, up to a minute.

    `luck`, from 0 to 1, spreads those who failed together over the upper half. Never less than `asked_s`.
    """
    full_s = min(MOST_WAIT_S, LEAST_WAIT_S * 2.0 ** min(failures - 1, 16))
    return max(full_s * (0.5 + luck / 2), min(asked_s, MOST_ASKED_S))


def worth_telling(times: int) -> bool:
    """Return whether the `times`-th failure in a row is logged for all to see: the first ones, then each tenth."""
    return times in (1, 2, 4) or times % 10 == 0


def asked_wait_s(retry_after: str | None, now: datetime) -> float:
    """Return the seconds that a Retry-After header asks for, given in seconds or as a date; 0 for none or nonsense."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        return min(float(retry_after), MOST_ASKED_S)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
