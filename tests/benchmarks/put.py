"""What a PUT costs: `python -m tests.benchmarks.put`, CPU of camera_ingest alone, on SQLite with full syncs.

With `--against FOLDER` the code of another checkout (`git worktree add FOLDER COMMIT`) takes turns with this one's, so
that what disturbs the machine disturbs both alike. `--data /dev/shm` is a PUT without a disk. Nobody takes the offered
frames, so the relay only fills the queue. `--profile` says where this checkout's time goes instead of measuring it.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from deploy.local.system import REPOSITORY
from shared.testing import free_port, run_redis
from shared.tokens import Role, Signer, make_keys
from tests.benchmarks.contenders import CAMERAS, camera_target, server
from tests.benchmarks.cost import cpu_s
from tests.benchmarks.frames import frames
from tests.benchmarks.load import Job, Load, Target, loading

COMMITS = re.compile(r"^huella_database_writes_per_commit_count (\S+)$", re.MULTILINE)


@dataclass
class Cost:
    """One checkout's ingest and what its rounds found, each a PUT."""

    pid: int
    target: Target
    cpu_ms: list[float] = field(default_factory=list)
    system_ms: list[float] = field(default_factory=list)
    switches: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


@contextmanager
def ingest(checkout: Path, data: Path, redis_url: str, keys: Path) -> Iterator[Cost]:
    """Run a checkout's camera_ingest with cameras of its own."""
    port = free_port()
    environment = {
        "HUELLA_DATA": str(data),
        "HUELLA_KEYS": str(keys),
        "HUELLA_REDIS_URL": redis_url,
        "HUELLA_INGEST_PORT": str(port),
    }
    command = [sys.executable, "-m", "services.camera_ingest.main"]
    with server(command, port, "/readyz", os.environ | environment, checkout) as pid:
        token = Signer(keys, "cli").mint("bench", Role.ADMIN, lifetime_s=3600)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, trust_env=False
        ) as admin:
            yield Cost(pid, camera_target(admin, port, CAMERAS, "load"))


def measure(cost: Cost, load: Load, clients: int, seconds: float, rate: float | None) -> None:
    """Send for a while and note what it took."""
    before, system, switched, commits = cpu_s([cost.pid]), _system_s(cost.pid), _switches(cost.pid), _commits(cost)
    outcome = load.send(Job(cost.target, clients, seconds, rate))
    assert outcome.good == sum(outcome.status.values()), outcome.status
    cost.cpu_ms.append(1000 * (cpu_s([cost.pid]) - before) / outcome.good)
    cost.system_ms.append(1000 * (_system_s(cost.pid) - system) / outcome.good)
    cost.switches.append((_switches(cost.pid) - switched) / outcome.good)
    cost.commits.append((_commits(cost) - commits) / outcome.good)
    cost.p50_ms.append(1000 * statistics.median(outcome.latencies))
    cost.rates.append(outcome.good / outcome.seconds)


def _system_s(pid: int) -> float:
    return float(psutil.Process(pid).cpu_times().system)


def _switches(pid: int) -> int:
    """Return how often the process's threads have waited."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += int((task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


def _commits(cost: Cost) -> float:
    page = httpx.get(f"http://127.0.0.1:{cost.target.port}/metrics", trust_env=False).text
    found = COMMITS.search(page)
    assert found is not None
    return float(found[1])


def table(costs: Mapping[str, Cost], title: str) -> Table:
    """Return a row a checkout; the ratio is the median over the rounds of this one's CPU to the other's beside it."""
    result = Table("checkout", "CPU ms, least", "median", "system", "waits", "commits", "p50 ms", "PUT/s", title=title)
    for name, cost in costs.items():
        values = (min(cost.cpu_ms), *map(statistics.median, (cost.cpu_ms, cost.system_ms)))
        rest = map(statistics.median, (cost.switches, cost.commits, cost.p50_ms, cost.rates))
        result.add_row(name, *(f"{value:.2f}" for value in (*values, *rest)))
    if len(costs) == 2:
        here, there = (cost.cpu_ms for cost in costs.values())
        ratio = statistics.median(mine / theirs for mine, theirs in zip(here, there, strict=True))
        result.add_row("ratio", f"{min(here) / min(there):.2f}", f"{ratio:.2f}")
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--data", type=Path, help="where the data folders are made")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, help="PUTs a second, evenly; without it as many as are answered")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--profile", type=Path, help="write a flame graph there")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="huella-bench-", dir=options.data)))
        make_keys(folder / "keys")
        load = stack.enter_context(loading(frames()))
        costs = {}
        for name, checkout in (("this", REPOSITORY), ("the other", options.against)):
            if checkout is not None:
                redis_url = stack.enter_context(run_redis())
                running = ingest(checkout.resolve(), folder / name, redis_url, folder / "keys")
                costs[name] = stack.enter_context(running)
        if options.profile:
            load.begin(Job(costs["this"].target, options.clients, 13.0, options.rate))
            _profile(costs["this"].pid, options.profile)
            load.result()
            return
        for cost in costs.values():
            load.send(Job(cost.target, options.clients, 1.0, options.rate))
        for _ in range(options.rounds):
            for cost in costs.values():
                measure(cost, load, options.clients, options.seconds, options.rate)
    Console(width=100).print(table(costs, f"a PUT, {options.clients} clients, data in {folder.parent}"))


def _profile(pid: int, out: Path) -> None:
    command = [str(Path(sys.executable).parent / "py-spy"), "record", "--nonblocking", "--pid", str(pid)]
    command += ["--rate", "200", "--duration", "10", "--output", str(out)]
    command += ["--format", "raw" if out.suffix == ".txt" else "flamegraph"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
