"""A model version in a process of its own: it may crash, hang or eat memory, and costs nobody else anything."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import InvalidModelVersion, Manifest, Prediction, Reading
from services.image_classifier.versions.framing import Ended, receive, send

ROOT = Path(__file__).resolve().parents[3]
WARM_FRAMES, WARM_ROUNDS = 16, 3
ANSWER_BYTES = 4096


class Late(Exception):
    """The version did not answer in time; its process was ended."""


class Failed(Exception):
    """The version gave no answer that is one; the message says why."""


class IsolatedVersion:
    """A graph behind a socket; `predict` may be called by one thread at a time."""

    def __init__(self, manifest: Manifest, memory_bytes: int, processor_s: int = 0) -> None:
        """Begin its process: at most `memory_bytes` of addresses and, if not 0, `processor_s`. Raises OSError."""
        self.manifest = manifest
        self._reading = Reading(manifest)
        self._lock = threading.Lock()
        self._channel, theirs = socket.socketpair()
        command = [sys.executable, "-m", "services.image_classifier.versions.child", str(theirs.fileno())]
        # Nothing of our environment: it may hold secrets.
        environment = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "PATH": os.defpath}
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, str(memory_bytes), str(processor_s)],
            pass_fds=[theirs.fileno()],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()

    def load(self, graph: bytes, start_s: float) -> Self:
        """Hand it the graph and wait until it serves; `close` ends the wait. Raises InvalidModelVersion."""
        deadline = time.monotonic() + start_s
        try:
            self._channel.settimeout(start_s)
            said = self.manifest.model_dump(mode="json", by_alias=True)
            send(self._channel, {"manifest": said, "threads": 1}, graph)
            head, _ = receive(self._channel, deadline)
        except TimeoutError:
            self.close()
            raise InvalidModelVersion(f"it is not ready after {start_s:g} s") from None
        except (Ended, OSError):
            code = self._end()
            raise InvalidModelVersion(f"its process ended while it was loaded (exit code {code})") from None
        if "refused" in head:
            self.close()
            raise InvalidModelVersion(str(head["refused"]))
        return self

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def predict(self, pictures: Sequence[Picture], deadline_s: float) -> tuple[list[Prediction], float]:
        """Return a prediction a picture, in order, and the seconds that the graph took.

        Raises Late, after which the process is gone, or Failed.
        """
        with self._lock:
            logits, seconds = self._ask(np.stack([picture.pixels for picture in pictures]), deadline_s)
        return self._reading.predictions(logits, pictures), seconds

    def _ask(self, pixels: npt.NDArray[np.uint8], deadline_s: float) -> tuple[npt.NDArray[np.float32], float]:
        deadline = time.monotonic() + deadline_s
        try:
            self._channel.settimeout(deadline_s)
            send(self._channel, {"shape": pixels.shape}, pixels.tobytes())
            # A graph decides how much it answers; it is not to fill our memory with it.
            head, body = receive(self._channel, deadline, ANSWER_BYTES)
        except TimeoutError:
            self.close()
            raise Late(f"no answer within {deadline_s:g} s") from None
        except (Ended, OSError):
            raise Failed(f"its process ended (exit code {self._end()})") from None
        if "failed" in head:
            raise Failed(str(head["failed"]))
        logits = np.frombuffer(body, dtype="<f4")
        if logits.size != 2 * len(pixels) or not np.isfinite(logits).all():
            raise Failed("it gave numbers that are not finite, or too few")
        return logits.reshape(len(pixels), 2), float(head["seconds"])

    def close(self) -> None:
        """End its process."""
        self._end()

    def _end(self) -> int:
        self._process.kill()
        code = self._process.wait(timeout=10)
        # Last: a thread that waits for an answer has seen the other end close by now.
        self._channel.close()
        return code


def prove(manifest: Manifest, graph: bytes, *, memory_bytes: int, within_s: float) -> float:
    """Load and warm an uploaded version in a process of its own; return the seconds that a frame takes.

    Raises InvalidModelVersion with the reason.
    """
    version = IsolatedVersion(manifest, memory_bytes, max(1, int(within_s))).load(graph, within_s)
    try:
        size = manifest.input_size
        pixels = np.random.default_rng(0).integers(0, 256, (WARM_FRAMES, size, size, 3), dtype=np.uint8)
        # Half of them are flat, from black to white: a graph may do other things with the dark than with noise.
        pixels[::2] = np.linspace(0, 255, WARM_FRAMES // 2, dtype=np.uint8)[:, None, None, None]
        pictures = [Picture(one, Quality.OK) for one in pixels]
        best = min(version.predict(pictures, within_s)[1] for _ in range(WARM_ROUNDS))
    except (Late, Failed) as error:
        raise InvalidModelVersion(f"it fails on {WARM_FRAMES} flat and noisy pictures: {error}") from error
    finally:
        version.close()
    return best / WARM_FRAMES
