"""What a contender costs: the CPU time and the memory of a process and of all that it started."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import psutil


def tree(root: int) -> list[psutil.Process]:
    """Return the process and its descendants that live now."""
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]


def cpu_s(roots: Iterable[int]) -> float:
    """Return the seconds of CPU, user and system, that the trees have used, those that ended included."""
    total = 0.0
    for root in roots:
        for process in tree(root):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:  # its parent has its times once it is reaped
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total


def cpu_s_by_program(roots: Iterable[int]) -> dict[str, float]:
    """Return the same by program, of processes that live now: `camera_ingest.main`, `redis-server`."""
    used: defaultdict[str, float] = defaultdict(float)
    for root in roots:
        for process in tree(root):
            try:
                command, times = process.cmdline(), process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            if command:
                used[_program(command)] += times.user + times.system
    return used


def _program(command: list[str]) -> str:
    if "-m" in command[:-1]:
        return command[command.index("-m") + 1].removeprefix("services.")
    return Path(command[0]).name.partition(" ")[0]  # Redis says its address there too


def memory_bytes(roots: Iterable[int]) -> int:
    """Return the resident memory of the trees; pages that processes share are counted in each."""
    total = 0
    for root in roots:
        for process in tree(root):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    return total
