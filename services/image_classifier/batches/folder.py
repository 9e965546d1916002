"""A folder of photos, predicted by the public API: sent as batches, noted in a journal, gathered into a CSV file."""

import csv
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import httpx

from services.image_classifier.batches.rules import INPUTS_LIMIT, csv_cell, is_archive, is_litter, name_problem

PHOTO_BYTES: Final = 10 * 1024 * 1024
JOB_BYTES: Final = 400_000_000
AHEAD: Final = 2
"""Batches that are unfinished at a time: the next one is sent while one is worked on."""
LOOK_EVERY_S: Final = 0.5
AWAY_S: Final = 300.0
PAGE: Final = 200
UNFINISHED: Final = ("queued", "running")
COLUMNS: Final = ("input", "label", "cat", "dog", "quality", "model", "version", "error")

Say = Callable[[str], None]
Stamp = tuple[int, int]


class CannotGoOn(Exception):
    """The command ends without a result; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A file of the folder: `name` is relative to it, `stamp` its size and time of change."""

    name: str
    path: Path
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Job:
    """A batch that was sent, and which files it has."""

    batch_id: str
    files: dict[str, Stamp]


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


class Journal:
    """The file that remembers what was sent: a line a batch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def jobs(self) -> list[Job]:
        """Return what was sent before; a last line that was cut short counts as not sent."""
        found = []
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                noted = json.loads(line)
            except ValueError:
                continue
            found.append(Job(noted["batch"], {name: (size, time) for name, (size, time) in noted["files"].items()}))
        return found

    def note(self, job: Job) -> None:
        """Remember a batch that was sent."""
        with self.path.open("a+b") as file:
            line = json.dumps({"batch": job.batch_id, "files": job.files}).encode() + b"\n"
            if file.tell() and not self._ends_whole(file):
                line = b"\n" + line  # else it would be one line with the one that was cut short
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _ends_whole(file: IO[bytes]) -> bool:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

    def forget(self) -> None:
        """Remove the file, since the result is there."""
        self.path.unlink(missing_ok=True)


class Api:
    """The classifier's public API, asked again while it is away."""

    def __init__(self, client: httpx.Client, say: Say) -> None:
        self._client = client
        self._say = say

    def send(self, photos: Sequence[Photo]) -> Job:
        """Send photos as one batch; waits while others take all the room. Raises CannotGoOn."""
        with TemporaryFile() as file:
            # Of files older than zips the time is changed: nobody reads it.
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
                for photo in photos:
                    try:
                        archive.write(photo.path, photo.name)
                    except OSError as error:
                        raise CannotGoOn(f"{photo.path} can't be read: {error.strerror}") from None
            size = str(file.tell())

            def post() -> httpx.Response:
                headers = {"Content-Type": "application/zip", "Content-Length": size}
                return self._client.post("/v1/batches", content=_pieces(file), headers=headers)

            answer = self._ask(post)
        return Job(answer.json()["id"], {photo.name: photo.stamp for photo in photos})

    def look(self, batch_id: str) -> dict[str, Any] | None:
        """Return what a batch is at, None if there is none (any more). Raises CannotGoOn."""
        answer = self._ask(lambda: self._client.get(f"/v1/batches/{batch_id}"), missing=True)
        found: dict[str, Any] | None = None if answer.status_code == 404 else answer.json()
        return found

    def predictions(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """Give what became of each input of a batch. Raises CannotGoOn."""
        query: dict[str, str | int] = {"limit": PAGE}
        while True:
            url = f"/v1/batches/{batch_id}/predictions"
            page = self._ask(lambda url=url: self._client.get(url, params=query)).json()  # type: ignore[misc]  # bound now
            yield from page["items"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def _ask(self, request: Callable[[], httpx.Response], missing: bool = False) -> httpx.Response:
        deadline: float | None = None
        while True:
            try:
                answer = request()
            except httpx.TransportError as error:
                deadline = deadline or time.monotonic() + AWAY_S  # not from the start: an upload may take as long
                if time.monotonic() > deadline:
                    raise CannotGoOn(f"the classifier does not answer ({type(error).__name__})") from None
                self._say("waiting for the classifier to answer")
                time.sleep(2)
                continue
            if answer.is_success or (missing and answer.status_code == 404):
                return answer
            detail = _detail(answer)
            deadline = deadline or time.monotonic() + AWAY_S
            # 429: others or we have as much waiting as may be. That ends by itself, however long it takes.
            if answer.status_code == 429 or (
                answer.status_code in (408, 502, 503, 504) and time.monotonic() < deadline
            ):
                self._say(f"waiting: {detail}")
                time.sleep(float(answer.headers.get("Retry-After", "2")))
                continue
            raise CannotGoOn(f"the classifier answers {answer.status_code}: {detail}")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(1024 * 1024):
        yield piece


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]


def classify_folder(
    folder: Path, out: Path, client: httpx.Client, say: Say, part: int = INPUTS_LIMIT
) -> tuple[int, int]:
    """Write what the classifier says of each file of `folder` to `out`; return how many, and how many are errors.

    `part` is how many photos make a batch. Raises CannotGoOn; what was done until then is not done again.
    """
    journal = Journal(out.with_name(out.name + ".jobs"))
    photos, refused = find_photos(folder, [out, journal.path, _unfinished(out)])
    if not photos and not refused:
        raise CannotGoOn(f"there is no file in {folder}")
    api = Api(client, say)
    running, done = _resume(api, journal, photos)
    sent = {name for job in [*running, *done] for name in job.files}
    parts = split([photo for photo in photos if photo.name not in sent], most=part)
    finished, progress = sum(len(job.files) for job in done), dict[str, int]()
    while parts or running:
        if parts and len(running) < AHEAD:
            say(f"{finished + sum(progress.values()):,} of {len(photos):,} photos; sending {len(parts[0]):,} more")
            job = api.send(parts[0])
            journal.note(job)
            running.append(job)
            parts.pop(0)
            continue
        for job in list(running):
            at = api.look(job.batch_id)
            if at is None or at["state"] in ("cancelled", "failed"):
                raise CannotGoOn(
                    f"batch {job.batch_id} was removed, cancelled or failed. Start again to send the rest."
                )
            progress[job.batch_id] = at["done"] + at["failed"]
            if at["state"] not in UNFINISHED:
                running.remove(job)
                done.append(job)
                finished += progress.pop(job.batch_id)
        say(f"{finished + sum(progress.values()):,} of {len(photos):,} photos")
        if running:
            time.sleep(LOOK_EVERY_S)
    rows = {name: _error_row(name, reason) for name, reason in refused.items()}
    present = {photo.name: photo.stamp for photo in photos}
    for job in done:
        for found in api.predictions(job.batch_id):
            if job.files.get(found["input"]) == present.get(found["input"]):
                rows[found["input"]] = _row(found)
    missing = present.keys() - rows.keys()
    if missing:
        raise CannotGoOn(f"{len(missing)} photos have no result, {min(missing)!r} for one. Start again to send them.")
    _write(out, [rows[name] for name in sorted(rows)])
    journal.forget()
    return len(rows), sum(1 for row in rows.values() if row[-1])


def _resume(api: Api, journal: Journal, photos: Sequence[Photo]) -> tuple[list[Job], list[Job]]:
    """Return the noted batches that are unfinished and those that are done, for files that are still the same."""
    present = {photo.name: photo.stamp for photo in photos}
    running: list[Job] = []
    done: list[Job] = []
    for job in journal.jobs():
        same = {name: stamp for name, stamp in job.files.items() if present.get(name) == stamp}
        at = api.look(job.batch_id) if same else None
        if at is None or at["state"] in ("cancelled", "failed"):
            continue
        (running if at["state"] in UNFINISHED else done).append(Job(job.batch_id, same))
    return running, done


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
