"""What runs each second or at each request reads indexes, however many frames there are."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event

from services.camera_ingest.relay import QueueLengths, claim
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest
from services.camera_ingest.tests.test_janitor import clean
from shared.database import now
from shared.tokens import Role


@pytest.fixture
def plans(ingest: Ingest) -> Iterator[list[str]]:
    """How SQLite goes about each statement on frames that the test has run, as `EXPLAIN QUERY PLAN` tells."""
    told: list[str] = []
    asking = False

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        nonlocal asking
        if asking or " frames" not in statement or executemany or statement.startswith("INSERT"):
            return
        asking = True
        try:
            steps = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        finally:
            asking = False
        told.extend(f"{step[3]}: {statement}" for step in steps)

    event.listen(ingest.parts.database.engine, "before_cursor_execute", explain)
    yield told
    event.remove(ingest.parts.database.engine, "before_cursor_execute", explain)


def test_nothing_that_runs_often_reads_all_frames(ingest: Ingest, plans: list[str]) -> None:
    settings = ingest.parts.settings
    receipts = [ingest.accept(f"f{number}", photo(number)) for number in range(3)]
    ingest.put(None)
    ingest.put(None, headers={"Captured-At": "2026-11-22T10:00:00Z"})
    for seconds in (0, 60):
        ingest.images(*receipts)
        at = now() + timedelta(seconds=seconds)
        ingest.parts.database.write(partial(claim, settings=settings, queue=QueueLengths(0, 0), at=at))
    ingest.parts.relay._anything_due(now())
    ingest.settle(
        {"receipt": receipts[0], "state": "counted"}, {"receipt": receipts[1], "state": "rejected", "reason": "x"}
    )
    ingest.client.post(f"/v1/receipts/{receipts[1]}/offers", headers=ingest.bearer(Role.OPERATOR))
    for path in ("audit", "audit/hours", "pipeline", "cameras", "cameras/c1", "receipts?state=rejected", "receipts"):
        assert ingest.get(f"/v1/{path}").status_code == 200
    ingest.get("/v1/cameras/c1/latest-image")
    ingest.parts.capacity.measure(now())
    clean(ingest, now() + timedelta(days=500))
    assert len(plans) > 20
    small = ("ix_frames_in_flight", "ix_frames_new", "ix_frames_offered", "ix_frames_rejected", "ix_frames_kept")
    whole = [
        plan
        for plan in plans
        if plan.startswith("SCAN frames")
        and not any(f"INDEX {name}" in plan for name in small)
        and " LIMIT " not in plan  # the newest or the oldest few, in the order of an index
    ]
    assert whole == []
    assert [plan for plan in plans if plan.startswith("USE TEMP B-TREE")] == []
