"""`make bench-batches`: what batches cost beside the bare loop, and what they take from cameras.

The cost is that of a worker which writes to a real disk: in CPU time, which a busy machine falsifies least, and in time
on the clock, which has the waiting for the disk too. The latency is from a
camera's PUT to the status that shows it, without a batch and beside batches that never end, the sending of their photos
included. In each, the two that are compared take turns.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple, NoReturn

import httpx
from rich.console import Console
from rich.table import Table

from services.image_classifier.batches import store, work
from services.image_classifier.batches.rules import Quota
from services.image_classifier.decode import decode
from services.image_classifier.main import MIGRATIONS
from services.image_classifier.model_version import DEFAULT_FOLDER, ModelVersion
from services.image_classifier.settings import Settings
from shared import logs
from shared.database import Database, now
from shared.migrations import migrate
from shared.testing import wait_until
from tests.benchmarks.frames import frames
from tests.benchmarks.latency import measure
from tests.system import System, running_system

INPUTS, BARE_BATCH = 192, 16
TURNS = 5
SENT, REST = 500, 150
SHARE_GOAL, LATENCY_GOAL = 0.8, 2.0
WITHOUT_BOUND = Quota(10**6, 10**9, 10**15)


class Rounds(NamedTuple):
    """Milliseconds of each round until PUT was answered, and until the photo was visible."""

    answered: list[float]
    visible: list[float]

    def add(self, more: tuple[list[float], list[float]]) -> None:
        """Add rounds as `measure` gives them."""
        for mine, theirs in zip(self, more, strict=True):
            mine.extend(theirs)


def no_fetch(_: Sequence[str]) -> NoReturn:
    raise AssertionError("nothing is fetched")


class Cost(NamedTuple):
    """Milliseconds an image, of the processor and on the clock."""

    cpu: float
    clock: float

    @classmethod
    def of(cls, work: Callable[[], object]) -> "Cost":
        """Measure what does INPUTS images."""
        cpu, clock = time.process_time(), time.perf_counter()
        work()
        return cls((time.process_time() - cpu) * 1000 / INPUTS, (time.perf_counter() - clock) * 1000 / INPUTS)


def cost(rounds: int) -> tuple[Cost, Cost]:
    """Return the least cost of the bare loop (decode, one forward pass for 16), and of a worker."""
    photos, model = frames(), ModelVersion.load(DEFAULT_FOLDER)
    size, settings = model.manifest.input_size, Settings()
    bare: list[Cost] = []
    worked: list[Cost] = []
    with ExitStack() as stack:
        url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory(prefix='huella-bench-'))}/bench.db"
        migrate(url, MIGRATIONS)
        database = Database(url)
        stack.callback(database.close)
        tools = work.Tools(
            model=lambda: model,
            decode=decode,
            fetch=no_fetch,
            chunk=settings.batch_chunk,
            lease=timedelta(minutes=5),
        )

        def work_on() -> None:
            while work.classify_batches(database, tools):
                pass

        def loop() -> None:
            for start in range(0, INPUTS, BARE_BATCH):
                model.predict([decode(photos[(start + n) % len(photos)], size) for n in range(BARE_BATCH)])

        for number in range(rounds):
            _fill(database, f"batch-{number}", photos)
            worked.append(Cost.of(work_on))
            bare.append(Cost.of(loop))
    least = [Cost(*(min(values) for values in zip(*costs, strict=True))) for costs in (bare, worked)]
    return least[0], least[1]


def _fill(database: Database, batch_id: str, photos: Sequence[bytes]) -> None:
    names = [str(number) for number in range(1, INPUTS + 1)]
    new = store.NewBatch(batch_id, "bench", store.UPLOAD, names, 0, now())
    database.write(lambda c: store.create(c, new, WITHOUT_BOUND))
    for start in range(1, INPUTS + 1, len(photos)):
        some = {start + n: photo for n, photo in enumerate(photos)}
        database.write(lambda c, some=some: store.add_contents(c, new, some, now()))  # type: ignore[misc]  # bound now
    database.write(lambda c: store.open_for_work(c, new, "", now()))


@contextmanager
def endless_batches(system: System, body: Path) -> Iterator[None]:
    """Keep a batch unfinished for the length of a `with`, by a sender of its own process, as senders are elsewhere."""
    spawn = multiprocessing.get_context("spawn")
    ended = spawn.Event()
    url, authorization = str(system.classifier.base_url), system.classifier.headers["Authorization"]
    sender = spawn.Process(target=keep_sending, args=(url, authorization, body, ended))
    sender.start()
    try:
        wait_until("a batch is worked on", lambda: _worked_on(system), 120)
        yield
    finally:
        ended.set()
        sender.join()


def keep_sending(url: str, authorization: str, body: Path, ended: Event) -> None:
    """Send the same batch again whenever less than REST of its photos are left."""
    headers = {"Authorization": authorization, "Content-Type": "application/zip"}
    with httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False) as client:
        while not ended.is_set():
            answer = client.post("/v1/batches", content=body.read_bytes())
            answer.raise_for_status()
            while not ended.wait(0.2):
                at = client.get(answer.headers["Location"]).raise_for_status().json()
                if at["total"] - at["done"] - at["failed"] < REST:
                    break


def _zip(path: Path) -> Path:
    photos = frames()
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(SENT):
            archive.writestr(f"{number}.jpg", photos[number % len(photos)])
    return path


def _worked_on(system: System) -> bool:
    return any(item["done"] for item in system.items(system.classifier, "/v1/batches"))


def latency(rounds: int) -> tuple[Rounds, Rounds]:
    """Return the milliseconds until PUT was answered and until the photo was visible, of each round.

    Without a batch, and beside one; the two take turns.
    """
    idle, beside = Rounds([], []), Rounds([], [])
    each = max(1, rounds // TURNS)
    with tempfile.TemporaryDirectory(prefix="huella-bench-") as folder, running_system(Path(folder)) as system:
        body = _zip(Path(folder) / "photos.zip")
        for turn in range(TURNS):
            idle.add(measure(system, each, f"without-{turn}"))
            with endless_batches(system, body):
                beside.add(measure(system, each, f"beside-{turn}"))
            for item in list(system.items(system.classifier, "/v1/batches")):
                system.classifier.delete(f"/v1/batches/{item['id']}", timeout=60).raise_for_status()
    return idle, beside


def median(times: Sequence[float]) -> float:
    """Return the middle one."""
    return statistics.median(times)


def p95(times: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(times, n=20)[-1]


def main() -> None:
    """Measure and print; exits with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=120)
    rounds = parser.parse_args().rounds
    logs.configure("bench", "json", "error")
    bare, worked = cost(max(3, rounds // 15))
    idle, beside = latency(rounds)
    share = bare.cpu / worked.cpu
    table = Table("what", "without a batch", "with", "ratio", "goal", title="Batches")
    for what, loop, worker, goal in (
        ("CPU ms an image", bare.cpu, worked.cpu, f"at least {SHARE_GOAL}"),
        ("ms an image on the clock", bare.clock, worked.clock, ""),
    ):
        table.add_row(what, f"{loop:.2f}", f"{worker:.2f}", f"{loop / worker:.2f}", goal)
    for what, of, times, goal in (
        ("PUT to visible, median ms", median, (idle.visible, beside.visible), f"at most {LATENCY_GOAL}"),
        ("PUT to visible, p95 ms", p95, (idle.visible, beside.visible), f"at most {LATENCY_GOAL}"),
        ("PUT answered, median ms", median, (idle.answered, beside.answered), ""),
    ):
        without, with_ = map(of, times)
        table.add_row(what, f"{without:.0f}", f"{with_:.0f}", f"{with_ / without:.2f}", goal)
    slower = [median(beside.visible) / median(idle.visible), p95(beside.visible) / p95(idle.visible)]
    Console(width=120).print(table)
    raise SystemExit(0 if share >= SHARE_GOAL and max(slower) <= LATENCY_GOAL else 1)


if __name__ == "__main__":
    main()
