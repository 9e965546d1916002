"""The rollout over REST and in a worker: uploads, changes, evidence, and what goes on by itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.image_classifier import tables
from services.image_classifier.main import create_app
from services.image_classifier.model_version import Manifest
from services.image_classifier.rollout import candidate as candidate_process
from services.image_classifier.rollout import feedback, store
from services.image_classifier.rollout.controller import Controller
from services.image_classifier.rollout.domain import Bandit, Canary, Rollout, Strategy, single
from services.image_classifier.settings import Settings
from services.image_classifier.tests.rollout_worker import AT, CHAMPION, Worker, feedback_row, put_version
from services.image_classifier.tests.tiny_model import slow_graph, tiny_graph, tiny_manifest
from services.image_classifier.versions import store as versions
from services.image_classifier.versions.store import State
from shared.database import Database, now
from shared.testing import TokenFor, wait_until


@pytest.fixture
async def app(settings: Settings, database: Database) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def admin(app: FastAPI, token_for: TokenFor) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token_for('admin')}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://classifier", headers=headers) as client:
        yield client


def form(graph: bytes, version: str = "2", **changes: Any) -> dict[str, bytes]:
    return {"manifest": json.dumps(tiny_manifest(graph, "tiny", version) | changes).encode(), "graph": graph}


async def test_an_upload_is_proven_then_used_then_in_the_way_of_its_removal(
    admin: httpx.AsyncClient, app: FastAPI, settings: Settings
) -> None:
    graph = tiny_graph(swapped=True)
    sent = await admin.put("/v1/models/tiny/2", files=form(graph))
    assert (sent.status_code, sent.json()["state"]) == (201, "received"), sent.text
    assert (await admin.put("/v1/models/tiny/2", files=form(graph))).status_code == 200
    assert (await admin.put("/v1/models/tiny/2", files=form(tiny_graph()))).status_code == 409
    assert (await admin.put("/v1/models/tiny/1", files=form(graph, "1"))).status_code == 409
    asked = {"strategy": "ab", "reason": "try", "variants": [
        {"model": "tiny", "version": "1", "role": "champion"}, {"model": "tiny", "version": "2", "role": "candidate"}
    ]}  # fmt: skip
    async with asyncio.timeout(90):
        # There is no event to wait for over REST.
        while (await admin.get("/v1/models/tiny/2")).json()["state"] == "received":  # noqa: ASYNC110 - told by asking
            await asyncio.sleep(0.2)
    card = (await admin.get("/v1/models/tiny/2")).json()
    assert (card["state"], card["shipped"], card["frame_seconds"] > 0) == ("ready", False, True)
    graph_again = await admin.get("/v1/models/tiny/2/artifact")
    assert graph_again.content == graph
    for tags in ("{}", "W/{}", '"other", {}'):  # as proxies rewrite them
        known = {"If-None-Match": tags.format(graph_again.headers["ETag"])}
        had = await admin.get("/v1/models/tiny/2/artifact", headers=known)
        assert (had.status_code, had.content) == (304, b"")
    chosen = await admin.put("/v1/rollout", json=asked)
    assert (chosen.status_code, chosen.json()["revision"], chosen.json()["shares"]) == (200, 1, [0.5, 0.5])
    assert (await admin.delete("/v1/models/tiny/2")).json()["type"] == "urn:huella:problem:in-use"
    assert (await admin.patch("/v1/models/tiny/2", json={"state": "retired"})).status_code == 409
    undone = (await admin.post("/v1/rollout/undo", json={"reason": "no"})).json()
    assert (undone["revision"], undone["strategy"], len(undone["variants"])) == (2, "single", 1)
    assert (await admin.patch("/v1/models/tiny/2", json={"state": "retired"})).json()["state"] == "retired"
    refused = await admin.put("/v1/rollout", json=asked)
    assert (refused.status_code, "tiny/2 is retired" in refused.json()["detail"]) == (409, True)
    assert (await admin.delete("/v1/models/tiny/2")).status_code == 204
    assert (await admin.get("/v1/models/tiny/2")).status_code == 404
    assert (await admin.delete("/v1/models/tiny/1")).json()["type"] == "urn:huella:problem:shipped"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/a%00b/1", 404),
        ("GET", "/v1/models/tiny/1%00/artifact", 404),
        ("PATCH", "/v1/models/a%00b/1", 404),
        ("DELETE", "/v1/models/a%00b/1", 404),
        ("GET", "/v1/rollout/revisions?cursor=99999999999999999999", 200),
        ("GET", "/v1/feedback/export?cursor=1.%00", 422),
    ],
)
async def test_what_no_database_takes_is_answered_before_it(
    admin: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await admin.request(method, path, json={"state": "retired"} if method == "PATCH" else None)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"manifest": b"{}", "graph": b"x"}, 422),
        ({"manifest": b"not json", "graph": b"x"}, 422),
        ({"graph": b"x"}, 422),
        (form(tiny_graph(), digest="0" * 64), 422),
        (form(tiny_graph(), version="3"), 422),
    ],
    ids=["empty", "no json", "one file", "digest", "other address"],
)
async def test_a_bad_upload_is_told_why(admin: httpx.AsyncClient, files: Mapping[str, bytes], status: int) -> None:
    answer = await admin.put("/v1/models/tiny/2", files=files)
    assert (answer.status_code, answer.json()["type"]) == (status, "urn:huella:problem:invalid-model")


async def test_a_rollout_is_changed_in_parts_and_its_history_kept(admin: httpx.AsyncClient, database: Database) -> None:
    first = (await admin.get("/v1/rollout")).json()
    assert (first["revision"], first["author"], first["since"]) == (0, "default", None)
    assert (await admin.post("/v1/rollout/undo", json={"reason": "no"})).status_code == 409
    put_version(database, "2", tiny_graph())
    variants = [
        {"model": "tiny", "version": "1", "role": "champion"},
        {"model": "tiny", "version": "2", "role": "candidate"},
    ]
    assert (
        await admin.put("/v1/rollout", json={"strategy": "single", "variants": variants, "reason": "x"})
    ).status_code == 422
    put = (await admin.put("/v1/rollout", json={"strategy": "silent", "variants": variants, "reason": "look"})).json()
    assert (put["revision"], put["silent"]["share"], put["author"]) == (1, 1.0, "tests")
    patched = (await admin.patch("/v1/rollout", json={"silent": {"share": 0.5}, "reason": "less"})).json()
    assert (patched["revision"], patched["strategy"], patched["silent"]["share"]) == (2, "silent", 0.5)
    rules = {"canary": {"stages": [0.0, 0.3], "bake_s": 5.0}, "reason": "soon a canary"}
    assert (await admin.patch("/v1/rollout", json=rules)).status_code == 200
    stricter = (await admin.patch("/v1/rollout", json={"canary": {"bake_s": 9.0}, "reason": "less"})).json()
    assert (stricter["canary"]["stages"], stricter["canary"]["bake_s"]) == ([0.0, 0.3], 9.0)
    assert stricter["silent"]["share"] == 0.5
    pages = (await admin.get("/v1/rollout/revisions", params={"limit": 1})).json()
    assert (pages["items"][0]["reason"], pages["next"]) == ("less", "4")
    rest = (await admin.get("/v1/rollout/revisions", params={"cursor": pages["next"]})).json()
    assert [one["revision"] for one in rest["items"]] == [3, 2, 1]
    report = (await admin.get("/v1/rollout/report")).json()
    assert [one["decisions"] for one in report["variants"]] == [0, 0]
    undone = (await admin.post("/v1/rollout/undo", json={"reason": "back"})).json()
    assert (undone["silent"]["share"], undone["canary"]["bake_s"]) == (0.5, 5.0)


def correction(
    receipt: str, label: str | None, at: datetime = AT, said: str = "cat", **estimate: Any
) -> dict[str, Any]:
    told = {"label": "cat", "quality": "ok", "cat": 0.9, "dog": 0.1, "model": "tiny", "version": "1"}
    return {
        "receipt": receipt,
        "label": label,
        "by": "marta",
        "at": at.isoformat(),
        "camera_id": "c1",
        "space_id": "k1",
        "observed_at": AT.isoformat(),
        "estimate": told | {"variant": "champion", "revision": 0} | estimate,
    }


async def test_feedback_is_taken_once_revised_and_exported(
    admin: httpx.AsyncClient, app: FastAPI, token_for: TokenFor
) -> None:
    service = {"Authorization": f"Bearer {token_for('service', audience='image_classifier')}"}
    later = AT + timedelta(minutes=1)
    body = {
        "corrections": [correction("r1", "cat"), correction("r2", "dog"), correction("r3", "dog", later)],
        "counted": [
            {"revision": 0, "model": "tiny", "version": "1", "variant": "champion", "stripe": 1, "number": 7}
        ],
    }  # fmt: skip
    assert (await admin.post("/v1/feedback", json=body)).status_code == 403
    for _ in range(2):
        assert (await admin.post("/v1/feedback", json=body, headers=service)).json()["corrections"] == 3
    # An older word does not undo a newer one, and a newer one takes a label back.
    again = {"corrections": [correction("r3", "cat", AT), correction("r2", None, later)]}
    assert (await admin.post("/v1/feedback", json=again, headers=service)).status_code == 200
    (variant,) = (await admin.get("/v1/rollout/report")).json()["variants"]
    assert (variant["counted"], variant["corrections"], variant["correct"]) == (7, 2, 1)
    quality = (await admin.get("/v1/feedback/quality", params={"days": 90})).json()
    assert (quality["frames"], quality["confirmed"], bool(quality["bias"])) == (2, 1, True)
    first = (await admin.get("/v1/feedback/export", params={"limit": 1})).json()
    assert first["items"][0]["path"] == "cat/r1.jpg"
    rest = (await admin.get("/v1/feedback/export", params={"cursor": first["next"]})).json()
    assert ([item["path"] for item in rest["items"]], rest["next"]) == (["dog/r3.jpg"], None)


def test_what_was_counted_is_not_counted_twice_while_one_aggregation_tells_parts_and_the_next_the_whole(
    worker: Worker, database: Database
) -> None:
    row = {"revision": 0, "model": "tiny", "version": "1", "variant": "champion"}

    def told(*stripes: tuple[int, int]) -> int:
        rows = [row | {"stripe": stripe, "number": number} for stripe, number in stripes]
        database.write(lambda connection: feedback.take(connection, [], rows))
        with database.read() as connection:
            return store.seen(connection, single("tiny", "1"), whole=True)["tiny", "1"].counted

    assert told((0, 40), (77, 60)) == 100
    assert told((store.WHOLE, 110)) == 110
    assert told((77, 75)) == 110  # the old one has not ended yet; the new one has read that too, or will
    assert told((store.WHOLE, 120)) == 120


def _has_decided(worker: Worker, number: int) -> bool:
    seen = worker.seen()
    return "2" in seen and seen["2"].decisions >= number


@pytest.fixture
def worker(settings: Settings, database: Database) -> Iterator[Worker]:
    worker = Worker(settings, database)
    yield worker
    for candidate in worker.lineup.now.candidates.values():
        candidate.close()


def test_silent_serves_the_champion_and_compares_the_candidate(worker: Worker, database: Database) -> None:
    candidate = put_version(database, "2", tiny_graph())
    worker.put(Rollout(0, 0, Strategy.SILENT, (CHAMPION, candidate)))
    answers = worker.work(8)
    assert {(one.variant.version, one.manifest.version) for one in answers} == {("1", "1")}
    wait_until("the shadows are written", lambda: "2" in worker.seen(), 30)
    seen = worker.seen()
    assert (seen["2"].decisions, seen["2"].served, seen["2"].compared, seen["2"].agreed) == (8, 0, 8, 8)
    assert (seen["1"].decisions, seen["1"].served) == (8, 8)


def test_a_good_canary_goes_through_its_stages_and_is_promoted(worker: Worker, database: Database) -> None:
    candidate = put_version(database, "2", tiny_graph())
    rules = Canary(stages=(0.0, 0.5), bake_s=1, least_frames=10, shadow_share=1.0, latency_factor=1000.0)
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate), canary=rules))
    for stage in (0, 1):
        assert worker.newest().rollout.stage == stage
        answers = [one for _ in range(60) for one in worker.work(1)]
        assert ("2" in {one.variant.version for one in answers}) is (stage == 1)
        due = 60 * (stage + 1)
        wait_until("the shadows are written", partial(_has_decided, worker, due), 30)
        worker.controller.tick(now() + timedelta(seconds=2 * (stage + 1)))
        worker.lineup.refresh()
    promoted = worker.newest()
    assert (promoted.rollout.strategy, promoted.rollout.champion.version) == (Strategy.SINGLE, "2")
    assert (promoted.author, "held in all stages" in promoted.reason) == ("canary", True)
    assert {one.variant.version for one in worker.work(4)} == {"2"}


def test_a_plausible_but_wrong_canary_is_rolled_back_before_it_serves(worker: Worker, database: Database) -> None:
    candidate = put_version(database, "2", tiny_graph(swapped=True))
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate)))
    for _ in range(3):
        assert {one.variant.version for one in worker.work(8)} == {"1"}
    wait_until("the shadows are written", lambda: "2" in worker.seen() and worker.seen()["2"].compared >= 8, 30)
    worker.controller.tick(now())
    back = worker.newest()
    assert (back.rollout.strategy, back.rollout.champion.version, back.author) == (Strategy.SINGLE, "1", "canary")
    assert "Disagreement" in back.reason


def test_a_slow_canary_harms_no_frame_and_is_rolled_back(
    worker: Worker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_process, "REST_S", 0.0)
    candidate = put_version(database, "2", slow_graph(side=1500, rounds=40))
    worker.put(Rollout(0, 0, Strategy.CANARY, (CHAMPION, candidate), canary=Canary(stages=(0.9,), shadow_share=0.0)))
    for judged in (Strategy.CANARY, Strategy.SINGLE):  # once may be chance
        answers = worker.work(16, deadline_s=0.1)
        assert all(not isinstance(one.said, Exception) and one.said.label == "cat" for one in answers)
        assert {one.variant.version for one in answers} == {"1"}
        worker.controller.tick(now())
        assert worker.newest().rollout.strategy is judged
        worker.follow()
    back = worker.newest()
    assert (back.rollout.champion.version, "late" in back.reason) == ("1", True), back.reason


def test_a_bandit_stores_propensities_and_learns_from_corrections(worker: Worker, database: Database) -> None:
    candidate = put_version(database, "2", tiny_graph(swapped=True))
    revision = worker.put(Rollout(0, 0, Strategy.BANDIT, (CHAMPION, candidate), bandit=Bandit(floor=0.1)))
    worker.work(40)
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(tables.decisions.select()).mappings()]
    assert {row["propensity"] for row in rows} == {0.5}
    told = [
        feedback_row(row["receipt"], "cat")
        | {"revision": revision, "version": row["version"], "variant": row["variant"], "estimate": row["label"]}
        for row in rows
    ]
    database.write(lambda connection: feedback.take(connection, told, []))
    worker.controller.tick(now())
    worker.lineup.refresh()
    belief = worker.lineup.now.belief
    assert belief is not None
    assert belief[0] > 0.85
    assert belief[1] == pytest.approx(0.1, abs=0.01)


def test_a_camera_that_changed_is_told_apart_from_one_that_did_not(database: Database) -> None:
    rows = [
        {"camera_id": camera, "hour": AT - timedelta(hours=hours), "kind": "brightness", "bin": place, "number": 300}
        for camera, hours, place in (("same", 50, 5), ("same", 2, 5), ("moved", 50, 7), ("moved", 2, 1))
    ]
    empty: dict[str, Any] = {"decisions": [], "tallies": [], "latencies": []}
    for _ in range(2):
        database.write(lambda connection: store.log(connection, {**empty, "spreads": rows}))
    with database.read() as connection:
        alarms = feedback.drift(connection, AT)
    assert [(one["camera_id"], one["kind"], one["before"][7]) for one in alarms] == [("moved", "brightness", 600)]


def test_a_version_that_takes_its_prover_down_is_refused_at_last(database: Database) -> None:
    graph = tiny_graph()
    manifest = Manifest.model_validate(tiny_manifest(graph, "tiny", "2"))
    database.write(lambda connection: versions.put(connection, manifest, graph, "tests", AT))
    for _ in range(versions.ATTEMPTS):
        assert database.write(lambda connection: versions.begin_proof(connection, AT)) is not None
    assert database.write(lambda connection: versions.begin_proof(connection, AT)) is None
    with database.read() as connection:
        found = versions.find(connection, "tiny", "2")
    assert found is not None
    assert found.state is State.REFUSED


def test_what_people_said_is_kept_for_long_and_not_for_ever(database: Database) -> None:
    rows = [feedback_row(f"r{n}", "cat") | {"received_at": AT - timedelta(days=n)} for n in range(10)]
    database.write(lambda connection: feedback.take(connection, rows, []))

    def left(before: datetime, kept: int) -> list[str]:
        while database.write(lambda connection: feedback.prune(connection, before, kept)):
            pass
        with database.read() as connection:
            return sorted(row["receipt"] for row in feedback.labelled(connection, None, 100))

    assert left(AT - timedelta(days=100), 10) == [f"r{n}" for n in range(10)]
    assert left(AT - timedelta(days=6, hours=12), 10) == [f"r{n}" for n in range(7)]
    assert left(AT - timedelta(days=100), 3) == ["r0", "r1", "r2"]


def test_the_controller_clears_away_what_is_too_old(settings: Settings, database: Database) -> None:
    at = now()
    rows = [feedback_row(f"r{days}", "cat") | {"received_at": at - timedelta(days=days)} for days in (729, 731)]
    database.write(lambda connection: feedback.take(connection, rows, []))
    Controller(database, settings).tick(at)
    with database.read() as connection:
        assert [row["receipt"] for row in feedback.labelled(connection, None, 10)] == ["r729"]


def test_revisions_are_bounded_and_that_in_force_keeps_its_evidence(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "REVISIONS", 3)
    for root in (None, None, 3, 3, 3, 3, 3):
        database.write(
            partial(store.add, rollout=single("tiny", "1"), author="tests", reason="again", at=AT, root=root)
        )
    tally = dict.fromkeys(tables.SUMS, 1) | {"model": "tiny", "version": "1", "variant": "champion"}
    rows = [tally | {"revision": n} for n in range(8)]
    writes: dict[str, Any] = {"decisions": [], "latencies": [], "spreads": [], "tallies": rows}
    database.write(lambda connection: store.log(connection, writes))
    assert database.write(store.prune_revisions) == 2 + 3
    with database.read() as connection:
        assert [one.rollout.revision for one in store.revisions(connection, None, 100)] == [7, 6, 5, 4, 3]
        found = store.current(connection)
        assert found is not None
        assert store.seen(connection, found.rollout, whole=True)["tiny", "1"].decisions == 5
