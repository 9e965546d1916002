"""The agent as a process: its command line, its pages, and what a kill leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from services.camera_agent.tests.cameras import SECRET
from shared.testing import free_port, wait_until

ROOT = Path(__file__).parents[3]


class Taking:
    """An ingest over real HTTP that takes every frame while `open` is set, and says 503 while it is not."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.frames: list[str] = []
        self.refused: list[str] = []
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                taking, length = double.open.is_set(), int(self.headers["Content-Length"])
                if len(self.rfile.read(length)) < length:
                    return  # its sender was killed
                name = self.path.rpartition("/")[2]
                (double.frames if taking else double.refused).append(name)
                self.send_response(201 if taking else 503)
                body = json.dumps({"receipt": f"r-{name}", "frame_id": name}).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def ingest() -> Iterator[Taking]:
    taking = Taking()
    thread = threading.Thread(target=taking.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield taking
    taking.server.shutdown()
    thread.join()
    taking.server.server_close()


def write(folder: Path, ingest_url: str, source: str = "simulated:") -> Path:
    file = folder / "cameras.yaml"
    file.write_text(
        f"ingest: {ingest_url}\ndefaults: {{every_s: 0.2, skip_unchanged: false}}\n"
        f"cameras:\n  cam1: {{source: '{source}', secret_env: CAM1_SECRET}}\n"
    )
    return file


def environment(folder: Path, port: int = 0) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUELLA_")}
    return {**kept, "CAM1_SECRET": SECRET, "HUELLA_DATA": str(folder / "data"), "HUELLA_AGENT_PORT": str(port or 1)}


@contextmanager
def agent(folder: Path, file: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run an agent, ready, for the length of a `with`; gives the process and the URL of its pages."""
    port = free_port()
    with (folder / "agent.log").open("ab") as log:
        command = [sys.executable, "-m", "services.camera_agent", str(file)]
        process = subprocess.Popen(command, env=environment(folder, port), cwd=ROOT, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "agent.log").read_text()
        try:
            return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until("the agent is ready", ready)
        yield process, url
    finally:
        process.kill()
        process.wait()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.camera_agent", *arguments]
    return subprocess.run(command, env=environment(folder), cwd=ROOT, capture_output=True, text=True, check=False)


def test_check_says_that_a_file_is_right_or_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = write(tmp_path, "http://127.0.0.1:8001")
    right = run(tmp_path, "--check", str(file))
    assert (right.returncode, right.stdout.strip()) == (0, f"{file} is right: 1 cameras, 2000000000 bytes each")
    file.write_text(file.read_text().replace("simulated:", "simulated:bird"))
    for arguments in (["--check", str(file)], [str(file)]):
        wrong = run(tmp_path, *arguments)
        assert wrong.returncode == 2
        assert wrong.stderr.startswith(f"{file}:4: cameras.cam1.source: simulated: takes cat, dog")
    assert not (tmp_path / "data").exists()


def test_help_shows_a_file_to_begin_with(tmp_path: Path) -> None:
    shown = run(tmp_path, "--help").stdout
    assert "cameras:\n  cam1:\n    source: rtsp://" in shown


@pytest.mark.timeout(180)
def test_a_killed_agent_sends_what_it_kept_in_order_when_it_is_started_again(tmp_path: Path, ingest: Taking) -> None:
    file = write(tmp_path, ingest.url)
    spool = tmp_path / "data" / "camera_agent" / "cam1" / "spool"

    def kept() -> list[str]:
        return [name.partition("_")[2] for name in sorted(os.listdir(spool)) if not name.endswith(".part")]

    with agent(tmp_path, file) as (process, url):
        wait_until("frames wait", lambda: len(kept()) >= 8)
        metrics = httpx.get(f"{url}/metrics", trust_env=False).text
        assert re.search(r'^huella_agent_spool_frames\{camera="cam1"\} [1-9]', metrics, re.MULTILINE)
        second = run(tmp_path, str(file))
        assert (second.returncode, "another agent works with" in second.stderr) == (2, True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    waiting = kept()
    assert len(waiting) >= 8
    ingest.open.set()
    with agent(tmp_path, file) as (process, _):
        wait_until("they and new ones are taken", lambda: len(ingest.frames) > len(waiting) + 3)
        process.terminate()
        # What uvicorn does once it has shut down cleanly: the signal as if nobody had caught it.
        assert process.wait(20) == -signal.SIGTERM
    assert "Application shutdown complete" in (tmp_path / "agent.log").read_text()
    assert ingest.frames[: len(waiting)] == waiting
    assert sorted(set(ingest.frames)) == ingest.frames
    assert set(ingest.refused) <= set(ingest.frames)
    assert SECRET not in (tmp_path / "agent.log").read_text()
