"""A frame whose sender or server gives up while a thread is at it: there is a row with its file, or neither."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Request
from sqlalchemy import select

from services.camera_ingest.api import accept
from services.camera_ingest.api.accept import Arrival
from services.camera_ingest.api.dependencies import Parts
from services.camera_ingest.files import GATHERED, IncomingImage
from services.camera_ingest.registry import Camera, digest_of
from services.camera_ingest.tables import frames
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest, running
from shared.testing import TokenFor


class Held:
    """Holds a thread before it does `function`, until it may go on; then tells when it is through."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.inside, self.goes_on = threading.Event(), threading.Event()

    def __call__(self, *args: Any) -> Any:
        self.inside.set()
        assert self.goes_on.wait(20)
        return self._function(*args)


class Ended:
    """Does `function` and then tells that it is through, however it ended."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.ended = threading.Event()

    def __call__(self, *args: Any) -> Any:
        try:
            return self._function(*args)
        finally:
            self.ended.set()


def method(held: Held) -> Callable[..., Any]:
    return lambda *args: held(*args)


def putting(image: bytes) -> Request:
    sent = [{"type": "http.request", "body": image}]

    async def receive() -> dict[str, Any]:
        return sent.pop()

    return Request({"type": "http", "method": "PUT", "headers": []}, receive)


def receipts(ingest: Ingest) -> set[str]:
    with ingest.parts.database.read() as connection:
        return set(connection.scalars(select(frames.c.receipt)))


async def put_and_cancel(parts: Parts, camera: Camera, held: Held) -> None:
    """Cancel as uvicorn does at the end of its patience: the task itself."""
    task = asyncio.create_task(accept.accept(parts, putting(photo()), Arrival(camera, "given-up")))
    assert await asyncio.to_thread(held.inside.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.goes_on.set()


@pytest.mark.parametrize("before", ["make_durable", "keep"])
def test_a_row_has_its_file_though_the_task_was_cancelled_while_a_thread_stored_the_frame(
    ingest_on_each: Ingest, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    ingest = ingest_on_each
    held, stored = Held(getattr(IncomingImage, before)), Ended(accept._store)
    monkeypatch.setattr(IncomingImage, before, method(held))
    monkeypatch.setattr(accept, "_store", stored)
    camera = Camera("c1", "k1", secret=digest_of(ingest.secrets["c1"]))
    asyncio.run(put_and_cancel(ingest.parts, camera, held))
    assert stored.ended.wait(20)
    assert len(receipts(ingest)) == 1
    assert ingest.files() == receipts(ingest)


def test_a_photo_that_comes_too_slowly_leaves_nothing_though_a_piece_is_being_written(
    make_settings: MakeSettings, token_for: TokenFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(IncomingImage.write)
    written = Ended(accept._write)
    monkeypatch.setattr(IncomingImage, "write", method(held))
    monkeypatch.setattr(accept, "_write", written)
    with running(make_settings(body_deadline_s=1), token_for) as ingest:
        ingest.make_camera()
        assert ingest.put("slow", photo() + bytes(GATHERED)).status_code == 408
        held.goes_on.set()
        assert written.ended.wait(20)
        assert (receipts(ingest), ingest.files()) == (set(), set())


def test_pieces_of_large_photos_wait_for_no_thread_that_others_need(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    write = IncomingImage.write

    def note(incoming: IncomingImage) -> None:
        taken.append(threading.current_thread().name.partition("_")[0])
        write(incoming)

    monkeypatch.setattr(IncomingImage, "write", note)
    ingest.accept("large", photo() + bytes(GATHERED))
    assert set(taken) == {"putting"}


def test_an_image_that_was_given_up_before_its_thread_began_is_not_begun(ingest: Ingest) -> None:
    incoming = IncomingImage(ingest.parts.files, "018f0000-0000-7000-8000-000000000000")
    with incoming:
        incoming.add(b"first")
        incoming.write()
    with pytest.raises(RuntimeError), incoming:
        pass
    assert ingest.files() == set()
