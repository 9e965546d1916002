"""Bodies as cameras send them: the photo's bytes alone, or a multipart message with the photo in one of its parts.

Both are fed the pieces of a request as they come, and give back the photo's bytes among them; what is not the photo
or its event message is read and forgotten, in bounded memory.
"""

from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from services.camera_ingest.photo import MAGIC_BYTES, begins_like_a_photo

# Hikvision sends the message, the picture, and perhaps two that are cut out of it.
MOST_PARTS = 16
MOST_HEADERS = 16
HEADER_BYTES = 2048
EVENT_BYTES = 64 * 1024
SLICE = 4096
# What a multipart message may hold beside a photo of the greatest size; with it, it still passes the gateway.
AROUND_THE_PHOTO = 1024 * 1024


class BodyError(Exception):
    """The body is not what its Content-Type says; the message goes on after "The body"."""


class NoPhotoPart(Exception):
    """The message is whole, and no part of it is a photo."""


class Body(Protocol):
    """A body that is being received; `event` is the event message in it, empty if there is none."""

    around: int
    event: bytearray

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes of the photo in the next piece of the body. Raises BodyError."""

    def end(self) -> None:
        """Say that there are no more pieces. Raises BodyError or NoPhotoPart."""


class PhotoBody:
    """The photo and nothing else."""

    around = 0
    event = bytearray()

    def feed(self, piece: bytes) -> bytes:
        return piece

    def end(self) -> None:
        return


class MultipartBody:
    """A multipart message: the photo is its first part that begins like one, whatever the parts are called."""

    around = AROUND_THE_PHOTO

    def __init__(self, content_type: str) -> None:
        """Raises BodyError if the Content-Type names no usable boundary."""
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise BodyError("is multipart, and its Content-Type names no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": self._take,
                    "on_part_end": self._finish,
                },
                max_header_count=MOST_HEADERS,
                max_header_size=HEADER_BYTES,
            )
        except FormParserError:
            raise BodyError("is multipart, and its boundary is longer than 256 bytes") from None
        self.event = bytearray()
        self._parts = 0
        self._head = b""
        self._kind = ""  # of the part that is read: photo, event or other; empty while its first bytes are awaited
        self._photo = ""  # "" before it, then "begun", then "whole"
        self._out: list[bytes] = []

    def feed(self, piece: bytes) -> bytes:
        for start in range(0, len(piece), SLICE):
            padding = self._parser.state is MultipartState.BOUNDARY_PADDING
            try:
                self._parser.write(piece[start : start + SLICE])
            except FormParserError:
                raise BodyError("is no well-formed multipart message") from None
            # A boundary may be followed by blanks. The parser takes them one by one, at a thousand times the cost.
            if padding and self._parser.state is MultipartState.BOUNDARY_PADDING:
                raise BodyError("has a boundary with thousands of blanks after it")
        out, self._out = b"".join(self._out), []
        return out

    def end(self) -> None:
        if self._photo == "begun":
            raise BodyError("ends in the middle of its photo")
        if not self._photo:
            raise NoPhotoPart

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise BodyError(f"has more than {MOST_PARTS} parts")
        self._head, self._kind = b"", ""

    def _take(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if not self._kind:
            self._head += piece
            if len(self._head) < MAGIC_BYTES:
                return
            piece = self._decide()
        self._add(piece)

    def _finish(self) -> None:
        if not self._kind:  # a part that is shorter than any photo's first bytes
            self._add(self._decide())
        if self._kind == "photo":
            self._photo = "whole"

    def _decide(self) -> bytes:
        if not self._photo and begins_like_a_photo(self._head):
            self._kind, self._photo = "photo", "begun"
        elif not self.event and self._head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"<", b"{"):
            self._kind = "event"
        else:
            self._kind = "other"
        return self._head

    def _add(self, piece: bytes) -> None:
        if self._kind == "photo":
            self._out.append(piece)
        elif self._kind == "event":
            self.event += piece
            if len(self.event) > EVENT_BYTES:
                raise BodyError(f"has an event message of more than {EVENT_BYTES} bytes")


def body_of(content_type: str) -> Body:
    """Return how a body of that Content-Type is read. Raises BodyError."""
    return MultipartBody(content_type) if content_type.lower().lstrip().startswith("multipart/") else PhotoBody()
