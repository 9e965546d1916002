"""`folder:`: a folder that something else fills (FTP, a script), watched or replayed with the times of its files.

What was given is remembered in a file of the agent's, so that a restart goes on where it was. That file is not synced:
a photo that is given twice is the same frame, since its name comes from its time and bytes, and ingest says so.
"""

import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TextIO

import structlog

from services.camera_agent.config import Camera
from services.camera_agent.photo import MOST_BYTES
from services.camera_agent.sources.photos import Photo, Photos, SourceFailure

log = structlog.get_logger(__name__)

LOOK_S = 3.0
"""Between looks; a file that is the same in two of them is no longer being written. FTP over Wi-Fi stalls."""
SPARE = 1000
UNREAD = "let the agent's user read the files, as by the umask of the FTP server"
LATEST_NS = 10**9 * 86400 * 365 * 1000
"""No camera wrote a file before 1970 or after the year 2969, which would have no name as a frame."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Found:
    """A file as it was seen: written to again, it is another one."""

    path: str
    modified_ns: int
    size: int

    @property
    def modified_at(self) -> datetime:
        """When it was last written to, by its file system."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.modified_ns // 1000)


def photos(camera: Camera, state: Path, stopped: Event, look_s: float = LOOK_S) -> Photos:
    """Give each new photo of the folder, or the whole folder once if it is replayed. Raises SourceFailure."""
    assert camera.folder is not None
    given = Given(state / "given", camera.folder)
    unread: set[Found] = set()
    try:
        chosen = _replayed(camera, given, stopped) if camera.entry.replay else _watched(camera, given, stopped, look_s)
        for found, captured_at in chosen:
            try:
                image = _read(camera.folder / found.path)
            except FileNotFoundError:
                continue
            except OSError as error:  # not ours to read: it stops no other, and is tried again with each look
                if found not in unread:
                    log.warning("a photo can't be read", path=found.path, error=error.strerror, hint=UNREAD)
                    unread.add(found)
                continue
            photo = Photo(captured_at, image)
            yield photo
            # Whoever took the photo has kept it by now. What is none may be half of one: grown, it is another Found.
            if camera.entry.delete and not photo.unreadable.is_set() and _same(camera.folder / found.path, found):
                (camera.folder / found.path).unlink(missing_ok=True)
            else:
                given.add(found)
    except OSError as error:
        raise SourceFailure("unreachable", f"the folder can't be used: {error.strerror}") from None
    finally:
        given.close()


def _watched(camera: Camera, given: "Given", stopped: Event, look_s: float) -> Iterator[tuple[Found, datetime]]:
    assert camera.folder is not None
    before: set[Found] = set()
    while not stopped.is_set():
        began = time.monotonic()
        there = look(camera.folder)
        given.forget_all_but(there)
        seen = [found for found in there if found not in given]
        for found in seen:
            # A file that is still being written looks different a moment later.
            if found in before and not stopped.is_set():
                yield found, found.modified_at
        before = set(seen)
        # A folder of a hundred thousand files is looked at less often.
        stopped.wait(max(look_s, 9 * (time.monotonic() - began)))


def _replayed(camera: Camera, given: "Given", stopped: Event) -> Iterator[tuple[Found, datetime]]:
    assert camera.folder is not None
    assert camera.entry.replay is not None
    story = [found for found in look(camera.folder) if found not in given]
    if not story:
        return
    started, first = datetime.now(UTC), story[0].modified_at
    for found in story:
        told = (found.modified_at - first) / camera.entry.replay.speed
        if stopped.wait(max(0.0, (started + told - datetime.now(UTC)).total_seconds())):
            return
        yield found, found.modified_at if camera.entry.replay.times == "original" else started + told


def look(folder: Path) -> list[Found]:
    """Return the photos in a folder and those below it, by their time and name; links are not followed."""
    found = []
    for parent, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            if not name.lower().endswith(SUFFIXES) or name.startswith("."):
                continue
            path = Path(parent) / name
            try:
                status = path.lstat()
            except OSError:  # taken away by its owner since it was listed, or not for us to see
                continue
            if stat.S_ISREG(status.st_mode) and 0 <= status.st_mtime_ns < LATEST_NS:
                found.append(Found(str(path.relative_to(folder)), status.st_mtime_ns, status.st_size))
    return sorted(found, key=lambda one: (one.modified_ns, one.path))


def _raise(error: OSError) -> None:
    raise error


def _same(path: Path, found: Found) -> bool:
    """Return whether a file is still what was found: whoever wrote on meanwhile is not done with it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return (status.st_mtime_ns, status.st_size) == (found.modified_ns, found.size)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


class Given:
    """The files that were given already, as long as they are in the folder: a line each, appended."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._known: set[Found] = set()
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                name, modified_ns, size = json.loads(line)
            except ValueError:  # the last line of a process that was killed
                continue
            self._known.add(Found(name, modified_ns, size))
        if folder.is_dir():
            self._known.intersection_update(look(folder))
        self._file = self._rewrite()

    def _rewrite(self) -> TextIO:
        new = self._path.with_suffix(".new")
        new.write_text("".join(map(_line, self._known)))
        new.replace(self._path)
        return self._path.open("a")

    def __contains__(self, found: Found) -> bool:
        return found in self._known

    def add(self, found: Found) -> None:
        """Remember a file from now on."""
        self._known.add(found)
        self._file.write(_line(found))
        self._file.flush()

    def forget_all_but(self, there: list[Found]) -> None:
        """Forget the files that are no longer there, once they are many."""
        if len(self._known) > 2 * len(there) + SPARE:
            self._known.intersection_update(there)
            self._file.close()
            self._file = self._rewrite()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(found: Found) -> str:
    return json.dumps([found.path, found.modified_ns, found.size]) + "\n"
