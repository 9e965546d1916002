"""Batches on a whole system: beside cameras, from photos and from what cameras sent, and by the command line."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.local.system import REPOSITORY
from shared.messages import isoformat
from shared.testing import wait_until
from tests import batches
from tests.cameras import flowing
from tests.photos import drawn, named
from tests.system import System, free_base_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NUMBER = int(os.environ.get("TEST_BATCH_PHOTOS", "60"))
ROTTEN = {"rotten/cut.jpg": drawn("cat")[:-2000], "rotten/text.jpg": b"no photo", "rotten/empty.jpg": b""}


def photo(name: str) -> bytes:
    return named(drawn("dog"), name)


def test_each_photo_of_a_batch_is_a_row_that_says_what_a_prediction_says_while_cameras_send(system: System) -> None:
    files = batches.photos(NUMBER) | ROTTEN
    cameras = [system.camera(f"beside-batch-{n}", "beside-batch") for n in range(2)]
    with flowing(cameras, photo, every_s=0.2) as accepted:
        wait_until("photos flow", lambda: accepted() > 3)
        batch = batches.send(system, files)
        rows = batches.rows(system, batch, within_s=250)
        still = accepted()
        wait_until("photos flow on", lambda: accepted() > still + 2)
    system.wait_settled(accepted())
    assert [row["input"] for row in rows] == list(files)
    assert [row["input"] for row in rows if row["error"]] == list(ROTTEN)
    for row in rows[:: max(1, len(files) // 60)]:
        if row["error"]:
            continue
        single = system.classifier.post("/v1/predictions", content=files[row["input"]])
        single.raise_for_status()
        same = ("label", "quality", "model", "version")
        assert {name: row[name] for name in same} == {name: single.json()[name] for name in same}
        assert row["probabilities"] == pytest.approx(single.json()["probabilities"], abs=1e-4)
    assert system.ledger(*cameras).lost == frozenset()  # others' frames are in this system too


def test_a_camera_waits_for_nothing_that_a_batch_is_at(system: System) -> None:
    camera = system.camera("not-behind", "not-behind")
    batch = batches.send(system, batches.photos(NUMBER))
    worker = system.pid("image_classifier_batch_worker")
    wait_until("it is worked on", lambda: batches.ended(system, batch) > 0, 120)
    os.kill(worker, signal.SIGSTOP)  # in the middle of whatever it is at
    try:
        receipt = camera.put("one", photo("not-behind"))
        wait_until("it is counted", lambda: system.receipt(receipt)["state"] == "counted", 60)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert len(batches.rows(system, batch, within_s=250)) == NUMBER


def test_what_a_camera_sent_can_be_asked_for_again(system: System) -> None:
    since = datetime.now(UTC) - timedelta(seconds=1)
    camera = system.camera("asked-again", "asked-again")
    receipts = [camera.put(f"{n}", photo(f"again-{n}")) for n in range(5)]
    until = datetime.now(UTC) + timedelta(seconds=1)
    wait_until("all are counted", lambda: {system.receipt(one)["state"] for one in receipts} == {"counted"})
    span = {"camera_id": "asked-again", "since": isoformat(since), "until": isoformat(until)}
    for body in (span, {"receipts": [*receipts, "no-such-receipt"]}):
        answer = system.classifier.post("/v1/batches", json=body)
        assert answer.status_code == 202, answer.text
        rows = batches.rows(system, answer.headers["Location"])
        assert [row["input"] for row in rows if row["label"]] == receipts
        assert [row["input"] for row in rows if row["error"]] == (["no-such-receipt"] if "receipts" in body else [])


@contextmanager
def without_workers(system: System) -> Iterator[None]:
    """Let nobody work on batches for the length of a `with`."""
    system.stop("image_classifier_batch_worker")
    try:
        yield
    finally:
        system.start("image_classifier_batch_worker")


def test_the_command_line_goes_on_after_it_was_killed(system: System, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "results.csv"
    folder.mkdir()
    for name, content in batches.small(90).items():
        (folder / name).write_bytes(content)
    module = "services.image_classifier.batch"
    command = [sys.executable, "-m", module, str(folder), "--out", str(out), "--part", "20"]
    command += ["--url", str(system.classifier.base_url)]
    journal = tmp_path / "results.csv.jobs"

    def noted() -> int:
        return len(journal.read_text().splitlines()) if journal.exists() else 0

    def sent() -> list[dict[str, Any]]:
        return [item for item in system.items(system.classifier, "/v1/batches") if item["client"] == "cli:classify"]

    with (tmp_path / "log").open("wb") as log:
        for number, how in ((2, signal.SIGKILL), (3, signal.SIGINT)):
            with without_workers(system):  # so that it can't come to its end before it is interrupted
                first = subprocess.Popen(
                    command,
                    env=system.environment,
                    cwd=REPOSITORY,
                    stdout=log,
                    stderr=log,
                    # Tests that were started in the background ignore it, and so would all that they start.
                    preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
                )
                wait_until("another batch is sent", lambda number=number: noted() >= number)  # type: ignore[misc]  # bound now
                first.send_signal(how)
                assert first.wait(30) != 0
                assert not out.exists()
            wait_until("what arrived is done", lambda: {item["state"] for item in sent()} == {"done"})
        subprocess.run(command, env=system.environment, cwd=REPOSITORY, stdout=log, stderr=log, check=True, timeout=200)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == sorted(batches.small(90))
    assert not [row for row in rows if row["error"]]
    assert sum(item["total"] for item in sent()) == 90  # whenever it was interrupted, nothing was sent as two


def test_make_classify_needs_no_running_system_and_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    folder, out, said = tmp_path / "photos", tmp_path / "results.csv", tmp_path / "said"
    folder.mkdir()
    photos = batches.small(30) | {"torn.jpg": drawn("cat")[:-2000]}
    for name, content in photos.items():
        (folder / name).write_bytes(content)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUELLA_")}
    environment = kept | {"HUELLA_DATA": str(tmp_path / "data"), "HUELLA_PORT": str(free_base_port())}
    command = [sys.executable, "-m", "deploy.local.classify", str(folder), "--out", str(out)]
    with said.open("wb") as log:
        first = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log)
        wait_until("it sends", lambda: "; sending 31 more" in said.read_text(), 120)
        first.kill()
        first.wait(30)
        # What it had started is still ending; the second waits for that, and starts it anew.
        again = subprocess.run(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log, timeout=200)
    assert again.returncode == 0, said.read_text()[-2000:]
    with out.open(newline="") as file:
        rows = {row["input"]: row["error"] for row in csv.DictReader(file)}
    assert rows.keys() == photos.keys()
    assert [name for name, error in rows.items() if error] == ["torn.jpg"]
    assert "31 photos, 1 of them errors" in said.read_text()
    assert not out.with_name("results.csv.jobs").exists()
