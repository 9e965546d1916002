"""What happens at the same time, or in the wrong moment: starts, changes, proofs and removals of versions."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
import uuid_utils

import shared.database
from services.image_classifier.api import rollout as rollout_api
from services.image_classifier.classify import predict_each
from services.image_classifier.decode import Picture
from services.image_classifier.domain import Label, Probabilities, Quality
from services.image_classifier.leases import hold_lease
from services.image_classifier.main import create_app
from services.image_classifier.model_version import InvalidModelVersion, Manifest, Prediction
from services.image_classifier.rollout import probation, serving, store
from services.image_classifier.rollout.controller import LEASE, Controller
from services.image_classifier.rollout.domain import Canary, Choice, Rollout, Strategy, single
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.rollout.serving import Shot, answer
from services.image_classifier.settings import Settings
from services.image_classifier.tables import leases
from services.image_classifier.tests.rollout_worker import AT, CAT, CHAMPION, Worker, put_version
from services.image_classifier.tests.tiny_model import SIZE, slow_graph, tiny_graph, tiny_manifest
from services.image_classifier.versions import store as versions
from services.image_classifier.versions.isolated import IsolatedVersion, Late
from services.image_classifier.versions.store import State
from shared.database import Database, now
from shared.testing import TokenFor, wait_until


@pytest.fixture
def worker(settings: Settings, database: Database) -> Iterator[Worker]:
    worker = Worker(settings, database)
    yield worker
    for candidate in worker.lineup.now.candidates.values():
        candidate.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let no candidate's process get ready before the event is set."""
    go, load = threading.Event(), IsolatedVersion.load

    def late(self: IsolatedVersion, graph: bytes, start_s: float) -> IsolatedVersion:
        go.wait(60)
        return load(self, graph, start_s)

    monkeypatch.setattr(IsolatedVersion, "load", late)
    yield go
    go.set()


def change(worker: Worker, rollout: Rollout) -> None:
    worker.database.write(lambda connection: store.add(connection, rollout, "tests", "try", now()))
    worker.lineup.refresh()


def test_a_candidate_that_starts_is_not_blamed_and_the_champion_serves_its_frames(
    worker: Worker, database: Database, held: threading.Event
) -> None:
    candidate = put_version(database, "2", tiny_graph())
    change(worker, Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate), canary=Canary(stages=(0.9,))))
    assert {one.variant.version for one in worker.work(30)} == {"1"}
    assert "2" not in worker.seen()
    held.set()
    (running,) = worker.lineup.now.candidates.values()
    wait_until("it runs", lambda: not running.starting, 60)
    assert "2" in {one.variant.version for one in worker.work(30)}
    assert worker.seen()["2"].errors == 0


def test_one_that_was_ended_once_is_blamed_for_what_it_was_asked_and_not_for_its_rest(
    worker: Worker, database: Database
) -> None:
    candidate = put_version(database, "2", slow_graph(side=1500, rounds=40))
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate), canary=Canary(stages=(0.9,))))
    for _ in range(5):  # the first is late, and its process is ended; the others come while it rests
        assert {one.variant.version for one in worker.work(8, deadline_s=0.05)} == {"1"}
    seen = worker.seen()["2"]
    assert (seen.calls, seen.failed_calls, seen.late) == (1, 1, seen.decisions)


def test_one_that_can_not_start_is_blamed_and_goes_back(
    worker: Worker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: IsolatedVersion, graph: bytes, start_s: float) -> IsolatedVersion:
        self.close()
        raise InvalidModelVersion("it wants more memory than there is")

    monkeypatch.setattr(IsolatedVersion, "load", refuse)
    candidate = put_version(database, "2", tiny_graph())
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate), canary=Canary(stages=(0.9,))))
    for _ in range(3):
        assert {one.variant.version for one in worker.work(8)} == {"1"}
    worker.controller.tick(now())
    assert worker.newest().rollout.champion.version == "1"
    assert "3 of 3 calls failed" in worker.newest().reason


def test_a_candidate_whose_thread_stands_still_holds_nobody_up_and_is_not_asked(
    worker: Worker, database: Database
) -> None:
    candidate = put_version(database, "2", tiny_graph())
    worker.put(Rollout(0, 0, Strategy.AB, (replace(CHAMPION, weight=0.0), candidate)))
    (running,) = worker.lineup.now.candidates.values()
    go = threading.Event()
    running._thread.submit(go.wait, 60)
    done = threading.Event()

    def work() -> None:
        assert {one.variant.version for one in worker.work(4, deadline_s=0.05, until_heard=False)} == {"1"}
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(30)
    go.set()
    assert "2" not in worker.seen()


