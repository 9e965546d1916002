"""A folder of photos, predicted by the public API: sent as batches, noted in a journal, gathered into a CSV file."""

import csv
import os
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import httpx
import uuid_utils

from services.image_classifier.batches.journal import CannotGoOn, Job, Journal, Stamp
from services.image_classifier.batches.public_api import Api, Say
from services.image_classifier.batches.rules import INPUTS_LIMIT, csv_cell, is_archive, is_litter, name_problem

PHOTO_BYTES: Final = 10 * 1024 * 1024
JOB_BYTES: Final = 400_000_000
AHEAD: Final = 2
"""Batches that are unfinished at a time: the next one is sent while one is worked on."""
LOOK_EVERY_S: Final = 0.5
ESTIMATE_AFTER_S: Final = 5.0
UNFINISHED: Final = ("queued", "running")
COLUMNS: Final = ("input", "label", "cat", "dog", "quality", "model", "version", "error")


@dataclass(frozen=True, slots=True)
class Photo:
    """A file of the folder: `name` is relative to it, `stamp` its size and time of change."""

    name: str
    path: Path
    stamp: Stamp


def find_photos(folder: Path, ours: Sequence[Path] = ()) -> tuple[list[Photo], dict[str, str]]:
    """Return the files below `folder` in the order of their names, and those that can't be sent with the reason.

    The files `ours`, which the command itself writes, are none of them.
    """
    photos, refused = [], {}
    passed_over = {path.resolve() for path in ours}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if is_litter(name) or path.resolve() in passed_over:
            continue
        problem = name_problem(name)
        try:
            with path.open("rb") as file:
                if problem is None and is_archive(file.read(512)):
                    problem = "it is an archive itself"
            found = path.stat()
        except OSError as error:
            problem = f"it can't be read: {error.strerror}"
        if problem is None and found.st_size > PHOTO_BYTES:
            problem = "it is larger than 10 MiB, the most that an image may have"
        if problem is None:
            photos.append(Photo(name, path, (found.st_size, found.st_mtime_ns)))
        else:
            refused[name] = problem
    return photos, refused


def split(photos: Sequence[Photo], most: int = INPUTS_LIMIT, most_bytes: int = JOB_BYTES) -> list[list[Photo]]:
    """Return the photos in parts that a batch takes."""
    parts: list[list[Photo]] = []
    size = 0
    for photo in photos:
        if not parts or len(parts[-1]) == most or size + photo.stamp[0] > most_bytes:
            parts.append([])
            size = 0
        parts[-1].append(photo)
        size += photo.stamp[0]
    return parts


def classify_folder(
    folder: Path, out: Path, client: httpx.Client, say: Say, part: int = INPUTS_LIMIT
) -> tuple[int, int]:
    """Write what the classifier says of each file of `folder` to `out`; return how many, and how many are errors.

    `part` is how many photos make a batch. Raises CannotGoOn; what was done until then is not done again.
    """
    journal = Journal(out.with_name(out.name + ".jobs"))
    found, refused = find_photos(folder, [out, journal.path, _unfinished(out)])
    if not found and not refused:
        raise CannotGoOn(f"there is no file in {folder}")
    photos = {photo.name: photo for photo in found}
    api = Api(client, say)
    with journal.held():
        done = _predict(api, journal, photos, refused, say, part)
        rows = {name: _error_row(name, reason) for name, reason in refused.items()}
        for job in done:
            for row in api.predictions(job.batch_id):
                if row["input"] in job.files:
                    rows[row["input"]] = _row(row)
        missing = photos.keys() - rows.keys()
        if missing:
            raise CannotGoOn(
                f"{len(missing)} photos have no result, {min(missing)!r} for one. Start again to send them."
            )
        _write(out, [rows[name] for name in sorted(rows)])
        journal.forget()
    return len(rows), sum(1 for row in rows.values() if row[-1])


