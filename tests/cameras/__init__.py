"""Cameras that behave as real ones do: they send a photo again until they are told that it was accepted."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

AGAIN = (408, 429, 502, 503, 504)


class Camera:
    """A camera as a real one is: it sends a photo again until it is told that it was accepted, and keeps a log.

    `attempted` are its names of all photos that it tried to send; `log` has each answer 201 or 200 with the receipt;
    `refusals` counts the other answers by status, and "away" where there was none. `patience_s` is how long it tries.
    """

    patience_s = 60.0

    def __init__(self, ingest_url: str, camera_id: str, secret: str) -> None:
        self.camera_id = camera_id
        self.secret = secret
        self.attempted: set[str] = set()
        self.log: list[tuple[str, str]] = []
        self.refusals: Counter[str] = Counter()
        self._client = httpx.Client(base_url=ingest_url, auth=(camera_id, secret), timeout=10, trust_env=False)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def put(self, frame_id: str, photo: bytes, captured_at: str | None = None) -> str:
        """Send a photo until it is accepted, and return its receipt. Raises TimeoutError."""
        self.attempted.add(frame_id)
        deadline = time.monotonic() + self.patience_s
        headers = {"Captured-At": captured_at} if captured_at else {}
        path = f"/v1/cameras/{self.camera_id}/frames/{frame_id}"
        while True:
            try:
                answer = self._client.put(path, content=photo, headers=headers)
            except httpx.TransportError:
                self.refusals["away"] += 1
            else:
                if answer.status_code in (200, 201):
                    receipt = str(answer.json()["receipt"])
                    self.log.append((frame_id, receipt))
                    return receipt
                self.refusals[str(answer.status_code)] += 1
                if answer.status_code not in AGAIN:
                    raise AssertionError(f"{answer.status_code} to a good photo: {answer.text}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{frame_id} not accepted within {self.patience_s:g} s: {dict(self.refusals)}")
            time.sleep(0.2)


@contextmanager
def flowing(
    cameras: Sequence[Camera], photo: Callable[[str], bytes], every_s: float = 0.05
) -> Iterator[Callable[[], int]]:
    """Let every camera send a photo each `every_s` seconds for the length of a `with`; photo(name) makes each.

    Gives a function that returns how many photos were accepted so far. Raises what any camera raised.
    """
    ended = threading.Event()

    def send(camera: Camera) -> None:
        number = len(camera.attempted)
        while not ended.wait(every_s):
            number += 1
            camera.put(f"flow-{number}", photo(f"{camera.camera_id}-{number}"))

    with ThreadPoolExecutor(len(cameras)) as pool:
        sending = [pool.submit(send, camera) for camera in cameras]
        try:
            yield lambda: sum(len(camera.log) for camera in cameras)
        finally:
            ended.set()
    for future in sending:
        future.result()
