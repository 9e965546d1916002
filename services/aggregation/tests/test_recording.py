"""What becomes of each frame of a message: counted once, settled, and refused where the message is bad."""

from typing import Any

import pytest
import uuid_utils
from sqlalchemy import delete, select

from services.aggregation import tables
from services.aggregation.settings import Settings
from services.aggregation.tests.conftest import Record, message, minutes_ago, result
from services.aggregation.tests.stored import COLUMNS, believed, outbox
from services.aggregation.worker import record_estimates
from shared.database import Database


def test_a_frame_that_comes_after_the_horizon_is_history(database: Database, record: Record) -> None:
    record(result(at=minutes_ago(1), dog=0.98))
    before = believed(database)["spaces"]
    record(result(at=minutes_ago(20), cat=0.98), result(at=minutes_ago(25), cat=0.98))
    after = believed(database)["spaces"]
    frames = COLUMNS.index("frames")
    assert after[0][frames] == 3
    assert [row[:frames] + row[frames + 1 :] for row in after] == [row[:frames] + row[frames + 1 :] for row in before]
    with database.read() as connection:
        late = connection.execute(select(tables.estimates.c.late)).scalars().all()
    assert sorted(late) == [False, True, True]


def test_bad_quality_is_no_evidence(database: Database, record: Record) -> None:
    """A blind camera never makes a space look empty."""
    record(*(result(at=minutes_ago(1), quality="dark") for _ in range(5)))
    (space,) = believed(database)["spaces"]
    assert (space[1], space[4], space[5]) == ("stale", None, 5)


def test_every_finished_frame_is_settled_and_nothing_else(database: Database, record: Record) -> None:
    estimated, again = result(), str(uuid_utils.uuid7())
    undecodable, counted_already = str(uuid_utils.uuid7()), result()
    record(counted_already)
    record(
        estimated,
        {"outcome": "rejected", "receipt": undecodable, "reason": "does not decode"},
        {"outcome": "retry", "receipt": again, "reason": "try later"},
        {"outcome": "rejected", "receipt": counted_already["receipt"], "reason": "does not decode"},
    )
    assert outbox(database) == {
        estimated["receipt"]: ("counted", None),
        counted_already["receipt"]: ("counted", None),
        undecodable: ("rejected", "does not decode"),
    }


def test_a_frame_rejected_earlier_and_estimated_later_counts(database: Database, record: Record) -> None:
    one = result()
    rejection = {"outcome": "rejected", "receipt": one["receipt"], "reason": "gave up"}
    record(rejection)
    record(one)
    record(rejection)
    assert outbox(database) == {one["receipt"]: ("counted", None)}


def test_the_first_commit_wins_and_a_repeated_frame_is_settled_again(database: Database, record: Record) -> None:
    one = result(cat=0.98)
    record(one)
    database.write(lambda connection: connection.execute(delete(tables.settlements)))
    recorded = record({**one, "model": "other", "probabilities": {"cat": 0.01, "dog": 0.99}})
    assert (len(recorded.counted), recorded.repeated) == (0, 1)
    assert outbox(database) == {one["receipt"]: ("counted", None)}
    with database.read() as connection:
        assert connection.execute(select(tables.estimates.c.model)).scalars().all() == ["huella"]


BAD_MESSAGES: dict[str, Any] = {
    "nothing": {},
    "not an object": [1, 2],
    "a later schema": {"schema": 2},
    "no results": {"results": []},
    "another settle_url": {"settle_url": "http://127.0.0.1:1/v1/settlements"},
    "our host as a user name": {"settle_url": "http://127.0.0.1:8001@evil.example/v1/settlements"},
    "probability above 1": {"results": [{**result(), "probabilities": {"cat": 1.5, "dog": 0.0}}]},
    "not a number": {"results": [{**result(), "probabilities": {"cat": "NaN", "dog": 0.0}}]},
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bad_message_is_refused_and_never_raises(database: Database, settings: Settings, name: str) -> None:
    bad = BAD_MESSAGES[name]
    sent = {**message(settings, [result()]), **bad} if isinstance(bad, dict) and bad else bad
    assert record_estimates(database, settings, sent) is None
    assert believed(database)["spaces"] == []


def test_a_receipt_that_is_none_spares_its_neighbours(database: Database, record: Record) -> None:
    recorded = record(result(receipt="not-a-uuid"), result())
    assert len(recorded.counted) == 1
