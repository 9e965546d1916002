"""A team deploys its service alone: its image needs no other service's folder, and its last version fits the others."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.system import REPOSITORY
from shared.testing import wait_until
from tests.cameras import flowing
from tests.containers.stack import AGENT, CAMERAS, FOLDERS, PATIENCE_S, START_S, Stack, delivered, photo

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2400, func_only=True)]

IMAGES = {**FOLDERS, AGENT: "camera_agent"}
# podman-compose builds an image anew for every replica.
ONE_OF_EACH = {"CAMERA_INGEST_REPLICAS": "1", "AGGREGATION_REPLICAS": "1"}
TAG_OF = {service: f"{folder.upper()}_TAG" for service, folder in IMAGES.items()}


def git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def unpack(revision: str, folder: Path) -> Path:
    """Write the project as it was at a revision into a new folder."""
    folder.mkdir()
    archive = folder / "archive.tar"
    git("archive", f"--output={archive}", revision)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    archive.unlink()
    return folder


def build(system: Stack, service: str, tree: Path, tag: str) -> None:
    """Build one service's image from a folder, under a tag of its own."""
    where = {"COMPOSE_FILE": str(tree / "docker-compose.yml"), TAG_OF[service]: tag, **ONE_OF_EACH}
    system.compose(*CAMERAS, "build", service, within_s=START_S, cwd=tree, environment=where)


@pytest.mark.parametrize("service", IMAGES)
def test_an_image_is_built_without_the_other_services_folders(system: Stack, service: str, tmp_path: Path) -> None:
    tree = unpack("HEAD", tmp_path / "tree")
    for folder in (tree / "services").iterdir():
        if folder.name != IMAGES[service]:
            shutil.rmtree(folder)
    build(system, service, tree, "alone")
    script = f"import services.{IMAGES[service]}.main"
    alone = {TAG_OF[service]: "alone"}
    system.compose(*CAMERAS, "run", "--rm", "--no-deps", "-T", service, "python", "-c", script, environment=alone)


def previous(service: str) -> str | None:
    """Return the revision before the newest one that changed what the service does, None if it had no image then.

    PREVIOUS=revision names another, say the tag that production runs.
    """
    folder = f"services/{IMAGES[service]}"
    chosen = os.environ.get("PREVIOUS")
    if not chosen:
        if git("rev-parse", "--is-shallow-repository") == "true":
            pytest.skip("this clone has no history (PREVIOUS=revision names a version that it has)")
        same = [f":!{folder}/{path}" for path in ("tests", "README.md", "Dockerfile")]
        newest = git("log", "-1", "--format=%H", "--", folder, *same)
        chosen = git("rev-parse", f"{newest}^")
    files = git("ls-tree", "-r", "--name-only", chosen, "--", folder, "docker-compose.yml").splitlines()
    return chosen if {f"{folder}/Dockerfile", f"{folder}/main.py", "docker-compose.yml"} <= set(files) else None


@pytest.fixture(scope="module")
def builds(system: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Build the previous versions side by side under the tag `previous`; a service that had no image is not there."""
    revisions = {service: revision for service in IMAGES if (revision := previous(service))}
    folder = tmp_path_factory.mktemp("previous")
    with ThreadPoolExecutor() as pool:
        yield {
            service: pool.submit(build, system, service, unpack(revision, folder / service), "previous")
            for service, revision in revisions.items()
        }


def await_previous(builds: dict[str, Future[None]], service: str) -> None:
    """Wait until a service's previous version is built, or skip the test if there is none."""
    if service not in builds:
        pytest.skip(f"{service} had no image before its newest change (PREVIOUS=revision names one that has)")
    builds[service].result()


@pytest.fixture(scope="module")
def present_again(system: Stack) -> Iterator[None]:
    """Put the present versions back, whatever happened; before that each test puts back what the one before it took."""
    yield
    system.compose("up", "-d", within_s=START_S)
    system.wait_ready()


@pytest.mark.usefixtures("present_again")
@pytest.mark.parametrize("service", FOLDERS)
def test_the_previous_version_of_a_service_works_beside_the_present_others(
    system: Stack, service: str, builds: dict[str, Future[None]]
) -> None:
    await_previous(builds, service)
    system.compose("up", "-d", within_s=START_S, environment={TAG_OF[service]: "previous"})
    for container in system.containers(service):
        assert system.act("inspect", "--format={{.Config.Image}}", container).strip().endswith(":previous")
    system.wait_ready()
    before = system.audit()
    cameras = [system.camera(f"{service}-{n}", service) for n in range(2)]
    with flowing(cameras, photo, every_s=0.2) as accepted:
        wait_until("photos flow", lambda: accepted() >= 20, PATIENCE_S)
    after = system.wait_settled(before["accepted"] + accepted())
    assert after["rejected"] == before["rejected"]
    assert system.ledger(*system.cameras).kept
    assert system.reconciliation()["agrees"]


def test_the_previous_camera_agent_delivers_to_the_present_others(
    system: Stack, builds: dict[str, Future[None]]
) -> None:
    await_previous(builds, AGENT)
    camera = system.fetched("fetched-before")
    system.compose(*CAMERAS, "up", "-d", "--no-deps", AGENT, environment={TAG_OF[AGENT]: "previous"})
    (container,) = system.containers(AGENT)
    assert system.act("inspect", "--format={{.Config.Image}}", container).strip().endswith(":previous")
    wait_until("photos come", lambda: len(system.receipts(camera)) >= 5, PATIENCE_S)
    system.act("stop", container)
    system.act("rm", container)
    system.wait_settled(0)
    delivered(camera, system.receipts(camera))
    assert {row["state"] for row in system.receipts(camera)} == {"counted"}
