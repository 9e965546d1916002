"""What the bench compares. Each contender gives a function: work for so many seconds and say what that cost.

All of them get the same photos and the same model version, and only one of them works at a time.
"""

import base64
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import psutil

from deploy.local.system import REPOSITORY
from services.image_classifier.decode import decode
from services.image_classifier.model_version import ModelVersion
from shared.testing import free_port, wait_until
from shared.tokens import Role, Signer
from tests.benchmarks.cost import cpu_s, cpu_s_by_program, memory_bytes, tree
from tests.benchmarks.load import Job, Load, Target
from tests.system import System

BATCH = 16
CAMERAS = 10
DRAIN_S = 120.0
WORKER = "services.image_classifier.worker"


@dataclass(frozen=True)
class Sample:
    """One round: photos carried, seconds it took, CPU seconds of the contender and of the load generator beside it.

    `programs` are the contender's CPU seconds again, by program, where it has several.
    """

    frames: int
    seconds: float
    cpu_s: float
    sending_cpu_s: float = 0.0
    latencies: Sequence[float] = field(default_factory=list)
    refused: int = 0
    memory_bytes: int = 0
    programs: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.frames / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a photo."""
        return 1000 * self.cpu_s / self.frames


Round = Callable[[float], Sample]


# 1. The limit


def _tight_loop(model_folder: Path, photos: Sequence[bytes], pipe: Connection) -> None:
    model = ModelVersion.load(model_folder)
    size = model.manifest.input_size
    pipe.send(None)
    while True:
        try:
            seconds = pipe.recv()
        except EOFError:
            return
        frames, started, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds:
            batch = [photos[(frames + n) % len(photos)] for n in range(BATCH)]
            model.predict([decode(photo, size) for photo in batch])
            frames += BATCH
        pipe.send((frames, time.perf_counter() - started, time.process_time() - cpu))


@contextmanager
def limit(model_folder: Path, photos: Sequence[bytes]) -> Iterator[Round]:
    """A process a core that does nothing but decode and predict, in batches, from memory."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(os.cpu_count() or 1):
        ours, theirs = context.Pipe()
        context.Process(target=_tight_loop, args=(model_folder, list(photos), theirs), daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()

    def work(seconds: float) -> Sample:
        for pipe in pipes:
            pipe.send(seconds)
        results = [pipe.recv() for pipe in pipes]
        # Each at its own rate: a loop that ends later did not help those that had ended.
        rate = sum(frames / took for frames, took, _ in results)
        frames = sum(frames for frames, _, _ in results)
        return Sample(frames, frames / rate, sum(cpu for _, _, cpu in results))

    try:
        yield work
    finally:
        for pipe in pipes:
            pipe.close()


# 2. Level 0, and whatever else answers a POST of a photo


@contextmanager
def server(
    command: Sequence[str],
    port: int,
    ready: str,
    environment: Mapping[str, str] | None = None,
    checkout: Path = REPOSITORY,
) -> Iterator[int]:
    """Run a server until the end of the `with` and give its process id; `ready` is a path that answers 200."""
    process = subprocess.Popen(
        command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until("the server answers", lambda: process.poll() is not None or _answers(port, ready), 60)
        assert process.poll() is None, f"{command} ended with {process.returncode}"
        yield process.pid
    finally:
        # Some servers leave their children behind.
        family = tree(process.pid) if process.poll() is None else []
        process.terminate()
        _, left = psutil.wait_procs(family, timeout=10)
        for one in left:
            one.kill()
        process.wait(10)


def _answers(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def posting(load: Load, roots: Sequence[int], target: Target, clients: int) -> Round:
    """Return the round of a server that answers each photo with what it shows."""

    def work(seconds: float) -> Sample:
        before = cpu_s(roots)
        outcome = load.send(Job(target, clients, seconds))
        used = cpu_s(roots) - before
        refused = sum(outcome.status.values()) - outcome.good
        return Sample(
            outcome.good, outcome.seconds, used, outcome.cpu_s, outcome.latencies, refused, memory_bytes(roots)
        )

    return work


@contextmanager
def monolith(model_folder: Path, load: Load) -> Iterator[Round]:
    """Level 0: one process, one photo at a time, nothing kept. It cannot use a second core."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.monolith", "--model", str(model_folder), "--port", str(port)]
    with server(command, port, "/status") as process:
        senders = [(f"/photos/space-{number}", "none") for number in range(CAMERAS)]
        yield posting(load, [process], Target(port, "POST", senders), 2)


# 3. Predictions alone


def predictions(system: System, load: Load, clients: int) -> Round:
    """`POST /v1/predictions` of a running system."""
    token = Signer(system.data / "keys", "cli").mint("bench", Role.VIEWER, lifetime_s=3600)
    target = Target(system.base_port + 2, "POST", [("/v1/predictions", f"Bearer {token}")])
    return posting(load, [system.pid("image_classifier")], target, clients)


# 4 and 5. Huella whole


def roots_of(system: System) -> list[int]:
    """Return the process that started all others of a system: with its descendants it is all that the system costs."""
    manager = psutil.Process(system.pid("redis")).parent()
    assert manager is not None
    above = manager.parent()
    assert above is not None
    return [above.pid]


def cameras(system: System, number: int = CAMERAS, first: str = "load") -> Target:
    """Make cameras, each of a space of its own, and return where their photos go."""
    return camera_target(system.ingest, system.base_port + 1, number, first)


def camera_target(admin: httpx.Client, port: int, number: int, first: str) -> Target:
    """Do the same at the ingest on `port`, whose admin the client is."""
    senders = []
    for index in range(number):
        name = f"{first}-{index}"
        answer = admin.put(f"/v1/cameras/{name}", json={"space_id": f"{first}-space-{index}"})
        answer.raise_for_status()
        credentials = base64.b64encode(f"{name}:{answer.json()['secret']}".encode()).decode()
        senders.append((f"/v1/cameras/{name}/frames/{{n}}", f"Basic {credentials}"))
    return Target(port, "PUT", senders)


def whole(system: System, load: Load, target: Target, clients: int, workers: Sequence[int] = ()) -> Round:
    """From PUT to settled: a round ends when every photo that was accepted is counted.

    `workers` are processes that work for the system beside its own.
    """
    roots = [*roots_of(system), *workers]

    def work(seconds: float) -> Sample:
        before, counted = cpu_s(roots), system.audit()["counted"]
        programs = cpu_s_by_program(roots)
        started = time.perf_counter()
        outcome = load.send(Job(target, clients, seconds))
        system.wait_settled(counted + outcome.good, DRAIN_S)
        took = time.perf_counter() - started
        used, audit = cpu_s(roots) - before, system.audit()
        used_by = {name: seconds - programs.get(name, 0.0) for name, seconds in cpu_s_by_program(roots).items()}
        assert audit["counted"] - counted == outcome.good, f"{outcome.good} accepted, {audit} after {counted} counted"
        refused = sum(outcome.status.values()) - outcome.good
        memory = memory_bytes(roots)
        return Sample(outcome.good, took, used, outcome.cpu_s, outcome.latencies, refused, memory, used_by)

    return work


@contextmanager
def more_workers(system: System, number: int, module: str = WORKER) -> Iterator[list[int]]:
    """Run classifier workers beside those that a system has, and give their process ids."""
    with ExitStack() as stack:
        processes = []
        for index in range(number):
            port = free_port()
            environment = system.environment | {"HUELLA_CLASSIFIER_WORKER_METRICS_PORT": str(port)}
            process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            wait_until(f"worker {index + 1} is ready", lambda port=port: _answers(port, "/metrics"), 60)  # type: ignore[misc]  # bound now
            processes.append(process.pid)
        yield processes


@contextmanager
def blind_workers(system: System, number: int) -> Iterator[list[int]]:
    """Put workers that decode nothing in the place of a system's own, and give their process ids."""
    system.stop("image_classifier_worker")
    with more_workers(system, number, "tests.benchmarks.blind_worker") as workers:
        yield workers
