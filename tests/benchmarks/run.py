"""`make bench`: what Huella costs beside the limit, level 0 and others, in one interleaved run of about three minutes.

Every contender works for a short round, then the next does, and so on for several rounds: what disturbs the machine
disturbs all alike. CPU time is that of all the contender's processes. Writes the tables of `docs/performance.md`.

With RIVALS=1 other servers of the same model take turns too; with OVERLOAD=1 a minute of three times the capacity
follows; with FULL=1 growth goes on to a million frames.
"""

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from services.image_classifier.model_version import DEFAULT_FOLDER
from services.image_classifier.tests.tiny_model import write_tiny_model
from tests.benchmarks import contenders, report, rivals
from tests.benchmarks.contenders import Round, Sample
from tests.benchmarks.frames import frames
from tests.benchmarks.growth import grow
from tests.benchmarks.latency import measure
from tests.benchmarks.load import Job, Load, Target, loading
from tests.benchmarks.overload import BOUNDS, overload
from tests.system import System, running_system

LIMIT = "limit: decode and predict, every core"
WHOLE = "Huella whole: PUT to settled"
STUB = "Huella with a stub model"
BLIND = "Huella with a stub model, nothing decoded"
CLIENTS = 16


def main() -> None:
    """Run what the arguments and the environment ask for, print it, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEFAULT_FOLDER, help="folder of a model version")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one contender's round")
    parser.add_argument("--looks", type=int, default=30, help="photos whose way to the status is timed")
    parser.add_argument("--workers", type=int, default=1, help="classifier workers of each system")
    parser.add_argument("--dry", action="store_true", help="leave docs/performance.md as it is")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130)
    sections = _run(options, console)
    report.show(sections, console)
    about = report.machine()
    console.print(about)
    if not options.dry:
        report.write(sections, about)


def _run(options: argparse.Namespace, console: Console) -> list[report.Section]:
    model: Path = options.model.resolve()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="huella-bench-")))
        photos = frames()
        size = statistics.mean(map(len, photos)) / 1000
        console.print(
            f"{len(photos)} photos of 1280x720, {size:.0f} kB on average; model {model.parent.name}/{model.name}"
        )
        load = stack.enter_context(loading(photos))
        stub = write_tiny_model(folder / "models" / "huella" / "1", "huella")
        system = stack.enter_context(running_system(folder / "whole", _serving(model)))
        empty = stack.enter_context(running_system(folder / "stub", _serving(stub)))
        carrying = stack.enter_context(running_system(folder / "blind", _serving(stub)))
        more = {
            each: stack.enter_context(contenders.more_workers(each, options.workers - 1)) for each in (system, empty)
        }
        more[carrying] = stack.enter_context(contenders.blind_workers(carrying, options.workers))
        rounds: dict[str, Round] = {
            LIMIT: stack.enter_context(contenders.limit(model, photos)),
            "level 0: the monolith": stack.enter_context(contenders.monolith(model, load)),
        }
        others = rivals.running(stack, model) if os.environ.get("RIVALS") == "1" else []
        for clients in (1, 8, 32):
            rounds[f"predictions, {clients} clients"] = contenders.predictions(system, load, clients)
            for name, place, root in others:
                rounds[f"{name}, {clients} clients"] = contenders.posting(load, [root], place, clients)
        target = contenders.cameras(system)
        rounds[WHOLE] = contenders.whole(system, load, target, CLIENTS, more[system])
        for name, each in ((STUB, empty), (BLIND, carrying)):
            rounds[name] = contenders.whole(each, load, contenders.cameras(each), CLIENTS, more[each])
        samples = _interleaved(rounds, options.rounds, options.seconds, console)
        sections = [report.speeds(samples, LIMIT), report.programs(samples[WHOLE], samples[LIMIT])]
        capacity = statistics.median(sample.rate for sample in samples[WHOLE])
        console.print("latency ...")
        sections.append(report.latencies(_latencies(system, load, target, capacity, options.looks)))
        console.print("growth ...")
        sections.append(report.growth(list(grow(empty, load, full=os.environ.get("FULL") == "1"))))
    if os.environ.get("OVERLOAD") == "1":
        console.print("overload: a minute, and the time to drain ...")
        sections.append(_overload(model, photos, capacity))
    return sections


def _serving(model: Path) -> dict[str, str]:
    """Return the settings that choose a model version by its folder, `<models>/<name>/<version>`."""
    return {
        "HUELLA_CLASSIFIER_MODELS": str(model.parents[1]),
        "HUELLA_CLASSIFIER_MODEL": model.parent.name,
        "HUELLA_CLASSIFIER_VERSION": model.name,
    }


def _interleaved(rounds: dict[str, Round], number: int, seconds: float, console: Console) -> dict[str, list[Sample]]:
    """Let the contenders take turns; a first, shorter turn of each is not counted."""
    samples: dict[str, list[Sample]] = {name: [] for name in rounds}
    for turn in range(-1, number):
        console.print("warming up ..." if turn < 0 else f"round {turn + 1} of {number} ...")
        for name, work in rounds.items():
            sample = work(seconds if turn >= 0 else min(seconds, 1.0))
            if turn >= 0:
                samples[name].append(sample)
    return samples


def _latencies(system: System, load: Load, target: Target, capacity: float, looks: int) -> dict[str, list[float]]:
    """Time photos on the idle system, and again while others come evenly at a tenth of its capacity."""
    answered, visible = measure(system, looks, "idle")
    rate = capacity / 10
    load.begin(Job(target, CLIENTS, looks * 0.5 + 5, rate))
    try:
        answered_busy, visible_busy = measure(system, looks, "busy")
    finally:
        outcome = load.result()
    return {
        "201, idle": answered,
        "visible in the status, idle": visible,
        f"201, beside {rate:.0f} frames/s": answered_busy,
        f"visible in the status, beside {rate:.0f} frames/s": visible_busy,
        f"201 of those {rate:.0f} frames/s": [1000 * value for value in outcome.latencies],
    }


def _overload(model: Path, photos: list[bytes], capacity: float) -> report.Section:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="huella-bench-")))
        load = stack.enter_context(loading(photos))
        system = stack.enter_context(running_system(folder / "overload", _serving(model) | BOUNDS))
        return report.survival(overload(system, load, capacity))


if __name__ == "__main__":
    main()
