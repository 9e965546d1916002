"""Writes share commits without failing each other, on SQLite and on PostgreSQL."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from structlog.testing import capture_logs

from shared import database as module
from shared.database import Database, Instant, microseconds
from shared.engine import SERVER
from shared.migrations import migrate
from shared.problem import Problem
from shared.testing import wait_until

metadata = MetaData()
things = Table(
    "things", metadata, Column("id", Integer, primary_key=True), Column("name", Text), Column("seen_at", Instant)
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.write(metadata.create_all)
    yield database
    database.close()


def add(identity: int) -> Callable[[Connection], int]:
    def change(connection: Connection) -> int:
        connection.execute(insert(things).values(id=identity, name=f"thing {identity}"))
        return identity

    return change


def identities(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(select(things.c.id).order_by(things.c.id)).scalars())


class Gate:
    """Holds the writer inside one transaction until it is opened, so that what comes after must wait together."""

    def __init__(self, database: Database) -> None:
        self._inside, self._open = threading.Event(), threading.Event()
        self.future = database.submit(self._hold)
        assert self._inside.wait(20)

    def _hold(self, connection: Connection) -> None:
        self._inside.set()
        assert self._open.wait(20)

    def open(self) -> None:
        self._open.set()
        self.future.result(20)


def test_a_write_is_durable_when_it_returns(database: Database) -> None:
    assert database.write(add(1)) == 1
    assert identities(database) == [1]


def test_the_neighbours_of_a_failing_write_commit(database: Database) -> None:
    database.write(add(1))
    gate = Gate(database)

    def half_then_fail(connection: Connection) -> None:
        add(10)(connection)
        raise RuntimeError("changed its mind")

    def problem(connection: Connection) -> None:
        raise Problem(409, "other-content", "Use another id.")

    futures: list[Future[object]] = [
        database.submit(change) for change in (add(2), add(1), add(3), half_then_fail, problem, add(4))
    ]
    gate.open()
    failures = [type(future.exception(20)) for future in futures]
    assert failures == [type(None), IntegrityError, type(None), RuntimeError, Problem, type(None)]
    assert identities(database) == [1, 2, 3, 4]


def test_writes_that_wait_together_share_a_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[float] = []
    monkeypatch.setattr(module.TOGETHER, "observe", sizes.append)
    gate = Gate(database)
    futures = [database.submit(add(number)) for number in range(20)]
    gate.open()
    assert [future.result(20) for future in futures] == list(range(20))
    assert sizes == [1, 20]


def test_a_full_queue_answers_503_with_when_to_retry(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(database)
    futures = [database.submit(add(number)) for number in range(module.WAITING_LIMIT)]
    with pytest.raises(Problem) as refused:
        database.submit(add(-1))
    assert refused.value.status == 503
    assert refused.value.headers["Retry-After"]
    gate.open()
    assert futures[-1].result(20) == module.WAITING_LIMIT - 1
    assert database.write(add(-1)) == -1


def test_a_reader_sees_one_snapshot_and_keeps_nothing(database: Database) -> None:
    database.write(add(1))
    with database.read() as connection:
        before = connection.execute(select(func.count()).select_from(things)).scalar_one()
        database.write(add(2))
        assert connection.execute(select(func.count()).select_from(things)).scalar_one() == before
    assert identities(database) == [1, 2]


def test_what_is_done_while_reading_is_not_kept(database: Database) -> None:
    with database.read() as connection:
        add(5)(connection)
    assert identities(database) == []


def test_closing_finishes_what_waits(database_url: str) -> None:
    first = Database(database_url)
    first.write(metadata.create_all)
    gate = Gate(first)
    futures = [first.submit(add(number)) for number in range(5)]
    threading.Timer(0.1, gate.open).start()
    first.close()
    assert all(future.done() for future in futures)
    second = Database(database_url)
    assert identities(second) == list(range(5))
    second.close()


def test_two_processes_worth_of_writers_wait_for_each_other(database_url: str) -> None:
    one, two = Database(database_url), Database(database_url)
    one.write(metadata.create_all)
    futures = [(one if number % 2 else two).submit(add(number)) for number in range(100)]
    assert sorted(future.result(30) for future in futures) == list(range(100))
    one.close()
    two.close()


def test_times_are_kept_to_the_microsecond_in_utc(database: Database) -> None:
    moment = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))
    database.write(lambda connection: connection.execute(insert(things).values(id=1, seen_at=moment)) and None)
    with database.read() as connection:
        kept = connection.execute(select(things.c.seen_at)).scalar_one()
    assert kept == moment
    assert kept.tzinfo is UTC
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)) == -1


def test_an_error_tells_nothing_of_what_was_written(database: Database) -> None:
    database.write(add(1))
    with pytest.raises(IntegrityError) as failed:
        database.write(add(1))
    assert "INSERT" in str(failed.value)
    assert "thing 1" not in str(failed.value)


def test_the_server_notices_soon_that_a_client_is_gone(database: Database) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no server")
    for name, value in SERVER.items():
        with database.read() as connection:
            setting = connection.exec_driver_sql(f"SELECT setting FROM pg_settings WHERE name = '{name}'").scalar_one()
        assert (name, int(setting)) == (name, value)


def test_the_url_s_own_options_are_kept(postgresql_server: str) -> None:
    database = Database(postgresql_server + "?options=-c%20tcp_keepalives_idle%3D7%20-c%20work_mem%3D8MB")
    with database.read() as connection:
        memory = connection.exec_driver_sql("SHOW work_mem").scalar_one()
        idle = connection.exec_driver_sql("SHOW tcp_keepalives_idle").scalar_one()
    database.close()
    assert (memory, idle) == ("8MB", "7")


def test_a_writer_that_stands_still_blocks_the_others_only_for_a_while(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite's lock is let go by the process that holds it alone")
    database.write(add(1))
    monkeypatch.setattr(module, "STANDS_STILL_MS", 300)
    still, rename = Database(database_url), update(things).where(things.c.id == 1).values(name="renamed")
    inside, goes_on = threading.Event(), threading.Event()

    def stand_still(connection: Connection) -> None:
        connection.execute(rename)
        inside.set()
        assert goes_on.wait(60)

    lost = still.submit(stand_still)
    assert inside.wait(20)
    database.submit(lambda connection: connection.execute(rename) and None).result(30)
    goes_on.set()
    failure = lost.exception(20)
    assert isinstance(failure, DBAPIError), repr(failure)
    assert failure.connection_invalidated
    assert still.write(add(2)) == 2  # and goes on with a new connection
    still.close()


def test_a_lock_that_is_not_had_in_time_is_tried_again_and_holds_no_neighbour_up(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite locks whole databases")
    database.write(add(1))
    monkeypatch.setattr(module, "LOCK_WAIT_MS", 1500)  # of five tries; the second one is seen below
    tries, twice = [], threading.Event()

    def touch(connection: Connection) -> None:
        tries.append(1)
        if len(tries) == 2:
            twice.set()
        connection.execute(update(things).where(things.c.id == 1).values(name="renamed"))

    gate = Gate(database)
    with psycopg.connect(database_url) as other:
        other.execute("UPDATE things SET name = 'mine' WHERE id = 1")
        touched, neighbour = database.submit(touch), database.submit(add(2))
        gate.open()
        assert neighbour.result(20) == 2
        assert twice.wait(20)
    touched.result(20)
    with database.read() as connection:
        assert connection.execute(select(things.c.name).where(things.c.id == 1)).scalar_one() == "renamed"


ENV = """
from sqlalchemy import MetaData
from shared.migrations import run_migrations
run_migrations(MetaData())
"""
REVISION = """
import time
import sqlalchemy as sa
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.create_table("runs", sa.Column("n", sa.Integer))
    op.execute("INSERT INTO runs VALUES (1)")
    time.sleep(0.3)  # long enough for the others to arrive
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    (folder / "versions" / "0001_first.py").write_text(REVISION)
    return folder


