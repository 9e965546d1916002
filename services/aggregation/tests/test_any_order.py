"""A belief is that of a set of frames: in any order, however often, from any number of workers."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, event, select

from services.aggregation import tables
from services.aggregation.occupancy import Rules
from services.aggregation.rebuild import rebuild, same_belief
from services.aggregation.settings import Settings
from services.aggregation.store import record as record_in
from services.aggregation.tests.conftest import Record, message, minutes_ago, result
from services.aggregation.tests.stored import COLUMNS, believed, outbox
from services.aggregation.window import Windows
from services.aggregation.worker import record_estimates
from shared.database import Database, microseconds
from shared.messages import EstimateResult


def written(database: Database) -> dict[str, Any]:
    """Return what else a message writes of its spaces: checkpoints, evidence that still counts, recorded stays."""
    spaces, stays = tables.spaces.c, tables.stays.c
    with database.read() as connection:
        return {
            name: [tuple(row) for row in connection.execute(query)]
            for name, query in (
                ("spaces", select(spaces.id, spaces.closed_before, spaces.checkpoint).order_by(spaces.id)),
                ("evidence", select(tables.evidence).order_by(*tables.evidence.primary_key.columns)),
                ("stays", select(stays.space_id, stays.species).where(stays.recorded).order_by(stays.space_id)),
            )
        }


def story(seed: int, frames: int, minutes: float) -> list[dict[str, Any]]:
    """Return results of two spaces and three cameras, whose content changes in the middle, all `minutes` long."""
    chance, start = random.Random(seed), minutes_ago(minutes)
    results = []
    for number in range(frames):
        at = start + timedelta(seconds=minutes * 60 * number / frames)
        camera = chance.choice(("a", "b", "c"))
        space = "k2" if camera == "c" else "k1"
        there = chance.random() < 0.8
        early = number < frames / 2
        cat = 0.97 if there and early else 0.04
        dog = 0.97 if there and not early else 0.04
        image = f"frozen-{cat}-{dog}" if chance.random() < 0.2 else None
        results.append(result(space, camera, at, cat=cat, dog=dog, image=image))
    return results


def chunks(results: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(results), size):
        yield results[start : start + size]


@contextmanager
def erased(database: Database) -> Iterator[None]:
    """Start from nothing again."""

    def erase(connection: Any) -> None:
        for table in (
            tables.estimates,
            tables.evidence,
            tables.spaces,
            tables.stays,
            tables.spans,
            tables.changes,
            tables.settlements,
            tables.corrections,
        ):
            connection.execute(delete(table))

    database.write(erase)
    yield


def record_at(database: Database, results: list[dict[str, Any]], now: datetime, windows: Windows | None = None) -> None:
    """Count results as one message at a given time, so that two runs can be compared."""
    parsed = [EstimateResult.model_validate(one) for one in results]
    database.write(lambda connection: record_in(connection, parsed, now, Rules(), 600, windows))


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_and_repeated_messages_give_the_same_belief(database: Database, seed: int) -> None:
    results = story(seed, frames=80, minutes=9)
    now = datetime.now(UTC)
    with erased(database):
        for chunk in chunks(results, 16):
            record_at(database, chunk, now)
        in_order = believed(database)
    shuffled = results + results[::3]
    random.Random(seed).shuffle(shuffled)
    windows = Windows()
    with erased(database):
        for chunk in chunks(shuffled, 5):
            record_at(database, chunk, now, windows)
        assert believed(database) == in_order
    assert in_order["stays"]


def test_a_message_of_many_spaces_gives_what_a_message_of_each_gives(database: Database) -> None:
    chance, start, now = random.Random(5), minutes_ago(34), datetime.now(UTC)
    results = []
    for number in range(480):
        space = f"k{number % 12}"
        there = number < 48
        at = start + timedelta(seconds=4 * number + chance.uniform(-30, 30))
        results.append(result(space, f"c-{space}", at, cat=0.97 if there else 0.03))
    for part in chunks(results, 24):
        record_at(database, part, now)
    together, written_together = believed(database), written(database)
    assert len(together["spaces"]) == 12
    assert {until is None for _, _, _, until in together["stays"]} == {False}
    assert len(written_together["stays"]) == 12
    with erased(database):
        for part in chunks(results, 24):
            for space in sorted({one["space_id"] for one in part}):
                record_at(database, [one for one in part if one["space_id"] == space], now)
    assert believed(database) == together
    assert written(database) == written_together


def test_a_message_of_many_spaces_asks_no_more_than_one_of_a_single_space(database: Database, record: Record) -> None:
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    # The second message finds each space made, and within a bucket no checkpoint moves.
    at = minutes_ago(1)
    numbers = []
    for spaces in (["alone"], [f"k{number}" for number in range(12)]):
        record(*(result(space, space, at) for space in spaces))
        asked.clear()
        record(*(result(space, space, at + timedelta(seconds=1)) for space in spaces))
        numbers.append(len(asked))
    assert numbers[0] == numbers[1], asked


def test_a_rebuild_from_all_estimates_equals_what_grew_bit_by_bit(database: Database) -> None:
    """Over an hour and a half, so that the checkpoint moves many times."""
    results = story(5, frames=240, minutes=90)
    now = datetime.now(UTC)
    windows = Windows()
    for chunk in chunks(results, 8):
        record_at(database, chunk, now, windows)
    with database.read() as connection:
        spaces = connection.execute(select(tables.spaces)).mappings().all()
        for space in spaces:
            fold = rebuild(connection, space["id"], Rules())
            fold.pass_time(microseconds(now))
            assert list(fold.belief.posterior) == list(json.loads(space["posterior"]).values())
            assert fold.belief.occupancy == space["occupancy"]
            assert microseconds(space["since"]) == fold.belief.since_us
            assert same_belief(fold.belief, space["occupancy"], microseconds(space["last_evidence_at"]))
            kept = connection.execute(
                select(tables.stays).where(tables.stays.c.space_id == space["id"]).order_by(tables.stays.c.from_at)
            ).mappings()
            expected = sorted((one.from_us, one.species.value, one.until_us) for one in fold.stays())
            assert [
                (microseconds(row["from_at"]), row["species"], row["until_at"] and microseconds(row["until_at"]))
                for row in kept
            ] == expected
            spans = connection.execute(
                select(tables.spans).where(tables.spans.c.space_id == space["id"]).order_by(tables.spans.c.since)
            ).mappings()
            assert [(microseconds(row["since"]), row["occupancy"]) for row in spans] == [
                (span.since_us, span.occupancy) for span in fold.spans
            ]
        evidence = connection.execute(select(tables.evidence.c.bucket)).scalars().all()
    newest = max(microseconds(datetime.fromisoformat(one["observed_at"])) for one in results) // 1_000_000
    assert min(evidence) >= newest - 3 * 600, "evidence before the checkpoint's horizon is let go"


class Deliveries(RuleBasedStateMachine):
    """Messages come in any order and any number of times; the belief is that of the set of them."""

    database: Database
    now: datetime

    @initialize(seed=st.integers(0, 10_000))
    def begin(self, seed: int) -> None:
        with erased(self.database):
            self.waiting = list(chunks(story(seed, frames=24, minutes=8), 3))
            self.arrived: list[dict[str, Any]] = []
            # Two workers that take turns: what one remembers is outdated by the other.
            self.workers = [Windows(), Windows()]

    @rule(which=st.integers(0, 100), worker=st.integers(0, 1))
    def deliver(self, which: int, worker: int) -> None:
        chunk = self.waiting[which % len(self.waiting)]
        record_at(self.database, chunk, self.now, self.workers[worker])
        self.arrived += [one for one in chunk if one not in self.arrived]

    @invariant()
    def belief_is_that_of_the_set(self) -> None:
        if not getattr(self, "arrived", None):
            return
        with self.database.read() as connection:
            frames = connection.execute(select(tables.spaces.c.id, tables.spaces.c.frames)).all()
            for space_id, number in frames:
                fold = rebuild(connection, space_id, Rules())
                fold.pass_time(microseconds(self.now))
                row = connection.execute(select(tables.spaces).where(tables.spaces.c.id == space_id)).mappings().one()
                assert list(json.loads(row["posterior"]).values()) == list(fold.belief.posterior)
                assert row["occupancy"] == fold.belief.occupancy
                assert number == sum(one["space_id"] == space_id for one in self.arrived)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_any_history_of_deliveries_gives_the_belief_of_its_set(database: Database) -> None:
    Deliveries.database, Deliveries.now = database, datetime.now(UTC)
    run_state_machine_as_test(
        Deliveries,
        settings=hypothesis_settings(max_examples=8, stateful_step_count=12, suppress_health_check=list(HealthCheck)),
    )


def test_workers_at_the_same_time_count_each_frame_once(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers get overlapping messages over the same spaces; the result is that of one worker."""
    results = story(11, frames=120, minutes=9)
    at = datetime.now(UTC)  # time alone ends stays, so both runs are of the same moment
    monkeypatch.setattr("services.aggregation.worker.now", lambda: at)
    workers = [Database(settings.database_url) for _ in range(2)]
    failures: list[BaseException] = []

    def work(worker: Database, seed: int) -> None:
        mine = list(chunks(results, 8))
        random.Random(seed).shuffle(mine)
        windows = Windows()
        try:
            for chunk in mine:
                record_estimates(worker, settings, message(settings, chunk), windows)
        except Exception as error:  # noqa: BLE001 - the test reports whatever a thread met
            failures.append(error)

    threads = [threading.Thread(target=work, args=(worker, seed)) for seed, worker in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for worker in workers:
        worker.close()
    assert not failures
    found = believed(database)
    assert sum(row[COLUMNS.index("frames")] for row in found["spaces"]) == len(results)
    assert set(outbox(database)) == {one["receipt"] for one in results}
    with database.read() as connection:
        sequences = connection.execute(select(tables.changes.c.sequence).order_by(tables.changes.c.sequence))
        assert list(sequences.scalars()) == list(
            range(1, connection.execute(select(tables.counters.c.value)).scalar_one() + 1)
        )
    with erased(database):
        for chunk in chunks(results, 16):
            record_at(database, chunk, at)
    assert believed(database) == found


def test_what_a_rolled_back_message_left_in_memory_is_not_believed(database: Database, record: Record) -> None:
    windows, now = Windows(), datetime.now(UTC)
    record_at(database, [result(at=minutes_ago(3), cat=0.98)], now, windows)
    before = believed(database)
    parsed = [EstimateResult.model_validate(result(at=minutes_ago(2), dog=0.98))]

    def fail(connection: Any) -> None:
        record_in(connection, parsed, now, Rules(), 600, windows)
        raise LookupError

    with pytest.raises(LookupError):
        database.write(fail)
    assert believed(database) == before
    later = result(at=minutes_ago(1), cat=0.98)
    record_at(database, [later], now, windows)
    with database.read() as connection:
        fold = rebuild(connection, "k1", Rules())
    (space,) = believed(database)["spaces"]
    assert list(json.loads(space[COLUMNS.index("posterior")]).values()) == list(fold.belief.posterior)


def test_readers_never_see_a_change_before_one_with_a_smaller_number(settings: Settings) -> None:
    """While two workers write, whoever reads sees 1..n without a gap."""
    workers = [Database(settings.database_url) for _ in range(2)]
    done = threading.Event()
    gaps: list[list[int]] = []

    def look(reader: Database) -> None:
        while not done.is_set():
            with reader.read() as connection:
                seen = list(connection.execute(select(tables.changes.c.sequence)).scalars())
            if sorted(seen) != list(range(1, len(seen) + 1)):
                gaps.append(seen)

    def write(worker: Database, name: str) -> None:
        for number in range(25):
            record_estimates(worker, settings, message(settings, [result(f"{name}{number}", cat=0.98)]))

    reader = Database(settings.database_url)
    looking = threading.Thread(target=look, args=(reader,))
    writing = [threading.Thread(target=write, args=(worker, name)) for worker, name in zip(workers, "xy", strict=True)]
    for thread in (looking, *writing):
        thread.start()
    for thread in writing:
        thread.join(timeout=60)
    done.set()
    looking.join(timeout=60)
    for one in (*workers, reader):
        one.close()
    assert not gaps
