import os
import random
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jwt
import pytest

from deploy.local import running
from deploy.local import system as local
from deploy.local.system import CannotStart, System
from shared.testing import wait_until
from shared.tokens import BadToken, Keyring, Role, make_keys


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(data=tmp_path / "data", base_port=free_base_port(), keys=tmp_path / "data" / "keys")


def free_base_port() -> int:
    """A base port whose whole range is free now; below those that the kernel gives out."""
    for base in random.sample(range(12_000, 32_000, 20), 100):
        if not local.taken_ports(range(base, base + 20)):
            return base
    raise AssertionError("no free ports")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_secrets_are_made_once_and_only_their_owner_reads_them(system: System) -> None:
    with running.reserved(system):
        running.prepare(system)
        secret = system.redis_secret.read_text()
        key = (system.keys / "private" / "cli.pem").read_bytes()
        running.prepare(system)
    assert system.redis_secret.read_text() == secret
    assert (system.keys / "private" / "cli.pem").read_bytes() == key
    assert len(secret) >= 32
    assert mode(system.data) == mode(system.run) == mode(system.logs) == 0o700
    for path in (system.redis_secret, system.redis_conf, system.supervisord_conf, system.keys / "private" / "cli.pem"):
        assert mode(path) == 0o600, path


def test_a_taken_port_is_named_with_what_it_is_for_and_what_to_do(system: System) -> None:
    with socket.socket() as listener, running.reserved(system):
        listener.bind(("127.0.0.1", system.base_port + 3))
        listener.listen()
        with pytest.raises(CannotStart, match=rf"port {system.base_port + 3} \(aggregation\).*HUELLA_PORT"):
            running.prepare(system)


def test_a_second_system_on_the_same_folder_is_refused_and_told_whom_to_end(system: System) -> None:
    assert not running.runs(system)
    with running.reserved(system):
        assert running.runs(system)
        with (
            pytest.raises(CannotStart, match=rf"already \(process {os.getpid()}\).*HUELLA_DATA"),
            running.reserved(system),
        ):
            pass
    assert not running.runs(system)


def test_a_folder_that_cant_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = System(data=tmp_path / "file" / "data", base_port=8400, keys=tmp_path)
    with pytest.raises(CannotStart, match=r"file/data can't be used: Not a directory"), running.reserved(broken):
        pass


def test_somebody_elses_folder_for_the_control_socket_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "huella-0-abc"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(CannotStart, match="not a private folder"):
        running._make_private_folder(open_to_all)


@pytest.mark.parametrize("port", ["http", "0", "99999"])
def test_a_port_that_makes_no_sense_is_one_line(port: str) -> None:
    answer = run_module("deploy.local.up", env={"HUELLA_PORT": port})
    assert answer.returncode == 1
    assert answer.stderr.startswith("Huella can't start: HUELLA_PORT is")
    assert answer.stderr.count("\n") == 1


@pytest.fixture
def sleeping(system: System) -> System:
    """The system with a program that never answers, so that it starts, waits and can be ended."""
    return replace(system, programs=(local.Program("sleeper", "http.server", 1, "/readyz"),))


def test_the_process_manager_restarts_redis_and_ends_it_when_it_is_told_to(sleeping: System) -> None:
    with running.reserved(sleeping) as lock:
        running.prepare(sleeping)
        manager = running.start(sleeping, lock)
        try:
            first = pid_of(sleeping, "redis")
            os.kill(first, signal.SIGKILL)
            second = pid_of(sleeping, "redis", other_than=first)
        finally:
            running.stop(manager)
    assert second != first
    assert not Path(f"/proc/{second}").exists()
    assert not local.taken_ports(list(sleeping.ports))


def test_a_system_that_does_not_get_ready_is_given_up_by_name_and_ended(sleeping: System) -> None:
    said: list[str] = []
    with (
        pytest.raises(CannotStart, match=r"not ready within 1 s: sleeper\..*logs"),
        running.running(sleeping, said.append, ready_within_s=1),
    ):
        pass
    assert said[-1] == "Stopping Huella"
    assert not local.taken_ports(list(sleeping.ports))


STARTS_AND_IS_KILLED = """
import os, signal
from deploy.local import running
system = running.configured()
with running.reserved(system) as lock:
    running.prepare(system)
    running.start(system, lock)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_no_process_outlives_a_command_that_was_killed(system: System) -> None:
    environment = {"HUELLA_DATA": str(system.data), "HUELLA_PORT": str(system.base_port)}
    killed = run_python("-c", STARTS_AND_IS_KILLED, env=environment)
    assert killed.returncode == -signal.SIGKILL
    wait_until("the process manager ended", lambda: not running.runs(system), 60)
    wait_until("so did what it had started", lambda: not local.taken_ports(list(system.ports)), 60)


def pid_of(system: System, program: str, other_than: int = 0) -> int:
    """The program's process id by supervisorctl, once it runs."""
    for _ in range(600):
        answer = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(system.supervisord_conf), "pid", program],
            capture_output=True,
            text=True,
            timeout=60,
        )
        found = answer.stdout.strip()
        if found.isdigit() and int(found) not in (0, other_than):
            return int(found)
    raise AssertionError(f"{program} does not run: {answer.stdout}")


def run_module(module: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run_python("-m", module, *arguments, env=env)


def run_python(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=local.REPOSITORY,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_token_is_all_that_is_printed_and_it_has_the_role(tmp_path: Path, role: str) -> None:
    make_keys(tmp_path / "keys")
    answer = run_module("deploy.local.token", "--role", role, env={"HUELLA_DATA": str(tmp_path)})
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("\n") == 1
    identity = Keyring(tmp_path / "keys").identify(answer.stdout.strip(), "aggregation")
    assert (identity.role, identity.issuer) == (Role(role), "cli")


def test_a_token_lasts_as_long_as_it_is_asked_to(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    answer = run_module("deploy.local.token", "--role", "viewer", "--days", "2", env={"HUELLA_DATA": str(tmp_path)})
    keyring = Keyring(tmp_path / "keys")
    assert keyring.identify(answer.stdout.strip(), "aggregation").role is Role.VIEWER
    claims = jwt.decode(answer.stdout.strip(), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 2 * 86_400
    with pytest.raises(BadToken):
        keyring.identify(answer.stdout.strip()[:-3], "aggregation")


@pytest.mark.parametrize("role", ["service", "king", ""])
def test_no_token_for_another_role(tmp_path: Path, role: str) -> None:
    make_keys(tmp_path / "keys")
    answer = run_module("deploy.local.token", "--role", role, env={"HUELLA_DATA": str(tmp_path)})
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "viewer, operator, admin" in answer.stderr


def test_without_keys_the_token_command_says_what_makes_them(tmp_path: Path) -> None:
    answer = run_module("deploy.local.token", "--role", "viewer", env={"HUELLA_DATA": str(tmp_path)})
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "`make up` makes it" in answer.stderr
