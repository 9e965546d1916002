"""The bench's figures as tables, for the terminal and for `docs/performance.md`."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.system import REPOSITORY
from tests.benchmarks.contenders import Sample
from tests.benchmarks.growth import Point
from tests.benchmarks.overload import Survival

PAGE = REPOSITORY / "docs" / "performance.md"
BEGIN, END = "<!-- written by make bench: begin -->", "<!-- written by make bench: end -->"
PACKAGES = ("onnxruntime", "pillow", "fastapi", "uvicorn", "celery", "redis", "SQLAlchemy", "pydantic")

SPEEDS = """\
Medians and best over the rounds. CPU ms: of all the contender's processes, user and system, a frame; least: in its best
round; x limit: that over the limit's. Sender: the load generator's own CPU ms a frame, which shares the
same cores. MB: resident memory, pages that processes share counted in each. Refused: answers other than 2xx."""

PROGRAMS = "Means over all rounds, and so is the limit here."

Cells = list[str]


@dataclass(frozen=True)
class Section:
    """One table of the report."""

    title: str
    header: Cells
    rows: list[Cells]
    note: str = ""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def speeds(samples: dict[str, list[Sample]], limit: str) -> Section:
    """Return the interleaved part: frames a second, CPU a frame, the ratio to the limit's, latency, memory."""
    least = {name: min(one.cpu_ms for one in some) for name, some in samples.items()}
    rows = []
    for name, some in samples.items():
        latencies = [1000 * value for one in some for value in one.latencies]
        rows.append(
            [
                name,
                f"{statistics.median(one.rate for one in some):.0f}",
                f"{max(one.rate for one in some):.0f}",
                f"{statistics.median(one.cpu_ms for one in some):.2f}",
                f"{least[name]:.2f}",
                f"{least[name] / least[limit]:.2f}",
                f"{percentile(latencies, 0.5):.0f} / {percentile(latencies, 0.99):.0f}" if latencies else "",
                f"{1000 * sum(one.sending_cpu_s for one in some) / sum(one.frames for one in some):.2f}",
                f"{max(one.memory_bytes for one in some) / 1e6:.0f}" if some[-1].memory_bytes else "",
                str(sum(one.refused for one in some)),
            ]
        )
    header = ["contender", "frames/s", "best", "CPU ms", "least", "x limit", "p50 / p99 ms", "sender", "MB", "refused"]
    return Section("Speed and cost", header, rows, SPEEDS)


def programs(whole: Sequence[Sample], limit: Sequence[Sample]) -> Section:
    """Return which program of the whole system uses how much a frame, of what uses a hundredth of a millisecond."""
    frames = sum(one.frames for one in whole)
    used = {name: sum(one.programs.get(name, 0.0) for one in whole) for name in whole[-1].programs}
    limit_ms = 1000 * sum(one.cpu_s for one in limit) / sum(one.frames for one in limit)
    rows = [
        [name, f"{1000 * seconds / frames:.2f}", f"{1000 * seconds / frames / limit_ms:.2f}"]
        for name, seconds in sorted(used.items(), key=lambda one: -one[1])
        if 1000 * seconds / frames >= 0.01
    ]
    rows.append(["limit", f"{limit_ms:.2f}", "1.00"])
    return Section("Huella whole, by program", ["program", "CPU ms a frame", "x limit"], rows, PROGRAMS)


def latencies(measured: dict[str, list[float]]) -> Section:
    """Return the time from PUT to an answer and to the status that shows the photo, in milliseconds."""
    rows = [
        [name, f"{statistics.median(ms):.1f}", f"{percentile(ms, 0.95):.1f}", f"{min(ms):.1f}", f"{max(ms):.1f}"]
        for name, ms in measured.items()
    ]
    return Section("Latency, ms", ["from PUT until", "median", "p95", "least", "most"], rows)


def growth(points: Sequence[Point]) -> Section:
    """Return how costs grow."""
    rows = [
        [
            f"{point.cameras:,}",
            f"{point.frames:,}",
            f"{point.put_cpu_ms:.2f}",
            f"{point.put_median_ms:.1f}",
            f"{point.status_median_ms:.1f}",
            f"{point.status_kb:.0f}",
        ]
        for point in points
    ]
    header = ["cameras = spaces", "stored frames", "ingest's CPU ms a frame", "PUT ms median", "status ms median"]
    return Section("Growth", [*header, "status kB"], rows)


def survival(found: Survival) -> Section:
    """Return what became of the overload."""
    rows = [
        ["asked, frames/s", f"{found.asked_rate:.0f}"],
        ["accepted (201)", str(found.accepted)],
        ["refused", ", ".join(f"{status}: {number}" for status, number in found.refused.items()) or "none"],
        ["refusals without Retry-After", str(found.silent_refusals)],
        ["due, but every client was waiting for an answer", str(found.unsent)],
        ["memory MB before / most", f"{found.memory_before / 1e6:.0f} / {found.memory_peak / 1e6:.0f}"],
        ["image files MB, most", f"{found.disk_peak / 1e6:.0f}"],
        ["drained after, s", f"{found.drained_s:.1f}"],
        ["counted + rejected", f"{found.counted} + {found.rejected}"],
    ]
    return Section("Overload: three times capacity for a minute", ["", ""], rows)


def show(sections: Sequence[Section], console: Console) -> None:
    """Print the tables."""
    for section in sections:
        table = Table(*section.header, title=section.title)
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
        if section.note:
            console.print(section.note)


def machine() -> str:
    """Say where and when: processor, cores, load, versions, commit."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({cpu}), load average "
        f"{os.getloadavg()[0]:.1f} at the end, Python {platform.python_version()}, {versions}, commit {commit or '?'}."
    )


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def write(sections: Sequence[Section], about: str, page: Path = PAGE) -> None:
    """Put the tables between the marks of the page; what is written around them by hand stays."""
    parts = [about]
    for section in sections:
        lines = [section.header, ["---"] * len(section.header), *section.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"### {section.title}\n\n{table}" + (f"\n\n{section.note}" if section.note else ""))
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")
