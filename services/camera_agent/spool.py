"""The frames of one camera that ingest has not taken yet: files in a folder, oldest first, bounded.

A file's name is all that is known of a frame: `<sequence>_<frame id>`. It is written under another name and then
renamed, so that a killed process leaves whole frames only. The disk is made to keep them (fsync) once a delivery has
failed: while all is well a frame lives for a moment, and an SD card need not wear for it.
"""

import hashlib
import os
import re
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.camera_agent.domain import name_frame, time_of_frame

KEPT = re.compile(r"(\d{12})_(\d{8}T\d{12}Z-[0-9a-f]{12})")
PART = ".part"


class Torn(Exception):
    """A kept frame's bytes are not those that were kept: the machine stopped before its disk had them."""


@dataclass(frozen=True)
class Kept:
    """A frame in the spool."""

    name: str
    frame_id: str
    size: int

    @property
    def captured_at(self) -> datetime:
        """When the photo was taken."""
        return time_of_frame(self.frame_id)


class Spool:
    """One camera's frames, safe to use from the thread that adds and the one that sends."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.bytes = 0
        self._frames: deque[Kept] = deque()
        self._sending: Kept | None = None
        self._careful = False
        self._unsafe: set[str] = set()
        self._changed = threading.Condition()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover()
        self._next = int(self._frames[-1].name[:12]) + 1 if self._frames else 0

    def _recover(self) -> None:
        for entry in sorted(os.scandir(self.folder), key=lambda entry: entry.name):
            known = KEPT.fullmatch(entry.name)
            if known:
                self._append(Kept(entry.name, known[2], entry.stat().st_size))
            elif entry.name.endswith(PART):
                os.unlink(entry)
        # Whoever ended before may not have synced them.
        self._unsafe = {kept.name for kept in self._frames}

    def _append(self, kept: Kept) -> None:
        self._frames.append(kept)
        self.bytes += kept.size

    def __len__(self) -> int:
        return len(self._frames)

    def oldest(self) -> Kept | None:
        """Return the frame that is next in turn."""
        with self._changed:
            return self._frames[0] if self._frames else None

    def add(self, captured_at: datetime, image: bytes) -> list[Kept]:
        """Keep a frame, and return the oldest ones that had to go for it (itself, if it alone is over the bound).

        Raises OSError when the disk does not take it; then it was not kept, and no other frame is gone.
        """
        frame_id = name_frame(captured_at, hashlib.sha256(image).hexdigest())
        with self._changed:
            kept = Kept(f"{self._next:012d}_{frame_id}", frame_id, len(image))
            if kept.size > self.most_bytes:
                return [kept]
            # First the frame, then its room: what goes, goes for a frame that is there.
            self._write(kept, image)
            self._next += 1
            self._append(kept)
            self._changed.notify_all()
            return self._make_room(kept)

    def drop_oldest(self) -> Kept | None:
        """Remove the oldest frame that is not being sent, and return it: what is left to do when the disk is full."""
        with self._changed:
            victim = next((kept for kept in self._frames if kept is not self._sending), None)
            if victim is not None:
                self._forget(victim)
            return victim

    def _make_room(self, newest: Kept) -> list[Kept]:
        dropped: list[Kept] = []
        for kept in list(self._frames):
            if self.bytes <= self.most_bytes:
                break
            if kept in (self._sending, newest):  # the one may be taken at this moment, the other is why we are here
                continue
            self._forget(kept)
            dropped.append(kept)
        return dropped

    def _write(self, kept: Kept, image: bytes) -> None:
        part = self.folder / f"{kept.name}{PART}"
        try:
            with part.open("wb") as file:
                file.write(image)
                if self._careful:
                    file.flush()
                    os.fsync(file.fileno())
            part.rename(self.folder / kept.name)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        if self._careful:
            _sync(self.folder)
        else:
            self._unsafe.add(kept.name)

    def next_to_send(self, within_s: float) -> Kept | None:
        """Return the oldest frame, waiting for one up to `within_s` seconds; it is not dropped until it is told of."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames, within_s)
            self._sending = self._frames[0] if self._frames else None
            return self._sending

    def after(self, kept: Kept) -> Kept | None:
        """Return the frame to send instead of the oldest one, `kept`, if there is another."""
        with self._changed:
            others = (other for other in self._frames if other is not kept)
            self._sending = next(others, None)
            return self._sending

    def put_last(self, kept: Kept) -> None:
        """Let all other frames go first from now on; after a restart it is in its old place again."""
        with self._changed:
            if kept in self._frames:
                self._frames.remove(kept)
                self._frames.append(kept)

    def read(self, kept: Kept) -> bytes:
        """Return a frame's bytes. Raises Torn, also when the file is gone."""
        try:
            image = (self.folder / kept.name).read_bytes()
        except FileNotFoundError:
            raise Torn(f"{kept.name} is gone") from None
        if hashlib.sha256(image).hexdigest()[:12] != kept.frame_id[-12:]:
            raise Torn(f"{kept.name} has other bytes than were kept")
        return image

    def remove(self, kept: Kept) -> None:
        """Forget a frame that needs no sending any more."""
        with self._changed:
            self._sending = None
            if kept in self._frames:
                self._forget(kept)
            if not self._frames:
                self._careful = False

    def hold(self) -> None:
        """Keep the frame that was not taken, and see to it that all frames outlive a power cut from now on.

        Raises OSError when the disk can't be made to keep them; then the next call tries again.
        """
        with self._changed:
            self._sending = None
            self._careful = True
            unsafe = sorted(self._unsafe)
        # Without the lock: after a restart they may be thousands, and meanwhile the camera goes on taking photos.
        for name in unsafe:
            with suppress(FileNotFoundError):  # dropped meanwhile, or taken away: reading it will tell
                _sync(self.folder / name)
        if unsafe:
            _sync(self.folder)
        with self._changed:
            self._unsafe.difference_update(unsafe)

    def _forget(self, kept: Kept) -> None:
        # First its file: what a disk does not let go is still there, and still counted.
        (self.folder / kept.name).unlink(missing_ok=True)
        self._frames.remove(kept)
        self.bytes -= kept.size
        self._unsafe.discard(kept.name)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
