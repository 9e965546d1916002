"""The rules of batches: what an input may be called, whose turn it is, what becomes of an attempt, what may wait."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from unicodedata import normalize

INPUTS_LIMIT: Final = 1000
NAME_LIMIT: Final = 255
ATTEMPTS: Final = 3
WORKER_ENDED: Final = "the worker that made the last one ended"
CANCELLED: Final = "cancelled before it was predicted"
KILLERS: Final = 10
"""Inputs that ended every worker they met, after which the rest of their batch is not tried any more."""

ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar", ".cab", ".iso")
_MAGICS: Final = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"7z\xbc\xaf'\x1c",
    b"Rar!\x1a\x07",
    b"\x28\xb5\x2f\xfd",
)
# What systems put into archives by themselves: nobody means it as an input.
_LITTER: Final = (".ds_store", "thumbs.db", "desktop.ini")


class BatchState(StrEnum):
    """What a batch is at; none becomes `FAILED`, as inputs fail one by one, but callers were told of the word."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


UNFINISHED: Final = (BatchState.QUEUED, BatchState.RUNNING)


def gave_up(reason: str | None) -> str:
    """Return the error of an input without an attempt left; `reason` is what ended the last, None if its worker did."""
    return f"gave up after {ATTEMPTS} attempts: {reason or WORKER_ENDED}"


def not_tried() -> str:
    """Return the error of an input of a batch that ended too many workers."""
    return f"not tried: {KILLERS} inputs of this batch ended each worker that looked at them"


def name_problem(name: str) -> str | None:
    """Say why an input may not be called `name` (a relative path with forward slashes), or None if it may."""
    if not name or len(name) > NAME_LIMIT:
        return f"its name is empty or longer than {NAME_LIMIT} characters"
    if not name.isprintable():
        return "its name has characters that can't be printed"
    if name.startswith("/") or "\\" in name or name[1:2] == ":":
        return "its name is not a relative path with forward slashes"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "its name leads out of its folder, or has empty parts"
    if name.lower().endswith(ARCHIVES):
        return "it is an archive itself"
    return None


def is_archive(beginning: bytes) -> bool:
    """Return whether a file's first 512 bytes are those of an archive, whatever its name says."""
    return beginning.startswith(_MAGICS) or beginning[257:262] == b"ustar"


def is_litter(name: str) -> bool:
    """Return whether a file is one that macOS or Windows adds to archives, which is passed over."""
    last = name.rpartition("/")[2]
    return name.startswith("__MACOSX/") or "/__MACOSX/" in name or last.startswith("._") or last.lower() in _LITTER


def first_repeated(names: Iterable[str]) -> str | None:
    """Return the first name that was there before, or None; names that look alike, composed or not, are the same."""
    seen: set[str] = set()
    for name in names:
        composed = normalize("NFC", name)
        if composed in seen:
            return name
        seen.add(composed)
    return None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An unfinished batch: whose it is, when it was made, and when it was last given a worker."""

    batch_id: str
    client: str
    created_at: datetime
    served_at: datetime | None


def turns(waiting: Sequence[Waiting]) -> list[str]:
    """Return the batches in the order in which they are asked for work: a fair share for each client.

    First the client that was served longest ago, so clients alternate chunk by chunk, however much each has; of a
    client's own batches the oldest.
    """
    served: dict[str, float] = {}
    for batch in waiting:
        at = batch.served_at.timestamp() if batch.served_at else 0.0
        served[batch.client] = max(served.get(batch.client, 0.0), at)
    by_turn = sorted(waiting, key=lambda batch: (served[batch.client], batch.client, batch.created_at, batch.batch_id))
    return [batch.batch_id for batch in by_turn]


@dataclass(frozen=True, slots=True)
class Quota:
    """What may wait: jobs and inputs of one client, bytes of all together, of which one client may take half."""

    jobs: int
    inputs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Held:
    """What waits: unfinished jobs, inputs and bytes (`own_bytes`) of one client, bytes of all clients."""

    jobs: int
    inputs: int
    own_bytes: int
    bytes: int


def over_quota(held: Held, quota: Quota, inputs: int = 0, size: int = 0) -> str | None:
    """Return what of a quota another job of `inputs` and `size` bytes would exceed .

    It is `jobs`, `inputs`, `own_bytes` or `bytes`. A client without bytes may have a job of more than half of them.
    """
    if held.jobs >= quota.jobs:
        return "jobs"
    if held.inputs + inputs > quota.inputs:
        return "inputs"
    if held.own_bytes and held.own_bytes + size > quota.bytes // 2:
        return "own_bytes"
    if held.bytes + size > quota.bytes:
        return "bytes"
    return None


# The last four are their full-width forms, which some spreadsheets take for the same.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_cell(text: str) -> str:
    """Return a text so that no spreadsheet takes it for a formula: one that begins like one gets a quote before it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def prefers_csv(accept: str) -> bool:
    """Return whether an `Accept` header asks for CSV rather than JSON; with equal weights whoever is named wins.

    RFC 9110, 12.5.1: of the ranges that match a type the most specific one says its weight, which is 1 without `q`.
    """
    weights: dict[str, float] = {}
    for media_range in accept.lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        weight = next(
            (value for key, _, value in (one.partition("=") for one in parameters) if key.strip() == "q"), "1"
        )
        try:
            weights[name] = float(weight)
        except ValueError:
            weights[name] = 0.0

    def of(kind: str) -> float:
        ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        return next((weights[one] for one in ranges if one in weights), 0.0)

    csv, json = of("text/csv"), of("application/json")
    return csv > json or (csv == json > 0 and "text/csv" in weights and "application/json" not in weights)
