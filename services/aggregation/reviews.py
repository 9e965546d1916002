"""Which frames a person should look at: the model is unsure, or somebody disagrees with it. Pure, standard library."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

TOGETHER = timedelta(seconds=10)
NEAR_A_CORRECTION = timedelta(seconds=60)
ONE_IN = timedelta(seconds=60)
GOOD = "ok"


class Reason(StrEnum):
    """Why a frame is worth a look."""

    UNSURE = "unsure"
    CAMERA = "camera"
    PERSON = "person"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a frame: the label of a model version, and the label that a person gave, if any."""

    receipt: str
    space_id: str
    camera_id: str
    observed_at: datetime
    label: str
    quality: str
    said: str | None
    version: str = ""  # name and version of the model


def to_review(frames: Iterable[Seen]) -> list[tuple[str, list[Reason]]]:
    """Return receipts and reasons, newest first: frames of good quality that nobody corrected yet.

    `camera`: another camera of the space saw something else within 10 s. `person`: somebody said otherwise of a frame
    of the space within a minute. `model`: another model version read another photo of the same camera within 10 s
    otherwise, as happens while several are in use. A camera whose scene stays the same is asked about once a minute,
    not once a frame: nor is an unsure frame within a minute of one of the same camera that a person has answered.
    """
    by_space: dict[str, list[Seen]] = {}
    for frame in frames:
        by_space.setdefault(frame.space_id, []).append(frame)
    found = []
    for there in by_space.values():
        there.sort(key=lambda frame: frame.observed_at)
        for index, frame in enumerate(there):
            if frame.said is None and frame.quality == GOOD:
                reasons = _reasons(there, index)
                if reasons:
                    found.append((frame, reasons))
    return _thinned(sorted(found, key=lambda pair: pair[0].receipt, reverse=True))


def _reasons(there: Sequence[Seen], index: int) -> list[Reason]:
    frame = there[index]
    near = list(_near(there, index))
    if frame.label == "unsure":
        answered = any(other.said is not None and other.camera_id == frame.camera_id for other in near)
        return [] if answered else [Reason.UNSURE]
    reasons = []
    if any(_other_camera_says_otherwise(frame, other) for other in near):
        reasons.append(Reason.CAMERA)
    if any(other.said not in (None, frame.label) for other in near):
        reasons.append(Reason.PERSON)
    if any(_other_version_says_otherwise(frame, other) for other in near):
        reasons.append(Reason.MODEL)
    return reasons


def _near(there: Sequence[Seen], index: int) -> Iterable[Seen]:
    frame = there[index]
    for step in (-1, 1):
        other = index + step
        while 0 <= other < len(there) and abs(there[other].observed_at - frame.observed_at) <= NEAR_A_CORRECTION:
            yield there[other]
            other += step


def _other_camera_says_otherwise(frame: Seen, other: Seen) -> bool:
    comparable = other.camera_id != frame.camera_id and other.quality == GOOD
    together = abs(other.observed_at - frame.observed_at) <= TOGETHER
    # To see nothing contradicts nobody: an animal may be out of one camera's sight.
    sure = {frame.label, other.said or other.label} <= {"cat", "dog", "both"}
    return comparable and together and sure and frame.label != (other.said or other.label)


def _other_version_says_otherwise(frame: Seen, other: Seen) -> bool:
    comparable = other.camera_id == frame.camera_id and other.version != frame.version and other.quality == GOOD
    together = abs(other.observed_at - frame.observed_at) <= TOGETHER
    return comparable and together and other.label not in (frame.label, "unsure")


def _thinned(found: Iterable[tuple[Seen, list[Reason]]]) -> list[tuple[str, list[Reason]]]:
    kept: list[tuple[str, list[Reason]]] = []
    last: dict[tuple[str, tuple[Reason, ...]], datetime] = {}
    for frame, reasons in found:
        key = (frame.camera_id, tuple(reasons))
        if key not in last or abs(last[key] - frame.observed_at) >= ONE_IN:
            last[key] = frame.observed_at
            kept.append((frame.receipt, reasons))
    return kept


def seen(row: Any) -> Seen:
    """Return what the rules need of an estimate's row."""
    names = ("receipt", "space_id", "camera_id", "observed_at", "label", "quality", "said")
    return Seen(**{name: row[name] for name in names}, version=f"{row['model']}/{row['version']}")
