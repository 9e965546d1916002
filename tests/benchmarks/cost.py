"""What a contender costs: the CPU time and the memory of a process and of all that it started."""

from collections.abc import Iterable

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
