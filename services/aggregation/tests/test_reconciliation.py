"""Reconciliation: two ledgers agree only if they hold the same receipts."""

from datetime import timedelta, timezone
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from services.aggregation.main import create_app
from services.aggregation.settings import Settings
from services.aggregation.tests.conftest import Record, result
from shared.messages import isoformat
from shared.receipts import hour_of, ledger_digest
from shared.testing import TokenFor
from shared.tokens import Role


def hour_item(receipts: list[str]) -> dict[str, Any]:
    number = len(receipts)
    return {
        "hour": isoformat(hour_of(receipts[0])),
        "accepted": number,
        "counted": number,
        "rejected": 0,
        "in_flight": 0,
        "digest": ledger_digest(receipts),
    }


def test_equal_ledgers_agree(
    viewer: TestClient, record: Record, ingest: list[httpx.Request], ingest_hours: list[dict[str, Any]]
) -> None:
    results = [result() for _ in range(3)]
    record(*results)
    ingest_hours.append(hour_item([one["receipt"] for one in results]))
    answer = viewer.get("/v1/reconciliation").json()
    assert answer["agrees"]
    (hour,) = answer["hours"]
    assert hour["ingest"] == hour["aggregation"]
    assert (hour["ingest"]["number"], hour["awaiting_settlement"]) == (3, 3)
    (request,) = ingest
    assert request.url.path == "/v1/audit/hours"
    assert set(request.url.params) == {"since", "until"}


@pytest.mark.parametrize("theirs", ["one less", "one more", "another", "none"])
def test_ledgers_that_differ_by_one_receipt_do_not_agree(
    viewer: TestClient, record: Record, ingest_hours: list[dict[str, Any]], theirs: str
) -> None:
    results = [result() for _ in range(3)]
    record(*results)
    receipts = [one["receipt"] for one in results]
    other = result()["receipt"]
    held = {
        "one less": receipts[1:],
        "one more": [*receipts, other],
        "another": [*receipts[1:], other],
        "none": [],
    }[theirs]
    if held:
        ingest_hours.append(hour_item(held))
    assert not viewer.get("/v1/reconciliation").json()["agrees"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(200, json={"items": [{"hour": "x"}]}), None])
def test_an_ingest_that_does_not_answer_is_told_as_such(
    settings: Settings, token_for: TokenFor, answer: httpx.Response | None
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("refused")
        return answer

    with TestClient(create_app(settings, ingest_transport=httpx.MockTransport(handle))) as client:
        client.headers["Authorization"] = f"Bearer {token_for(Role.VIEWER)}"
        assert client.get("/v1/reconciliation").status_code == 503


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("days", [-1, 0, 9])
def test_a_range_that_is_empty_or_too_long_is_refused(viewer: TestClient, days: float) -> None:
    until = hour_of(result()["receipt"])
    since = until - timedelta(days=days)
    answer = viewer.get("/v1/reconciliation", params={"since": isoformat(since), "until": isoformat(until)})
    assert answer.status_code == 422


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "asked",
    [
        {"until": "0001-01-01T10:00:00Z"},
        {"since": "9999-12-31T22:00:00Z", "until": "9999-12-31T23:30:00Z"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:30:00-14:00"},
    ],
)
def test_times_at_the_ends_of_time_are_refused(viewer: TestClient, asked: dict[str, str]) -> None:
    answer = viewer.get("/v1/reconciliation", params=asked)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:huella:problem:no-such-time")


def test_hours_are_those_of_utc_in_whatever_zone_they_are_asked_for(
    viewer: TestClient, record: Record, ingest_hours: list[dict[str, Any]]
) -> None:
    one = result()
    record(one)
    ingest_hours.append(hour_item([one["receipt"]]))
    hour = hour_of(one["receipt"])
    since = (hour + timedelta(minutes=5)).astimezone(timezone(timedelta(hours=5, minutes=30)))
    until = since + timedelta(minutes=5)
    answer = viewer.get("/v1/reconciliation", params={"since": since.isoformat(), "until": until.isoformat()}).json()
    assert [hour["hour"] for hour in answer["hours"]] == [isoformat(hour)]
    assert answer["agrees"]
