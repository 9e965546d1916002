"""The image files: one a receipt, at `<day>/<hour>/<receipt>`, durable before the frame's row is written.

The bytes of each are synced by whoever stores it, the names in a folder once for all who wait for that.
"""

import hashlib
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from services.camera_ingest.photo import Photo, inspect
from shared.receipts import hour_of

GATHERED = 256 * 1024
KNOWN_FOLDERS = 100


class ImageFiles:
    """The folder of image files, which several processes may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._durable: dict[Path, None] = {}
        self._names = _Names()

    def path(self, receipt: str) -> Path:
        """Return where a receipt's image is. Raises ValueError if it is no receipt of ours."""
        hour = hour_of(receipt)
        return self.folder / f"{hour:%Y-%m-%d}" / f"{hour:%H}" / receipt

    def read(self, receipt: str) -> bytes:
        """Return the bytes as the camera sent them. Raises FileNotFoundError when they are gone."""
        return self.path(receipt).read_bytes()

    def size(self, receipt: str) -> int:
        """Return the length of an image in bytes. Raises FileNotFoundError when it is gone."""
        return self.path(receipt).stat().st_size

    def remove(self, receipt: str) -> None:
        """Remove an image; it is all right if it is gone already."""
        self.path(receipt).unlink(missing_ok=True)

    def create(self, receipt: str) -> int:
        """Create a receipt's file and return its descriptor; its folder is durable then, its name after sync_name."""
        path = self.path(receipt)
        descriptor = self._create(path)
        self._names.given(path)
        return descriptor

    def sync_name(self, receipt: str) -> None:
        """Return once the name of a file that was created here is durable. Raises OSError."""
        self._names.sync(self.path(receipt))

    def _create(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        if path.parent in self._durable:
            with suppress(FileNotFoundError):  # removed while it was empty; it is made again below
                return os.open(path, flags, 0o640)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may have made the folders and not have synced them yet, so each process does once.
        sync_folder(path.parent.parent)
        sync_folder(self.folder)
        self._durable[path.parent] = None
        while len(self._durable) > KNOWN_FOLDERS:
            self._durable.pop(next(iter(self._durable)))
        return os.open(path, flags, 0o640)

    def older_than(self, age: timedelta, now: datetime) -> Iterator[list[str]]:
        """Yield, folder by folder, the names of files last written more than `age` ago; removes empty old folders."""
        before = (now - age).timestamp()
        for day in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            for hour in sorted(path for path in day.iterdir() if path.is_dir()):
                with os.scandir(hour) as entries:
                    yield [entry.name for entry in entries if entry.stat().st_mtime < before]
                _remove_if_empty(hour, before)
            _remove_if_empty(day, before)

    def check(self) -> None:
        """Raise if the folder can't be written."""
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{self.folder} can't be written")

    def free_bytes(self) -> int:
        """Return the bytes free on the disk for this process."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize


class IncomingImage:
    """One image on its way in; whoever leaves it last as a context manager removes its file unless `keep()` was called.

    Both the task that receives it and the thread that works on it are in it, since a task that is cancelled does not
    wait for its thread: the file and its descriptor are the thread's until that is done.

    Bytes are gathered in memory up to `GATHERED` and then written, so that an ordinary photo touches the disk once.
    """

    def __init__(self, files: ImageFiles, receipt: str) -> None:
        self.receipt = receipt
        self.size = 0
        self._files = files
        self._hash = hashlib.sha256()
        self._gathered: list[bytes] = []
        self._waiting = 0
        self._descriptor: int | None = None
        self._created = False
        self._keep = False
        self._users = 0
        self._over = False
        self._counting = threading.Lock()

    def add(self, piece: bytes) -> bool:
        """Take the next bytes; return whether `write()` should be called before more."""
        self._gathered.append(piece)
        self.size += len(piece)
        self._waiting += len(piece)
        return self._waiting >= GATHERED

    def write(self) -> None:
        """Write what was gathered. Raises OSError, for instance when the disk is full."""
        if self._descriptor is None:
            self._descriptor = self._files.create(self.receipt)
            self._created = True
        view = memoryview(b"".join(self._gathered))
        self._gathered, self._waiting = [], 0
        self._hash.update(view)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def inspect(self) -> Photo:
        """Return what the header says; of a small image before it touches the disk. Raises OSError or PhotoError."""
        if self._descriptor is None:
            self._gathered = [b"".join(self._gathered)]
            return inspect(self._gathered[0])
        self.write()
        with mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ) as image:
            return inspect(image)

    def make_durable(self) -> str:
        """Write the rest and return the SHA-256 once bytes and name are safe on the disk. Raises OSError."""
        self.write()
        assert self._descriptor is not None
        os.fsync(self._descriptor)
        self._files.sync_name(self.receipt)
        self._close()
        return self._hash.hexdigest()

    def keep(self) -> None:
        """Leave the file where it is: its row is written, or may be."""
        self._keep = True

    def discard(self) -> None:
        """Remove the file after all: no row is written."""
        self._keep = False

    def __enter__(self) -> Self:
        with self._counting:
            if self._over:  # by a task that was cancelled before its thread began
                raise RuntimeError("the image was given up")
            self._users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._counting:
            self._users -= 1
            self._over = self._users == 0
            if not self._over:
                return
        self._close()
        if self._created and not self._keep:
            self._files.remove(self.receipt)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Names:
    """Makes names in folders durable: whoever comes first syncs the folder for all whose names were given by then."""

    def __init__(self) -> None:
        self._given: dict[Path, set[Path]] = {}
        self._lost: set[Path] = set()
        self._noting = threading.Lock()
        self._syncing = threading.Lock()

    def given(self, path: Path) -> None:
        """Note a name, after its file was created: a sync that begins now holds it."""
        with self._noting:
            self._given.setdefault(path.parent, set()).add(path)

    def sync(self, path: Path) -> None:
        """Return once a name is durable. Raises OSError if its folder could not be synced, by this call or another's.

        The system tells of a failure once; after it, a sync that succeeds says nothing of the names from before.
        """
        with self._syncing:
            with self._noting:
                if path in self._lost:
                    self._lost.discard(path)
                    raise OSError(f"{path.parent} could not be synced")
                if path not in self._given.get(path.parent, ()):
                    return
                together = self._given.pop(path.parent)
            try:
                sync_folder(path.parent)
            except BaseException:
                with self._noting:
                    self._lost |= together - {path}
                raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_empty(folder: Path, before: float) -> None:
    if folder.stat().st_mtime < before:
        with suppress(OSError):  # not empty, or another process was quicker
            folder.rmdir()
