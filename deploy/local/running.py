"""How the system is made ready, started, watched and ended on one machine."""

import ctypes
import fcntl
import math
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from pydantic import ValidationError

from deploy.local import system as local
from deploy.local.system import CannotStart, Program, System
from shared.settings import ServiceSettings
from shared.tokens import make_keys

STOP_S = 45.0
PR_SET_PDEATHSIG = 1
COMPLAIN_AFTER_S = 30.0


class Interrupted(Exception):
    """Somebody asked this process to end: Ctrl-C, SIGTERM, or the terminal went away."""


def configured() -> System:
    """Return the system that HUELLA_DATA, HUELLA_PORT and HUELLA_KEYS speak of. Raises CannotStart on a bad value."""
    try:
        settings = ServiceSettings()
    except ValidationError as error:
        first = error.errors()[0]
        raise CannotStart(f"{first['loc'][0]} is {first['input']!r}: {first['msg']}") from None
    data = settings.data.expanduser().resolve()
    return System(data=data, base_port=settings.base_port, keys=(settings.keys or data / "keys").expanduser().resolve())


@contextmanager
def reserved(system: System) -> Iterator[int]:
    """Hold the data folder's lock, as a file descriptor that the process manager inherits.

    So nobody starts a second system on the folder while this process or the manager lives. Raises CannotStart if one
    runs already.
    """
    try:
        for folder in (system.data, system.run, system.logs, system.data / "redis", system.redis_secret.parent):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        lock = os.open(system.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotStart(f"the data folder {system.data} can't be used: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode().strip()
            raise CannotStart(
                f"a system runs on {system.data} already (process {holder}). "
                f"End it with `kill {holder}`, or set HUELLA_DATA and HUELLA_PORT for a second one."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def runs(system: System) -> bool:
    """Return whether a system holds the data folder now."""
    try:
        lock = os.open(system.run / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def has_holder(system: System) -> bool:
    """Return whether the process that started the system lives; without it the process manager ends the system."""
    try:
        os.kill(int((system.run / "lock").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def prepare(system: System) -> None:
    """Make what is missing (keys, the Redis secret) and write the configuration of Redis and the process manager.

    Raises CannotStart if a port is taken or there is no Redis.
    """
    taken = local.taken_ports(list(system.ports))
    if taken:
        listed = ", ".join(f"{port} ({system.ports[port]})" for port in taken)
        raise CannotStart(f"somebody listens on port {listed} already. Choose others with HUELLA_PORT=8100, say.")
    redis = local.find_redis()
    make_keys(system.keys)
    if not system.redis_secret.exists():
        _write_private(system.redis_secret, secrets.token_urlsafe(32))
    _write_private(system.redis_conf, local.redis_conf(system, system.redis_secret.read_text().strip()))
    control = local.control_socket(system.data)
    _make_private_folder(control.parent)
    _write_private(system.supervisord_conf, local.supervisord_conf(system, redis, control))


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _make_private_folder(folder: Path) -> None:
    """Make a folder of ours; in a place that all can write to, somebody else's folder of that name is refused."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise CannotStart(f"{folder} is not a private folder of ours: remove it, or choose a shorter HUELLA_DATA")


def _end_with_parent() -> None:
    """In the child, before it becomes the process manager: ask Linux for SIGTERM when this process's parent dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(system: System, lock: int) -> subprocess.Popen[bytes]:
    """Start the process manager, away from this terminal's Ctrl-C, and return it.

    Call it from the main thread: on Linux the manager ends when the thread that started it does, however that ends.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(system.supervisord_conf)],
        cwd=local.REPOSITORY,
        env=system.environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[lock],
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def not_ready(system: System, client: httpx.Client) -> list[Program]:
    """Return the programs that don't say that they are ready now."""
    return [program for program in system.programs if not _answers(client, program.ready_url(system.base_port))]


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def wait_until_ready(
    system: System, manager: subprocess.Popen[bytes], report: Callable[[str], None], within_s: float = math.inf
) -> None:
    """Return when every program is ready, reporting each in a line, and now and then those that are not.

    Raises CannotStart if the process manager ends, or some are not ready after `within_s` seconds.
    """
    waiting, started = list(system.programs), time.monotonic()
    since = started
    with httpx.Client(timeout=2, trust_env=False) as client:
        while waiting:
            still = not_ready(system, client)
            for program in waiting:
                if program not in still:
                    report(f"  {program.name} is ready")
            waiting = still
            if manager.poll() is not None:
                raise CannotStart(f"the process manager ended; the reason is in {system.logs / 'supervisord.log'}")
            if waiting and time.monotonic() - started > within_s:
                names = ", ".join(program.name for program in waiting)
                raise CannotStart(f"not ready within {within_s:.0f} s: {names}. The reasons are in {system.logs}")
            if waiting and time.monotonic() - since > COMPLAIN_AFTER_S:
                since = time.monotonic()
                for program in waiting:
                    report(f"  {program.name} is not ready yet; see {system.logs / program.name}.log")
            time.sleep(0.2)


def stop(manager: subprocess.Popen[bytes]) -> None:
    """End the system: services first, then Redis; by force after STOP_S seconds."""
    if manager.poll() is None:
        manager.terminate()
    try:
        manager.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(manager.pid, signal.SIGKILL)
        manager.wait()


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into Interrupted, once: the way out is not interrupted again."""

    def interrupt(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def running(
    system: System, report: Callable[[str], None], ready_within_s: float = math.inf
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the system, ready, for the length of a `with`; see the functions above for what it raises."""
    with reserved(system) as lock:
        prepare(system)
        report(f"Starting Huella in {system.data}")
        manager = start(system, lock)
        try:
            wait_until_ready(system, manager, report, ready_within_s)
            yield manager
        finally:
            report("Stopping Huella")
            stop(manager)
