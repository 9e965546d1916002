"""What a PUT costs: `python -m services.camera_ingest.tests.bench_put [--frames 2000] [--kilobytes 100] [--profile]`.

One service in a process of its own behind a real socket, on SQLite with full syncs and without a broker; cameras send
over kept-alive connections. CPU time is that of the service's process alone, so it bears a busy machine; latency
doesn't. With `--profile` the service's own profile is printed instead of being measured undisturbed.
"""

import argparse
import cProfile
import json
import os
import pstats
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from services.camera_ingest.main import main as serve
from services.camera_ingest.tests.photos import photo
from shared.testing import free_port, wait_until
from shared.tokens import Role, Signer, make_keys

CAMERAS = 8


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, by all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(url: str, pid: int, token: str, number: int, size: int) -> dict[str, float]:
    """Send `number` frames of `size` bytes by eight cameras at once; return what each cost."""
    admin = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, trust_env=False) as client:
        wait_until("ingest answers", lambda: answers(client))
        cameras = [
            (f"c{one}", client.put(f"/v1/cameras/c{one}", json={"space_id": "k"}, headers=admin).json()["secret"])
            for one in range(CAMERAS)
        ]
        base = photo().ljust(size - 8, b"\x00")

        def send(camera: tuple[str, str]) -> list[float]:
            seconds = []
            with httpx.Client(base_url=url, auth=camera, trust_env=False, timeout=60) as own:
                for one in range(number // CAMERAS):
                    begun = time.perf_counter()
                    answer = own.put(f"/v1/cameras/{camera[0]}/frames/f{one}", content=base + b"%08d" % one)
                    seconds.append(time.perf_counter() - begun)
                    assert answer.status_code == 201, answer.text
            return seconds

        before, begun = cpu_seconds(pid), time.perf_counter()
        with ThreadPoolExecutor(CAMERAS) as pool:
            seconds = sorted(second for part in pool.map(send, cameras) for second in part)
        wall = time.perf_counter() - begun
        return {
            "frames": len(seconds),
            "cpu_ms_a_frame": round(1000 * (cpu_seconds(pid) - before) / len(seconds), 3),
            "frames_a_second": round(len(seconds) / wall, 1),
            "p50_ms": round(1000 * statistics.median(seconds), 1),
            "p99_ms": round(1000 * seconds[int(len(seconds) * 0.99)], 1),
        }


def answers(client: httpx.Client) -> bool:
    """Return whether the service is up."""
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def serve_profiled() -> None:
    """Serve until SIGTERM, then print where the event loop and every thread started since spent their time."""
    profiles: list[cProfile.Profile] = []
    run = threading.Thread.run

    def profiled(self: threading.Thread) -> None:
        profile = cProfile.Profile()
        profiles.append(profile)
        profile.runcall(run, self)

    # uvicorn raises the signal again once it has ended, and then there is still a profile to print.
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread.run = profiled  # type: ignore[method-assign]  # this process only ever measures itself
    loop = cProfile.Profile()
    loop.runcall(serve)
    for profile in (loop, *profiles):
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.serve:
        serve_profiled()
        return
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        make_keys(folder / "keys")
        environment = {
            "HUELLA_DATA": name,
            "HUELLA_REDIS_URL": "redis://127.0.0.1:1/0",
            "HUELLA_INGEST_PORT": str(port),
        }
        program = "services.camera_ingest.tests.bench_put" if chosen.profile else "services.camera_ingest.main"
        command = [sys.executable, "-m", program, *(["--serve"] if chosen.profile else [])]
        with (folder / "log").open("wb") as log:
            served = subprocess.Popen(command, env=dict(os.environ) | environment, stdout=log, stderr=log)
            try:
                token = Signer(folder / "keys", "cli").mint("bench", Role.ADMIN)
                found = measure(f"http://127.0.0.1:{port}", served.pid, token, chosen.frames, chosen.kilobytes * 1000)
            finally:
                served.send_signal(signal.SIGTERM)
                served.wait(60)
        print(json.dumps(found))
        if chosen.profile:
            print((folder / "log").read_text())


if __name__ == "__main__":
    main()
