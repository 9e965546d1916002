"""The public API of batches, as the command line uses it: asked again while it is away."""

import os
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

import httpx

from services.image_classifier.batches.journal import CannotGoOn

AWAY_S: Final = 300.0
PAGE: Final = 200

Say = Callable[[str], None]


class Api:
    """The classifier's public API, asked again while it is away."""

    def __init__(self, client: httpx.Client, say: Say) -> None:
        self._client = client
        self._say = say

    def send(self, batch_id: str, file: IO[bytes]) -> None:
        """Send a zip as the batch `batch_id`, as often as it takes; waits while others take all the room.

        Raises CannotGoOn.
        """
        size = str(file.seek(0, os.SEEK_END))
        headers = {"Content-Type": "application/zip", "Content-Length": size, "Idempotency-Key": batch_id}
        self._ask(lambda: self._client.post("/v1/batches", content=_pieces(file), headers=headers))

    def look(self, batch_id: str) -> dict[str, Any] | None:
        """Return what a batch is at, None if there is none (any more). Raises CannotGoOn."""
        answer = self._ask(lambda: self._client.get(f"/v1/batches/{batch_id}"), missing=True)
        found: dict[str, Any] | None = None if answer.status_code == 404 else answer.json()
        return found

    def predictions(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """Give what became of each input of a batch. Raises CannotGoOn."""
        query: dict[str, str | int] = {"limit": PAGE}
        while True:
            url = f"/v1/batches/{batch_id}/predictions"
            page = self._ask(lambda url=url: self._client.get(url, params=query)).json()  # type: ignore[misc]  # bound now
            yield from page["items"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def _ask(self, request: Callable[[], httpx.Response], missing: bool = False) -> httpx.Response:
        deadline: float | None = None
        while True:
            try:
                answer = request()
            except httpx.TransportError as error:
                deadline = deadline or time.monotonic() + AWAY_S  # not from the start: an upload may take as long
                if time.monotonic() > deadline:
                    raise CannotGoOn(f"the classifier does not answer ({type(error).__name__})") from None
                self._say("waiting for the classifier to answer")
                time.sleep(2)
                continue
            if answer.is_success or (missing and answer.status_code == 404):
                return answer
            detail = _detail(answer)
            deadline = deadline or time.monotonic() + AWAY_S
            # 429: others or we have as much waiting as may be. That ends by itself, however long it takes.
            if answer.status_code == 429 or (
                answer.status_code in (408, 502, 503, 504) and time.monotonic() < deadline
            ):
                self._say(f"waiting: {detail}")
                time.sleep(float(answer.headers.get("Retry-After", "2")))
                continue
            raise CannotGoOn(f"the classifier answers {answer.status_code}: {detail}")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(1024 * 1024):
        yield piece


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
