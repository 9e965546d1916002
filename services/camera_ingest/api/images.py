"""Images: the exact bytes of many frames for the classifier, and one at a time without metadata for people."""

import json
import tarfile
from collections.abc import Iterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Row

from services.camera_ingest import metrics, store
from services.camera_ingest.api.dependencies import CameraId, Ingest, Parts, ReceiptPath
from services.camera_ingest.api.receipts import image_gone, read_row
from services.camera_ingest.domain import State
from services.camera_ingest.files import ImageFiles
from services.camera_ingest.photo import PhotoError, without_metadata
from shared import messages
from shared.auth import ImageClassifier, Viewer
from shared.database import now
from shared.problem import Problem

log = structlog.get_logger(__name__)
router = APIRouter(tags=["images"])

PIECE = 1024 * 1024
TAR = "application/x-tar"
INDEX = "index.json"
END = bytes(2 * tarfile.BLOCKSIZE)


class ImagesWanted(BaseModel):
    """Receipts whose images the classifier wants, as an offer named them."""

    receipts: list[messages.Receipt] = Field(min_length=1, max_length=messages.CHUNK_LIMIT)
    settled: bool = Field(
        default=False, description="Not for an offer: images of settled frames too, and no attempt begins."
    )


@router.post(
    "/v1/images",
    response_class=Response,
    responses={200: {"content": {TAR: {}}, "description": "`index.json`, then a member a frame that is in flight."}},
)
def read_images(wanted: ImagesWanted, service: ImageClassifier, parts: Ingest) -> Response:
    """Return the images of an offer as a tar, and begin an attempt for each frame that is in flight.

    The first member, `index.json`, is `{"frames": [{"receipt", "state", "media_type"}]}`; unknown receipts are
    absent. Frames that are settled already have no member, unless `settled` asks for all that are kept.
    """
    receipts = list(dict.fromkeys(wanted.receipts))
    if wanted.settled:
        with parts.database.read() as connection:
            rows = store.read_frames(connection, receipts)
    else:
        rows = parts.database.write(lambda c: store.begin_attempts(c, receipts, now()))
    found = [rows[receipt] for receipt in receipts if receipt in rows]
    index = [{"receipt": row.receipt, "state": row.state, "media_type": row.media_type} for row in found]
    sent = [
        row.receipt for row in found if row.image_removed_at is None and (wanted.settled or row.state == State.ACCEPTED)
    ]
    return _tar(parts.files, json.dumps({"frames": index}).encode(), sent)


def _tar(files: ImageFiles, index: bytes, receipts: list[str]) -> Response:
    sizes = {}
    for receipt in receipts:
        try:
            sizes[receipt] = files.size(receipt)
        except OSError as error:  # left out; the classifier leaves the frame to the relay, or a batch without it
            _missing(receipt, error)

    def pieces() -> Iterator[bytes]:
        yield from _member(INDEX, index)
        for receipt in sizes:
            yield from _member(receipt, _content(files, receipt, sizes[receipt]))
        yield END

    length = sum(tarfile.BLOCKSIZE + _in_blocks(size) for size in (len(index), *sizes.values())) + len(END)
    # With its length told, no byte is copied once more to be sent in chunks of HTTP.
    return StreamingResponse(_gathered(pieces()), media_type=TAR, headers={"Content-Length": str(length)})


def _content(files: ImageFiles, receipt: str, size: int) -> bytes:
    """Return an image whose size is told already; if it can't be read now zeros, which its digest does not fit."""
    try:
        content = files.read(receipt)
        if len(content) != size:
            raise OSError(f"{len(content)} bytes instead of {size}")
    except OSError as error:
        _missing(receipt, error)
        return bytes(size)
    return content


def _missing(receipt: str, error: OSError) -> None:
    metrics.MISSING_IMAGES.inc()
    log.error("image of an unsettled frame can't be read", receipt=receipt, error=str(error))


def _member(name: str, content: bytes) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    yield header.tobuf(tarfile.USTAR_FORMAT)
    yield content
    yield bytes(_in_blocks(len(content)) - len(content))


def _in_blocks(size: int) -> int:
    """Return what so many bytes take in a tar."""
    return size + -size % tarfile.BLOCKSIZE


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces, since each costs a change of thread on its way out."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


IfNoneMatch = Annotated[str | None, Header()]
IMAGE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {name: {} for name in ("image/jpeg", "image/png", "image/webp")}, "description": "The image."},
    304: {"description": "The image is the one that the caller has."},
}


@router.get("/v1/receipts/{receipt}/image", response_class=Response, responses=IMAGE_ANSWERS)
def get_image(receipt: ReceiptPath, viewer: Viewer, parts: Ingest, if_none_match: IfNoneMatch = None) -> Response:
    """Return a frame's image, without its position and other metadata."""
    return _image(parts, read_row(parts, receipt), if_none_match)


@router.get("/v1/cameras/{camera_id}/latest-image", response_class=Response, responses=IMAGE_ANSWERS)
def get_latest_image(camera_id: CameraId, viewer: Viewer, parts: Ingest, if_none_match: IfNoneMatch = None) -> Response:
    """Return a camera's newest image that is kept, without its metadata."""
    with parts.database.read() as connection:
        row = store.latest_kept_frame(connection, camera_id)
    if row is None:
        raise Problem(404, "no-image", "No image of such a camera is kept.")
    return _image(parts, row, if_none_match)


def _image(parts: Parts, row: Row[Any], if_none_match: str | None) -> Response:
    etag = f'"{row.sha256}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "private",
        "X-Content-Type-Options": "nosniff",
        "Huella-Receipt": row.receipt,
    }
    if row.image_removed_at is not None:
        raise image_gone()
    if if_none_match and etag in (part.strip().removeprefix("W/") for part in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    try:
        image = b"".join(without_metadata(parts.files.read(row.receipt)))
    except FileNotFoundError:
        raise image_gone() from None
    except PhotoError as error:
        raise Problem(
            422, "unreadable-image", f"The image {error}; its metadata can't be removed safely, so it is not shown."
        ) from None
    return Response(image, media_type=row.media_type, headers=headers)
