"""`make bench-agent`: what the camera agent costs with 50 sources at once, by kind of source.

The sources (GStreamer's RTSP server, an HTTP server) and an ingest that takes every frame are processes of their own,
whose cost is not the agent's. Every photo differs from the one before, so each is kept, named, sent and forgotten: the
dearest case.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from deploy.local.system import REPOSITORY
from services.camera_agent.tests.test_rtsp import has_server, server
from shared.testing import free_port, wait_until
from tests.benchmarks.cost import cpu_s, memory_bytes
from tests.photos import drawn

SOURCES = 50
CORES = 2
WARM_UP_S = 20.0
SETTLE_S = 90.0
KINDS = {
    "rtsp, connected": ("rtsp", 10.0),
    "rtsp, connected anew": ("rtsp", 30.0),
    "http snapshot": ("http", 10.0),
    "http snapshot, each second": ("http", 1.0),
}


def _serve(port: Connection) -> None:
    """Give one of two photos of 1280x720 in turn, and take every frame that is put."""
    photos = [drawn(label, size=(1280, 720)) for label in ("cat", "none")]
    turns: defaultdict[str, Iterator[bytes]] = defaultdict(lambda: cycle(photos))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200, next(turns[self.path]))

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            receipt = {"receipt": "r", "frame_id": self.path.rpartition("/")[2]}
            self._answer(201, json.dumps(receipt).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Handler) as running:
        port.send(running.server_port)
        running.serve_forever()


@contextmanager
def around() -> Iterator[int]:
    """Run the HTTP camera and ingest, both at one port, which it gives."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()


@contextmanager
def agent(folder: Path, ingest_port: int, url: str, every_s: float) -> Iterator[tuple[int, str]]:
    """Run an agent with SOURCES cameras; gives its process id and the URL of its metrics."""
    lines = [f"ingest: http://127.0.0.1:{ingest_port}", f"defaults: {{every_s: {every_s:g}}}", "cameras:"]
    lines += [
        f"  cam{n}: {{source: '{url.replace('{camera}', str(n))}', secret_env: CAMERA_SECRET}}" for n in range(SOURCES)
    ]
    (folder / "cameras.yaml").write_text("\n".join(lines) + "\n")
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HUELLA_")},
        "HUELLA_DATA": str(folder),
        "HUELLA_AGENT_PORT": str(port),
        "CAMERA_SECRET": "a-secret-for-all",
    }
    command = [sys.executable, "-m", "services.camera_agent", str(folder / "cameras.yaml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/metrics"

    def answers() -> bool:
        try:
            return httpx.get(url, trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until("the agent answers", answers, SETTLE_S, every_s=0.5)
        yield process.pid, url
    finally:
        process.kill()
        process.wait()


def counted(url: str) -> tuple[int, int]:
    """Return the frames that ingest took so far, and the sources that give photos now."""
    taken = up = 0.0
    for line in httpx.get(url, trust_env=False, timeout=30).text.splitlines():
        if line.startswith("huella_agent_deliveries_total{") and 'outcome="accepted"' in line:
            taken += float(line.rpartition(" ")[2])
        elif line.startswith("huella_agent_source_up{"):
            up += float(line.rpartition(" ")[2])
    return int(taken), int(up)


def measure(kind: str, every_s: float, during_s: float) -> dict[str, float]:
    """Return what the agent used and did in `during_s` seconds, once every source gives photos."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="huella-agent-")))
        port = stack.enter_context(around())
        url = stack.enter_context(server("720p")) if kind == "rtsp" else f"http://127.0.0.1:{port}/{{camera}}.jpg"
        pid, metrics = stack.enter_context(agent(folder, port, url, every_s))
        deadline = time.monotonic() + SETTLE_S + every_s
        time.sleep(WARM_UP_S)
        while counted(metrics)[1] < SOURCES:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{counted(metrics)[1]} of {SOURCES} sources give photos: {(folder / 'log').read_text()}"
                )
            time.sleep(1)
        frames, used_s, started = counted(metrics)[0], cpu_s([pid]), time.monotonic()
        time.sleep(during_s)
        took_s = time.monotonic() - started
        used_s = cpu_s([pid]) - used_s
        frames = counted(metrics)[0] - frames
        return {
            "frames_s": frames / took_s,
            "wanted_s": SOURCES / every_s,
            "core": used_s / took_s,
            "ms_a_frame": used_s / max(frames, 1) * 1000,
            "memory": memory_bytes([pid]),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="make bench-agent", description=__doc__)
    parser.add_argument("--during", type=float, default=60.0, help="seconds for each kind")
    parser.add_argument("--only", default="", help="the kinds whose name holds this")
    chosen = parser.parse_args(arguments)
    table = Table(
        f"{SOURCES} sources",
        "every s",
        "frames/s",
        "wanted",
        "core %",
        "% a source",
        "CPU ms a frame",
        "MB",
        "MB a source",
    )
    for name, (kind, every_s) in KINDS.items():
        if chosen.only not in name:
            continue
        if kind == "rtsp" and not has_server():
            Console().print(
                f"SKIPPED: {name} (no RTSP server: services/camera_agent/tests/test_rtsp.py says which packages)"
            )
            continue
        found = measure(kind, every_s, chosen.during)
        core, memory = found["core"] * 100, found["memory"] / 1e6
        table.add_row(
            name,
            f"{every_s:g}",
            f"{found['frames_s']:.2f}",
            f"{found['wanted_s']:.2f}",
            f"{core:.0f} of {CORES * 100}",
            f"{core / SOURCES:.2f}",
            f"{found['ms_a_frame']:.0f}",
            f"{memory:.0f}",
            f"{memory / SOURCES:.1f}",
        )
    Console(width=140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
