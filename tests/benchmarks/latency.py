"""`make bench-latency`: the time from a camera's PUT to the adoption status that shows it, on an idle system."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.photos import drawn, named
from tests.system import System, running_system

GOAL_MS = 100
WARM_UP = 5
IDLE_S = 0.25


def measure(system: System, rounds: int, space: str = "bench") -> tuple[list[float], list[float]]:
    """Return, of each round, the milliseconds until PUT was answered and until the status showed the photo.

    `space` is a space of its own, with a camera of the same name.
    """
    camera = system.camera(space, space)
    answered, visible = [], []
    for number in range(-WARM_UP, rounds):
        picture = drawn(("cat", "dog", "none")[number % 3], seed=number % 10, size=(1280, 720))
        photo = named(picture, f"{space} {number}")
        time.sleep(IDLE_S)
        seen = _frames(system, space)
        started = time.perf_counter()
        camera.put(f"{number}", photo)
        put = time.perf_counter()
        while _frames(system, space) == seen:
            if time.perf_counter() - started > 60:
                raise TimeoutError(f"photo {number} is not in the status after a minute")
            time.sleep(0.001)
        if number >= 0:
            answered.append((put - started) * 1000)
            visible.append((time.perf_counter() - started) * 1000)
    return answered, visible


def _frames(system: System, space: str) -> int:
    shown = system.spaces().get(space)
    return int(shown["frames"]) if shown else 0


def table(rows: dict[str, Sequence[float]]) -> Table:
    """Return the median, the 95th percentile and the extremes of each row of milliseconds."""
    result = Table("from PUT until", "median", "p95", "least", "most", title="Latency on an idle system, ms")
    for name, times in rows.items():
        p95 = statistics.quantiles(times, n=20)[-1]
        values = (statistics.median(times), p95, min(times), max(times))
        result.add_row(name, *(f"{value:.1f}" for value in values))
    return result


def main() -> None:
    """Measure and print; exits with 1 if the median misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="huella-bench-") as folder, running_system(Path(folder)) as system:
        answered, visible = measure(system, rounds)
    console = Console()
    console.print(table({"accepted (201)": answered, "visible in the status": visible}))
    median = statistics.median(visible)
    console.print(f"{rounds} photos of 1280x720; the goal is a median below {GOAL_MS} ms")
    raise SystemExit(0 if median < GOAL_MS else 1)


if __name__ == "__main__":
    main()
