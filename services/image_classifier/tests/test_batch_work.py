"""What a worker does with a chunk of a batch: how it goes on, and what becomes of what it can't have."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.image_classifier.batches import store, views, work
from services.image_classifier.batches.rules import ATTEMPTS, Quota, gave_up
from services.image_classifier.batches.store import NewBatch
from services.image_classifier.batches.worker import NICENESS, give_way
from services.image_classifier.classify import predict_each
from services.image_classifier.decode import Picture, decode
from services.image_classifier.images import FetchFailed, Images
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.tests.ingest_double import photo
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.database import Database, now

GOOD = photo("cat")
Fetch = Callable[[Sequence[str]], AbstractContextManager[Images]]


@pytest.fixture
def tools(tmp_path: Path) -> work.Tools:
    write_tiny_model(tmp_path / "tiny" / "1")
    model = ModelVersion.load(tmp_path / "tiny" / "1")
    return work.Tools(lambda: model, decode, without([]), chunk=32, lease=timedelta(seconds=20))


def without(broken: Sequence[str], *, away: Callable[[], bool] = lambda: False) -> Fetch:
    """Return what fetches photos from an ingest whose answer breaks at the receipts in `broken`, or that is away."""

    @contextmanager
    def fetch(receipts: Sequence[str]) -> Iterator[Images]:
        if away():
            raise FetchFailed("away")
        known = [receipt for receipt in receipts if receipt != work.NOBODYS]

        def members() -> Iterator[tuple[str, bytes]]:
            for receipt in known:
                if receipt in broken:
                    raise FetchFailed("cut short")
                yield receipt, GOOD

        yield Images(dict.fromkeys(known, "settled"), members())

    return fetch


def make(database: Database, number: int, source: str = store.UPLOAD) -> None:
    at = now()
    new = NewBatch("b1", "me", source, [f"r-{n}" for n in range(1, number + 1)], number, at)
    database.write(lambda c: store.create(c, new, Quota(10, 1000, 1000)))
    if source == store.UPLOAD:
        database.write(lambda c: store.add_contents(c, new, dict.fromkeys(range(1, number + 1), GOOD), at))
    database.write(lambda c: store.open_for_work(c, new, "digest", at))


def errors(database: Database) -> dict[int, str | None]:
    with database.read() as connection:
        return {row.number: row.error for row in views.ended(connection, "b1", 0, 1000)}


def work_on(database: Database, tools: work.Tools, monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    """Do what a worker does at each ring, with nothing put off."""
    monkeypatch.setattr(work, "LATER", timedelta())
    for _ in range(chunks):
        work.classify_batches(database, tools)


def test_pictures_are_predicted_a_part_at_a_time_and_none_twice(
    database: Database, tools: work.Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(database, 2 * work.PART + 3)
    together: list[int] = []

    def counting(model: ModelVersion, pictures: Sequence[Picture]) -> list[Prediction | Exception]:
        together.append(len(pictures))
        return predict_each(model, pictures)

    monkeypatch.setattr(work, "predict_each", counting)
    assert work.classify_batches(database, tools) == 2 * work.PART + 3
    assert together == [work.PART, work.PART, 3]
    assert work.classify_batches(database, tools) == 0
    assert list(errors(database).values()) == [None] * (2 * work.PART + 3)


@pytest.mark.parametrize(("before", "after"), [(0, NICENESS), (NICENESS + 5, NICENESS + 5)])
def test_a_batch_gives_way_and_asks_for_no_more_than_its_process_was_started_with(before: int, after: int) -> None:
    found: list[int] = []

    def work_in_a_thread_of_its_own() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, before)
        give_way()
        found.append(os.getpriority(os.PRIO_PROCESS, 0))

    thread = threading.Thread(target=work_in_a_thread_of_its_own)
    thread.start()
    thread.join()
    assert found == [after]


def test_a_worker_begins_no_photo_after_a_quarter_of_its_lease(database: Database, tools: work.Tools) -> None:
    make(database, 4)
    assert [work.classify_batches(database, replace(tools, lease=timedelta())) for _ in range(2)] == [1, 1]
    assert work.classify_batches(database, tools) == 2  # what was given back was not tried


def test_each_row_names_the_version_that_made_it_when_the_champion_changes_in_the_middle(
    database: Database, tools: work.Tools, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / "other" / "2", name="other", version="2")
    versions = [tools.model(), ModelVersion.load(tmp_path / "other" / "2")]
    make(database, 12)
    tools = replace(tools, chunk=6, model=lambda: versions.pop(0))
    assert [work.classify_batches(database, tools) for _ in range(2)] == [6, 6]
    with database.read() as connection:
        rows = views.ended(connection, "b1", 0, 100)
    assert [(row.model, row.version) for row in rows] == [("tiny", "1")] * 6 + [("other", "2")] * 6


@pytest.mark.parametrize("number", [1, 12])
def test_a_receipt_at_which_ingests_answer_breaks_is_one_bad_row(
    database: Database, tools: work.Tools, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    make(database, number, store.RECEIPTS)
    work_on(database, replace(tools, fetch=without(["r-1"])), monkeypatch, 30)
    reason = gave_up("its image could not be had: cut short")
    assert errors(database) == {1: reason, **dict.fromkeys(range(2, number + 1))}


def test_receipts_wait_for_an_ingest_that_is_away_however_long(
    database: Database, tools: work.Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(database, 12, store.RECEIPTS)
    away = [True]
    tools = replace(tools, fetch=without([], away=lambda: away[0]))
    work_on(database, tools, monkeypatch, 10 * ATTEMPTS)
    assert errors(database) == {}
    away[0] = False
    work_on(database, tools, monkeypatch, 1)
    assert errors(database) == dict.fromkeys(range(1, 13))


def test_a_photo_that_its_reader_fails_at_ends_with_that_reason(
    database: Database, tools: work.Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(database, 2)

    def failing(content: bytes, size: int) -> Picture:
        raise RuntimeError("a bug")

    work_on(database, replace(tools, decode=failing), monkeypatch, 10)
    assert set(errors(database).values()) == {gave_up("decoding failed (RuntimeError)")}
