"""The courier: what people say reaches the classifier however often the network fails, and the newest word wins."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uuid_utils
from sqlalchemy import Connection, select, update

from services.aggregation import tables
from services.aggregation.courier import EVERY_S, Courier
from services.aggregation.deliveries import LEASE, STRIPES, WHOLE, claim, enqueue, pending
from services.aggregation.domain import Label
from services.aggregation.settings import Settings
from services.aggregation.store import correct
from services.aggregation.tests.conftest import Record, result
from shared.database import Database, now
from shared.tokens import Keyring, Signer


class Classifier:
    """Stands for the classifier: keeps what it was told, and fails as often as it is asked to."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.failures = 0
        self.tokens: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        if self.failures:
            self.failures -= 1
            return httpx.Response(503)
        self.told.append(json.loads(request.content))
        return httpx.Response(200, json={})


def courier(database: Database, settings: Settings, answer: Callable[[httpx.Request], httpx.Response]) -> Courier:
    return Courier(database, settings, Signer(settings.keys_folder, "aggregation"), httpx.MockTransport(answer))


def say(database: Database, settings: Settings, receipt: str, label: Label | None) -> None:
    database.write(lambda connection: correct(connection, receipt, label, "marta", now(), settings.rules))


def test_a_correction_is_told_with_its_estimate_until_it_is_acknowledged(
    database: Database, settings: Settings, record: Record
) -> None:
    receipt = str(uuid_utils.uuid7())
    record(result(cat=0.9, receipt=receipt) | {"revision": 4, "label": "cat"}, result() | {"revision": 4})
    say(database, settings, receipt, Label.DOG)
    classifier = Classifier()
    classifier.failures = 1
    one = courier(database, settings, classifier)
    assert one.deliver() > 1
    with database.read() as connection:
        assert pending(connection) == 1
    database.write(lambda connection: connection.execute(update(tables.deliveries).values(next_try_at=now())))
    one.deliver()
    (body,) = classifier.told
    (told,) = body["corrections"]
    assert (told["receipt"], told["label"], told["by"]) == (receipt, "dog", "marta")
    assert (told["estimate"]["label"], told["estimate"]["revision"], told["estimate"]["version"]) == ("cat", 4, "1")
    assert [(c["revision"], c["version"], c["number"]) for c in body["counted"]] == [(4, "1", 2)]
    assert Keyring(settings.keys_folder).identify(classifier.tokens[-1], "image_classifier").issuer == "aggregation"
    one.deliver()
    assert len(classifier.told) == 1  # nothing is new
    with database.read() as connection:
        assert pending(connection) == 0


def test_the_newest_word_is_the_newest_also_when_the_clock_was_set_back(
    database: Database, settings: Settings, record: Record
) -> None:
    receipt = str(uuid_utils.uuid7())
    record(result(receipt=receipt))
    classifier = Classifier()
    one = courier(database, settings, classifier)
    for minutes, label in ((60, Label.DOG), (0, None), (-60, Label.CAT)):
        at = now() + timedelta(minutes=minutes)
        database.write(
            lambda connection, label=label, at=at: correct(connection, receipt, label, "m", at, settings.rules)  # type: ignore[misc]  # bound now
        )
        one.deliver()
    told = [body["corrections"][0] for body in classifier.told]
    assert [one["label"] for one in told] == ["dog", None, "cat"]
    assert sorted(told, key=lambda one: one["at"]) == told
    assert len({one["at"] for one in told}) == 3


def test_what_many_processes_counted_is_told_whole(database: Database, settings: Settings, record: Record) -> None:
    record(result() | {"revision": 4}, result() | {"revision": 4})
    with database.read() as connection:
        kept = connection.execute(tables.variant_counts.select()).mappings().one()
    others = [dict(kept) | {"stripe": kept["stripe"] + n, "number": 7} for n in range(1, 301)]
    database.write(lambda connection: connection.execute(tables.variant_counts.insert(), others))
    classifier = Classifier()
    courier(database, settings, classifier).deliver()
    (body,) = classifier.told
    assert [(one["revision"], one["number"]) for one in body["counted"]] == [(4, 2 + 300 * 7)]