def test_a_server_that_is_ready_later_than_its_service_is_waited_for(postgresql_server: str, migrations: Path) -> None:
    url = postgresql_server.rpartition("/")[0] + "/late"
    with ThreadPoolExecutor() as pool, capture_logs() as logged:
        started = pool.submit(migrate, url, migrations)
        wait_until("it is told that nobody answers", lambda: any(one["log_level"] == "warning" for one in logged))
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute("CREATE DATABASE late")
        started.result(30)


def test_a_server_that_never_answers_is_an_error_in_the_end(
    postgresql_server: str, migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.migrations.START_S", 0)
    with pytest.raises(OperationalError, match="does not exist"):
        migrate(postgresql_server.rpartition("/")[0] + "/never", migrations)


def test_processes_that_start_together_migrate_once(database_url: str, migrations: Path) -> None:
    script = "import sys; from shared.migrations import Path, migrate; migrate(sys.argv[1], Path(sys.argv[2]))"
    command = [sys.executable, "-c", script, database_url, str(migrations)]
    together = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outcomes = [(process.communicate(timeout=60)[1], process.returncode) for process in together]
    assert [code for _, code in outcomes] == [0, 0, 0], outcomes
    migrate(database_url, migrations)
    database = Database(database_url)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM runs").scalar_one() == 1
    database.close()


def test_a_write_that_is_cancelled_while_it_waits_is_not_done_and_harms_no_other(database: Database) -> None:
    gate = Gate(database)
    given_up, kept = database.submit(add(1)), database.submit(add(2))
    assert given_up.cancel()
    gate.open()
    assert kept.result(20) == 2
    assert database.write(add(3)) == 3
    assert identities(database) == [2, 3]


def test_two_processes_that_wait_for_each_other_both_succeed(database: Database, database_url: str) -> None:
    """PostgreSQL ends one of two transactions that wait for each other; that one is run again by itself."""
    other = Database(database_url)
    for identity in (1, 2):
        database.write(add(identity))
    # On SQLite only one of them is ever inside.
    both_inside = threading.Barrier(2 if database.engine.dialect.name == "postgresql" else 1, timeout=20)
    tries = []

    def touch(first: int, second: int) -> Callable[[Connection], None]:
        def change(connection: Connection) -> None:
            tries.append(first)
            for identity in (first, second):
                connection.execute(update(things).where(things.c.id == identity).values(name=things.c.name + "."))
                if identity == first and tries.count(first) == 1:
                    both_inside.wait()

        return change

    one, two = database.submit(touch(1, 2)), other.submit(touch(2, 1))
    one.result(30), two.result(30)
    other.close()
    with database.read() as connection:
        names = connection.execute(select(things.c.name).order_by(things.c.id)).scalars().all()
    assert names == ["thing 1..", "thing 2.."]
    # The one that is run again may come before the other has gone on, and once more.
    assert len(tries) >= 3 if database.engine.dialect.name == "postgresql" else len(tries) == 2


def test_who_waits_for_a_write_does_it(database: Database) -> None:
    assert database.write(lambda _: threading.current_thread()) is threading.current_thread()
    assert database.submit(lambda _: threading.current_thread()).result(20) is not threading.current_thread()


def test_who_writes_while_another_does_shares_the_next_commit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[float] = []
    monkeypatch.setattr(module.TOGETHER, "observe", sizes.append)
    with ThreadPoolExecutor(8) as threads:
        gate = Gate(database)
        written = [threads.submit(database.write, add(number)) for number in range(8)]
        wait_until("all wait", lambda: len(database._waiting) == 8)
        gate.open()
        assert [one.result(20) for one in written] == list(range(8))
    assert sizes == [1, 8]


def leave(_: object) -> None:
    raise SystemExit("leaving")


def test_the_writing_thread_outlives_whatever_a_change_raises(database: Database) -> None:
    gate = Gate(database)
    leaving, neighbour = database.submit(leave), database.submit(add(1))
    gate.open()
    for told in (leaving, neighbour):
        with pytest.raises(RuntimeError, match="leaving"):
            told.result(20)
    assert database.submit(add(2)).result(20) == 2
    assert identities(database) == [2]


def test_who_writes_is_raised_what_ends_a_thread_and_another_can_write_then(database: Database) -> None:
    with pytest.raises(SystemExit):
        database.write(leave)
    assert database.write(add(1)) == 1


def test_all_are_told_an_outcome_though_telling_the_first_one_failed(database: Database) -> None:
    gate = Gate(database)
    first, second = database.submit(add(1)), database.submit(add(2))
    first.add_done_callback(leave)
    gate.open()
    assert first.result(20) == 1
    with pytest.raises(RuntimeError, match="leaving"):
        second.result(20)
    assert database.submit(add(3)).result(20) == 3
