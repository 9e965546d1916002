"""What routes ask for in their signatures: the service's parts, ids, and cursors."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator

from services.camera_ingest.capacity import Capacity
from services.camera_ingest.digest import Nonces
from services.camera_ingest.files import ImageFiles
from services.camera_ingest.janitor import Janitor
from services.camera_ingest.relay import Relay
from services.camera_ingest.remembered import Remembered
from services.camera_ingest.settings import Settings
from services.camera_ingest.throttle import Throttle
from shared.database import Database

NAME = r"^[A-Za-z0-9._-]+$"
NAME_LENGTH = 64
CameraId = Annotated[str, Path(min_length=1, max_length=NAME_LENGTH, pattern=NAME, description="The camera's id.")]
FrameId = Annotated[
    str, Path(min_length=1, max_length=NAME_LENGTH, pattern=NAME, description="The camera's name for the photo.")
]
ReceiptPath = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$", description="A receipt.")]


@dataclass(frozen=True)
class Parts:
    """The parts of one running camera_ingest."""

    settings: Settings
    database: Database
    files: ImageFiles
    capacity: Capacity
    relay: Relay
    janitor: Janitor
    throttle: Throttle
    nonces: Nonces
    remembered: Remembered
    putting: ThreadPoolExecutor
    queue_length: Callable[[str], int]
    workers: Callable[[], dict[str, int]]


async def _parts(request: Request) -> Parts:  # a coroutine costs no change of thread
    parts: Parts = request.app.state.parts
    return parts


Ingest = Annotated[Parts, Depends(_parts)]


def _printable(text: str) -> str:
    if not text.isprintable():  # PostgreSQL takes no NUL
        raise ValueError("is no cursor that this service gave")
    return text


Cursor = Annotated[str, Query(max_length=64), AfterValidator(_printable)]
