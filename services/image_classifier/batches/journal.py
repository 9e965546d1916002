"""The command line's memory: which batches it has begun to send, in a file beside the result."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

Stamp = tuple[int, int]


class CannotGoOn(Exception):
    """The command ends without a result; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Job:
    """A batch: its id, which its sender chose, and its files with the size and the time of change of each."""

    batch_id: str
    files: dict[str, Stamp]


class Journal:
    """A line a batch, written before it is sent: so whatever ends the command, none is ever sent as two."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the file for this process alone. Raises CannotGoOn if another has it."""
        with self.path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ours = self.path.exists() and self.path.stat().st_ino == os.fstat(file.fileno()).st_ino
            except BlockingIOError:
                ours = False
            if not ours:
                raise CannotGoOn(f"another run is writing to {self.path.with_suffix('')}; let it end, or interrupt it")
            yield
            if self.path.exists() and not self.path.stat().st_size:
                self.forget()

    def jobs(self) -> list[Job]:
        """Return what was noted, the newest first; a line that was cut short counts as not written."""
        found: dict[str, Job] = {}
        for line in self.path.read_text().splitlines():
            try:
                noted = json.loads(line)
            except ValueError:
                continue
            files = {name: (size, time) for name, (size, time) in noted["files"].items()}
            found[noted["batch"]] = Job(noted["batch"], files)
        return list(found.values())[::-1]

    def note(self, job: Job) -> None:
        """Remember a batch that is about to be sent."""
        with self.path.open("a+b") as file:
            line = json.dumps({"batch": job.batch_id, "files": job.files}).encode() + b"\n"
            if file.tell() and not _ends_whole(file):
                line = b"\n" + line  # else it would be one line with the one that was cut short
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def forget(self) -> None:
        """Remove the file, since the result is there."""
        self.path.unlink(missing_ok=True)


def _ends_whole(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
