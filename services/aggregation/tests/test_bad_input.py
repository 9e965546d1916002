"""Text and times that no database takes are refused, on SQLite and on PostgreSQL alike, and never a 500."""

import base64

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from services.aggregation import tables
from services.aggregation.tests.conftest import Record, minutes_ago, result
from shared.database import Database


def cursor(*parts: str) -> str:
    return base64.urlsafe_b64encode("\n".join(parts).encode()).decode()


NOW = "2026-11-22T10:00:00+00:00"
CURSORS = {
    "/v1/spaces": cursor("\0"),
    "/v1/stays": cursor(NOW, "a\0"),
    "/v1/spaces/k1/stays": cursor(NOW, "\0"),
    "/v1/spaces/k1/estimates": cursor(NOW, "\0b"),
    "/v1/spaces/k1/history": cursor(NOW, "\0"),
}


def test_a_cursor_with_nul_is_none_of_ours(viewer: TestClient, record: Record) -> None:
    record(result("k1", at=minutes_ago(1), cat=0.98))
    answers = {path: viewer.get(path, params={"cursor": bad}).status_code for path, bad in CURSORS.items()}
    assert answers == dict.fromkeys(CURSORS, 422)
    assert viewer.get("/v1/reviews", params={"cursor": "\0"}).status_code == 200, "it is only compared"


def test_nul_in_ids_and_bodies_is_refused(admin: TestClient, operator: TestClient) -> None:
    answers = [
        operator.get("/v1/stays", params={"space_id": "\0"}),
        operator.get("/v1/stays/%00"),
        operator.get("/v1/estimates/%00"),
        operator.get("/v1/spaces/%00"),
        admin.put("/v1/spaces/k1", json={"name": "a\0b"}),
        admin.put("/v1/spaces/k1", json={"name": "k", "purpose": "\0"}),
        operator.put("/v1/estimates/x/correction", json={"label": "\0"}),
        operator.patch("/v1/stays/x", json={"note": "\0"}),
    ]
    assert [answer.status_code for answer in answers] == [422] * len(answers)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_time_are_times(viewer: TestClient, record: Record, at: str) -> None:
    record(result("k1", at=minutes_ago(1), cat=0.98))
    for path in ("/v1/spaces/k1/history", "/v1/spaces/k1/estimates", "/v1/stays"):
        for asked in ({"since": at}, {"until": at}, {"cursor": cursor(at, "x")}):
            assert viewer.get(path, params=asked).status_code == 200, (path, asked)


def test_a_result_with_nul_in_its_text_spares_its_neighbours(database: Database, record: Record) -> None:
    good, bad = result(), result(quality="o\0k")
    rejected = {"outcome": "rejected", "receipt": result()["receipt"], "reason": "does\0not decode"}
    record(good, bad, rejected)
    with database.read() as connection:
        assert connection.execute(select(tables.estimates.c.receipt)).scalars().all() == [good["receipt"]]
        assert connection.execute(select(tables.settlements.c.receipt)).scalars().all() == [good["receipt"]]
