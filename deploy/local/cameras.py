"""The demo's cameras: each PUTs a photo every other second, and again until it is taken, as a real one would."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from deploy.local.photos import Photos, covered
from deploy.local.story import Chapter, Condition, Event, Space, Story

TIMEOUT_S = 10.0
RETRY_AFTER_S = 1.0
LONGEST_WAIT_S = 30.0
AHEAD_BY = timedelta(hours=1)  # a clock that missed the end of summer time


class Unexpected(Exception):
    """The system answered what the demo can't go on with; the message has the answer."""


def checked(answer: httpx.Response) -> httpx.Response:
    """Return a successful answer. Raises Unexpected with the problem's text for any other."""
    if answer.is_success:
        return answer
    raise Unexpected(
        f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code}: {answer.text[:300]}"
    )


def register(ingest: httpx.Client, space: Space, secrets: dict[str, str]) -> None:
    """Make the space's cameras known, and put into `secrets` those that are missing there (a new secret each)."""
    for camera_id in space.cameras:
        made = checked(ingest.put(f"/v1/cameras/{camera_id}", json={"space_id": space.id})).json()
        if "secret" in made:
            secrets[camera_id] = made["secret"]
        elif camera_id not in secrets:
            secrets[camera_id] = checked(ingest.post(f"/v1/cameras/{camera_id}/secrets")).json()["secret"]


def load_kept(path: Path) -> dict[str, Any]:
    """Return what an earlier demo kept in a file, or nothing if there is none."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return kept


def keep(path: Path, values: Mapping[str, Any]) -> None:
    """Keep values for the next demo, in a file that only its owner reads."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(dict(values), file)
    new.replace(path)


class Feed:
    """All cameras at work, a thread each; `counts` has `sent`, `accepted`, `retries` and `refused`.

    The story goes on from `told_s`, the seconds of it that earlier demos told.
    """

    def __init__(
        self,
        ingest_url: str,
        story: Story,
        photos: Photos,
        secrets: Mapping[str, str],
        every_s: float,
        told_s: float = 0.0,
    ) -> None:
        self._url = ingest_url
        self._story = story
        self._photos = photos
        self._secrets = secrets
        self._every_s = every_s
        self._told_s = told_s
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self.started_at = 0.0

    def chapters(self) -> dict[str, Chapter]:
        """Return who is in each space now."""
        with self._lock:
            return {space.id: self._story.now(space.id, self.told_s) for space in self._story.spaces}

    def visited(self) -> dict[str, bool]:
        """Return in which spaces a visitor is now."""
        return {space.id: self._story.visited(space.id, self.told_s) for space in self._story.spaces}

    def conditions(self) -> dict[str, Condition]:
        """Return how each camera is now."""
        cameras = [camera for space in self._story.spaces for camera in space.cameras]
        return {camera: self._story.condition(camera, self.told_s) for camera in cameras}

    def happened(self, since_s: float, until_s: float) -> list[Event]:
        """Return what happened in the shelter between two times of the story."""
        with self._lock:
            return self._story.happened(since_s, until_s)

    @property
    def running_s(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def told_s(self) -> float:
        """Seconds of the story up to now."""
        return self._told_s + self.running_s

    def start(self) -> None:
        """Start every camera, spread over the first interval."""
        self.started_at = time.monotonic()
        cameras = [(space, camera_id) for space in self._story.spaces for camera_id in space.cameras]
        for index, (space, camera_id) in enumerate(cameras):
            delay = self._every_s * index / len(cameras)
            thread = threading.Thread(target=self._work, args=(space, camera_id, delay), name=camera_id, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Let every camera finish what it is doing, and no more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 1)

    def _work(self, space: Space, camera_id: str, delay_s: float) -> None:
        try:
            with httpx.Client(
                base_url=self._url, auth=(camera_id, self._secrets[camera_id]), timeout=TIMEOUT_S, trust_env=False
            ) as client:
                number, last = 0, b""
                while not self._stopped.wait(max(0.0, delay_s + number * self._every_s - self.running_s)):
                    with self._lock:
                        # The moment it is due, not now: so the same story gives the same photos.
                        elapsed_s = self._told_s + delay_s + number * self._every_s
                        condition = self._story.condition(camera_id, elapsed_s)
                        shot = self._story.shot(camera_id, elapsed_s, moment=round(elapsed_s * 1000))
                    if condition is Condition.DARK:
                        last = covered(camera_id, shot.moment)
                    elif condition is not Condition.FROZEN or not last:
                        last = self._photos.take(camera_id, shot)
                    if self._stopped.is_set():
                        return  # a photo may take long to draw: none is sent after the end
                    self.send(client, camera_id, last, AHEAD_BY if condition is Condition.AHEAD else timedelta(0))
                    # A camera that was held up leaves out what it missed.
                    number = max(number + 1, int((self.running_s - delay_s) / self._every_s))
        except Exception as error:  # noqa: BLE001 - whatever ends a camera's thread is shown by the main thread
            self.failure = error

    def send(self, client: httpx.Client, camera_id: str, photo: bytes, ahead: timedelta = timedelta(0)) -> None:
        """Send one photo until it is taken or refused for good, or the feed stops; the camera's clock is `ahead`."""
        now = datetime.now(UTC)
        captured_at = now + ahead
        frame_id = f"{now:%Y%m%dT%H%M%S%f}"
        self._count("sent")
        while True:
            wait_s = RETRY_AFTER_S
            try:
                answer = client.put(
                    f"/v1/cameras/{camera_id}/frames/{frame_id}",
                    content=photo,
                    headers={"Captured-At": captured_at.isoformat().replace("+00:00", "Z")},
                )
            except httpx.HTTPError:
                pass  # nobody there just now: the same as a 503
            else:
                if answer.is_success:
                    self._count("accepted")
                    return
                if answer.status_code not in (408, 425, 429) and answer.status_code < 500:
                    self._count("refused")
                    return
                asked = answer.headers.get("retry-after", "")
                wait_s = min(float(asked), LONGEST_WAIT_S) if asked.isdigit() else RETRY_AFTER_S
            self._count("retries")
            if self._stopped.wait(wait_s):
                return

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1
