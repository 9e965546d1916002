"""Runs the whole system on free ports in a folder of its own, as `make up` does, and drives it from outside."""

import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from redis import Redis
from supervisor.xmlrpc import SupervisorTransport

from deploy.local.system import PROGRAMS, REDIS_PORT, REPOSITORY, control_socket
from shared.broker import create_redis
from shared.testing import START_S, wait_until
from shared.tokens import Role, Signer
from tests.cameras import Camera
from tests.ledger import Frame, Ledger, compare

READY_S = 90.0
ANSWER_S = 30.0
HIGHEST_OFFSET = 20
SERVICES = tuple(program.name for program in PROGRAMS)
COUNT = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


def free_base_port() -> int:
    """Return a base port so that it and the next HIGHEST_OFFSET are free; below those that the kernel gives out."""
    for _ in range(100):
        base = random.randrange(12_000, 32_000, HIGHEST_OFFSET + 1)
        if all(_is_free(port) for port in range(base, base + HIGHEST_OFFSET + 1)):
            return base
    raise RuntimeError("no free ports on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class System:
    """A running system: clients with an admin's token for its services, and hands on its processes."""

    def __init__(self, data: Path, base_port: int, environment: Mapping[str, str]) -> None:
        self.data = data
        self.base_port = base_port
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HUELLA_")}
        self.environment = {**kept, "HUELLA_DATA": str(data), "HUELLA_PORT": str(base_port), **environment}
        self._open = ExitStack()
        transport = SupervisorTransport(None, None, f"unix://{control_socket(data)}")
        self._open.callback(transport.close)
        # The address is never used: the transport above speaks over the control socket.
        self._supervisor = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    def connect(self) -> None:
        """Open the clients; the keys exist once the system is ready."""
        token = Signer(self.data / "keys", "cli").mint("tests", Role.ADMIN, lifetime_s=3600)
        headers = {"Authorization": f"Bearer {token}"}
        self.ingest, self.classifier, self.aggregation = (
            self._open.enter_context(
                httpx.Client(
                    base_url=f"http://127.0.0.1:{self.base_port + offset}", headers=headers, timeout=15, trust_env=False
                )
            )
            for offset in (1, 2, 3)
        )

    def close(self) -> None:
        """Close the clients and the cameras."""
        self._open.close()

    # Processes

    def pid(self, program: str) -> int:
        """Return the process id of one of SERVICES or `redis`, 0 while it does not run."""
        return int(self._control("getProcessInfo", program)["pid"])

    def stop(self, program: str) -> None:
        """Stop a process and keep it stopped until `start`."""
        self._control("stopProcess", program)

    def start(self, program: str) -> None:
        """Start a stopped process and wait until it is ready."""
        self._control("startProcess", program)
        self.wait_ready()

    def kill(self, program: str) -> None:
        """Kill a process at once, as the kernel would for want of memory; its manager starts another."""
        pid = self.pid(program)
        # 0 means that it is being started anew already; to the kernel it would mean the test's own process group.
        if pid:
            os.kill(pid, signal.SIGKILL)

    def _control(self, method: str, program: str) -> Any:
        name = program if program == "redis" else f"huella:{program}"
        return getattr(self._supervisor.supervisor, method)(name)

    def not_ready(self) -> list[str]:
        """Return the programs that don't answer that they are ready."""
        return [program.name for program in PROGRAMS if not _answers(program.ready_url(self.base_port))]

    def wait_ready(self, within_s: float = READY_S) -> None:
        """Wait until every process is ready. Raises TimeoutError."""
        wait_until("every process is ready", lambda: not self.not_ready(), within_s, every_s=0.2)

    def ask(self, question: Callable[[], httpx.Response]) -> httpx.Response:
        """Send a request, and again as long as whoever stands before the services asks for that: here nobody does."""
        return question()

    # What the services say

    def get(self, service: httpx.Client, path: str, **query: str | int) -> Any:
        """Return the JSON at `path`, asking again for up to ANSWER_S seconds while a service is being restarted."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                answer = service.get(path, params=query)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code < 500:
                answer.raise_for_status()
                return answer.json()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: no answer within {ANSWER_S:g} s ({answer})")
            time.sleep(0.1)

    def items(self, service: httpx.Client, path: str, **query: str | int) -> Iterator[dict[str, Any]]:
        """Give every item of all pages at `path`."""
        following: dict[str, str | int] = {}
        while True:
            page = self.get(service, path, **query, **following)
            yield from page["items"]
            if not page.get("next"):
                return
            following = {"cursor": page["next"]}

    def audit(self) -> dict[str, int]:
        """Return ingest's audit."""
        answer: dict[str, int] = self.get(self.ingest, "/v1/audit")
        return answer

    def wait_settled(self, number: int, within_s: float = 60) -> dict[str, int]:
        """Wait until `number` frames are accepted and none is in flight, and return the audit. Raises TimeoutError."""
        seen: dict[str, int] = {}

        def settled() -> bool:
            seen.update(self.audit())
            return seen["accepted"] >= number and seen["in_flight"] == 0

        try:
            wait_until(f"{number} frames are settled", settled, within_s, every_s=0.1)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {seen}") from None
        return seen

    def spaces(self) -> dict[str, dict[str, Any]]:
        """Return the adoption status of each space by its id."""
        status = self.get(self.aggregation, "/v1/adoption-status")
        return {space["id"]: space for space in status["spaces"]}

    def estimates(self) -> list[dict[str, Any]]:
        """Return every estimate that aggregation holds, over all spaces."""
        return [
            estimate
            for space in self.spaces()
            for estimate in self.items(self.aggregation, f"/v1/spaces/{space}/estimates", limit=200)
        ]

    def reconciliation(self) -> dict[str, Any]:
        """Return aggregation's comparison of its ledger with ingest's."""
        answer: dict[str, Any] = self.get(self.aggregation, "/v1/reconciliation")
        return answer

    def receipt(self, receipt: str) -> dict[str, Any]:
        """Return what ingest says of a receipt."""
        answer: dict[str, Any] = self.get(self.ingest, f"/v1/receipts/{receipt}")
        return answer

    def ledger(self, *cameras: Camera) -> Ledger:
        """Compare the cameras' logs of what was accepted with the receipts that aggregation counted."""

        def frame_of(receipt: str) -> Frame | None:
            answer = self.ingest.get(f"/v1/receipts/{receipt}")
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            return answer.json()["camera_id"], answer.json()["frame_id"]

        attempted = [(camera.camera_id, frame_id) for camera in cameras for frame_id in camera.attempted]
        acknowledged = [
            ((camera.camera_id, frame_id), receipt) for camera in cameras for frame_id, receipt in camera.log
        ]
        return compare(attempted, acknowledged, (row["receipt"] for row in self.estimates()), frame_of)

    def redis(self) -> Redis:
        """Return a client of the system's Redis, past any proxy."""
        password = (self.data / "secrets" / "redis").read_text()
        return create_redis(f"redis://:{password}@127.0.0.1:{self.base_port + REDIS_PORT}/0", START_S)

    def metric(self, offset: int, name: str) -> float:
        """Return the sum, over labels, of a metric of the process at base port + `offset`."""
        text = httpx.get(f"http://127.0.0.1:{self.base_port + offset}/metrics", trust_env=False).text
        return sum(float(value) for sample, value in COUNT.findall(text) if sample.partition("{")[0] == name)

    # What a shelter does

    def space(self, space_id: str, **fields: object) -> None:
        """Make or change a space."""
        self.aggregation.put(f"/v1/spaces/{space_id}", json={"name": space_id, **fields}).raise_for_status()

    def camera(self, camera_id: str, space_id: str, **options: object) -> Camera:
        """Register a camera of a space, with what is switched on for it."""
        answer = self.ingest.put(f"/v1/cameras/{camera_id}", json={"space_id": space_id, **options})
        answer.raise_for_status()
        camera = Camera(str(self.ingest.base_url), camera_id, answer.json()["secret"])
        self._open.callback(camera.close)
        return camera


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def running_system(
    data: Path, environment: Mapping[str, str] | None = None, base_port: int | None = None
) -> Iterator[System]:
    """Run a system in `data`, ready, for the length of a `with`; `environment` are settings beyond the defaults.

    Raises AssertionError with the end of what it printed if it does not start.
    """
    system = System(data, base_port or free_base_port(), environment or {})
    data.mkdir(exist_ok=True, mode=0o700)
    with (data / "up.log").open("ab") as output:
        command = [sys.executable, "-m", "deploy.local.up"]
        up = subprocess.Popen(
            command, env=system.environment, cwd=REPOSITORY, stdout=output, stderr=output, start_new_session=True
        )
        try:
            wait_until("the system starts", lambda: up.poll() is not None or _says_ready(data), READY_S, every_s=0.1)
            assert up.poll() is None, (data / "up.log").read_text()[-2000:]
            system.connect()
            yield system
        finally:
            system.close()
            up.terminate()
            up.wait(60)
            (data / "up.log").rename(data / f"up-{up.pid}.log")


def _says_ready(data: Path) -> bool:
    return "Huella is ready" in (data / "up.log").read_text()


def redis_secret(data: Path) -> str:
    """Make the Redis password of a system that is not started yet, and return it."""
    path = data / "secrets" / "redis"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(32))
    return path.read_text()
