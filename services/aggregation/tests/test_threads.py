"""What runs beside the requests survives whatever it meets, and is missed when it is dead."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from services.aggregation import listeners as listeners_module
from services.aggregation import settler as settler_module
from services.aggregation import ticker as ticker_module
from services.aggregation.listeners import Listeners
from services.aggregation.main import create_app
from services.aggregation.settings import Settings
from services.aggregation.settler import Settler
from services.aggregation.tests.conftest import Record, result
from services.aggregation.ticker import Ticker
from services.aggregation.worker import end_with
from shared.database import Database
from shared.testing import wait_until
from shared.tokens import Signer

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_settler_goes_on_after_an_answer_of_another_shape(
    database: Database, settings: Settings, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settler_module, "LONGEST_WAIT_S", 0.01)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=["not an object"])

    one = Settler(database, settings, Signer(settings.keys_folder, "aggregation"), httpx.MockTransport(answer))
    one.start()
    record(result())
    one.wake()
    wait_until("it asked", lambda: bool(asked))
    record(result())
    wait_until("it asked again", lambda: len(asked) > 1)
    assert one.is_working()
    one.stop()


def test_a_ticker_goes_on_after_an_unforeseen_error(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker_module, "EVERY_S", 0.01)
    ticker, rounds = Ticker(database, settings), threading.Semaphore(0)

    def fail(at: Any) -> bool:
        rounds.release()
        raise KeyError(at)

    monkeypatch.setattr(ticker, "tick", fail)
    ticker.start()
    for _ in range(3):
        assert rounds.acquire(timeout=30)
    ticker.check()
    ticker.stop()
    with pytest.raises(RuntimeError):
        ticker.check()


async def test_a_poller_goes_on_after_an_unforeseen_error(
    database: Database, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners_module, "EVERY_S", 0.01)
    listeners, failures = Listeners(database, limit=5), [KeyError("x"), ValueError("y")]
    read = listeners._new_changes

    def fail_first() -> Any:
        if failures:
            raise failures.pop()
        return read()

    monkeypatch.setattr(listeners, "_new_changes", fail_first)
    async with listeners.polling(), listeners.listen(0) as listener, asyncio.timeout(30):
        await asyncio.to_thread(record, result("k1", cat=0.98))
        assert await listener.queue.get() is not None
        listeners.check()
    with pytest.raises(RuntimeError):
        listeners.check()


def test_a_service_whose_ticker_is_dead_is_not_ready(settings: Settings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        assert client.get("/readyz").json()["checks"] == {"database": "ok", "ticker": "ok", "poller": "ok"}
        app.state.ticker.stop()
        assert client.get("/readyz").json()["checks"]["ticker"] == "failed"


def test_a_worker_ends_with_its_settler_unless_it_was_told_to_stop(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    dead, stopped = (Settler(database, settings, Signer(settings.keys_folder, "aggregation")) for _ in range(2))
    monkeypatch.setattr(dead, "_thread", threading.Thread(target=lambda: None))
    dead.start()
    end_with(dead, ended.append, 0.01)
    wait_until("the process ends", lambda: ended == [70])
    stopped.start()
    stopped.stop()
    end_with(stopped, ended.append, 0.01)
    wait_until("nobody watches", lambda: all(one.name != "settler-watch" for one in threading.enumerate()))
    assert ended == [70]
    dead.stop()
