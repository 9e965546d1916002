"""One camera at work: a thread that takes photos into its spool, and one that sends them to ingest.

Each camera has its own two, so that a slow or dead one stops no other.
"""

import errno
import os
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog

from services.camera_agent import metrics
from services.camera_agent.config import Camera
from services.camera_agent.domain import Shown, Verdict, is_about_the_frame, wait_s, worth_sending, worth_telling
from services.camera_agent.ingest import Answer, Ingest
from services.camera_agent.losses import Losses
from services.camera_agent.photo import NotAPhoto, fingerprint
from services.camera_agent.sources import Source
from services.camera_agent.sources.photos import Photo, SourceFailure
from services.camera_agent.spool import Kept, Spool, Torn

log = structlog.get_logger(__name__)

LOOK_S = 1.0
STUCK_AFTER = 6
"""Tries of one frame, within some minute, before the next one is tried instead."""
BEHIND = "ingest has a fault with this frame alone: kept, and tried again when no other waits; its log may say why"
FULL = (errno.ENOSPC, errno.EDQUOT)


class CameraAtWork:
    """A camera's two threads, from `start` to `stop`."""

    def __init__(self, camera: Camera, source: Source, spool: Spool, ingest: Ingest) -> None:
        self.camera = camera
        self._source = source
        self._spool = spool
        self._ingest = ingest
        self._stopped = threading.Event()
        self._shown: Shown | None = None
        self._unreadable = 0
        self._behind: set[Kept] = set()
        self._losses = Losses(camera.camera_id)
        self._log = log.bind(camera=camera.camera_id)
        self._threads = [
            threading.Thread(target=work, name=f"{camera.camera_id}-{name}", daemon=True)
            for name, work in (("source", self._take_photos), ("sender", self._send_frames))
        ]
        for outcome in ("kept", "unchanged", "unreadable"):
            metrics.PHOTOS.labels(camera.camera_id, outcome)
        for reason in ("bound", "disk", "refused", "torn"):
            metrics.DROPPED.labels(camera.camera_id, reason)

    def start(self) -> None:
        """Begin to take and to send."""
        self._measure()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask both threads to end; `join` waits for them."""
        self._stopped.set()

    def join(self, deadline: float) -> None:
        """Wait for both threads to end, until a moment of `time.monotonic`."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._losses.tell(at_once=True)

    def dead(self) -> list[str]:
        """Return the names of threads that ended although nobody stopped them and their work is not over."""
        return [] if self._stopped.is_set() else [thread.name for thread in self._threads if not thread.is_alive()]

    # Taking photos

    def _take_photos(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                for photo in self._source(self._stopped):
                    self._take(photo)
                    if failures and not photo.unreadable.is_set():
                        self._log.info("source gives photos again", failures=failures)
                        failures = 0
                if not self._stopped.is_set():
                    self._log.info("source has come to its end")
                    self._stopped.wait()
                return
            except SourceFailure as failure:
                reason, said = failure.reason, str(failure)[:300]  # some of it may be the camera's own words
            except Exception as error:  # noqa: BLE001 - a fault of ours in one source must not end its camera for ever
                # Its type alone: the text of foreign errors may hold an address with its password.
                reason, said = "unexpected", f"{type(error).__name__} at {_place(error)}"
            failures += 1
            metrics.SOURCES_UP.labels(self.camera.camera_id).set(0)
            metrics.SOURCE_FAILURES.labels(self.camera.camera_id, reason).inc()
            pause_s = wait_s(failures, random.random())  # noqa: S311 - it spreads load, it hides nothing
            level = self._log.warning if worth_telling(failures) else self._log.debug
            level("source gives nothing", reason=reason, error=said, failures=failures, again_in_s=round(pause_s, 1))
            self._stopped.wait(pause_s)

    def _take(self, photo: Photo) -> None:
        camera_id = self.camera.camera_id
        try:
            shown = Shown(fingerprint(photo.image), photo.captured_at)
        except NotAPhoto as error:
            metrics.PHOTOS.labels(camera_id, "unreadable").inc()
            metrics.SOURCES_UP.labels(camera_id).set(0)
            photo.unreadable.set()
            self._unreadable += 1
            level = self._log.warning if worth_telling(self._unreadable) else self._log.debug
            level("not a photo", error=str(error)[:200], in_a_row=self._unreadable)
            return
        self._unreadable = 0
        metrics.SOURCES_UP.labels(camera_id).set(1)
        metrics.LAST_PHOTO.labels(camera_id).set(datetime.now(UTC).timestamp())
        if self.camera.entry.skip_unchanged and not worth_sending(self._shown, shown, self.camera.entry.heartbeat_s):
            metrics.PHOTOS.labels(camera_id, "unchanged").inc()
            return
        self._keep(photo)
        metrics.PHOTOS.labels(camera_id, "kept").inc()
        self._shown = shown
        self._measure()

    def _keep(self, photo: Photo) -> None:
        """Put a photo into the spool; on a full disk as many bytes of the oldest frames as it has give way to it.

        Raises SourceFailure when the disk does not take it for another reason, which dropping frames would not cure.
        """
        freed = 0
        while True:
            try:
                dropped = self._spool.add(photo.captured_at, photo.image)
                break
            except OSError as error:
                if error.errno not in FULL:
                    said = f"the spool can't be written: {os.strerror(error.errno or 0)}; what it has is kept"
                    raise SourceFailure("disk", said) from None
            victim = self._drop_oldest() if freed < len(photo.image) else None
            if victim is None:
                raise SourceFailure("disk", "the disk is full: make room")
            freed += victim.size
            self._losses.add("disk", victim)
        for kept in dropped:
            self._losses.add("bound", kept)
        self._losses.tell()

    def _drop_oldest(self) -> Kept | None:
        try:
            return self._spool.drop_oldest()
        except OSError as error:
            said = f"the disk is full, and lets go of nothing: {os.strerror(error.errno or 0)}"
            raise SourceFailure("disk", said) from None

    # Sending frames

    def _send_frames(self) -> None:
        failures = 0
        since: datetime | None = None
        while not self._stopped.is_set():
            self._losses.tell()
            frame = self._spool.next_to_send(LOOK_S)
            if frame is None:
                continue
            try:
                answer = self._send(frame)
            except Exception as error:  # noqa: BLE001 - a fault of ours, or of the disk, must not end the sender for ever
                answer = Answer(Verdict.LATER, 0, f"could not be asked: {type(error).__name__} at {_place(error)}")
            if answer is None or answer.verdict in (Verdict.TAKEN, Verdict.REFUSED):
                if since is not None:
                    waited_s = round((datetime.now(UTC) - since).total_seconds())
                    self._log.info("ingest takes frames again", after_s=waited_s, frames_waiting=len(self._spool))
                failures, since = 0, None
            else:
                failures, since = failures + 1, since or datetime.now(UTC)
                self._hold(failures)
                if is_about_the_frame(answer.status) and self._goes_on_without(frame, failures):
                    failures, since = 0, None
                else:
                    self._wait(answer, failures)
            self._measure()

    def _goes_on_without(self, frame: Kept, failures: int) -> bool:
        """Return whether the frame alone is the trouble: after some tries the next one is sent, and that is taken."""
        if failures < STUCK_AFTER and frame not in self._behind:
            return False
        other = self._spool.after(frame)
        if other is None:
            return False
        try:
            answer = self._send(other)
        except OSError:  # a fault of the disk: no word on the frame
            return False
        if answer is None or answer.verdict is not Verdict.TAKEN:
            return False
        if frame not in self._behind:
            self._log.warning("a frame stays behind", frame=frame.frame_id, hint=BEHIND)
        self._behind.add(frame)
        self._spool.put_last(frame)
        return True

    def _send(self, frame: Kept) -> Answer | None:
        """Send one frame, and forget it if that is over; None if it was no frame any more."""
        camera_id = self.camera.camera_id
        try:
            image = self._spool.read(frame)
        except Torn as error:
            self._spool.remove(frame)
            self._losses.add("torn", frame, str(error))
            return None
        answer = self._ingest.put(self.camera, frame, image)
        if answer.verdict is Verdict.TAKEN:
            self._spool.remove(frame)
            self._behind.discard(frame)
            metrics.DELIVERIES.labels(camera_id, "accepted" if answer.status == 201 else "repeated").inc()
        elif answer.verdict is Verdict.REFUSED:
            self._spool.remove(frame)
            metrics.DELIVERIES.labels(camera_id, "refused").inc()
            self._losses.add("refused", frame, answer.said)
        else:
            metrics.DELIVERIES.labels(camera_id, "failed").inc()
        return answer

    def _hold(self, failures: int) -> None:
        try:
            self._spool.hold()
        except OSError as error:  # the frames are there, but for a power cut; the next try makes up for it
            level = self._log.warning if worth_telling(failures) else self._log.debug
            level("frames can't be synced to the disk", error=os.strerror(error.errno or 0), failures=failures)

    def _wait(self, answer: Answer, failures: int) -> None:
        pause_s = wait_s(failures, random.random(), answer.wait_s)  # noqa: S311 - as above
        level = self._log.warning if worth_telling(failures) else self._log.debug
        if answer.verdict is Verdict.MISCONFIGURED:
            hint = "nothing is lost up to the spool's bound; correct the camera's id and secret, or the address"
        else:
            hint = "frames are kept and sent in order later"
        level(
            "ingest takes no frames",
            ingest=answer.said,
            hint=hint,
            frames_waiting=len(self._spool),
            failures=failures,
            again_in_s=round(pause_s, 1),
        )
        self._stopped.wait(pause_s)

    def _measure(self) -> None:
        camera_id, oldest = self.camera.camera_id, self._spool.oldest()
        metrics.SPOOL_FRAMES.labels(camera_id).set(len(self._spool))
        metrics.SPOOL_BYTES.labels(camera_id).set(self._spool.bytes)
        metrics.SPOOL_OLDEST.labels(camera_id).set(oldest.captured_at.timestamp() if oldest else 0)


def open_spool(root: Path, camera: Camera, share_bytes: int) -> Spool:
    """Return the camera's spool under the agent's folder; frames of an earlier run are in it."""
    return Spool(root / camera.camera_id / "spool", share_bytes)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "an unknown place"
