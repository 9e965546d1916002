"""A batch as it comes in: a zip or a multipart body, read without trust, its bytes never in memory all at once.

Nothing is unpacked to disk. The body itself lies in a file without a name, which the system removes when the request
ends, however it ends.
"""

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.image_classifier.batches.rules import (
    INPUTS_LIMIT,
    first_repeated,
    is_archive,
    is_litter,
    name_problem,
)
from shared.problem import Problem

DIRECTORY_BYTES: Final = 4 * 1024 * 1024
# A zip's best compression is a thousandfold; a photo's is none to speak of.
BOMB_RATIO, BOMB_BYTES = 100, 1024 * 1024
LOCAL_HEADER_BYTES: Final = 30
BEGINNING: Final = 512
PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Incoming:
    """One input of an upload: `read` gives its bytes, and is not to be called if `size` is more than is taken."""

    name: str
    size: int
    read: Callable[[], bytes]


def contents(found: Sequence[Incoming], image_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Give the bytes of each input by its number from 1; None of one that is larger than `image_bytes`.

    Raises Problem 422 on an archive among them.
    """
    for number, incoming in enumerate(found, 1):
        if incoming.size > image_bytes:
            yield number, None
            continue
        content = incoming.read()
        if is_archive(content[:BEGINNING]):
            raise _refused(incoming.name, "it is an archive itself")
        yield number, content


def check_names(names: Sequence[str]) -> None:
    """Raise Problem 422 if there are no inputs, more than INPUTS_LIMIT, or some that may not be called so."""
    if not names:
        raise Problem(422, "empty-batch", f"There is no input in it. Send 1 to {INPUTS_LIMIT} photos.")
    if len(names) > INPUTS_LIMIT:
        raise too_many(len(names))
    for name in names:
        problem = name_problem(name)
        if problem:
            raise _refused(name, problem)
    repeated = first_repeated(names)
    if repeated is not None:
        detail = f"{repeated[:100]!r} is in it more than once. Give each input a name of its own and send it again."
        raise Problem(422, "repeated-input", detail)


def too_many(number: int) -> Problem:
    """Return the 422 of a batch with more inputs than one may have."""
    detail = f"These are {number:,} inputs; a batch takes {INPUTS_LIMIT:,}. Send them as several batches."
    return Problem(422, "too-many-inputs", detail)


def too_large(limit: int) -> Problem:
    """Return the 413 of a batch with more bytes than one may have."""
    detail = f"A batch takes {limit // 1_000_000:,} MB, unpacked too. Send the photos as several batches."
    return Problem(413, "content-too-large", detail)


def _refused(name: str, reason: str) -> Problem:
    detail = f"{name[:100]!r} is refused: {reason}. Leave it out or rename it, and send the rest again."
    return Problem(422, "refused-input", detail)


def _broken(reason: str) -> Problem:
    return Problem(422, "broken-archive", f"The zip can't be read: {reason}. Make it again and send it whole.")


class _Bounded:
    """A file whose reader can't ask for more at once than a zip's directory may have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > DIRECTORY_BYTES:
            raise _broken(f"its directory has more than {DIRECTORY_BYTES // 1_000_000} MB")
        return self._file.read(size)


def read_zip(file: IO[bytes], limit: int) -> list[Incoming]:
    """Return the inputs of a zip, none of them unpacked yet.

    Raises Problem 422 or 413 if it is damaged or encrypted, hides something, or unpacks to more than `limit` bytes.
    """
    try:
        archive = zipfile.ZipFile(_Bounded(file))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise _broken(str(error)[:100] or type(error).__name__) from None
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and not is_litter(entry.orig_filename)]
    check_names([entry.orig_filename for entry in entries])
    for entry in entries:
        _check_entry(entry)
    if sum(entry.file_size for entry in entries) > limit:
        raise too_large(limit)
    _check_apart(archive.infolist())
    return [Incoming(entry.orig_filename, entry.file_size, _reader(archive, entry)) for entry in entries]


