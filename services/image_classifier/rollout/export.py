"""The corrected frames as a training set: a tar of `<label>/<receipt>.jpg`, made while it is sent."""

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, cast

from services.image_classifier.images import Images

AT_ONCE = 4
"""Photos of one request: they are fetched at the pace at which somebody downloads them."""

Fetch = Callable[[Sequence[str]], AbstractContextManager[Images]]


def path_of(label: str, receipt: str) -> str:
    """Return where `make train` looks for a photo."""
    return f"{label}/{receipt}.jpg"


def tarred(labels: Sequence[tuple[str, str]], fetch: Fetch) -> Iterator[bytes]:
    """Give the pieces of a tar of the photos of (receipt, label), one photo in memory at a time.

    Photos that camera_ingest no longer has are left out. Raises FetchFailed, at once or in the middle.
    """
    pieces = _Pieces()
    with tarfile.open(fileobj=cast("BinaryIO", pieces), mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for start in range(0, len(labels), AT_ONCE):
            named = dict(labels[start : start + AT_ONCE])
            with fetch(list(named)) as images:
                for receipt, content in images.members:
                    if content is None or receipt not in named:
                        continue
                    member = tarfile.TarInfo(path_of(named[receipt], receipt))
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                    yield pieces.taken()
    yield pieces.taken()


class _Pieces:
    """The file that a tar is written into: it keeps what has not been taken yet."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def write(self, content: bytes) -> int:
        self._kept.append(bytes(content))
        return len(content)

    def taken(self) -> bytes:
        content, self._kept = b"".join(self._kept), []
        return content
