"""How a service opens its own database: SQLite by default, PostgreSQL by its URL, the same statements on both.

One thread of a process writes at a time, and commits what others wait to have written together with its own: the cost
of making them durable is paid once. Whoever waits for a write does it, unless another is at it, for to wake a thread
costs as much as a short write. Only when one of them fails is each other one run again inside a savepoint of its own,
so a failing one never fails its neighbours.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import structlog
from prometheus_client import Histogram
from sqlalchemy import BigInteger, Connection, Dialect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeDecorator

from shared.engine import open_engine
from shared.problem import unavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WAITING_LIMIT = 1000
TOGETHER_LIMIT = 200
TRIES = 5
# PostgreSQL wakes who waits for a row, and whoever asks meanwhile gets it: one that lost, asking at once, would win it
# back before the preferred one woke, and both would wait for each other again. So would its neighbours, which often
# want the same row; so no thread of this process writes meanwhile (ADR 0002).
GIVE_WAY_S = 0.05
# A client whose machine still answers for it while it stands still (stopped, swapped out) is noticed by this alone.
# Only transactions that write have it: one that reads holds no rows, and may think about them for minutes.
STANDS_STILL_MS = 15_000
LOCK_WAIT_MS = 10_000

COMMIT = Histogram(
    "huella_database_commit_seconds",
    "Time of one shared write transaction, with the writes in it.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
TOGETHER = Histogram(
    "huella_database_writes_per_commit", "Writes that shared a commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)


class Instant(TypeDecorator[datetime]):
    """An aware UTC time, kept as whole microseconds since 1970: equal, ordered and indexed alike on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=int(value))


