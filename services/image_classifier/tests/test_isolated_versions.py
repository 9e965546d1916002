"""A version in a process of its own: what it answers, and that a hostile or slow one costs only itself."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from services.image_classifier.decode import Picture
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import (
    InvalidModelVersion,
    Manifest,
    ModelVersion,
    read_graph,
    read_manifest,
)
from services.image_classifier.tests.tiny_model import SIZE, external_graph, slow_graph, tiny_graph, write_tiny_model
from services.image_classifier.versions.framing import Ended, receive, send
from services.image_classifier.versions.isolated import ANSWER_BYTES, ROOT, Failed, IsolatedVersion, Late, prove

MEMORY = 2_000_000_000
PICTURES = [
    Picture(np.full((SIZE, SIZE, 3), colour, dtype=np.uint8), Quality.OK) for colour in ((250, 0, 0), (0, 0, 250))
]


def manifest_of(folder: Path, graph: bytes) -> Manifest:
    write_tiny_model(folder, digest=hashlib.sha256(graph).hexdigest())
    return read_manifest(folder)


def test_it_says_what_the_version_says_in_this_process(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    version = IsolatedVersion(read_manifest(folder), MEMORY).load(read_graph(folder), 60)
    predictions, seconds = version.predict(PICTURES, 60)
    assert predictions == ModelVersion.load(folder).predict(PICTURES)
    assert seconds > 0
    version.close()
    assert not version.alive


def test_a_late_one_is_ended_and_a_killed_one_is_missed(tmp_path: Path) -> None:
    graph = slow_graph()
    version = IsolatedVersion(manifest_of(tmp_path, graph), MEMORY).load(graph, 60)
    with pytest.raises(Late):
        version.predict(PICTURES * 20, 0.01)
    assert not version.alive
    version = IsolatedVersion(manifest_of(tmp_path, graph), MEMORY).load(graph, 60)
    os.kill(version._process.pid, signal.SIGKILL)
    with pytest.raises(Failed, match="exit code -9"):
        version.predict(PICTURES, 60)


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (b"no graph", "can't be loaded"),
        (tiny_graph(outputs=1), "give shape"),
        (tiny_graph(operator="Custom"), "can't be loaded"),
        (external_graph("/etc/passwd"), "can't be loaded"),
        (external_graph("../../../etc/passwd"), "can't be loaded"),
    ],
    ids=["garbage", "one output", "custom operator", "a file of the machine", "a file by a path"],
)
def test_what_can_not_serve_is_refused_with_the_reason(tmp_path: Path, graph: bytes, why: str) -> None:
    with pytest.raises(InvalidModelVersion, match=why):
        prove(manifest_of(tmp_path, graph), graph, memory_bytes=MEMORY, within_s=60)


def test_a_graph_gets_no_file_that_lies_below_the_folder_that_its_process_works_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(256)))
    below_root = external_graph(str(tmp_path / "secret").removeprefix("/"))
    with pytest.raises(InvalidModelVersion, match="can't be loaded"):
        prove(manifest_of(tmp_path, below_root), below_root, memory_bytes=MEMORY, within_s=60)
    monkeypatch.chdir(tmp_path)
    here = external_graph("secret")
    with pytest.raises(InvalidModelVersion, match="can't be loaded"):
        ModelVersion.from_graph(manifest_of(tmp_path, here), here)


def test_one_that_wants_more_memory_than_it_may_is_refused(tmp_path: Path) -> None:
    graph = slow_graph(side=60_000)  # a matrix of 14 GB
    with pytest.raises(InvalidModelVersion):
        prove(manifest_of(tmp_path, graph), graph, memory_bytes=MEMORY, within_s=60)


def test_one_that_never_ends_is_refused_in_time(tmp_path: Path) -> None:
    graph = slow_graph(rounds=200)
    with pytest.raises(InvalidModelVersion, match=r"ended|not ready|within"):
        prove(manifest_of(tmp_path, graph), graph, memory_bytes=MEMORY, within_s=3)


def test_an_answer_larger_than_any_that_is_one_is_not_held() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(theirs, {"shape": [16, 500]}, bytes(ANSWER_BYTES + 1))
        with pytest.raises(Ended, match="too large"):
            receive(ours, time.monotonic() + 60, ANSWER_BYTES)


def test_its_process_knows_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUELLA_SECRET", "s3cret")
    folder = write_tiny_model(tmp_path)
    version = IsolatedVersion(read_manifest(folder), MEMORY).load(read_graph(folder), 60)
    assert "HUELLA" not in Path(f"/proc/{version._process.pid}/environ").read_text()
    version.close()


def test_its_process_is_the_first_that_goes_when_memory_runs_out(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    version = IsolatedVersion(read_manifest(folder), MEMORY).load(read_graph(folder), 60)
    assert Path(f"/proc/{version._process.pid}/oom_score_adj").read_text() == "1000\n"
    version.close()


def test_where_the_kernel_can_not_be_told_so_the_limits_hold_all_the_same() -> None:
    script = (
        "import pathlib, resource\n"
        "from services.image_classifier.versions import child\n"
        "def refuse(*_, **__): raise PermissionError\n"
        "pathlib.Path.write_text = refuse\n"
        f"child.limit({MEMORY}, 0)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[1], resource.getrlimit(resource.RLIMIT_FSIZE)[1])"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == [str(MEMORY), "0"], ran.stderr


def test_a_proven_version_says_how_long_a_frame_takes(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    assert 0 < prove(read_manifest(folder), read_graph(folder), memory_bytes=MEMORY, within_s=60) < 1
