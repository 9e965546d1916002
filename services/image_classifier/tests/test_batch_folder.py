"""The command line's side of batches: a folder becomes a CSV file, whatever interrupts it."""

import csv
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from fastapi.testclient import TestClient

from services.image_classifier import batch
from services.image_classifier.batches import folder, work
from services.image_classifier.batches.folder import classify_folder, find_photos, split
from services.image_classifier.batches.journal import CannotGoOn, Job, Journal
from services.image_classifier.decode import decode
from services.image_classifier.main import MIGRATIONS, create_app
from services.image_classifier.model_version import ModelVersion
from services.image_classifier.settings import Settings
from services.image_classifier.tests.ingest_double import photo
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.migrations import migrate
from shared.testing import TokenFor


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of nine photos and other things, some of them below."""
    root = tmp_path / "photos"
    for n in range(9):
        path = root / f"kennel {n % 3}" / f"{n}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(("cat", "dog", "none")[n % 3]))
    (root / "notes.txt").write_text("no photo")
    (root / "old.zip").write_bytes(b"PK\x03\x04")
    (root / "hidden.jpg").write_bytes(b"PK\x03\x04")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "film.mov").touch()
    os.truncate(root / "film.mov", 11_000_000)
    os.utime(root / "kennel 0" / "0.jpg", (0, 0))  # before there were zips
    return root


@pytest.fixture
def client(tmp_path: Path, keys: Path, token_for: TokenFor, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of an app with a worker beside it that is never asked to stop for long."""
    monkeypatch.setattr(folder, "LOOK_EVERY_S", 0.02)
    write_tiny_model(tmp_path / "models" / "tiny" / "1")
    settings = Settings(data=tmp_path / "data", keys=keys, models=tmp_path / "models", model="tiny")
    migrate(settings.database_url, MIGRATIONS)
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {token_for('operator')}"}
    ended = threading.Event()

    def worker() -> None:
        model = ModelVersion.load(settings.models / "tiny" / "1")
        lease = timedelta(seconds=20)
        tools = work.Tools(lambda: model, decode, no_fetch, chunk=4, lease=lease)
        while not ended.wait(0.01):
            work.classify_batches(app.state.database, tools)

    with TestClient(app, headers=headers) as client:
        thread = threading.Thread(target=worker)
        thread.start()
        try:
            yield client
        finally:
            ended.set()
            thread.join()


def no_fetch(_: object) -> NoReturn:
    raise AssertionError("nothing is fetched")


def rows(out: Path) -> dict[str, dict[str, str]]:
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len({row["input"] for row in found}) == len(found)
    return {row["input"]: row for row in found}


def silent(_: str) -> None:
    """Say nothing."""


