"""Batches in the database: whose turn it is, and that no input ends twice or is forgotten, whatever workers do."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import chain

import pytest
from sqlalchemy import Connection

from services.image_classifier.batches import claims, store, views
from services.image_classifier.batches.claims import Claimed, Result
from services.image_classifier.batches.janitor import forget_contents
from services.image_classifier.batches.rules import ATTEMPTS, CANCELLED, KILLERS, gave_up, not_tried
from services.image_classifier.batches.store import NewBatch, OverQuota
from services.image_classifier.batches.tables import batches, contents, thumbnails
from services.image_classifier.tests.batch_rows import (
    LEASE,
    NOON,
    QUOTA,
    claim,
    count,
    finish,
    make,
    numbers,
    predicted,
    put_back,
    state,
    try_again,
)
from shared.database import Database


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
    new = NewBatch("b1", "me", store.UPLOAD, ["a.jpg"], 1, NOON)
    database.write(lambda c: store.create(c, new, QUOTA))
    assert claim(database) is None
    assert state(database) is None
    with database.read() as connection:
        assert views.newest(connection, 10, None) == []
        assert claims.claimable(connection, NOON, 10, LEASE) == 0


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
        "b1",
        store.UPLOAD,
        (claims.Input(3, "3.jpg"), claims.Input(4, "4.jpg")),
        NOON + timedelta(seconds=19) + LEASE,
    )
    assert numbers(claim(database, 20.1, limit=4)) == [1]
    assert claim(database, 20.1, limit=4) is None  # it may end its worker: the next one waits for its end
    finish(database, [predicted(1)])
    assert numbers(claim(database, 20.2, limit=4)) == [2]
    assert claim(database, 20.2, limit=4) is None


def test_an_input_that_ends_its_worker_three_times_ends_as_an_error_and_its_neighbour_does_not(
    database: Database,
) -> None:
    make(database, number=2)
    assert numbers(claim(database, 0)) == [1, 2]
    assert numbers(claim(database, 30)) == [1]
    assert numbers(claim(database, 60)) == [1]
    assert numbers(claim(database, 90)) == [2]
    finish(database, [predicted(2)])
    assert state(database) == ("done", 1, 1)
    with database.read() as connection:
        assert [row.error for row in views.ended(connection, "b1", 0, 10)] == [gave_up(None), None]


def test_what_is_given_back_was_no_attempt_however_often(database: Database) -> None:
    make(database, number=2)
    for seconds in range(5):
        claimed = claim(database, seconds)
        assert numbers(claimed) == [1, 2]
        put_back(database, claimed, [1, 2], NOON + timedelta(seconds=seconds))
    assert numbers(claim(database, 6)) == [1, 2]


def test_who_lost_its_lease_gives_nothing_back_that_another_has(database: Database) -> None:
    make(database, number=1)
    late = claim(database, 0)
    second = claim(database, 30)
    assert numbers(second) == [1]
    put_back(database, late, [1], NOON + timedelta(seconds=31))
    try_again(database, late, {1: "late"})
    assert claim(database, 32) is None
    put_back(database, second, [1], NOON + timedelta(seconds=33))
    assert numbers(claim(database, 33)) == [1]


def test_what_is_tried_again_counts_and_is_alone(database: Database) -> None:
    make(database, number=2)
    try_again(database, claim(database), {1: "why", 2: "why"})
    assert numbers(claim(database)) == [1]


def test_an_input_that_fails_three_times_ends_with_the_reason_of_the_last(database: Database) -> None:
    make(database, number=1)
    for reason in ("one", "two", "three"):
        claimed = claim(database)
        assert numbers(claimed) == [1]
        try_again(database, claimed, {1: reason})
    assert claim(database) is None
    with database.read() as connection:
        assert [row.error for row in views.ended(connection, "b1", 0, 10)] == [gave_up("three")]


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
            assert claims.claimable(connection, at, 10, LEASE) == 1  # else no bell would ring
        assert numbers(claim(database, 3600 * hours)) == [1]
    assert claim(database, -3600 * ATTEMPTS) is None
    assert state(database) == ("done", 0, 1)


def test_a_cancelled_batch_keeps_its_results_and_gets_no_more(database: Database) -> None:
    make(database)
    claim(database)
    finish(database, [predicted(1)])
    assert database.write(lambda c: store.cancel(c, "b1", NOON))
    assert not database.write(lambda c: store.cancel(c, "b1", NOON))
    assert finish(database, [predicted(2)]) == 0
    assert claim(database, 60) is None
    assert state(database) == ("cancelled", 1, 3)
    forget_contents(database, "b1")
    assert count(database, contents) == 0
    with database.read() as connection:
        rows = views.ended(connection, "b1", 0, 10)
    assert [(row.number, row.error) for row in rows] == [(1, None), *((n, CANCELLED) for n in (2, 3, 4))]


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


def test_one_clients_photos_end_one_worker_at_a_time_and_others_go_on(database: Database) -> None:
    make(database, "a1", 4)
    make(database, "a2", 4)
    make(database, "c1", 2, "other")
    for _ in range(5):
        claim(database, 0)  # and each of these workers dies
    assert claim(database, 1) is None
    taken = [(claimed.batch_id, numbers(claimed)) for _ in range(4) if (claimed := claim(database, 30))]
    assert taken == [("a1", [1]), ("c1", [1])]
    with database.read() as connection:  # or rings would have the workers look in vain, again and again
        assert claims.claimable(connection, NOON + timedelta(seconds=30), 100, LEASE) == 0


def test_a_batch_whose_inputs_end_too_many_workers_is_not_tried_further(database: Database) -> None:
    make(database, number=40)
    seconds, deaths = 0.0, 0
    while claim(database, seconds, limit=8):
        seconds, deaths = seconds + 30, deaths + 1
    assert deaths == 5 + 2 * KILLERS
    assert state(database) == ("done", 0, 40)
    with database.read() as connection:
        errors = [row.error for row in views.ended(connection, "b1", 0, 100)]
    assert errors == [gave_up(None)] * KILLERS + [not_tried()] * (40 - KILLERS)
    assert count(database, contents) == 0


def test_quotas_hold_among_processes_that_make_batches_at_the_same_time(database: Database, database_url: str) -> None:
    together = threading.Barrier(6)

    def send(number: int) -> bool:
        own = Database(database_url)  # as each process has its own
        new = NewBatch(f"b{number}", "me", store.UPLOAD, [f"{n}.jpg" for n in range(10)], 10, NOON)
        together.wait(30)
        try:
            own.write(lambda c: store.create(c, new, QUOTA))
        except OverQuota:
            return False
        finally:
            own.close()
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(send, range(6))) == QUOTA.jobs
    assert count(database, batches) == QUOTA.jobs


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
        return claims.claimable(connection, NOON, limit, LEASE)

    with database.read() as connection:
        assert claimable(connection, 100) == 10
        assert claimable(connection, 5) == 5
    claim(database, limit=8)
    with database.read() as connection:
        assert claimable(connection, 100) == 2
