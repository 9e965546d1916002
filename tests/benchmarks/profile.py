"""`make profile`: where each process's time goes while the whole system works.

Writes a flame graph a process to `build/profile/` (open it in a browser: width is time, one column is a stack, its
top is what ran) and prints the functions that a process was in most often. `--gil` counts only what holds Python's
lock: without it, time inside the kernel and C libraries counts too, and threads that wait may look busy.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.system import REPOSITORY
from services.image_classifier.model_version import DEFAULT_FOLDER
from tests.benchmarks.contenders import cameras
from tests.benchmarks.frames import frames
from tests.benchmarks.load import Job, loading
from tests.system import running_system

WATCHED = ("camera_ingest", "image_classifier_worker", "aggregation_worker")
SHOWN = 15


def main() -> None:
    """Run the system under load, profile its processes at the same time, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEFAULT_FOLDER, help="folder of a model version")
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--gil", action="store_true", help="count only threads that hold Python's lock")
    options = parser.parse_args()
    model: Path = options.model.resolve()
    out = REPOSITORY / "build" / "profile"
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="huella-profile-")))
        settings = {"HUELLA_CLASSIFIER_MODELS": str(model.parents[1]), "HUELLA_CLASSIFIER_MODEL": model.parent.name}
        system = stack.enter_context(running_system(folder / "data", settings))
        load = stack.enter_context(loading(frames()))
        target = cameras(system)
        load.send(Job(target, 16, 2.0))
        load.begin(Job(target, 16, options.seconds + 3.0))
        watching = [
            _record(system.pid(program), out / f"{program}.{form}", form, options.seconds, options.gil)
            for program in WATCHED
            for form in ("flamegraph", "raw")
        ]
        for process in watching:
            if process.wait() != 0:
                raise SystemExit("py-spy could not look at a process: it needs root, or kernel.yama.ptrace_scope=0")
        load.result()
    for program in WATCHED:
        (out / f"{program}.flamegraph").replace(out / f"{program}.svg")
        console.print(_most((out / f"{program}.raw").read_text(), program))
    console.print(f"Flame graphs are in {out.relative_to(REPOSITORY)}")


def _record(pid: int, out: Path, form: str, seconds: int, gil: bool) -> subprocess.Popen[bytes]:
    command = [
        str(Path(sys.executable).parent / "py-spy"),
        "record",
        "--nonblocking",
        "--pid",
        str(pid),
        "--rate",
        "100",
    ]
    command += ["--duration", str(seconds), "--format", form, "--output", str(out), *(["--gil"] if gil else [])]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _most(stacks: str, program: str) -> Table:
    """Return the functions of a raw profile (lines of `frame;frame;... count`) by how often they were on the stack."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        calls = stack.split(";")
        alone[calls[-1]] += int(count)
        within.update(dict.fromkeys(calls, int(count)))
    total = sum(alone.values()) or 1
    table = Table("function", "alone", "with what it calls", title=program)
    for name, _ in within.most_common(200):
        if "services/" in name or "shared/" in name or alone[name] > total / 50:
            table.add_row(name, f"{alone[name] / total:.0%}", f"{within[name] / total:.0%}")
        if table.row_count == SHOWN:
            break
    return table


if __name__ == "__main__":
    main()