def test_each_file_of_a_folder_becomes_one_row(client: TestClient, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    assert classify_folder(photos, out, client, silent, part=4) == (13, 4)
    found = rows(out)
    assert {name: row["label"] for name, row in found.items() if not row["error"]} == {
        f"kennel {n % 3}/{n}.jpg": ("cat", "dog", "none")[n % 3] for n in range(9)
    }
    assert {name for name, row in found.items() if row["error"]} == {"notes.txt", "old.zip", "hidden.jpg", "film.mov"}
    assert found["kennel 0/0.jpg"]["model"] == "tiny"
    assert not list(tmp_path.glob("results.csv.*"))
    assert len(client.get("/v1/batches").json()["items"]) == 3


def test_a_photo_as_heavy_as_one_may_be_is_predicted(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    content = photo("dog")
    (tmp_path / "photos" / "heavy.jpg").write_bytes(content + bytes(folder.PHOTO_BYTES - len(content)))
    assert classify_folder(tmp_path / "photos", tmp_path / "results.csv", client, silent) == (1, 0)
    assert rows(tmp_path / "results.csv")["heavy.jpg"]["label"] == "dog"


@pytest.mark.parametrize("words_before", range(1, 6))
def test_an_interrupted_command_goes_on_where_it_stopped(
    client: TestClient, photos: Path, tmp_path: Path, words_before: int
) -> None:
    out, said = tmp_path / "results.csv", []

    def interrupting(text: str) -> None:
        said.append(text)
        if len(said) == words_before:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classify_folder(photos, out, client, interrupting, part=4)
    assert not out.exists()
    assert classify_folder(photos, out, client, silent, part=4) == (13, 4)
    assert len(rows(out)) == 13
    assert len(client.get("/v1/batches").json()["items"]) == 3  # nothing was sent a second time


@pytest.mark.parametrize("arrives", [True, False])
def test_a_batch_whose_answer_did_not_come_is_sent_again_as_the_same_one(
    client: TestClient, photos: Path, tmp_path: Path, arrives: bool
) -> None:
    out, asked = tmp_path / "results.csv", list[str]()

    def ended_in_the_middle(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if arrives:
            content = request.read()
            client.post(
                "/v1/batches", content=content, headers={**request.headers, **client.headers}
            ).raise_for_status()
        raise KeyboardInterrupt

    transport = httpx.MockTransport(ended_in_the_middle)
    with httpx.Client(transport=transport, base_url="http://c") as cut_off, pytest.raises(KeyboardInterrupt):
        classify_folder(photos, out, cut_off, silent, part=4)
    assert asked == ["POST"]
    assert classify_folder(photos, out, client, silent, part=4) == (13, 4)
    assert len(client.get("/v1/batches").json()["items"]) == 3


def test_a_photo_that_vanishes_before_it_is_sent_is_an_error_of_its_own(
    client: TestClient, photos: Path, tmp_path: Path
) -> None:
    def removing(text: str) -> None:
        if "sending" in text:
            (photos / "kennel 1" / "4.jpg").unlink(missing_ok=True)

    assert classify_folder(photos, tmp_path / "results.csv", client, removing, part=4) == (13, 5)
    assert "can't be read" in rows(tmp_path / "results.csv")["kennel 1/4.jpg"]["error"]


def test_two_runs_do_not_write_the_same_result(client: TestClient, photos: Path, tmp_path: Path) -> None:
    def meanwhile(text: str) -> None:
        with pytest.raises(CannotGoOn, match=f"another run is writing to {tmp_path / 'results.csv'};"):
            classify_folder(photos, tmp_path / "results.csv", client, silent)

    assert classify_folder(photos, tmp_path / "results.csv", client, meanwhile) == (13, 4)


def test_a_changed_file_and_a_removed_batch_are_sent_again(client: TestClient, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.csv"

    def after_all_is_sent(text: str) -> None:
        if text.startswith("10 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classify_folder(photos, out, client, after_all_is_sent, part=4)
    (photos / "kennel 0" / "0.jpg").write_bytes(photo("both"))
    removed = client.get("/v1/batches").json()["items"][0]["id"]
    client.delete(f"/v1/batches/{removed}").raise_for_status()
    assert classify_folder(photos, out, client, silent, part=4) == (13, 4)
    assert rows(out)["kennel 0/0.jpg"]["label"] == "both"


def test_a_journal_that_was_cut_in_the_middle_of_a_line_is_read(
    client: TestClient, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "results.csv.jobs").write_text('{"batch": "01')
    assert classify_folder(photos, tmp_path / "results.csv", client, silent) == (13, 4)


def test_what_is_noted_after_a_line_that_was_cut_is_found_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs")
    jobs = [Job("b1", {"a.jpg": (1, 2)}), Job("b2", {"b.jpg": (3, 4)})]
    journal.note(jobs[0])
    journal.path.write_text(journal.path.read_text() + '{"batch": "01')
    journal.note(jobs[1])
    assert journal.jobs() == jobs[::-1]
    journal.note(jobs[0])  # sent once more
    assert len(journal.jobs()) == 2


def test_the_result_may_lie_in_the_folder_and_is_no_photo(client: TestClient, photos: Path) -> None:
    out = photos / "results.csv"
    out.write_text("an older one")

    def interrupting(text: str) -> None:
        if text.startswith("10 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classify_folder(photos, out, client, interrupting, part=4)
    assert classify_folder(photos, out, client, silent, part=4) == (13, 4)
    assert len(client.get("/v1/batches").json()["items"]) == 3


def test_folders_are_split_by_number_and_by_bytes(photos: Path) -> None:
    found, _ = find_photos(photos)
    assert [len(part) for part in split(found, most=4)] == [4, 4, 2]
    size = found[1].stamp[0]
    assert all(sum(one.stamp[0] for one in part) <= 3 * size for part in split(found, most_bytes=3 * size))


def answering(status: int, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json={"detail": "the reason"}, headers=headers)


def test_a_refusal_is_told_and_a_full_quota_is_waited_for(photos: Path, tmp_path: Path) -> None:
    with (
        httpx.Client(transport=httpx.MockTransport(answering(403)), base_url="http://c") as client,
        pytest.raises(CannotGoOn, match="403: the reason"),
    ):
        classify_folder(photos, tmp_path / "out.csv", client, silent)
    asked: list[str] = []

    def full_twice(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        status = 429 if len(asked) < 3 else 403
        return httpx.Response(status, json={"detail": "the reason"}, headers={"Retry-After": "0"})

    with (
        httpx.Client(transport=httpx.MockTransport(full_twice), base_url="http://c") as client,
        pytest.raises(CannotGoOn),
    ):
        classify_folder(photos, tmp_path / "other.csv", client, silent)
    assert asked == ["POST"] * 3


def test_what_can_not_be_done_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUELLA_DATA", str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    for name, words in (("missing", "is no folder"), ("empty", "no token")):
        assert batch.run(tmp_path / name, tmp_path / "out.csv", "http://127.0.0.1:9") == 1
        assert words in capsys.readouterr().err
