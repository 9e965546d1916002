"""Versions come and go on a running system while photos flow: what is good is promoted, what is bad goes back by
itself, the adoption status is right at every moment, and no killed worker changes that. One that hangs stops nothing.

`HUELLA_SECOND_VERSION=folder` takes that version (`make model-version` makes one) for the second; else it is made of
the shipped graph, for pictures of another size.
"""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.system import REPOSITORY
from services.image_classifier.decode import decode
from services.image_classifier.model_version import DEFAULT_FOLDER, Manifest, ModelVersion, read_graph, read_manifest
from services.image_classifier.rollout import probation
from services.image_classifier.rollout.domain import Role, Rollout, Strategy, Variant, decide
from shared.testing import free_port, wait_until
from tests.cameras import Camera, flowing
from tests.graphs import hanging, sized, slowed, swapped
from tests.photos import drawn, named, real, solid
from tests.system import COUNT, System, running_system

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

WORKER = "image_classifier_worker"
PATIENCE_S = 180
# A stage ends when enough was seen, not when time has passed. The guard rails are at their defaults.
RULES = {"stages": [0.0, 0.5], "bake_s": 1, "least_frames": 40, "shadow_share": 1.0}
GOOD, SLOW, WRONG, HANGING = "good", "slow", "wrong", "hanging"
SPECIES = ("cat", "dog")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system in which a candidate has long to answer, however busy the machine is."""
    patient = {"HUELLA_CLASSIFIER_CANDIDATE_DEADLINE_S": "10"}
    with running_system(tmp_path_factory.mktemp("rollouts"), patient) as system:
        yield system


def second() -> tuple[Manifest, bytes]:
    """Return another real version than the shipped one."""
    folder = os.environ.get("HUELLA_SECOND_VERSION")
    if folder:
        return read_manifest(Path(folder)), read_graph(Path(folder))
    return read_manifest(DEFAULT_FOLDER).model_copy(update={"input_size": 128}), sized(read_graph(DEFAULT_FOLDER), 128)


def versions() -> dict[str, tuple[Manifest, bytes]]:
    """Return the versions of this test by their names there, each a real upload."""
    shipped, graph = read_manifest(DEFAULT_FOLDER), read_graph(DEFAULT_FOLDER)
    made = {GOOD: second(), SLOW: (shipped, slowed(graph)), WRONG: (shipped, swapped(graph))}
    return {version: version_of(version, manifest, graph) for version, (manifest, graph) in made.items()}


def version_of(version: str, manifest: Manifest, graph: bytes) -> tuple[Manifest, bytes]:
    """Return a manifest and a graph as a version of the shipped model."""
    name = read_manifest(DEFAULT_FOLDER).name
    update = {"name": name, "version": version, "digest": hashlib.sha256(graph).hexdigest()}
    return manifest.model_copy(update=update), graph


def scenes(kind: str, good: ModelVersion, number: int = 3) -> dict[str, list[bytes]]:
    """Return photos of each species that both versions name right, so that the truth of each is known."""
    models = [ModelVersion.load(DEFAULT_FOLDER), good]
    found: dict[str, list[bytes]] = {species: [] for species in SPECIES}
    for species, kept in found.items():
        offered = iter(real(species, 60)) if kind == "real" else (drawn(species, n, (320, 240)) for n in range(100))
        while len(kept) < number:
            photo = next(offered)
            if all(_named(model, photo) == species for model in models):
                kept.append(photo)
    return found


def _named(model: ModelVersion, photo: bytes) -> str:
    (said,) = model.predict([decode(photo, model.manifest.input_size)])
    return said.label


def upload(system: System, manifest: Manifest, graph: bytes) -> None:
    """Upload a version and wait until it is proven."""
    path = f"/v1/models/{manifest.name}/{manifest.version}"
    files = {"manifest": manifest.model_dump_json(by_alias=True).encode(), "graph": graph}
    system.classifier.put(path, files=files).raise_for_status()
    wait_until("the version is proven", lambda: system.get(system.classifier, path)["state"] != "received", PATIENCE_S)
    card = system.get(system.classifier, path)
    assert card["state"] == "ready", card


def variants_of(champion: str, candidate: str | None = None) -> list[dict[str, Any]]:
    name = read_manifest(DEFAULT_FOLDER).name
    roles = [("champion", champion)] + ([("candidate", candidate)] if candidate else [])
    return [{"model": name, "version": version, "role": role} for role, version in roles]


def roll_out(system: System, strategy: str, champion: str, candidate: str | None = None, **settings: Any) -> int:
    body = {"strategy": strategy, "variants": variants_of(champion, candidate), "reason": "test", **settings}
    answer = system.classifier.put("/v1/rollout", json=body)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["revision"])


def rollout(system: System) -> dict[str, Any]:
    found: dict[str, Any] = system.get(system.classifier, "/v1/rollout")
    return found


def report(system: System) -> dict[str, dict[str, Any]]:
    return {one["version"]: one for one in system.get(system.classifier, "/v1/rollout/report")["variants"]}


def wait_report(system: System, what: str, true: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, Any]:
    """Wait until the evidence by version fulfils a condition, and return it. Raises TimeoutError with what it was."""
    seen: dict[str, dict[str, Any]] = {}

    def fulfilled() -> bool:
        seen.clear()
        seen.update(report(system))
        return true(seen)

    try:
        wait_until(what, fulfilled, PATIENCE_S, every_s=0.2)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {seen}") from None
    return seen


def kill_worker(system: System) -> None:
    """Kill the worker while it works, and wait until another has taken its place."""
    wait_until("the worker runs", lambda: system.pid(WORKER) != 0, PATIENCE_S)
    before = system.pid(WORKER)
    system.kill(WORKER)
    wait_until("another worker runs", lambda: system.pid(WORKER) not in (0, before), PATIENCE_S)


@contextmanager
def watched(system: System, right: Mapping[str, str]) -> Iterator[Callable[[], int]]:
    """Look at the adoption status all the time; gives the number of looks. Raises AssertionError if one was wrong."""
    ended, looks = threading.Event(), [0]
    wrong: list[str] = []

    def look() -> None:
        while not ended.wait(0.2):
            spaces = system.spaces()
            looks[0] += 1
            wrong.extend(
                f"{space}: {spaces[space]['occupancy']}"
                for space in right
                if spaces[space]["occupancy"] != right[space]
            )

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield lambda: looks[0]
    finally:
        ended.set()
        thread.join(60)
    assert not wrong, f"the status was wrong at {len(wrong)} of {looks[0]} looks: {sorted(set(wrong))}"
    assert looks[0] > 20, "the status was hardly looked at"


def correct_some(system: System, truth: Mapping[str, str], since: str) -> list[dict[str, Any]]:
    """Say the truth of frames that were counted since then, some of each version, as people do; return them."""
    chosen: dict[str, list[dict[str, Any]]] = {}
    for estimate in system.estimates():
        if estimate["camera_id"] in truth and estimate["recorded_at"] > since:
            chosen.setdefault(estimate["version"], []).append(estimate)
    some = [estimate for estimates in chosen.values() for estimate in estimates[:20]]
    for estimate in some:
        body = {"label": truth[estimate["camera_id"]]}
        path = f"/v1/estimates/{estimate['receipt']}/correction"
        system.aggregation.put(path, json=body).raise_for_status()
    return some


def both_sides(system: System, cameras: Sequence[Camera]) -> dict[str, str]:
    """Put A/B in force so that both versions have cameras; return which version each camera has."""
    while True:  # a revision that gives all cameras to one side is one in 128
        revision = roll_out(system, "ab", "1", GOOD)
        name = read_manifest(DEFAULT_FOLDER).name
        both = (Variant(name, "1", Role.CHAMPION, 1.0), Variant(name, GOOD, Role.CANDIDATE, 1.0))
        policy = Rollout(revision, revision, Strategy.AB, both)
        sides = {camera.camera_id: decide(policy, camera.camera_id, "any").served.version for camera in cameras}
        if len(set(sides.values())) == 2:
            return sides


@pytest.mark.parametrize("kind", ["drawn", pytest.param("real", marks=pytest.mark.photos)])
def test_a_good_version_is_promoted_and_bad_ones_go_back_while_the_status_stays_right(
    system: System, kind: str
) -> None:
    made = versions()
    for manifest, graph in made.values():
        upload(system, manifest, graph)
    photos = scenes(kind, ModelVersion.from_graph(*made[GOOD]))
    roll_out(system, "single", "1")
    truth = {f"{kind}-{species}-{n}": species for species in SPECIES for n in range(4)}
    cameras = [system.camera(name, f"{kind}-{species}") for name, species in truth.items()]
    right = {f"{kind}-{species}": species for species in SPECIES}

    def photo(name: str) -> bytes:
        camera, _, number = name.rpartition("-")
        mine = photos[truth[camera]]
        return named(mine[int(number) % len(mine)], name)

    def seen_right() -> bool:
        spaces = system.spaces()
        return all(space in spaces and spaces[space]["occupancy"] == right[space] for space in right)

    told: list[str] = []
    with flowing(cameras, photo, every_s=0.4) as accepted:
        wait_until("cats and dogs are seen", seen_right, PATIENCE_S)
        with watched(system, right) as looks:
            _silent(system)
            _ab(system, cameras, truth)
            told.append(_canary(system, "1", GOOD, RULES, ["canary", "single"], GOOD))
            told += [_canary(system, GOOD, version, RULES, ["single"], GOOD) for version in (SLOW, WRONG)]
            told.append(f"{looks()} looks at the status")
    print(*told, sep="\n")
    assert "Latency" in told[1] or " 0 late" not in told[1], told[1]
    assert "Disagreement" in told[2], told[2]
    system.wait_settled(accepted(), within_s=PATIENCE_S)
    ledger = system.ledger(*cameras)
    assert not ledger.lost, ledger
    assert not ledger.doubled, ledger
    counted = [one for one in system.estimates() if one["camera_id"] in truth]
    assert {one["version"] for one in counted} == {"1", GOOD}, "nothing that a bad version said was counted"


def test_a_bandit_learns_from_what_people_say_and_moves_the_frames(system: System) -> None:
    made = versions()
    upload(system, *made[WRONG])
    photos = scenes("drawn", ModelVersion.from_graph(*made[GOOD]))
    truth = {f"bandit-{species}-{n}": species for species in SPECIES for n in range(3)}
    cameras = [system.camera(name, f"bandit-{species}") for name, species in truth.items()]

    def photo(name: str) -> bytes:
        camera, _, number = name.rpartition("-")
        return named(photos[truth[camera]][int(number) % 3], name)

    def bandit() -> dict[str, Any]:
        found: dict[str, Any] = system.get(system.classifier, "/v1/rollout/report")
        return found

    roll_out(system, "bandit", "1", WRONG)
    assert rollout(system)["shares"] == [0.5, 0.5]
    with flowing(cameras, photo, every_s=0.4):
        # The first frames may still be decided by the revision before; words on them are no words on these versions.
        seen = wait_report(system, "both are counted", lambda seen: all(one["counted"] >= 5 for one in seen.values()))
        least = {version: one["counted"] + 20 for version, one in seen.items()}
        since = max(one["recorded_at"] for one in system.estimates() if one["camera_id"] in truth)
        wait_report(
            system, "both are counted again", lambda seen: all(seen[one]["counted"] >= n for one, n in least.items())
        )
        said = correct_some(system, truth, since)
        assert {one["version"] for one in said} == {"1", WRONG}
        seen = wait_report(
            system, "corrections arrive", lambda seen: sum(v["corrections"] for v in seen.values()) == len(said)
        )
        assert seen["1"]["correct"] == seen["1"]["corrections"] >= 15, seen
        assert seen[WRONG]["correct"] == 0 < 15 <= seen[WRONG]["corrections"], seen
        # Its floor is 0.05, and a version that was always wrong gets no more.
        wait_until("it has learnt", lambda: rollout(system)["shares"][1] < 0.06, PATIENCE_S)
        kill_worker(system)
        assert rollout(system)["shares"][1] < 0.06, "what was learnt survives"
        time.sleep(2)  # until the new worker has it in force
        before = report(system)
        after = wait_report(system, "frames follow", lambda seen: seen["1"]["served"] >= before["1"]["served"] + 100)
    moved = {version: after[version]["served"] - before[version]["served"] for version in after}
    assert moved[WRONG] < 0.25 * moved["1"], moved
    # What each would have earned alone, from the stored propensities.
    alone = {one["version"]: one for one in bandit()["off_policy"]}
    assert alone["1"]["low"] <= 1.0 <= alone["1"]["high"], alone
    assert alone[WRONG]["value"] == 0.0, alone
    # Frames for which the champion stepped in, as while the other one starts, were not drawn and are no rewards.
    size = alone["1"]["size"]
    assert 30 <= size <= len(said), (size, len(said))
    assert "huella/1 is found to be the best" in bandit()["reason"]
    # A word that is taken back is a reward no longer.
    drawn_one = next(one["receipt"] for one in said if one["version"] == WRONG)
    system.aggregation.delete(f"/v1/estimates/{drawn_one}/correction").raise_for_status()
    wait_until("it is taken back", lambda: bandit()["off_policy"][0]["size"] == size - 1, PATIENCE_S)
    system.classifier.post("/v1/rollout/undo", json={"reason": "the test ends"}).raise_for_status()


def _silent(system: System) -> None:
    roll_out(system, "silent", "1", GOOD)
    wait_report(system, "the candidate sees frames", lambda seen: seen[GOOD]["compared"] >= 20)
    kill_worker(system)
    before = report(system)[GOOD]["compared"]
    seen = wait_report(system, "a new worker goes on with it", lambda seen: seen[GOOD]["compared"] >= before + 20)
    assert seen[GOOD]["served"] == 0, "what a silent candidate says leaves the service"
    assert seen[GOOD]["agreement"] > 0.9


def _ab(system: System, cameras: Sequence[Camera], truth: Mapping[str, str]) -> None:
    sides = both_sides(system, cameras)
    since = rollout(system)["since"]
    wait_report(system, "both are counted", lambda seen: all(one["counted"] >= 10 for one in seen.values()))
    kill_worker(system)
    before = report(system)[GOOD]["counted"]
    wait_report(system, "a new worker goes on with it", lambda seen: seen[GOOD]["counted"] >= before + 20)
    corrected = correct_some(system, truth, since)
    # The champion steps in for a candidate that went down with its worker; never the other way round.
    assert all(one["version"] in {sides[one["camera_id"]], "1"} for one in corrected)
    assert {one["version"] for one in corrected} == {"1", GOOD}
    seen = wait_report(system, "corrections arrive", lambda seen: all(v["corrections"] >= 5 for v in seen.values()))
    assert all(one["correct"] == one["corrections"] for one in seen.values()), seen
    (comparison,) = system.get(system.classifier, "/v1/rollout/report")["comparisons"]
    assert comparison["low"] < 0 < comparison["high"], "two that are always right can't be told apart"
    quality = system.get(system.classifier, "/v1/feedback/quality")
    assert quality["frames"] == quality["confirmed"] >= 10


def _canary(
    system: System, champion: str, candidate: str, rules: Mapping[str, Any], follow: Sequence[str], wins: str
) -> str:
    """Run a canary with a worker killed in each of its stages; return the reason for which it ended."""
    begun = roll_out(system, "canary", champion, candidate, canary=dict(rules))
    for number, strategy in enumerate(follow, 1):
        wait_report(system, "the candidate was looked at", lambda seen: candidate in seen)
        kill_worker(system)
        after = revised(system, begun + number)
        assert (after["author"], after["strategy"]) == ("canary", strategy), after
    assert after["variants"][0]["version"] == wins, after
    assert rollout(system)["revision"] == begun + len(follow)
    return str(after["reason"])


def test_a_change_reaches_every_worker_and_survives_a_restart(system: System) -> None:
    made = versions()
    upload(system, *made[GOOD])
    with ExitStack() as stack:
        ports = [system.base_port + 12, *(stack.enter_context(more_worker(system)) for _ in range(2))]
        follow(ports, rollout(system)["revision"])
        took = []
        for n in range(9):
            asked = time.monotonic()
            roll_out(system, *(("single", "1"), ("silent", "1", GOOD), ("ab", "1", GOOD))[n % 3])
            follow(ports, rollout(system)["revision"])
            took.append(time.monotonic() - asked)
        print(f"seconds until {len(ports)} workers followed: {[round(one, 2) for one in took]}")
    before = rollout(system)
    for program in ("image_classifier", WORKER):
        system.stop(program)
        system.start(program)
    assert rollout(system) == before
    follow(ports[:1], before["revision"])
    system.classifier.post("/v1/rollout/undo", json={"reason": "the test ends"}).raise_for_status()


def test_a_version_that_hangs_on_a_photo_gives_way_to_the_shipped_one(tmp_path: Path) -> None:
    period = {"HUELLA_INGEST_REOFFER_AFTER_S": "1", "HUELLA_INGEST_REOFFER_EVERY_S": "1"}
    orange, green = (solid(colour=colour) for colour in ((250, 140, 10), (90, 120, 90)))
    with running_system(tmp_path / "data", period | {"HUELLA_CLASSIFIER_ANSWER_DEADLINE_S": "5"}) as system:

        def version_that_answers(photo: bytes) -> str | None:
            try:
                answer = system.classifier.post("/v1/predictions", content=photo, timeout=60)
            except httpx.TransportError:  # the process has ended, or is not there yet
                return None
            return str(answer.json()["version"]) if answer.status_code == 200 else None

        shipped = read_manifest(DEFAULT_FOLDER)
        upload(system, *version_of(HANGING, shipped, hanging(read_graph(DEFAULT_FOLDER))))
        follow([system.base_port + 12], roll_out(system, "single", HANGING))
        wait_until("it serves", lambda: version_that_answers(green) == HANGING, PATIENCE_S)
        before = system.pid("image_classifier")
        wait_until("the photo is answered", lambda: version_that_answers(orange) == shipped.version, PATIENCE_S)
        assert system.pid("image_classifier") not in (0, before)
        system.wait_ready()
        evidence = system.get(system.classifier, "/v1/rollout/report")
        assert evidence["left_alone"], evidence
        assert evidence["deaths"] >= probation.DEATHS, evidence
        assert "Those that start now serve huella/1, as shipped" in evidence["reason"]
        # The worker has it in force still. It ends of the photo too, and the next one counts that.
        camera = system.camera("orange", "hanging")
        camera.put("orange", orange)
        assert system.wait_settled(1, PATIENCE_S)["counted"] == 1
        assert [one["version"] for one in system.estimates()] == [shipped.version]


def revised(system: System, revision: int) -> dict[str, Any]:
    """Wait for a revision that somebody makes by himself, and return it."""
    wait_until("the stage ends", lambda: rollout(system)["revision"] >= revision, PATIENCE_S, every_s=0.1)
    revisions = system.items(system.classifier, "/v1/rollout/revisions")
    return next(one for one in revisions if one["revision"] == revision)


def follow(ports: Sequence[int], revision: int) -> None:
    """Wait until the workers whose metrics are at `ports` have a revision in force."""
    wait_until("all follow", lambda: all(revision_of(port) == revision for port in ports), PATIENCE_S, every_s=0.02)


@contextmanager
def more_worker(system: System) -> Iterator[int]:
    """Run one more worker for the length of a `with`; gives the port of its metrics."""
    port = free_port()
    password = (system.data / "secrets" / "redis").read_text()
    environment = system.environment | {
        "HUELLA_CLASSIFIER_WORKER_METRICS_PORT": str(port),
        "HUELLA_REDIS_URL": f"redis://:{password}@127.0.0.1:{system.base_port + 4}/0",
    }
    with (system.data / f"worker-{port}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.image_classifier.worker"],
            env=environment, cwd=REPOSITORY, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield port
        finally:
            process.terminate()
            process.wait(60)


def revision_of(port: int) -> int | None:
    """Return the revision that the process whose metrics are at `port` has in force, None if it does not answer."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    except httpx.HTTPError:
        return None
    return next((int(float(value)) for name, value in COUNT.findall(text) if name.endswith("rollout_revision")), None)
