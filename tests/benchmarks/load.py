"""The load generator: a process of its own that sends photos over kept-alive connections and times the answers.

Clients are threads on plain sockets, which costs a tenth of a millisecond a photo; that is counted apart. Closed loop:
each client sends its next photo when the last was answered, which finds what can be carried. Open loop: photo n is due
at start + n / rate whatever became of the others, and its latency counts from then, so that a slow answer is not
hidden by the photos that it kept from being sent.
"""

import itertools
import multiprocessing
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

ANSWER_LIMIT = 1024 * 1024
TIMEOUT_S = 30.0
AFTER_REFUSAL_S = 0.05


@dataclass(frozen=True)
class Target:
    """Where photos go: client k sends as `senders[k % len(senders)]`, which are (path, Authorization).

    In a path, `{n}` becomes a number that no other photo of the job has.
    """

    port: int
    method: str
    senders: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Job:
    """What to send: `clients` connections for `seconds`; with a `rate` (photos a second, in all) an open loop."""

    target: Target
    clients: int
    seconds: float
    rate: float | None = None


@dataclass
class Outcome:
    """What came of a job: latencies of good answers in seconds, answers by status, and what sending cost.

    `status` has "broken" for connections that ended without an answer; `silent_refusals` are 503s or 429s that don't
    say when to try again; `unsent` photos of an open loop were due and no client was free for them in time.
    """

    latencies: list[float] = field(default_factory=list)
    status: Counter[str] = field(default_factory=Counter)
    silent_refusals: int = 0
    unsent: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0

    @property
    def good(self) -> int:
        """How many photos were answered with a 2xx."""
        return len(self.latencies)


class Load:
    """A process that sends photos; `send` runs one job at a time."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def send(self, job: Job) -> Outcome:
        """Run a job and return its outcome."""
        self.begin(job)
        return self.result()

    def begin(self, job: Job) -> None:
        """Start a job, to be ended by `result`."""
        self._pipe.send(job)

    def result(self) -> Outcome:
        """Wait for the job that `begin` started."""
        outcome = self._pipe.recv()
        assert isinstance(outcome, Outcome)
        return outcome


@contextmanager
def loading(photos: Sequence[bytes]) -> Iterator[Load]:
    """Run a load generator that sends these photos, for the length of a `with`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, list(photos)), daemon=True)
    process.start()
    try:
        yield Load(ours)
    finally:
        ours.close()
        process.join(timeout=5)
        process.terminate()


def _serve(pipe: Connection, photos: Sequence[bytes]) -> None:
    for run in itertools.count(time.time_ns() // 1_000_000):
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(run_job(job, photos, run))


def run_job(job: Job, photos: Sequence[bytes], run: int) -> Outcome:
    """Send as the job says and return its outcome; `run` makes names and bytes differ from those of other runs."""
    outcome, lock, numbers = Outcome(), threading.Lock(), itertools.count()
    cpu, started = time.process_time(), time.perf_counter()

    def client(index: int) -> None:
        path, authorization = job.target.senders[index % len(job.target.senders)]
        with _Wire(job.target.port) as wire:
            while True:
                number = next(numbers)
                due = time.perf_counter() if job.rate is None else started + number / job.rate
                if max(due, time.perf_counter()) - started >= job.seconds:
                    with lock:
                        outcome.unsent += due - started < job.seconds
                    return
                time.sleep(max(0.0, due - time.perf_counter()))
                name = f"{run}-{number}"
                photo = with_comment(photos[number % len(photos)], name.encode())
                head = _head(job.target.method, path.replace("{n}", name), authorization, sum(map(len, photo)))
                status, answer_head = wire.exchange([head, *photo])
                took = time.perf_counter() - due
                with lock:
                    outcome.status[status] += 1
                    if status.startswith("2"):
                        outcome.latencies.append(took)
                    elif status in ("503", "429") and b"\r\nretry-after:" not in answer_head.lower():
                        outcome.silent_refusals += 1
                if job.rate is None and not status.startswith("2"):
                    time.sleep(AFTER_REFUSAL_S)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(job.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.seconds = time.perf_counter() - started
    if job.rate is not None:
        outcome.unsent += max(0, int(job.rate * job.seconds) - next(numbers))
    outcome.cpu_s = time.process_time() - cpu
    return outcome


def with_comment(jpeg: bytes, comment: bytes) -> list[bytes | memoryview]:
    """Return a JPEG in pieces with a comment in it, so that no two photos have the same bytes."""
    return [jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment, memoryview(jpeg)[2:]]


def _head(method: str, path: str, authorization: str, length: int) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Authorization: {authorization}", f"Content-Length: {length}"]
    return ("\r\n".join([*lines, "Content-Type: image/jpeg"]) + "\r\n\r\n").encode()


class _Wire:
    """One kept-alive connection, opened anew when it breaks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> "_Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def exchange(self, pieces: Sequence[bytes | memoryview]) -> tuple[str, bytes]:
        """Send a request and return the status and head of its answer; "broken" if none came."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(b"".join(pieces))
            head, close = _answer(self._socket)
        except (OSError, ValueError):
            self._close()
            return "broken", b""
        if close:
            self._close()
        return head[9:12].decode("ascii", "replace"), head

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _answer(wire: socket.socket) -> tuple[bytes, bool]:
    """Read one answer; return its head and whether the connection ends with it. Raises ValueError on nonsense."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _some(wire)
        if len(received) > ANSWER_LIMIT:
            raise ValueError("an answer without an end")
    head = received[:end]
    lower = head.lower()
    _, found, rest = lower.partition(b"\r\ncontent-length:")
    if not found:
        raise ValueError("an answer without a length")
    missing = end + 4 + int(rest.split(b"\r\n", 1)[0]) - len(received)
    while missing > 0:
        missing -= len(_some(wire))
    return head, b"\r\nconnection: close" in lower


def _some(wire: socket.socket) -> bytes:
    received = wire.recv(65536)
    if not received:
        raise ConnectionResetError("closed without an answer")
    return received
