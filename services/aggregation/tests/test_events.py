"""The event stream over a real connection: resume without gap or repetition, reset, limits."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import update
from sse_starlette import ServerSentEvent

from services.aggregation import listeners as listeners_module
from services.aggregation import metrics, tables
from services.aggregation.api import events as events_module
from services.aggregation.listeners import Listeners
from services.aggregation.main import create_app
from services.aggregation.settings import Settings
from services.aggregation.tests.conftest import Record, result
from services.aggregation.ticker import Ticker
from shared.database import Database
from shared.problem import Problem
from shared.testing import TokenFor, free_port, wait_until
from shared.tokens import Role

EVENTS = "/v1/adoption-status/events"


@pytest.fixture
def client(settings: Settings, token_for: TokenFor) -> Iterator[httpx.Client]:
    """A viewer's client of a real server that takes two listeners."""
    port = free_port()
    app = create_app(settings.model_copy(update={"listeners": 2}))
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1, limit_concurrency=20)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until("the server is up", lambda: server.started)
    headers = {"Authorization": f"Bearer {token_for(Role.VIEWER)}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20, trust_env=False) as client:
        yield client
    server.should_exit = True
    thread.join(timeout=20)


def events(lines: Iterator[str], number: int) -> list[dict[str, Any]]:
    """Return the next `number` events of a stream."""
    found: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    while len(found) < number:
        line = next(lines)
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif "data" in event:
            found.append({**event, "data": json.loads(event["data"])})
            event = {}
    return found


def test_changes_come_as_they_happen_and_a_listener_resumes_where_it_was(client: httpx.Client, record: Record) -> None:
    record(result("k1", cat=0.98))
    with client.stream("GET", EVENTS, params={"after": 0}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        first = events(lines, 2)
        record(result("k2", dog=0.98))
        live = events(lines, 2)
    assert [event["id"] for event in first + live] == ["1", "2", "3", "4"]
    assert [event["event"] for event in live] == ["occupancy", "stay_opened"]
    assert (live[0]["data"]["space_id"], live[0]["data"]["occupancy"]) == ("k2", "dog")
    record(result("k3", dog=0.98))
    with client.stream("GET", EVENTS, headers={"Last-Event-ID": "3"}) as stream:
        assert [event["id"] for event in events(stream.iter_lines(), 3)] == ["4", "5", "6"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_stream_ends_with_the_token_that_it_was_opened_with(client: httpx.Client, token_for: TokenFor) -> None:
    token = token_for(Role.VIEWER, lifetime_s=-5)  # let in for five seconds more, as clocks may differ
    with client.stream("GET", EVENTS, headers={"Authorization": f"Bearer {token}"}) as stream:
        assert stream.status_code == 200
        assert not [line for line in stream.iter_lines() if line.startswith("data")]
    assert client.get(EVENTS, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_without_an_id_only_what_comes_is_streamed(client: httpx.Client, record: Record) -> None:
    record(result("k1", cat=0.98))
    with client.stream("GET", EVENTS) as stream:
        lines = stream.iter_lines()
        record(result("k2", cat=0.98))
        assert events(lines, 1)[0]["id"] == "3"


@pytest.mark.parametrize("last", ["0", "99"])
def test_who_can_not_resume_is_told_to_reset(
    client: httpx.Client, database: Database, settings: Settings, record: Record, last: str
) -> None:
    record(result("k1", cat=0.98))
    old = datetime.now(UTC) - timedelta(days=31)
    database.write(lambda connection: connection.execute(update(tables.changes).values(written_at=old)))
    Ticker(database, settings).prune(datetime.now(UTC))
    with client.stream("GET", EVENTS, headers={"Last-Event-ID": last}) as stream:
        lines = stream.iter_lines()
        (reset,) = events(lines, 1)
        assert (reset["event"], reset["id"]) == ("reset", "2")
        record(result("k2", cat=0.98))
        assert events(lines, 1)[0]["id"] == "3"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_listener_too_many_is_told_when_to_come_back(client: httpx.Client) -> None:
    with client.stream("GET", EVENTS), client.stream("GET", EVENTS):
        refused = client.get(EVENTS)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")

    def free() -> bool:
        with client.stream("GET", EVENTS) as stream:
            return stream.status_code == 200

    wait_until("a place is free again", free)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("last", ["-1", "x", "1.5", "²"])
def test_an_id_of_another_stream_is_refused(client: httpx.Client, last: str) -> None:
    answer = client.get(EVENTS, headers={b"Last-Event-ID": last.encode()})
    assert answer.status_code == 422


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_slow_listener_is_ended_and_the_others_go_on(
    database: Database, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners_module, "BUFFERED", 3)
    monkeypatch.setattr(listeners_module, "EVERY_S", 0.01)
    listeners = Listeners(database, limit=2)
    async with listeners.polling(), listeners.listen(0) as slow, listeners.listen(0) as quick:
        seen: list[int] = []
        for number in range(6):
            await asyncio.to_thread(record, result(f"k{number}", cat=0.98))
            async with asyncio.timeout(20):
                for _ in range(2):
                    change = await quick.queue.get()
                    assert change is not None
                    seen.append(change["sequence"])
        left = [slow.queue.get_nowait() for _ in range(slow.queue.qsize())]
        assert left[-1] is None
        with pytest.raises(Problem):
            listeners.check_room()  # a dropped one counts until its connection ends
    assert seen == list(range(seen[0], seen[0] + 12))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_change_before_the_poller_wakes_is_not_missed(database: Database, record: Record) -> None:
    listeners = Listeners(database, limit=5)
    async with listeners.listen(0) as listener:
        await asyncio.to_thread(record, result("k1", cat=0.98))
        async with listeners.polling(), asyncio.timeout(20):
            change = await listener.queue.get()
    assert change is not None
    assert change["sequence"] == 1


async def test_a_stream_that_nobody_reads_is_ended_and_counted() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                yield ServerSentEvent("x")
        finally:
            ended.set()

    async def stalled(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def silent() -> Any:
        await asyncio.Event().wait()

    before = metrics.LISTENERS_STALLED._value.get()
    stream = events_module.Stream(endless(), send_timeout=0.05)
    async with asyncio.timeout(30):
        await stream({"type": "http", "method": "GET"}, silent, stalled)
        await ended.wait()
    assert metrics.LISTENERS_STALLED._value.get() == before + 1
