"""The settler: whatever waits reaches ingest, however often the network fails; nothing is told twice for long."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uuid_utils
from sqlalchemy import event, select, update

from services.aggregation import metrics, tables
from services.aggregation.settings import Settings
from services.aggregation.settlements import claim, pending
from services.aggregation.settler import GATHER_S, LONGEST_WAIT_S, Settler
from services.aggregation.tests.conftest import Record, result
from shared.database import Database, now
from shared.testing import wait_until
from shared.tokens import Keyring, Role, Signer

Answer = Callable[[httpx.Request], httpx.Response]


def told(request: httpx.Request) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(request.content)["settlements"]
    return found


def settled(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"settled": len(told(request)), "unknown": []})


def settler(database: Database, settings: Settings, answer: Answer) -> Settler:
    return Settler(database, settings, Signer(settings.keys_folder, "aggregation"), httpx.MockTransport(answer))


def waiting(database: Database) -> int:
    with database.read() as connection:
        return pending(connection)


def make_due(database: Database) -> None:
    database.write(lambda connection: connection.execute(update(tables.settlements).values(next_try_at=now())))


def test_what_waits_is_told_in_bulk_and_then_gone(database: Database, settings: Settings, record: Record) -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return settled(request)

    rejected = str(uuid_utils.uuid7())
    record(*(result() for _ in range(5)), {"outcome": "rejected", "receipt": rejected, "reason": "does not decode"})
    assert settler(database, settings, answer).deliver_all() == 0
    (request,) = requests
    assert str(request.url) == settings.settle_url
    token = request.headers["Authorization"].removeprefix("Bearer ")
    assert Keyring(settings.keys_folder).identify(token, "camera_ingest").role is Role.SERVICE
    assert {"receipt": rejected, "state": "rejected", "reason": "does not decode"} in told(request)
    assert sum(one["state"] == "counted" for one in told(request)) == 5
    assert waiting(database) == 0


def test_an_outage_is_waited_out_with_growing_and_bounded_pauses(
    database: Database, settings: Settings, record: Record
) -> None:
    down = True

    def answer(request: httpx.Request) -> httpx.Response:
        if down:
            raise httpx.ConnectError("refused", request=request)
        return settled(request)

    record(result())
    one = settler(database, settings, answer)
    pauses = []
    for _ in range(9):
        make_due(database)
        pauses.append(one.deliver_all())
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.5
    assert pauses[-1] == LONGEST_WAIT_S
    assert waiting(database) == 1
    down = False
    make_due(database)
    assert one.deliver_all() == 0
    assert waiting(database) == 0


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_refusal_that_is_not_about_the_content_keeps_everything(
    database: Database, settings: Settings, record: Record, status: int
) -> None:
    record(result())
    assert settler(database, settings, lambda request: httpx.Response(status)).deliver_all() > 0
    assert waiting(database) == 1


def test_an_answer_that_is_no_json_keeps_everything(database: Database, settings: Settings, record: Record) -> None:
    record(result())
    assert settler(database, settings, lambda request: httpx.Response(200, text="<html>")).deliver_all() > 0
    assert waiting(database) == 1


@pytest.mark.parametrize("status", [200, 422])
def test_a_counted_frame_that_ingest_does_not_take_is_told_again_by_the_hour(
    database: Database, settings: Settings, record: Record, status: int
) -> None:
    lost, rejected, good = result(), result()["receipt"], result()
    takes = False

    def answer(request: httpx.Request) -> httpx.Response:
        receipts = {one["receipt"] for one in told(request)}
        bad = set() if takes else receipts & {lost["receipt"], rejected}
        if bad and status == 422:
            return httpx.Response(422)
        return httpx.Response(200, json={"settled": len(receipts - bad), "unknown": sorted(bad)})

    record(lost, good, {"outcome": "rejected", "receipt": rejected, "reason": "does not decode"})
    one = settler(database, settings, answer)
    assert one.deliver_all() == 0
    assert waiting(database) == 1
    assert metrics.SETTLEMENTS_REFUSED._value.get() == 1
    with database.read() as connection:
        (row,) = connection.execute(select(tables.settlements)).mappings()
    assert row["receipt"] == lost["receipt"]
    assert row["next_try_at"] > now() + timedelta(minutes=50)
    takes = True
    make_due(database)
    assert one.deliver_all() == 0
    assert waiting(database) == 0
    assert metrics.SETTLEMENTS_REFUSED._value.get() == 0


def test_one_settlement_that_ingest_refuses_does_not_hold_up_the_others(
    database: Database, settings: Settings, record: Record
) -> None:
    results = [result() for _ in range(4)]
    bad = results[1]["receipt"]
    delivered: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        receipts = [one["receipt"] for one in told(request)]
        if bad in receipts:
            return httpx.Response(422)
        delivered.extend(receipts)
        return settled(request)

    record(*results)
    assert settler(database, settings, answer).deliver_all() == 0
    assert sorted(delivered) == sorted(one["receipt"] for one in results if one["receipt"] != bad)
    assert waiting(database) == 1, "the one that ingest refuses rests"


def test_what_turned_counted_while_its_rejection_was_told_is_told_again(
    database: Database, settings: Settings, record: Record
) -> None:
    frame = result()
    states: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        states.append(told(request)[0]["state"])
        if len(states) == 1:
            record(frame)
        return settled(request)

    record({"outcome": "rejected", "receipt": frame["receipt"], "reason": "gave up"})
    one = settler(database, settings, answer)
    one.deliver_all()
    make_due(database)
    one.deliver_all()
    assert states == ["rejected", "counted"]
    assert waiting(database) == 0


def test_two_settlers_do_not_claim_the_same(database: Database, settings: Settings, record: Record) -> None:
    record(*(result() for _ in range(10)))
    other = Database(settings.database_url)
    at = now()
    first = database.write(lambda connection: claim(connection, at, 6))
    second = other.write(lambda connection: claim(connection, at, 6))
    assert (len(first), len(second)) == (6, 4)
    assert not {one.receipt for one in first} & {one.receipt for one in second}
    lapsed = other.write(lambda connection: claim(connection, at + timedelta(seconds=11), 20))
    assert len(lapsed) == 10, "what a killed process claimed comes due again"
    other.close()


def test_its_thread_delivers_when_woken_and_stops(database: Database, settings: Settings, record: Record) -> None:
    one = settler(database, settings, settled)
    one.start()
    record(result())
    one.wake()
    wait_until("the settlement is delivered", lambda: waiting(database) == 0)
    one.stop()


def test_what_is_counted_while_it_gathers_is_told_with_the_rest(
    database: Database, settings: Settings, record: Record
) -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return settled(request)

    one = settler(database, settings, answer)

    class Gathering(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout == GATHER_S and not waiting(database) > 1:
                record(result())
            return self.is_set()

    one._stopping = Gathering()
    record(result())
    one.wake()
    one.start()
    wait_until("both are delivered", lambda: waiting(database) == 0)
    one.stop()
    assert [len(told(request)) for request in requests] == [2]


def test_the_outbox_is_not_asked_again_once_a_bulk_was_not_full(
    database: Database, settings: Settings, record: Record
) -> None:
    record(*(result() for _ in range(3)))
    written: list[str] = []
    event.listen(database.engine, "commit", lambda _: written.append("commit"))
    assert settler(database, settings, settled).deliver_all() == 0
    assert len(written) == 2, "one to claim and one to forget"


def test_more_than_a_bulk_is_told_at_once(
    database: Database, settings: Settings, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.aggregation.settler.BULK", 2)
    record(*(result() for _ in range(5)))
    assert settler(database, settings, settled).deliver_all() == 0
    assert waiting(database) == 0