def _predict(
    api: Api, journal: Journal, photos: Mapping[str, Photo], refused: dict[str, str], say: Say, part: int
) -> list[Job]:
    """Have all photos predicted and return the batches that have the results; adds to `refused` what can't be read."""
    waiting, running, done = _resume(api, journal, photos)
    known = {name for job in [*waiting, *running, *done] for name in job.files}
    rest = [photo for name, photo in photos.items() if name not in known]
    waiting += [
        Job(str(uuid_utils.uuid7()), {photo.name: photo.stamp for photo in some}) for some in split(rest, most=part)
    ]
    ended = {job.batch_id: len(job.files) for job in done}
    began_at, began_with = time.monotonic(), sum(ended.values())
    shown = (-1, "")

    def progress() -> str:
        nonlocal shown
        so_far = sum(ended.values())
        if so_far != shown[0]:
            left = _time_left(so_far - began_with, len(photos) - so_far, time.monotonic() - began_at)
            shown = (so_far, f"{so_far:,} of {len(photos):,} photos{left}")
        return shown[1]

    while waiting or running:
        if waiting and len(running) < AHEAD:
            say(f"{progress()}; sending {len(waiting[0].files):,} more")
            sent = _send(api, journal, waiting.pop(0), photos, refused)
            running += [sent] if sent is not None else []
            continue
        for job in list(running):
            at = api.look(job.batch_id)
            if at is None or at["state"] in ("cancelled", "failed"):
                raise CannotGoOn(f"batch {job.batch_id} was cancelled or removed. Start again to send its photos anew.")
            ended[job.batch_id] = at["done"] + at["failed"]
            if at["state"] not in UNFINISHED:
                running.remove(job)
                done.append(job)
        say(progress())
        if running:
            time.sleep(LOOK_EVERY_S)
    return done


def _time_left(done: int, left: int, took_s: float) -> str:
    """Return words for the time that so many photos will still take; none while that can't be told."""
    if not done or not left or took_s < ESTIMATE_AFTER_S:
        return ""
    left_s = left * took_s / done
    return f", about {left_s / 60:.0f} min left" if left_s > 90 else f", about {left_s:.0f} s left"


def _resume(api: Api, journal: Journal, photos: Mapping[str, Photo]) -> tuple[list[Job], list[Job], list[Job]]:
    """Return the noted batches that did not arrive, are unfinished, are done; of files that are still the same."""
    waiting: list[Job] = []
    running: list[Job] = []
    done: list[Job] = []
    taken: set[str] = set()
    for job in journal.jobs():
        same = {name: stamp for name, stamp in job.files.items() if name in photos and photos[name].stamp == stamp}
        if taken & same.keys():  # it was given up before, and its photos were sent in others
            continue
        at = api.look(job.batch_id) if same else None
        if at is None and same and same == job.files:
            # Sent once more with the same id it is the same batch, should it be arriving at this moment.
            waiting.append(job)
        elif at is None or at["state"] in ("cancelled", "failed"):
            continue
        else:
            (running if at["state"] in UNFINISHED else done).append(Job(job.batch_id, same))
        taken |= same.keys()
    return waiting[::-1], running, done


def _send(api: Api, journal: Journal, job: Job, photos: Mapping[str, Photo], refused: dict[str, str]) -> Job | None:
    """Send a batch, noting it before; return it without what can't be read, None if nothing can."""
    with _packed([photos[name] for name in job.files]) as (file, unreadable):
        refused.update(unreadable)
        job = Job(job.batch_id, {name: stamp for name, stamp in job.files.items() if name not in unreadable})
        if not job.files:
            return None
        journal.note(job)
        api.send(job.batch_id, file)
    return job


@contextmanager
def _packed(photos: Sequence[Photo]) -> Iterator[tuple[IO[bytes], dict[str, str]]]:
    """Give a zip of the photos, and those that can't be read any more with the reason."""
    refused: dict[str, str] = {}
    with TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for photo in photos:
                try:
                    content = photo.path.read_bytes()
                except OSError as error:
                    refused[photo.name] = f"it can't be read: {error.strerror}"
                    continue
                archive.writestr(photo.name, content)
        yield file, refused


def _row(found: dict[str, Any]) -> list[object]:
    chances = found["probabilities"] or {"cat": "", "dog": ""}
    rest = [found[name] or "" for name in ("quality", "model", "version", "error")]
    return [csv_cell(found["input"]), found["label"] or "", chances["cat"], chances["dog"], *rest]


def _error_row(name: str, reason: str) -> list[object]:
    return [csv_cell(name), *[""] * 6, reason]


def _unfinished(out: Path) -> Path:
    return out.with_name(out.name + ".new")


def _write(out: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write the result whole or not at all."""
    new = _unfinished(out)
    # A name that is no text to the system would stop the writing of all others.
    with new.open("w", newline="", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    new.replace(out)
