"""A stack of containers as docker-compose.yml describes it, driven from outside as tests/system.py drives processes."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.local.system import REPOSITORY
from shared.testing import wait_until
from tests.cameras import Camera
from tests.photos import drawn, named
from tests.system import System, free_base_port

PROJECT = "huella-test"
OF_PROJECT = f"--filter=label=com.docker.compose.project={PROJECT}"
# How many of each: the kill test is about replicas that share the work.
REPLICAS = {"camera-ingest": 2, "image-classifier": 1, "image-classifier-worker": 3, "aggregation": 2, "dashboard": 1}
SINGLE = ("image-classifier-batch-worker", "aggregation-worker", "redis", "postgres", "gateway")
AGENT = "camera-agent"  # runs only when it is asked for, by this:
CAMERAS = ("--profile", "cameras")
KEPT_CHARACTERS = 2_000_000
START_S = 1800
COMMAND_S = 300
# How long a stack may take that shares its machine with other work; nothing that goes well takes as long.
PATIENCE_S = 180
PROBES = {
    "ingest": "/v1/audit",
    "classifier": "/v1/models",
    "aggregation": "/v1/adoption-status",
    "dashboard": "/login",
}
FOLDERS = {
    "camera-ingest": "camera_ingest",
    "image-classifier": "image_classifier",
    "aggregation": "aggregation",
    "dashboard": "dashboard",
}


@dataclass(frozen=True)
class Engine:
    """What runs containers here: the compose command, and the command that acts on one container."""

    compose: str
    command: str


def find_engine() -> Engine | None:
    """Return Docker where it answers, else the stand-in beside the project (or CONTAINERS_TOOL), else None."""
    docker = shutil.which("docker")
    if docker and _succeeds(docker, "info") and _succeeds(docker, "compose", "version"):
        return Engine("docker compose", "docker")
    tool = Path(os.environ.get("CONTAINERS_TOOL", REPOSITORY.parent / "shared" / "tools" / "containers"))
    return Engine(str(tool), "podman") if os.access(tool, os.X_OK) else None


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


class Stack(System):
    """A running stack. Everything that is asked of it goes through the gateway, as a camera or a person would."""

    def __init__(self, engine: Engine, secrets: Path, port: int) -> None:
        self.engine = engine
        self.secrets = secrets
        self.address = f"http://127.0.0.1:{port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HUELLA_")},
            "COMPOSE": engine.compose,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "HUELLA_CAMERAS": str(secrets.parent / "cameras"),
            "HUELLA_SECRETS": str(secrets),
            "HUELLA_PORT": str(port),
            "CAMERA_INGEST_REPLICAS": str(REPLICAS["camera-ingest"]),
            "IMAGE_CLASSIFIER_WORKERS": str(REPLICAS["image-classifier-worker"]),
            "AGGREGATION_REPLICAS": str(REPLICAS["aggregation"]),
        }
        self.cameras: list[Camera] = []
        self.said = ""
        self.at_start: dict[str, str] = {}
        self._open = ExitStack()

    def camera(self, camera_id: str, space_id: str, **options: object) -> Camera:
        """Register a camera of a space, and remember it for the ledger."""
        camera = super().camera(camera_id, space_id, **options)
        camera.patience_s = PATIENCE_S
        self.cameras.append(camera)
        return camera

    def wait_settled(self, number: int, within_s: float = PATIENCE_S) -> dict[str, int]:
        """Wait until `number` frames are accepted and none is in flight, and return the audit. Raises TimeoutError."""
        return super().wait_settled(number, max(within_s, PATIENCE_S))

    def wait_ready(self, within_s: float = PATIENCE_S) -> None:
        """Wait until every container runs and every service answers at the gateway. Raises TimeoutError."""
        super().wait_ready(max(within_s, PATIENCE_S))

    def fetched(self, camera_id: str) -> Camera:
        """Register a camera and write the agent's file, which tells it to fetch that one, twice a second."""
        camera = self.camera(camera_id, "fetched")
        folder = Path(self.environment["HUELLA_CAMERAS"])
        folder.mkdir(exist_ok=True)
        (folder / "secret").write_text(camera.secret)
        (folder / "cameras.yaml").write_text(
            f"ingest: http://gateway:8080\ncameras:\n  {camera_id}:\n    source: 'simulated:cat'\n    every_s: 0.5\n"
            "    skip_unchanged: false\n    secret_file: secret\n"
        )
        folder.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o644)
        return camera

    def receipts(self, camera: Camera) -> list[dict[str, str]]:
        """Return what ingest says of each frame that it accepted of a camera."""
        return list(self.items(self.ingest, "/v1/receipts", camera_id=camera.camera_id, limit=200))

    def ask(self, question: Callable[[], httpx.Response]) -> httpx.Response:
        """Send a request, and again after the gateway's `Retry-After` while it finds no service behind the address.

        Podman's name server may know no name for a moment after a container came or went.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (answer := question()).status_code == 502 and time.monotonic() < deadline:
            time.sleep(float(answer.headers["retry-after"]))
        return answer

    def connect(self) -> None:
        """Open a client with an admin's token; the three services are at one address."""
        token = self.run(["deploy/compose/token", "--role", "admin"]).split()[-1]
        headers = {"Authorization": f"Bearer {token}"}
        client = httpx.Client(base_url=self.address, headers=headers, timeout=30, trust_env=False)
        self.ingest = self.classifier = self.aggregation = self._open.enter_context(client)

    # Commands

    def run(
        self,
        command: Sequence[str],
        *,
        within_s: float = COMMAND_S,
        cwd: Path = REPOSITORY,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command in the stack's environment and return what it printed. Raises AssertionError if it fails."""
        ended = subprocess.run(
            command,
            cwd=cwd,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert ended.returncode == 0, f"{command}: {ended.returncode}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
        return ended.stdout

    def compose(self, *arguments: str, within_s: float = COMMAND_S, **where: Any) -> str:
        """Run a compose command."""
        try:
            return self.run([*self.engine.compose.split(), *arguments], within_s=within_s, **where)
        finally:
            end_health_checks(self.engine)

    def act(self, *arguments: str) -> str:
        """Run a command of the engine on one container."""
        return self.run([self.engine.command, *arguments])

    # Containers

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, in the order of their names."""
        labels = {"project": PROJECT, "service": service}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        lines = self.act("ps", "-a", *filters, "--format={{.Names}} {{.ID}}").split("\n")
        return [line.split()[1] for line in sorted(lines) if line.strip()]

    def inside(self, container: str, script: str) -> str:
        """Run a shell script inside a container, as the user that it runs as, and return what it printed."""
        return self.act("exec", container, "sh", "-c", script)

    def state(self, container: str) -> dict[str, Any]:
        """Return what the engine says of a container's state."""
        answer: dict[str, Any] = json.loads(self.act("inspect", "--format={{json .State}}", container))
        return answer

    def healthy(self, container: str) -> bool:
        """Return whether a container's own health check says that it is well."""
        if self.engine.command == "podman":
            return _succeeds("podman", "healthcheck", "run", container)
        return bool(self.state(container)["Health"]["Status"] == "healthy")

    def kill_inside(self, container: str, user: str = "") -> None:
        """Kill every process of a container from within, with SIGKILL, and wait until it was restarted."""
        before = self.state(container)["StartedAt"]
        as_user = [f"--user={user}"] if user else []
        # The command dies with the container, so its exit status says nothing.
        command = [self.engine.command, "exec", *as_user, container, "sh", "-c", "kill -9 -1"]
        subprocess.run(command, capture_output=True, timeout=COMMAND_S, check=False)

        def restarted() -> bool:
            state = self.state(container)
            return bool(state["Running"]) and state["StartedAt"] != before

        wait_until(f"{container} was restarted", restarted, PATIENCE_S, every_s=0.5)

    def logs(self) -> dict[str, str]:
        """Return the whole log of each container, by its service and number, such as `camera-ingest-2`."""
        found = {}
        for service in (*REPLICAS, *SINGLE, AGENT):
            for number, container in enumerate(self.containers(service), start=1):
                command = [self.engine.command, "logs", container]
                ended = subprocess.run(command, capture_output=True, timeout=COMMAND_S, check=False)
                found[f"{service}-{number}"] = (ended.stdout + ended.stderr).decode(errors="replace")
        return found

    def keep_logs(self, folder: Path) -> None:
        """Write the end of each container's log into a folder, for whoever has to find out what went wrong."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.logs().items():
            (folder / f"{name}.log").write_text(text[-KEPT_CHARACTERS:])

    def not_ready(self) -> list[str]:
        """Return the services that the gateway can't get an answer from, and the containers that don't run."""
        missing = [name for name, path in PROBES.items() if not self._answers(path)]
        for service in (*REPLICAS, *SINGLE):
            missing += [service for container in self.containers(service) if not self.state(container)["Running"]]
        return missing

    def _answers(self, path: str) -> bool:
        try:
            return self.ingest.get(path).status_code < 500
        except httpx.TransportError:
            return False


def delivered(camera: Camera, receipts: list[dict[str, str]]) -> None:
    """Put into a camera's log what was accepted of it in another way than its own, for the ledger."""
    for row in receipts:
        camera.attempted.add(row["frame_id"])
        camera.log.append((row["frame_id"], row["receipt"]))


def photo(name: str) -> bytes:
    """Return a drawn dog whose bytes are its own."""
    return named(drawn("dog"), name)


def end_health_checks(engine: Engine) -> None:
    """End the loop that the stand-in starts with each `up`: by it they would cost the tests most of a processor.

    Docker has no such thing; on Podman a check changes nothing, so it is made when it is asked for.
    """
    if engine.command != "podman":
        return
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(os.environ.get("CONTAINERS_HOME") or Path(cache) / "standin-containers") / "health.pid"
    with suppress(OSError, ValueError):  # there is none, or it has ended
        pid = int(path.read_text())
        if engine.compose.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            os.kill(pid, signal.SIGTERM)


def remove(engine: Engine) -> None:
    """Remove what there is of the tests' stack, whatever state it is in; the images stay, to be built upon."""

    def run(*arguments: str, check: bool = True) -> list[str]:
        command = [engine.command, *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        assert ended.returncode == 0 or not check, f"{command}: {ended.stderr}"
        return ended.stdout.split()

    if containers := run("ps", "-aq", OF_PROJECT):
        run("stop", "-t", "2", *containers, check=False)  # some may have ended, or may be just ending
        run("rm", "-f", "-v", *containers, check=False)
    # Podman removes none that others depend on, and those may have been named after it.
    if containers := run("ps", "-aq", OF_PROJECT):
        run("rm", "-f", "-v", *containers)
    for kind in ("volume", "network"):
        if found := run(kind, "ls", "-q", OF_PROJECT):
            run(kind, "rm", *found)
    end_health_checks(engine)


@contextmanager
def running_stack(engine: Engine, secrets: Path) -> Iterator[Stack]:
    """Build and start a stack, scaled as REPLICAS says, and remove it with its data at the end."""
    remove(engine)  # what a run left that was killed
    stack = Stack(engine, secrets, free_base_port())
    with ExitStack() as ending:
        ending.callback(remove, engine)
        ending.callback(stack.keep_logs, REPOSITORY / "build" / "containers")
        ending.callback(stack.close)
        stack.said = stack.run(["deploy/compose/start"], within_s=START_S)
        end_health_checks(engine)
        stack.at_start = stack.logs()
        stack.connect()
        stack.compose(*CAMERAS, "build", AGENT, within_s=START_S)
        yield stack


if __name__ == "__main__":
    # For whoever had to kill the tests.
    if found := find_engine():
        remove(found)
