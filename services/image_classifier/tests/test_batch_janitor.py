"""What is removed of batches, and when: all of what was not wanted, is too old or too much, and nothing else."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from services.image_classifier.batches import claims, janitor, store
from services.image_classifier.batches.bell import Bell
from services.image_classifier.batches.janitor import remove
from services.image_classifier.batches.store import NewBatch, NotReceiving
from services.image_classifier.batches.tables import batches, contents, inputs, thumbnails
from services.image_classifier.settings import Settings
from services.image_classifier.tests.batch_rows import (
    NOON,
    QUOTA,
    claim,
    count,
    finish,
    make,
    numbers,
    predicted,
    state,
)
from shared.database import Database

TABLES = (batches, inputs, contents, thumbnails)


def done(database: Database, batch_id: str, minute: int, number: int = 4, client: str = "me") -> None:
    """Make a batch that ended at a minute after noon."""
    at = NOON + timedelta(minutes=minute)
    make(database, batch_id, number, client, at)
    results = [predicted(n) for n in range(1, number + 1)]
    database.write(lambda c: claims.finish(c, batch_id, results, at))


def test_a_batch_that_waited_for_days_is_not_given_up(database: Database, tmp_path: Path) -> None:
    make(database)
    claim(database)
    finish(database, [predicted(1)])
    janitor.clear(database, Settings(data=tmp_path), NOON + timedelta(days=40))
    assert state(database) == ("running", 1, 0)
    assert count(database, contents) == 3
    assert numbers(claim(database, 40 * 86_400)) == [3, 4]


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
        janitor.drop(connection, "b1")

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
        assert (bell.clear(NOON + timedelta(seconds=seconds)) is not None) is cleared


def test_results_are_kept_for_their_days_and_then_nothing_of_them_is_left(database: Database, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, batch_days=2)
    done(database, "old", 0)
    make(database, "cancelled", 4)
    database.write(lambda c: store.cancel(c, "cancelled", NOON))
    done(database, "new", 1)
    make(database, "waiting", 2)
    janitor.clear(database, settings, NOON + timedelta(days=2))
    assert all(state(database, one) for one in ("old", "cancelled", "new", "waiting"))
    janitor.clear(database, settings, NOON + timedelta(days=2, seconds=1))
    assert [bool(state(database, one)) for one in ("old", "cancelled", "new", "waiting")] == [False, False, True, True]
    janitor.clear(database, settings, NOON + timedelta(days=3))
    assert state(database, "waiting") == ("queued", 0, 0)
    assert [count(database, table) for table in TABLES] == [1, 2, 2, 0]


def test_beyond_the_number_that_is_kept_the_oldest_go_and_one_client_has_half(
    database: Database, tmp_path: Path
) -> None:
    settings = Settings(data=tmp_path, batch_kept=1000)
    for n in range(7):
        done(database, f"greedy-{n}", n, 100, "greedy")
    done(database, "other-0", -1, 100, "other")
    make(database, "waiting", 10)
    assert not janitor.clear(database, settings, NOON + timedelta(hours=1))
    kept = [one for n in range(7) if state(database, one := f"greedy-{n}")]
    assert kept == [f"greedy-{n}" for n in range(2, 7)]
    assert state(database, "other-0") == ("done", 100, 0)
    for n in range(5):
        done(database, f"other-{n + 1}", 10 + n, 90, "other")
        done(database, f"third-{n}", 20 + n, 40, "third")
    janitor.clear(database, settings, NOON + timedelta(hours=1))
    kept = [one for n in range(7) if state(database, one := f"greedy-{n}")]
    assert kept == [f"greedy-{n}" for n in range(4, 7)]
    assert state(database, "waiting") == ("queued", 0, 0)


def test_a_round_removes_some_and_says_that_there_is_more(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "A_ROUND", 2)
    for n in range(5):
        done(database, f"b{n}", n, 1)
    rounds = [janitor.clear(database, Settings(data=tmp_path), NOON + timedelta(days=40)) for _ in range(3)]
    assert rounds == [True, True, False]
    assert count(database, batches) == 0


def test_what_was_not_received_whole_goes_and_whoever_wrote_it_is_told(database: Database, tmp_path: Path) -> None:
    new = NewBatch("b1", "me", store.UPLOAD, ["1.jpg", "2.jpg"], 2, NOON)
    database.write(lambda c: store.create(c, new, QUOTA))
    written_at = NOON + timedelta(minutes=5)
    database.write(lambda c: store.add_contents(c, new, {1: b"x"}, written_at))
    janitor.clear(database, Settings(data=tmp_path), written_at + janitor.STILL_FOR)
    assert count(database, contents) == 1
    janitor.clear(database, Settings(data=tmp_path), written_at + janitor.STILL_FOR + timedelta(seconds=1))
    assert [count(database, table) for table in TABLES] == [0, 0, 0, 0]
    make(database, "b1", 2, at=NOON + timedelta(minutes=9))  # meanwhile it was sent again
    for late in (
        lambda c: store.add_contents(c, new, {2: b"y"}, written_at),
        lambda c: store.open_for_work(c, new, "digest", written_at),
    ):
        with pytest.raises(NotReceiving):
            database.write(late)
    assert not database.write(lambda c: store.abandon(c, new))
    assert state(database) == ("queued", 0, 0)


def test_what_is_removed_makes_room_for_what_comes(database: Database, tmp_path: Path) -> None:
    def size() -> int:
        query = "PRAGMA page_count" if database.engine.dialect.name == "sqlite" else "SELECT 0"
        with database.read() as connection:
            return int(connection.scalar(text(query)) or 0)

    sizes = []
    photos = dict.fromkeys(range(1, 51), bytes(50_000))
    for n in range(6):
        new = NewBatch(f"b{n}", "me", store.UPLOAD, [str(one) for one in range(50)], 1, NOON)
        database.write(lambda c, new=new: store.create(c, new, QUOTA))  # type: ignore[misc]  # bound now
        database.write(lambda c, new=new: store.add_contents(c, new, photos, NOON))  # type: ignore[misc]  # as above
        database.write(lambda c, new=new: store.open_for_work(c, new, "", NOON))  # type: ignore[misc]  # as above
        remove(database, new.batch_id)
        sizes.append(size())
    assert sizes[1:] == sizes[:1] * 5
    assert [count(database, table) for table in TABLES] == [0, 0, 0, 0]