def test_a_correction_that_is_taken_back_is_told_too_and_repeats_count_once(
    database: Database, settings: Settings, record: Record
) -> None:
    receipt = str(uuid_utils.uuid7())
    frame = result(receipt=receipt)
    record(frame)
    record(frame)
    classifier = Classifier()
    one = courier(database, settings, classifier)
    for label in (Label.CAT, None):
        say(database, settings, receipt, label)
        one.deliver()
    assert [body["corrections"][0]["label"] for body in classifier.told] == ["cat", None]
    assert classifier.told[0]["counted"][0]["number"] == 1


def test_the_sum_of_all_is_told_by_a_stripe_that_no_process_draws(
    database: Database, settings: Settings, record: Record
) -> None:
    record(result())
    classifier = Classifier()
    courier(database, settings, classifier).deliver()
    assert [one["stripe"] for one in classifier.told[0]["counted"]] == [WHOLE]
    assert WHOLE not in range(STRIPES)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_correction_that_the_classifier_refuses_holds_up_no_other_and_rests_until_it_changes(
    database: Database, settings: Settings, record: Record, status: int
) -> None:
    frames = [result(cat=0.9) for _ in range(5)]
    record(*frames)
    bad = frames[2]["receipt"]
    for frame in frames:
        say(database, settings, frame["receipt"], Label.DOG)
    classifier = Classifier()

    def answer(request: httpx.Request) -> httpx.Response:
        told = {one["receipt"]: one["label"] for one in json.loads(request.content)["corrections"]}
        return httpx.Response(status) if told.get(bad) == "dog" else classifier(request)

    one = courier(database, settings, answer)
    assert one.deliver() == EVERY_S
    told = [correction["receipt"] for body in classifier.told for correction in body["corrections"]]
    assert told == [frame["receipt"] for frame in frames if frame["receipt"] != bad]
    assert [counted["number"] for body in classifier.told for counted in body["counted"]] == [5]
    with database.read() as connection:
        assert pending(connection) == 1
        assert connection.execute(select(tables.deliveries.c.next_try_at)).scalar_one() > now() + timedelta(minutes=50)
    say(database, settings, bad, Label.CAT)
    assert one.deliver() == EVERY_S
    assert [(one["receipt"], one["label"]) for one in classifier.told[-1]["corrections"]] == [(bad, "cat")]
    with database.read() as connection:
        assert pending(connection) == 0


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_refusal_that_is_not_about_the_content_keeps_every_correction(
    database: Database, settings: Settings, record: Record, status: int
) -> None:
    frame = result()
    record(frame)
    say(database, settings, frame["receipt"], Label.DOG)
    assert courier(database, settings, lambda _: httpx.Response(status)).deliver() > EVERY_S
    with database.read() as connection:
        assert pending(connection) == 1


def test_sums_that_the_classifier_refuses_are_no_corrections_fault(
    database: Database, settings: Settings, record: Record
) -> None:
    frames = [result() for _ in range(3)]
    record(*frames)
    for frame in frames:
        say(database, settings, frame["receipt"], Label.DOG)
    classifier = Classifier()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(422) if json.loads(request.content)["counted"] else classifier(request)

    assert courier(database, settings, answer).deliver() > EVERY_S
    assert sum(len(body["corrections"]) for body in classifier.told) == 3


def test_the_oldest_word_goes_first_also_when_it_was_tried_before(database: Database) -> None:
    at = now()

    def say_in_turn(connection: Connection) -> list[str]:
        enqueue(connection, "first", "cat", "m", at - timedelta(minutes=2))
        claim(connection, at, 1)  # and the one who took it died
        for minute, receipt in enumerate(("b", "a")):
            enqueue(connection, receipt, "cat", "m", at - timedelta(minutes=1 - minute))
        later = at + 2 * LEASE
        return [one.receipt for _ in range(3) for one in claim(connection, later, 1)]

    assert database.write(say_in_turn) == ["first", "b", "a"]