def microseconds(moment: datetime) -> int:
    """Return an aware time as whole microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def now() -> datetime:
    """Return the present in UTC."""
    return datetime.now(UTC)


def clock(connection: Connection) -> datetime:
    """Return the database's time, the one that processes on several hosts share however much their own clocks differ.

    SQLite has none; its file is opened on one host only.
    """
    if connection.dialect.name == "sqlite":
        return now()
    told: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return told.astimezone(UTC)


class Database:
    """One service's database in one process: `read()` for a snapshot, `write(...)` for a durable change."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        # SQLite's transactions see one snapshot as they are; PostgreSQL's default gives a new one to each statement.
        isolated = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._snapshots = self.engine.execution_options(**isolated)
        # SQLite takes its lock at once: one taken late can fail in the middle.
        self._changes = self.engine.execution_options(huella_begin="BEGIN IMMEDIATE")
        self._waiting: deque[_Write] = deque()
        self._writing = threading.Lock()
        self._submitted: queue.SimpleQueue[bool] = queue.SimpleQueue()  # False ends the thread
        self._writer = threading.Thread(target=self._write_submitted, name="database-writer", daemon=True)
        self._writer.start()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose statements see one snapshot; nothing done on it is kept."""
        with self._snapshots.connect() as connection:
            yield connection
            connection.rollback()

    def submit(self, change: Callable[[Connection], T]) -> "Future[T]":
        """Queue `change` to be run in the next shared transaction; the result comes once it is durable.

        `change` must do no network call, must not commit, and may be run more than once before its transaction commits.
        Raises Problem 503 when too many wait.
        """
        future = self._wait(change)
        self._submitted.put(True)
        return future

    def write(self, change: Callable[[Connection], T]) -> T:
        """Run `change` as `submit` does, here if no other thread is writing, and return its result or raise it."""
        future = self._wait(change)
        while not future.done():
            with self._writing:
                if not future.done():
                    self._commit_waiting()
        return future.result()

    def _wait(self, change: Callable[[Connection], T]) -> "Future[T]":
        if len(self._waiting) >= WAITING_LIMIT:
            raise unavailable("Too many writes wait for the disk. Send it again shortly.", 1)
        future: Future[T] = Future()
        self._waiting.append(_Write(change, future))
        return future

    def check(self) -> None:
        """Raise if the database does not answer."""
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Finish the writes that wait, then close."""
        self._submitted.put(False)
        self._writer.join(timeout=30)
        self.engine.dispose()

    def _write_submitted(self) -> None:
        going_on = True
        while going_on or self._waiting:
            going_on = going_on and self._submitted.get()
            try:
                with self._writing:
                    self._commit_waiting()
            except BaseException as error:  # noqa: BLE001 - whoever submitted it is told, and others will submit
                log.error("the writing thread goes on", error=repr(error)[:300])

    def _commit_waiting(self) -> None:
        """Commit what waits by now, in the order in which it came; the caller holds the lock."""
        batch: list[_Write] = []
        while self._waiting and len(batch) < TOGETHER_LIMIT:
            write = self._waiting.popleft()
            # From here on it can't be cancelled; a request that was given up before is not written at all.
            if write.tries > 1 or write.future.set_running_or_notify_cancel():
                batch.append(write)
        again: list[_Write] = []
        try:
            if batch:
                again = self._commit_together(batch)
        except BaseException as error:
            # What is no Exception is meant for this thread, which may be any that writes. Everyone else is told too,
            # for who waits for a write that has no outcome would do so for ever; what they wrote may be kept or not.
            for write in batch:
                if not write.future.done():
                    write.future.set_exception(RuntimeError(f"writing was ended by {error!r}"))
            raise
        finally:
            self._waiting.extendleft(reversed(again))
            if again or len(batch) == TOGETHER_LIMIT:  # whoever submitted what is left does not wait here
                self._submitted.put(True)
        if again:
            time.sleep(GIVE_WAY_S)

    def _commit_together(self, batch: "list[_Write]") -> "list[_Write]":
        """Run the writes in one transaction, tell their outcomes, and return those that are to be run once more."""
        started = time.perf_counter()
        try:
            outcomes = self._run_together(batch)
        except Exception as error:  # noqa: BLE001 - it is their error, not this thread's
            # Whatever failed the transaction is told to everyone who waits for it.
            log.error("write transaction failed", writes=len(batch), error=str(error)[:300])
            for write in batch:
                write.future.set_exception(error)
            return []
        COMMIT.observe(time.perf_counter() - started)
        TOGETHER.observe(len(batch))
        again = []
        for write, result, failure in outcomes:
            if failure is None:
                write.future.set_result(result)
            elif _lost_a_race(failure) and write.tries < TRIES:
                write.tries += 1
                again.append(write)
            else:
                write.future.set_exception(failure)
        return again

    def _run_together(self, batch: "list[_Write]") -> "list[tuple[_Write, Any, BaseException | None]]":
        running: _Write | None = None
        try:
            results = []
            with self._transaction() as connection:
                for running in batch:
                    results.append(running.change(connection))  # noqa: PERF401 - which one failed is wanted
                running = None
            return [(write, result, None) for write, result in zip(batch, results, strict=True)]
        except Exception as error:
            if running is None or _is_lost(error):
                raise
            failed, failure = running, error
        if batch == [failed]:
            return [(failed, None, failure)]
        # Savepoints cost more than a short write, so they are only made once something has failed.
        with self._transaction() as connection:
            return [
                (write, None, failure) if write is failed else (write, *_run_alone(connection, write.change))
                for write in batch
            ]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._changes.begin() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.exec_driver_sql(
                    f"SET LOCAL idle_in_transaction_session_timeout = {STANDS_STILL_MS};"
                    f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"
                )
            yield connection


@dataclass(eq=False)
class _Write:
    change: Callable[[Connection], Any]
    future: Future[Any]
    tries: int = 1


def _lost_a_race(failure: BaseException) -> bool:
    """Return whether another process's transaction was preferred: then another try helps.

    By deadlock, serialization, or a lock not had in time. Not in the same transaction, which still holds what the
    other one waits for.
    """
    return isinstance(failure, DBAPIError) and getattr(failure.orig, "sqlstate", None) in ("40P01", "40001", "55P03")


def _run_alone(connection: Connection, change: Callable[[Connection], T]) -> tuple[T | None, BaseException | None]:
    try:
        with connection.begin_nested():
            return change(connection), None
    except Exception as error:
        if _is_lost(error):
            raise
        return None, error  # it belongs to the one who asked for this change


def _is_lost(error: Exception) -> bool:
    """Return whether the connection is gone, and with it the whole transaction."""
    return isinstance(error, DBAPIError) and error.connection_invalidated
