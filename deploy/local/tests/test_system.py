import configparser
import os
import shlex
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from deploy.local import system as local
from deploy.local.system import PROGRAMS, CannotStart, System


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(data=tmp_path / "the data 100%", base_port=8400, keys=tmp_path / "keys")


def read_conf(system: System) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(local.supervisord_conf(system, "/usr/bin/redis-server", system.run / "supervisor.sock"))
    return parser


def test_every_program_is_restarted_whenever_it_ends_and_its_logs_are_bounded(system: System) -> None:
    conf = read_conf(system)
    for name in ("redis", *(program.name for program in PROGRAMS)):
        section = conf[f"program:{name}"]
        assert section["autorestart"] == "true", name
        assert section["stopsignal"] == "TERM", name
        assert section["stdout_logfile_maxbytes"] == "5MB", name
        assert section["stdout_logfile"].replace("%%", "%") == str(system.logs / f"{name}.log")


def test_a_path_with_blanks_and_percent_signs_stays_one_word_of_the_command(system: System) -> None:
    command = read_conf(system)["program:redis"]["command"].replace("%%", "%")
    assert shlex.split(command) == ["/usr/bin/redis-server", str(system.redis_conf)]


def test_redis_ends_after_those_that_need_it(system: System) -> None:
    conf = read_conf(system)
    assert int(conf["program:redis"]["priority"]) < int(conf["group:huella"]["priority"])
    assert conf["group:huella"]["programs"].split(",") == [program.name for program in PROGRAMS]


def test_redis_listens_on_loopback_with_a_password_and_keeps_what_it_is_told(system: System) -> None:
    lines = local.redis_conf(system, "secret-of-the-test").splitlines()
    for line in (
        "bind 127.0.0.1",
        "port 8404",
        "requirepass secret-of-the-test",
        "appendonly yes",
        "maxmemory 256mb",
        "maxmemory-policy noeviction",
        f'dir "{system.data}/redis"',
    ):
        assert line in lines


def test_no_two_processes_share_a_port(system: System) -> None:
    assert len(system.ports) == len(PROGRAMS) + 1


def test_the_control_socket_is_in_the_data_folder_unless_its_path_is_too_long(tmp_path: Path) -> None:
    assert local.control_socket(Path("/srv/huella")) == Path("/srv/huella/run/supervisor.sock")
    long = [Path("/srv") / ("x" * 120) / name for name in ("a", "b")]
    sockets = [local.control_socket(path, Path("/tmp")) for path in long]
    assert len(set(sockets)) == 2
    assert all(len(os.fsencode(path)) <= local.LONGEST_SOCKET_PATH for path in sockets)


def test_a_port_on_which_somebody_listens_is_taken(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert local.taken_ports([port]) == [port]
    assert local.taken_ports([port]) == []


@pytest.mark.parametrize(
    ("says", "taken"), [("Redis server v=7.2.4 sha=0", True), ("Redis server v=6.0.16 sha=0", False), ("what?", False)]
)
def test_the_systems_redis_is_taken_only_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, taken: bool
) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text(f"#!/bin/sh\necho '{says}'\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert (local.find_redis() == str(binary)) is taken


def test_the_wheels_redis_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = local.find_redis()
    assert local.redis_version(found) >= local.OLDEST_REDIS


def test_without_any_redis_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    with pytest.raises(CannotStart, match=r"install Redis, or run `make setup`"):
        local.find_redis()


def test_every_process_gets_the_data_folder_the_ports_and_the_other_settings(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUELLA_INGEST_CHUNK", "8")
    monkeypatch.setenv("HUELLA_DATA", "elsewhere")
    environment = system.environment()
    assert environment["HUELLA_DATA"] == str(system.data)
    assert environment["HUELLA_PORT"] == "8400"
    assert environment["HUELLA_INGEST_CHUNK"] == "8"


@pytest.mark.parametrize("target", ["demo", "up", "token", "setup", "test", "check", "lock", "train", "evaluate"])
def test_make_lists_the_target(target: str) -> None:
    listed = subprocess.run(["make", "--no-print-directory"], cwd=local.REPOSITORY, capture_output=True, text=True)
    assert f"  make {target} " in listed.stdout
