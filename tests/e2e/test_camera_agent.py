"""The camera agent before a real ingest: what is cut off meanwhile arrives later, whole and in order."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from deploy.local.system import REPOSITORY
from services.camera_agent.config import load
from shared.testing import free_port, wait_until
from tests.photos import drawn, named
from tests.proxy import Proxy
from tests.system import System

pytestmark = [pytest.mark.timeout(300)]

MINUTES = 6
SPEED = 40
PAGES = (REPOSITORY / "docs" / "cameras.md", REPOSITORY / "services" / "camera_agent" / "README.md")


@contextmanager
def agent(folder: Path, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent for the length of a `with`; gives its process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUELLA_")}
    environment = {**kept, "HUELLA_DATA": str(folder / "data"), "HUELLA_AGENT_PORT": str(free_port())}
    command = [sys.executable, "-m", "services.camera_agent", str(file)]
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def folder_of_minutes(folder: Path, start: datetime) -> list[datetime]:
    """Fill a folder with a photo for each second of MINUTES minutes, and return their times."""
    folder.mkdir()
    moments = [start + timedelta(seconds=n) for n in range(60 * MINUTES)]
    for n, moment in enumerate(moments):
        # Two scenes in turn, so that each photo is a change.
        path = folder / f"{n:04d}.jpg"
        path.write_bytes(named(drawn("cat" if n % 2 else "none", size=(320, 240)), f"{start}{n}"))
        os.utime(path, (moment.timestamp(), moment.timestamp()))
    return moments


@pytest.mark.system
def test_a_cut_of_minutes_and_a_kill_lose_no_frame_and_keep_the_order(system: System, tmp_path: Path) -> None:
    # Minutes of the camera's time, told SPEED times as fast.
    moments = folder_of_minutes(tmp_path / "photos", datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30))
    camera = system.camera("fetched", "fetched")
    (tmp_path / "secret").write_text(camera.secret)
    spool = tmp_path / "data" / "camera_agent" / "fetched" / "spool"

    def receipts() -> list[dict[str, str]]:
        return list(system.items(system.ingest, "/v1/receipts", camera_id="fetched", limit=200))

    with Proxy(system.base_port + 1) as proxy:
        file = tmp_path / "cameras.yaml"
        file.write_text(
            f"ingest: http://127.0.0.1:{proxy.port}\ncameras:\n  fetched:\n    source: folder:photos\n"
            f"    secret_file: secret\n    replay: {{speed: {SPEED}}}\n"
        )
        with agent(tmp_path, file) as process:
            wait_until("the first minute has come", lambda: len(receipts()) >= 60)
            proxy.cut()
            wait_until("minutes wait", lambda: spool.exists() and len(os.listdir(spool)) >= 120)
            process.send_signal(signal.SIGKILL)
            process.wait()
        proxy.reset()
        with agent(tmp_path, file):
            wait_until("the rest of the story waits too", lambda: len(os.listdir(spool)) >= 200)
            proxy.restore()
            wait_until("all have come", lambda: len(receipts()) >= len(moments), within_s=120)
            wait_until("nothing waits", lambda: not os.listdir(spool))
    system.wait_settled(len(moments))
    # Receipts sort by the time of coming.
    came = [datetime.fromisoformat(row["observed_at"]) for row in sorted(receipts(), key=lambda row: row["receipt"])]
    assert came == moments


@pytest.mark.system
def test_a_wrong_secret_is_said_and_costs_no_frame(system: System, tmp_path: Path) -> None:
    camera = system.camera("renewed", "renewed")
    secret = tmp_path / "secret"
    secret.write_text("not-the-secret--")
    file = tmp_path / "cameras.yaml"
    file.write_text(
        f"ingest: {system.ingest.base_url}\ncameras:\n  renewed:\n    source: 'simulated:cat'\n    every_s: 0.5\n"
        "    skip_unchanged: false\n    secret_file: secret\n"
    )
    spool = tmp_path / "data" / "camera_agent" / "renewed" / "spool"
    with agent(tmp_path, file) as process:
        wait_until("frames wait", lambda: spool.exists() and len(os.listdir(spool)) >= 4)
        process.terminate()
        process.wait(30)
    assert "correct the camera's id and secret" in (tmp_path / "agent.log").read_text()
    secret.write_text(camera.secret)
    with agent(tmp_path, file):
        wait_until(
            "they are taken", lambda: len(list(system.items(system.ingest, "/v1/receipts", camera_id="renewed"))) >= 5
        )
    assert camera.secret not in (tmp_path / "agent.log").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_the_pages_show_are_right(page: Path, tmp_path: Path) -> None:
    shown = [block.partition("```")[0] for block in page.read_text().split("```yaml\n")[1:]]
    assert shown
    (tmp_path / "secrets").mkdir()
    for number, text in enumerate(shown):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text.replace("folder:/srv/ftp/uploads", f"folder:{tmp_path}"))
        for entry in yaml.safe_load(text)["cameras"].values():
            for key in ("secret_file", "password_file"):
                if key in entry:
                    (tmp_path / entry[key]).write_text("a-secret-of-this")
        assert load(file, {"K1_SECRET": "a-secret-of-that", "K1_PASSWORD": "a-password"}).cameras
