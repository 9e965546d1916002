"""`make bench-page`: what open pages cost the services while nothing changes, and `Now` with many spaces."""

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.table import Table

from tests.benchmarks.cost import cpu_s
from tests.benchmarks.growth import fill
from tests.system import System, running_system

REFRESH_S = 30.0  # as page.js does, whatever it is told
GOAL_SHARE, GOAL_MS, GOAL_KB = 0.05, 500, 300
MEASURED = ("aggregation", "camera_ingest", "dashboard")
PASSWORD = "four warm paws here"


def logged_in(system: System) -> httpx.Cookies:
    """Make the administrator by the first link, and return the cookies of a log-in."""
    address = f"http://127.0.0.1:{system.base_port}"
    link = urlsplit((system.data / "dashboard" / "first-link").read_text().strip()).path
    headers = {"Origin": address, "Accept": "text/html"}
    with httpx.Client(base_url=address, headers=headers, timeout=30, trust_env=False) as client:
        client.post(link, data={"name": "Marta", "new": PASSWORD, "again": PASSWORD})
        answer = client.post("/login", data={"name": "Marta", "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return client.cookies


async def hold_open(address: str, cookies: httpx.Cookies, pages: int, seconds: float) -> None:
    """Keep so many pages open for a while, each as page.js does: one event stream, and itself now and then."""
    headers = {"Accept": "text/html", "X-Huella-Refresh": "1"}
    limits = httpx.Limits(max_connections=None)

    async def page(client: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(number / pages * REFRESH_S / 2)
        async with client.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
            assert stream.status_code == 200
            reading = asyncio.create_task(drain(stream))
            try:
                while True:
                    (await client.get("/", headers=headers)).raise_for_status()
                    await asyncio.sleep(REFRESH_S)
            finally:
                reading.cancel()

    async with httpx.AsyncClient(
        base_url=address, cookies=cookies, limits=limits, timeout=60, trust_env=False
    ) as client:
        tasks = [asyncio.create_task(page(client, number)) for number in range(pages)]
        _, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def drain(stream: httpx.Response) -> None:
    """Read an event stream to its end."""
    async for _ in stream.aiter_lines():
        pass


def shares(system: System, seconds: float, pages: int, cookies: httpx.Cookies) -> dict[str, float]:
    """Return the share of a core that each of MEASURED used while so many pages were open."""
    address = f"http://127.0.0.1:{system.base_port}"
    roots = {name: [system.pid(name)] for name in MEASURED}
    before = {name: cpu_s(pids) for name, pids in roots.items()}
    started = time.monotonic()
    if pages:
        asyncio.run(hold_open(address, cookies, pages, seconds))
    else:
        time.sleep(seconds)
    took = time.monotonic() - started
    return {name: (cpu_s(pids) - before[name]) / took for name, pids in roots.items()}


def looks(system: System, cookies: httpx.Cookies, number: int) -> tuple[list[float], list[float], float]:
    """Return milliseconds of `Now` after a change and without one, and its kB."""
    address = f"http://127.0.0.1:{system.base_port}"
    times: tuple[list[float], list[float]] = ([], [])
    with httpx.Client(
        base_url=address, cookies=cookies, headers={"Accept": "text/html"}, timeout=60, trust_env=False
    ) as client:
        client.get("/")
        for round_ in range(number):
            time.sleep(1.1)  # the status that was asked for last is no longer fresh
            system.space("bench", name=f"Bench {round_}", purpose="staff")
            for times_ in times:
                started = time.perf_counter()
                page = client.get("/").raise_for_status()
                times_.append(1000 * (time.perf_counter() - started))
    assert len(re.findall(r'data-key="tile-', page.text)) >= 200
    return *times, len(page.content) / 1000


def main() -> None:
    """Measure and print; exits with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--spaces", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="huella-bench-") as folder, running_system(Path(folder)) as system:
        fill(system, options.spaces, 10 * options.spaces)
        cookies = logged_in(system)
        changed, unchanged, size_kb = looks(system, cookies, 15)
        table = Table(
            "process", "no page open", f"{options.pages} pages open", title="Share of a core, nothing changes"
        )
        quiet = shares(system, options.seconds / 2, 0, cookies)
        crowded = shares(system, options.seconds, options.pages, cookies)
        for name in MEASURED:
            table.add_row(name, f"{quiet[name]:.1%}", f"{crowded[name]:.1%}")
        console.print(table)
    after, cached = statistics.median(changed), statistics.median(unchanged)
    console.print(
        f"Now with {options.spaces} spaces: {after:.0f} ms after a change, {cached:.0f} ms without, {size_kb:.0f} kB"
    )
    more = crowded["aggregation"] - quiet["aggregation"]
    console.print(f"Goals: under {GOAL_SHARE:.0%} more of a core (is {more:.1%}), {GOAL_MS} ms, {GOAL_KB} kB")
    raise SystemExit(0 if more < GOAL_SHARE and after < GOAL_MS and size_kb < GOAL_KB else 1)


if __name__ == "__main__":
    main()