class Graph:
    """Stands for what candidates compute: `frames` of each call that began, which ends when `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.frames: list[int] = []

    def predict(self, pictures: Sequence[Picture], deadline_s: float) -> tuple[list[Prediction], float]:
        self.frames.append(len(pictures))
        if not self.go.wait(min(60, deadline_s)):
            raise Late("no answer in time")
        return [Prediction(Probabilities(cat=0.9, dog=0.1), Label.CAT, Quality.OK)] * len(pictures), 0.01


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    graph = Graph()
    monkeypatch.setattr(IsolatedVersion, "predict", lambda _, *asked: graph.predict(*asked))
    yield graph
    graph.go.set()


def ask(worker: Worker, choice: Choice, frames: int, deadline_s: float) -> set[str]:
    """Have frames looked at by whom `choice` names; return the versions that served them."""
    shots = [Shot(str(uuid_utils.uuid7()), "c1", choice, {SIZE: CAT}) for _ in range(frames)]
    answers = answer(worker.lineup.now, shots, predict_each, now(), deadline_s, worker.journal.add)
    return {one.variant.version for one in answers.values()}


def test_a_served_frame_waits_for_a_shadow_as_long_as_that_may_take(
    worker: Worker, database: Database, graph: Graph
) -> None:
    candidate = put_version(database, "2", tiny_graph())
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate)))
    (running,) = worker.lineup.now.candidates.values()
    running.champions_pace_s = 1.0  # so sixteen frames may take twenty seconds, and one three
    assert ask(worker, Choice(CHAMPION, 0.9, (candidate,)), 16, 0.1) == {"1"}
    running.champions_pace_s = 0.1  # by the old rule a frame would be waited for 0.6 s
    threading.Timer(1.5, graph.go.set).start()
    assert ask(worker, Choice(candidate, 0.1), 1, 0.1) == {"2"}
    seen = worker.seen()["2"]
    assert (seen.calls, seen.failed_calls, seen.served, seen.decisions) == (2, 0, 1, 17)


def test_what_a_candidate_does_not_come_to_is_not_computed_for_nobody_nor_held_against_it(
    worker: Worker, database: Database, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LONGEST_S", 0.2)
    candidate = put_version(database, "2", tiny_graph())
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate)))
    assert ask(worker, Choice(CHAMPION, 0.9, (candidate,)), 16, 30) == {"1"}
    for _ in range(3):
        assert ask(worker, Choice(candidate, 0.1), 2, 30) == {"1"}
        assert ask(worker, Choice(CHAMPION, 0.9, (candidate,)), 16, 30) == {"1"}, "a shadow that is dropped"
    graph.go.set()
    (running,) = worker.lineup.now.candidates.values()
    wait_until("it has done what it was asked", lambda: not running.busy)
    wait_until("that is written", lambda: "2" in worker.seen())
    seen = worker.seen()["2"]
    assert graph.frames == [16]
    assert (seen.calls, seen.failed_calls, seen.decisions) == (1, 0, 16)


def test_a_chunk_waits_a_bounded_time_for_all_its_candidates(
    worker: Worker, database: Database, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LONGEST_S", 0.5)
    several = [put_version(database, str(n), tiny_graph()) for n in (2, 3, 4)]
    worker.put(Rollout(0, 0, Strategy.BANDIT, (CHAMPION, *several)))
    shots = [Shot(str(uuid_utils.uuid7()), "c1", Choice(one, 0.3), {SIZE: CAT}) for one in several]
    begun = time.monotonic()
    answers = answer(worker.lineup.now, shots, predict_each, now(), 10.0, worker.journal.add)
    assert time.monotonic() - begun < 8
    assert {one.variant.version for one in answers.values()} == {"1"}
    graph.go.set()
    # They were in time by their own clocks, and served nothing: the champion had.
    wait_until("all are heard", lambda: {"2", "3", "4"} <= worker.seen().keys())
    seen = worker.seen()
    assert [(seen[n].failed_calls, seen[n].calls, seen[n].served) for n in "234"] == [(0, 1, 0)] * 3
    assert seen["1"].served == 3


def test_where_the_champion_takes_as_long_a_candidate_is_not_late(worker: Worker, database: Database) -> None:
    candidate = put_version(database, "2", tiny_graph())
    worker.put(Rollout(0, 0, Strategy.AB, (replace(CHAMPION, weight=0.0), candidate)))
    (running,) = worker.lineup.now.candidates.values()
    running.champions_pace_s = 5.0
    assert {one.variant.version for one in worker.work(4, deadline_s=1e-6)} == {"2"}
    running.champions_pace_s = 0.0
    assert {one.variant.version for one in worker.work(4, deadline_s=1e-6)} == {"1"}


def test_a_change_is_not_held_up_by_a_candidate_that_starts(
    worker: Worker, database: Database, held: threading.Event
) -> None:
    candidate = put_version(database, "2", tiny_graph())
    change(worker, Rollout(0, 0, Strategy.SILENT, (CHAMPION, candidate)))
    (starting,) = worker.lineup.now.candidates.values()
    assert starting.starting
    change(worker, single("tiny", "1"))
    assert worker.lineup.now.rollout.strategy is Strategy.SINGLE
    wait_until("what was begun is ended", lambda: starting._version is not None and not starting._version.alive, 60)


def test_changes_at_the_same_time_each_get_a_revision_of_their_own(settings: Settings, database: Database) -> None:
    # Each with a writer of its own, as replicas have.
    replicas = [Database(settings.database_url) for _ in range(4)]

    def put(replica: Database) -> list[int]:
        return [
            replica.write(lambda c: store.add(c, single("tiny", "1"), "tests", "race", now())).rollout.revision
            for _ in range(10)
        ]

    with ThreadPoolExecutor(len(replicas)) as threads:
        found = [revision for revisions in threads.map(put, replicas) for revision in revisions]
    assert sorted(found) == list(range(1, 41))
    for replica in replicas:
        replica.close()


def test_two_replicas_that_judge_at_once_make_one_change(
    settings: Settings, worker: Worker, database: Database
) -> None:
    candidate = put_version(database, "2", tiny_graph(swapped=True))
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate)))
    for _ in range(4):
        worker.work(8)
    wait_until("it is compared", lambda: "2" in worker.seen() and worker.seen()["2"].compared >= 8, 30)
    judged = worker.newest()
    controllers = [Controller(replica, settings) for replica in (database, Database(settings.database_url))]
    start = threading.Barrier(len(controllers))

    def judge(controller: Controller) -> None:
        start.wait(10)
        controller._judge(judged, now())  # both believe that they hold the lease: their clocks differ

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(judge, controllers))
    assert (worker.newest().rollout.revision, worker.newest().rollout.champion.version) == (2, "1")
    controllers[1]._database.close()


def test_a_proof_says_nothing_of_another_version_that_took_the_name_meanwhile(database: Database) -> None:
    first, second = tiny_graph(), tiny_graph(swapped=True)
    manifests = [Manifest.model_validate(tiny_manifest(graph, "tiny", "2")) for graph in (first, second)]

    def replaced(connection: Any) -> State:
        versions.put(connection, manifests[0], first, "tests", AT)
        assert versions.begin_proof(connection, AT) is not None
        versions.remove(connection, "tiny", "2")
        versions.put(connection, manifests[1], second, "tests", AT)
        versions.finish_proof(connection, manifests[0], State.READY, "", 0.001, AT)
        found = versions.find(connection, "tiny", "2")
        assert found is not None
        return found.state

    assert database.write(replaced) is State.RECEIVED


async def test_a_version_can_not_go_while_a_rollout_that_names_it_comes(
    settings: Settings, database: Database, token_for: TokenFor
) -> None:
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {token_for('admin')}"}
    variants = [
        {"model": "tiny", "version": "1", "role": "champion"},
        {"model": "tiny", "version": "2", "role": "candidate"},
    ]
    asked = {"strategy": "silent", "variants": variants, "reason": "race"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://classifier", headers=headers) as admin,
    ):
        for _ in range(10):
            put_version(database, "2", tiny_graph())
            with ThreadPoolExecutor(1) as threads:
                # Past the API's own process, as another replica would.
                gone = threads.submit(database.write, lambda c: _remove_unused(c))
                put = (await admin.put("/v1/rollout", json=asked)).status_code
            assert (put, gone.result()) in {(200, False), (409, True)}
            if put == 200:
                back = {"strategy": "single", "variants": variants[:1], "reason": "again"}
                assert (await admin.put("/v1/rollout", json=back)).status_code == 200
                database.write(_remove_unused)


def _remove_unused(connection: Any) -> bool:
    store.lock(connection)
    return not store.in_use(connection, "tiny", "2") and versions.remove(connection, "tiny", "2")


async def test_no_number_of_tiny_uploads_fills_the_disk(
    settings: Settings, database: Database, token_for: TokenFor
) -> None:
    graph = tiny_graph()
    manifests = [tiny_manifest(graph, "tiny", str(n)) | {"measured": {"much": "x" * 50_000}} for n in range(2, 6)]
    app = create_app(settings.model_copy(update={"versions_bytes": 150_000}))
    headers = {"Authorization": f"Bearer {token_for('admin')}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://classifier", headers=headers) as admin,
    ):
        answers = [
            await admin.put(
                f"/v1/models/tiny/{one['version']}", files={"manifest": json.dumps(one).encode(), "graph": graph}
            )
            for one in [*manifests, manifests[0]]
        ]
    # The last is the first again, which takes no more room.
    assert [answer.status_code for answer in answers] == [201, 201, 409, 409, 200]
    assert answers[2].json()["type"] == "urn:huella:problem:versions-full"


@pytest.mark.parametrize(("deaths", "served"), [(probation.DEATHS - 1, "2"), (probation.DEATHS, "1")])
def test_a_champion_that_ends_its_processes_again_and_again_is_left_alone(
    settings: Settings, database: Database, deaths: int, served: str
) -> None:
    put_version(database, "2", tiny_graph())
    database.write(lambda connection: store.add(connection, single("tiny", "2"), "tests", "at once", now()))
    dead = [f"dead-{n}" for n in range(deaths)]
    assert all(database.write(lambda c: [probation.begin(c, 1, one, now() - timedelta(hours=1)) for one in dead]))
    lineup = Lineup(settings, database, Journal(database), candidates=True)
    lineup.start()
    assert lineup.champion.manifest.version == served
    # Another revision is another start.
    database.write(lambda connection: store.add(connection, single("tiny", "2"), "tests", "again", now()))
    wait_until("it is tried anew", lambda: lineup.champion.manifest.version == "2", 60)
    lineup.stop()


def test_a_champion_that_can_not_be_found_is_looked_for_without_a_write(settings: Settings, database: Database) -> None:
    database.write(lambda connection: store.add(connection, single("tiny", "9"), "tests", "a slip", now()))
    lineup = Lineup(settings, database, Journal(database), candidates=True)
    with pytest.raises(InvalidModelVersion, match="there is no"):
        lineup.refresh()
    with database.read() as connection:
        assert connection.execute(leases.select()).all() == []
    lineup.start()  # and goes on with what it has
    assert lineup.champion.manifest.version == "1"
    lineup.stop()


def test_a_process_that_ends_in_good_order_counts_as_no_death(settings: Settings, database: Database) -> None:
    put_version(database, "2", tiny_graph())
    database.write(lambda connection: store.add(connection, single("tiny", "2"), "tests", "at once", now()))
    for _ in range(2 * probation.DEATHS):
        lineup = Lineup(settings, database, Journal(database), candidates=True)
        lineup.start()
        assert lineup.champion.manifest.version == "2"
        lineup.stop()
    with database.read() as connection:
        assert connection.execute(leases.select()).all() == []


def test_a_stage_bakes_and_a_lease_lasts_as_long_as_the_databases_clock_says(
    settings: Settings, worker: Worker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("one host has one clock")
    candidate = put_version(database, "2", tiny_graph())
    rules = Canary(stages=(0.0, 0.5), bake_s=600, least_frames=10, shadow_share=1.0)
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate), canary=rules))
    for _ in range(40):
        worker.work(1)
    wait_until("it is compared", lambda: "2" in worker.seen() and worker.seen()["2"].compared >= 40, 30)
    here = now()
    other = Controller(database, settings)
    for hours in (3, -3):
        # The clock of another host, of everything there that asks for the time.
        monkeypatch.setattr("shared.database.now", lambda hours=hours: here + timedelta(hours=hours))
        monkeypatch.setattr("services.image_classifier.rollout.controller.now", shared.database.now, raising=False)
        at = other._clock()
        other.tick(at)
        assert worker.newest().rollout.stage == 0, "three hours have passed there alone"
        assert database.write(partial(hold_lease, name="controller", holder=other._holder, now=at, lease=LEASE))
        assert not worker.controller.tick(worker.controller._clock()), "the lease is held"
        database.write(lambda c: c.execute(leases.delete()))


def test_a_revision_begins_when_the_database_says(
    settings: Settings, database: Database, token_for: TokenFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("one host has one clock")
    here = now()
    monkeypatch.setattr("services.image_classifier.api.rollout.now", lambda: here + timedelta(hours=3), raising=False)
    rollout_api._put(database, settings, lambda _, __: single("tiny", "1"), "tests", "a clock that is ahead")
    with database.read() as connection:
        found = store.current(connection)
    assert found is not None
    assert abs(found.since - here) < timedelta(hours=1)
