"""What a worker does with a chunk of a batch: whom it yields to, and what becomes of what it can't have."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.image_classifier.batches import claims, store, views, work
from services.image_classifier.batches.claims import Claimed
from services.image_classifier.batches.rules import ATTEMPTS, Quota, gave_up
from services.image_classifier.batches.store import NewBatch
from services.image_classifier.classify import predict_each
from services.image_classifier.decode import Picture, decode
from services.image_classifier.images import FetchFailed, Images
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.tests.ingest_double import photo
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.database import Database, now
from shared.testing import wait_until

GOOD = photo("cat")
Fetch = Callable[[Sequence[str]], AbstractContextManager[Images]]


@pytest.fixture
def tools(tmp_path: Path) -> work.Tools:
    write_tiny_model(tmp_path / "tiny" / "1")
    model = ModelVersion.load(tmp_path / "tiny" / "1")
    return work.Tools(lambda: model, decode, without([]), lambda: False, chunk=32, lease=timedelta(seconds=20))


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


def test_a_worker_yields_after_the_photo_at_which_a_camera_comes(database: Database, tools: work.Tools) -> None:
    make(database, 20)
    decoded: list[int] = []

    def counting(content: bytes, size: int) -> Picture:
        decoded.append(1)
        return decode(content, size)

    sent: list[int] = []

    def cameras_wait() -> bool:
        """Say so once after each third photo: then the camera's turn is over."""
        if len(decoded) // 3 == len(sent):
            return False
        sent.append(1)
        return True

    tools = replace(tools, decode=counting, cameras_wait=cameras_wait)
    assert work.classify_batches(database, tools) == 3
    assert len(decoded) == 3
    assert [work.classify_batches(database, tools) for _ in range(7)] == [3, 3, 3, 3, 3, 2, 0]
    assert list(errors(database).values()) == [None] * 20


def test_a_camera_waits_for_two_pictures_to_be_predicted_and_no_more(
    database: Database, tools: work.Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(database, 11)
    decoded, predicted = [0], [0]

    def counting_decode(content: bytes, size: int) -> Picture:
        decoded[0] += 1
        return decode(content, size)

    def counting_predict(model: ModelVersion, pictures: Sequence[Picture]) -> list[Prediction | Exception]:
        predicted[0] += len(pictures)
        return predict_each(model, pictures)

    looks: list[tuple[int, int]] = []

    def cameras_wait() -> bool:
        looks.append((decoded[0], predicted[0]))
        return False

    monkeypatch.setattr(work, "predict_each", counting_predict)
    assert work.classify_batches(database, replace(tools, decode=counting_decode, cameras_wait=cameras_wait)) == 11
    assert {decoded for decoded, _ in looks} >= set(range(1, 12))
    assert {decoded - predicted for decoded, predicted in looks} == {0, 1}


def test_a_camera_does_not_wait_until_the_results_of_a_batch_are_written(database: Database, tools: work.Tools) -> None:
    make(database, 3)
    go_on = threading.Event()
    holding: list[Future[bool]] = []

    def decode_while_the_disk_is_busy(content: bytes, size: int) -> Picture:
        holding.append(database.submit(lambda _: go_on.wait(60)))
        return decode(content, size)

    beside = replace(tools, decode=decode_while_the_disk_is_busy, cameras_wait=lambda: bool(holding))
    assert work.classify_batches(database, beside) == 1
    assert errors(database) == {}
    go_on.set()
    wait_until("it is written", lambda: errors(database) == {1: None})
    assert work.classify_batches(database, tools) == 2


@pytest.mark.parametrize("begun", [True, False])
def test_a_camera_does_not_wait_until_a_batch_gives_its_inputs(
    database: Database, tools: work.Tools, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    make(database, 3)
    go_on = threading.Event()
    claim = claims.claim

    def slow(*of: Any) -> Claimed | None:
        go_on.wait(60)
        return claim(*of)

    with monkeypatch.context() as patched:
        if begun:
            patched.setattr(claims, "claim", slow)
        else:
            database.submit(lambda _: go_on.wait(60))
        assert work.classify_batches(database, replace(tools, cameras_wait=lambda: True)) == 0
        go_on.set()
        for _ in range(2):  # what is given back is queued behind the first
            database.write(lambda _: None)
    assert work.classify_batches(database, tools) == 3


def test_a_worker_begins_no_photo_after_a_quarter_of_its_lease(database: Database, tools: work.Tools) -> None:
    make(database, 4)
    tools = replace(tools, lease=timedelta())
    assert work.classify_batches(database, tools) == 1


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
