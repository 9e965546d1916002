"""Batches in the database: whose turn it is, and that no input ends twice or is forgotten, whatever workers do."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import pytest
from sqlalchemy import Connection, Table, event, func, select

from services.image_classifier.batches import store, views
from services.image_classifier.batches.bell import Bell, forget_contents, remove
from services.image_classifier.batches.rules import ATTEMPTS, BatchState, Quota, gave_up
from services.image_classifier.batches.store import Claimed, NewBatch, OverQuota, Result
from services.image_classifier.batches.tables import batches, contents, inputs, thumbnails
from services.image_classifier.main import MIGRATIONS
from services.image_classifier.settings import Settings
from shared.database import Database, migrate

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=20)
QUOTA = Quota(jobs=3, inputs=100, bytes=1000)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    migrate(database_url, MIGRATIONS)
    opened = Database(database_url)
    yield opened
    opened.close()


def make(database: Database, batch_id: str = "b1", number: int = 4, client: str = "me", at: datetime = NOON) -> None:
    new = NewBatch(batch_id, client, store.UPLOAD, [f"{n}.jpg" for n in range(1, number + 1)], number)
    database.write(lambda c: store.create(c, new, QUOTA, at))
    database.write(lambda c: store.add_contents(c, batch_id, dict.fromkeys(range(1, number + 1), b"x")))
    database.write(lambda c: store.open_for_work(c, batch_id, at))


def claim(database: Database, seconds: float = 0, limit: int = 2) -> Claimed | None:
    return database.write(lambda c: store.claim(c, NOON + timedelta(seconds=seconds), limit, LEASE))


def numbers(claimed: Claimed | None) -> list[int]:
    return [] if claimed is None else [one.number for one in claimed.inputs]


def finish(database: Database, results: list[Result], batch_id: str = "b1") -> int:
    return database.write(lambda c: store.finish(c, batch_id, results, NOON))


def predicted(number: int) -> Result:
    return Result(number, "cat", 0.9, 0.1, "ok", "tiny", "1", thumbnail=b"jpeg")


def state(database: Database, batch_id: str = "b1") -> tuple[str, int, int] | None:
    with database.read() as connection:
        row = views.find(connection, batch_id)
    return None if row is None else (row.state, row.done, row.failed)


def count(database: Database, table: Table) -> int:
    with database.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(table)) or 0)


def test_inputs_are_taken_once_worked_on_and_the_last_one_ends_the_batch(database: Database) -> None:
    make(database)
    assert state(database) == ("queued", 0, 0)
    assert numbers(claim(database)) == [1, 2]
    assert numbers(claim(database)) == [3, 4]
    assert claim(database) is None
    assert state(database) == ("running", 0, 0)
    assert finish(database, [predicted(1), Result(2, error="truncated")]) == 2
    assert state(database) == ("running", 1, 1)
    assert finish(database, [predicted(3), predicted(4)]) == 2
    assert state(database) == ("done", 3, 1)
    assert count(database, contents) == 0
    assert count(database, thumbnails) == 3


def test_a_batch_that_is_still_received_is_neither_seen_nor_worked_on(database: Database) -> None:
    new = NewBatch("b1", "me", store.UPLOAD, ["a.jpg"], 1)
    database.write(lambda c: store.create(c, new, QUOTA, NOON))
    assert claim(database) is None
    assert state(database) is None
    with database.read() as connection:
        assert views.newest(connection, 10, None) == []
        assert store.claimable(connection, NOON, 10, LEASE) == 0


def test_a_result_that_comes_again_changes_nothing(database: Database) -> None:
    make(database, number=2)
    claim(database)
    assert finish(database, [predicted(1)]) == 1
    assert finish(database, [Result(1, error="late"), predicted(2)]) == 1
    assert state(database) == ("done", 2, 0)
    with database.read() as connection:
        rows = views.ended(connection, "b1", 0, 10)
    assert [(row.number, row.label, row.error) for row in rows] == [(1, "cat", None), (2, "cat", None)]


def test_what_a_dead_worker_held_is_taken_again_alone_and_after_the_others(database: Database) -> None:
    make(database, number=4)
    assert numbers(claim(database, 0)) == [1, 2]
    assert claim(database, 19, limit=4) == Claimed(
        "b1", store.UPLOAD, (store.Input(3, "3.jpg"), store.Input(4, "4.jpg"))
    )
    assert numbers(claim(database, 20.1, limit=4)) == [1]
    assert numbers(claim(database, 20.1, limit=4)) == [2]
    assert claim(database, 20.1, limit=4) is None


def test_an_input_that_ends_its_worker_three_times_ends_as_an_error_and_its_neighbour_does_not(
    database: Database,
) -> None:
    make(database, number=2)
    assert numbers(claim(database, 0)) == [1, 2]
    assert numbers(claim(database, 30)) == [1]
    assert numbers(claim(database, 30)) == [2]
    finish(database, [predicted(2)])
    assert numbers(claim(database, 60)) == [1]
    assert claim(database, 90) is None
    assert state(database) == ("done", 1, 1)
    with database.read() as connection:
        assert [row.error for row in views.ended(connection, "b1", 0, 10)] == [gave_up(None), None]


def test_what_is_given_back_was_no_attempt_however_often(database: Database) -> None:
    make(database, number=2)
    for seconds in range(5):
        assert numbers(claim(database, seconds)) == [1, 2]
        at = NOON + timedelta(seconds=seconds)
        database.write(lambda c, at=at: store.put_back(c, "b1", [1, 2], at))  # type: ignore[misc]  # bound now
    assert numbers(claim(database, 6)) == [1, 2]


def test_what_is_tried_again_counts_and_is_alone(database: Database) -> None:
    make(database, number=2)
    claim(database)
    database.write(lambda c: store.try_again(c, "b1", {1: "why", 2: "why"}, NOON))
    assert numbers(claim(database)) == [1]


def test_an_input_that_fails_three_times_ends_with_the_reason_of_the_last(database: Database) -> None:
    make(database, number=1)
    for reason in ("one", "two", "three"):
        assert numbers(claim(database)) == [1]
        database.write(lambda c, reason=reason: store.try_again(c, "b1", {1: reason}, NOON))  # type: ignore[misc]  # bound now
    assert claim(database) is None
    with database.read() as connection:
        assert [row.error for row in views.ended(connection, "b1", 0, 10)] == [gave_up("three")]


def test_a_batch_that_waited_for_days_is_not_given_up(database: Database, tmp_path: Path) -> None:
    make(database)
    claim(database)
    finish(database, [predicted(1)])
    bell = Bell(database, Settings(data=tmp_path), waiting=lambda: 0, ring=lambda: None)
    bell.clear(NOON + timedelta(days=40))
    assert state(database) == ("running", 1, 0)
    assert count(database, contents) == 3
    assert numbers(claim(database, 40 * 86_400)) == [3, 4]


def test_clients_take_turns_whatever_each_has(database: Database) -> None:
    make(database, "a1", 10, "a", NOON)
    make(database, "a2", 10, "a", NOON)
    make(database, "b1", 10, "b", NOON + timedelta(seconds=1))
    order = [claimed.batch_id for n in range(6) if (claimed := claim(database, 2 + n))]
    assert order == ["a1", "b1", "a1", "b1", "a1", "b1"]


def test_a_clock_that_was_put_back_holds_up_nothing(database: Database) -> None:
    make(database, number=1, at=NOON + timedelta(days=1))
    for hours in range(0, -ATTEMPTS, -1):
        with database.read() as connection:
            at = NOON + timedelta(hours=hours)
            assert store.claimable(connection, at, 10, LEASE) == 1  # else no bell would ring
        assert numbers(claim(database, 3600 * hours)) == [1]
    assert claim(database, -3600 * ATTEMPTS) is None
    assert state(database) == ("done", 0, 1)


def test_a_cancelled_batch_keeps_its_results_and_gets_no_more(database: Database) -> None:
    make(database)
    claim(database)
    finish(database, [predicted(1)])
    assert database.write(lambda c: store.stop(c, "b1", BatchState.CANCELLED, NOON))
    assert not database.write(lambda c: store.stop(c, "b1", BatchState.CANCELLED, NOON))
    assert finish(database, [predicted(2)]) == 0
    assert claim(database, 60) is None
    assert state(database) == ("cancelled", 1, 0)
    forget_contents(database, "b1")
    assert count(database, contents) == 0
    with database.read() as connection:
        assert [row.number for row in views.ended(connection, "b1", 0, 10)] == [1]


def test_a_removed_batch_leaves_nothing(database: Database) -> None:
    make(database)
    claim(database)
    finish(database, [predicted(1)])
    assert database.write(lambda c: store.hide(c, "b1"))
    assert state(database) is None
    remove(database, "b1")
    assert [count(database, table) for table in (batches, inputs, contents, thumbnails)] == [0, 0, 0, 0]
    assert finish(database, [predicted(2)]) == 0


def test_whoever_removes_a_batch_locks_its_inputs_before_it_as_all_others_do(database: Database) -> None:
    make(database, number=2)
    said: list[str] = []

    def drop(connection: Connection) -> None:
        event.listen(connection, "before_cursor_execute", lambda *of: said.append(of[2]))
        store.drop(connection, "b1")

    database.write(drop)
    assert [("FROM batch_inputs" in text, "FROM batches" in text) for text in said[:2]] == [
        (True, False),
        (False, True),
    ]
    assert "ORDER BY batch_inputs.number" in said[0]


def test_one_process_at_a_time_clears_and_another_when_it_is_gone(database: Database, tmp_path: Path) -> None:
    first, second = (Bell(database, Settings(data=tmp_path), waiting=lambda: 0, ring=lambda: None) for _ in range(2))
    asked = [(first, 0, True), (second, 1, False), (first, 60, True), (second, 61, False), (second, 181, True)]
    for bell, seconds, cleared in asked:
        assert bell.clear_if_holder(NOON + timedelta(seconds=seconds)) is cleared


def test_quotas_count_what_is_not_ended(database: Database) -> None:
    for n in range(3):
        make(database, f"b{n}", 1)
    make(database, "other", 1, "somebody else")
    with pytest.raises(OverQuota, match="jobs"):
        make(database, "b4", 1)
    claim(database)
    finish(database, [predicted(1)], "b0")
    make(database, "b5", 1)
    with pytest.raises(OverQuota, match="inputs"):
        make(database, "b6", 101, "a third")


def test_workers_that_take_at_the_same_time_take_different_inputs(database: Database, database_url: str) -> None:
    make(database, number=60)

    def work(_: int) -> list[int]:
        taken: list[int] = []
        own = Database(database_url)  # as each process has its own
        while claimed := claim(own, limit=3):
            taken += numbers(claimed)
            finish(own, [predicted(number) for number in numbers(claimed)])
        own.close()
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = list(chain.from_iterable(pool.map(work, range(4))))
    assert sorted(taken) == list(range(1, 61))
    assert state(database) == ("done", 60, 0)


def test_the_work_that_waits_is_counted_up_to_a_bound(database: Database) -> None:
    make(database, number=10)

    def claimable(connection: Connection, limit: int) -> int:
        return store.claimable(connection, NOON, limit, LEASE)

    with database.read() as connection:
        assert claimable(connection, 100) == 10
        assert claimable(connection, 5) == 5
    claim(database, limit=8)
    with database.read() as connection:
        assert claimable(connection, 100) == 2
