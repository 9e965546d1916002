"""One question and one stream for all open pages: what they cost aggregation, and what they hear."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.dashboard import live as module
from services.dashboard.clients import Aggregation, ServiceDown
from services.dashboard.live import Live, TooManyListeners
from services.dashboard.shapes import Status, Stay
from services.dashboard.store import Person
from shared.database import now
from shared.tokens import Role

MARTA = Person("marta", "Marta", Role.VIEWER, now(), None)
STATUS = {"as_of": datetime.now(UTC), "spaces": [], "stays": [], "totals": {}, "changes": []}


ENDED = "the stream ended in order"


class FakeAggregation:
    """Counts what it is asked; gives the lines of `streams`, one list a connection, then waits for ever."""

    def __init__(self, *streams: list[str | Exception]) -> None:
        self.statuses = 0
        self.resumed: list[str | None] = []
        self.down = False
        self._streams = list(streams)

    async def status(self, person: Person, etag: str | None) -> tuple[Status | None, str]:
        if self.down:
            raise ServiceDown("aggregation")
        self.statuses += 1
        await asyncio.sleep(0)
        return (None, "1") if etag == "1" else (Status.model_validate(STATUS), "1")

    async def stays(self, person: Person, most: int, **filters: object) -> list[Stay]:
        return []

    @asynccontextmanager
    async def events(self, last_id: str | None) -> AsyncIterator[AsyncIterator[str]]:
        self.resumed.append(last_id)
        yield self._lines(self._streams.pop(0) if self._streams else [])

    async def _lines(self, lines: list[str | Exception]) -> AsyncIterator[str]:
        for line in lines:
            if isinstance(line, Exception):
                raise line
            if line == ENDED:
                return
            yield line
        await asyncio.Event().wait()


def live(fake: FakeAggregation, listeners: int = 10) -> Live:
    return Live(cast(Aggregation, fake), listeners, UTC)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORTEST_PAUSE_S", 0.001)


def test_fifty_pages_ask_once() -> None:
    async def run() -> None:
        fake = FakeAggregation()
        shared = live(fake)
        await asyncio.gather(*(shared.status(MARTA) for _ in range(50)))
        assert fake.statuses == 1
        shared.changed()
        await asyncio.gather(*(shared.status(MARTA) for _ in range(50)))
        assert fake.statuses == 2

    asyncio.run(run())


def test_fifty_pages_hold_one_stream_and_each_hears_of_a_change() -> None:
    async def run() -> None:
        fake = FakeAggregation(["id: 7", "data: {}"])
        shared = live(fake, 50)
        pages: list[Any] = [shared.listen() for _ in range(50)]
        heard = [asyncio.create_task(_until(page, "change")) for page in pages]
        assert await asyncio.wait_for(asyncio.gather(*heard), 10) == ["change"] * 50
        assert len(fake.resumed) == 1
        with pytest.raises(TooManyListeners):
            await anext(shared.listen())
        for page in pages:
            await page.aclose()
        assert not shared.full()

    asyncio.run(run())


@pytest.mark.parametrize("failure", [ServiceDown("aggregation"), ValueError("nobody foresaw this")])
def test_a_stream_that_is_cut_is_said_and_goes_on_from_where_it_was(failure: Exception) -> None:
    async def run() -> None:
        fake = FakeAggregation(["id: 7", "data: {}", failure], ["id: 8", "data: {}"])
        shared = live(fake)
        page: Any = shared.listen()
        heard = [await asyncio.wait_for(anext(page), 10) for _ in range(5)]
        assert heard == ["up", "change", "down", "up", "change"]
        assert fake.resumed == [None, "7"]
        await page.aclose()

    asyncio.run(run())


def test_a_stream_that_ends_with_its_token_goes_on_and_no_page_is_told_of_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SHORTEST_STREAM_S", -1)

    async def run() -> None:
        fake = FakeAggregation(["id: 7", "data: {}", ENDED], ["id: 8", "data: {}"])
        page: Any = live(fake).listen()
        assert [await asyncio.wait_for(anext(page), 10) for _ in range(4)] == ["up", "change", "up", "change"]
        assert fake.resumed == [None, "7"]
        await page.aclose()

    asyncio.run(run())


def test_while_aggregation_is_down_the_last_status_is_shown() -> None:
    async def run() -> None:
        fake = FakeAggregation()
        shared = live(fake)
        known = await shared.status(MARTA)
        fake.down = True
        shared.changed()
        shown = await shared.status(MARTA)
        assert (shown.status, shown.down) == (known.status, True)

    asyncio.run(run())


async def _until(page: Any, wanted: str) -> str:
    async for event in page:
        if event == wanted:
            return wanted
    raise AssertionError("the stream ended")