def _check_entry(entry: zipfile.ZipInfo) -> None:
    if entry.flag_bits & 0x1:
        detail = f"{entry.filename[:100]!r} is encrypted. Send the photos in a zip without a password."
        raise Problem(422, "encrypted-archive", detail)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _broken("it uses a compression other than deflate")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _refused(entry.filename, "it is a link to another file")
    if entry.file_size > BOMB_BYTES and entry.file_size > BOMB_RATIO * max(1, entry.compress_size):
        detail = f"{entry.filename[:100]!r} unpacks to more than {BOMB_RATIO} times its size, as no photo does."
        raise Problem(422, "zip-bomb", f"{detail} Leave it out and send the rest again.")


def _check_apart(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raise Problem 422 if two entries share bytes of the archive: so a small one can unpack to a huge one."""
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    for entry, following in pairwise(ordered):
        if entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size > following.header_offset:
            detail = "Entries of the zip share the same bytes. Make it again with an ordinary program."
            raise Problem(422, "zip-bomb", detail)


def _reader(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with archive.open(entry) as member:
                # It reads no more than the directory says, whatever the member holds, and then compares checksums.
                # And in pieces, as whole members are larger than what _Bounded lets be read at once.
                content = b"".join(iter(lambda: member.read(PIECE), b""))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise _broken(f"{entry.filename[:100]!r}: {str(error)[:100] or 'cut short'}") from None
        if len(content) != entry.file_size:
            raise _broken(f"{entry.filename[:100]!r} has not the size that the directory says")
        return content

    return read


class Multipart:
    """Takes a multipart body piece by piece and writes its files one after another into `file`.

    `write` and `inputs` raise Problem 422 on a body that is no multipart of files.
    """

    def __init__(self, content_type: str, file: IO[bytes]) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise _no_multipart("its Content-Type names no boundary")
        self._file = file
        self._found: list[Incoming] = []
        self._name, self._start, self._size = "", 0, 0
        self._header, self._value, self._disposition = b"", b"", b""
        self._ended = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add,
            "on_part_end": self._end,
            "on_end": self._finish,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a TypedDict of the same
        except FormParserError as error:
            raise _no_multipart(str(error)[:100]) from None

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _no_multipart(str(error)[:100]) from None

    def inputs(self, limit: int) -> list[Incoming]:
        """Return the inputs, after the last piece; of a form with a zip and nothing else, those of the zip.

        Raises what read_zip does, too.
        """
        if not self._ended:
            raise _no_multipart("it ends before its last boundary")
        if len(self._found) == 1 and self._found[0].name.lower().endswith(".zip"):
            return read_zip(self._file, limit)  # all that is in the file
        check_names([incoming.name for incoming in self._found])
        return self._found

    def _begin(self) -> None:
        self._disposition, self._start, self._size = b"", self._start + self._size, 0

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"filename")
        if name is None:
            raise _no_multipart("a part of it is no file: each needs a filename")
        try:
            self._name = name.decode()
        except UnicodeDecodeError:
            raise _no_multipart("the name of a file is not UTF-8") from None
        if len(self._found) == INPUTS_LIMIT:
            raise too_many(INPUTS_LIMIT + 1)

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._file.write(memoryview(data)[start:end])
        self._size += end - start

    def _end(self) -> None:
        self._found.append(Incoming(self._name, self._size, self._reader(self._start, self._size)))

    def _reader(self, start: int, size: int) -> Callable[[], bytes]:
        def read() -> bytes:
            self._file.seek(start)
            return self._file.read(size)

        return read

    def _finish(self) -> None:
        self._ended = True


def _no_multipart(reason: str) -> Problem:
    detail = f"The body is no multipart of files: {reason}. Send each photo as a part with a filename, or send a zip."
    return Problem(422, "broken-multipart", detail)
