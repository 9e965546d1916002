"""A stay that ended is written once, however many frames come after it; in virtual time, a message a frame."""

import random
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from services.aggregation import tables
from services.aggregation.occupancy import Rules
from services.aggregation.rebuild import rebuild
from services.aggregation.store import pass_time
from services.aggregation.store import record as record_in
from services.aggregation.tests.conftest import minutes_ago, result
from services.aggregation.window import Windows
from shared.database import Database, microseconds
from shared.messages import EstimateResult

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

EVERY_S = 20
CAT, NOBODY = {"cat": 0.98}, {"cat": 0.02}
DARK = {"cat": 0.02, "quality": "dark"}
FROZEN = {"cat": 0.02, "image": "frozen"}

STORIES: dict[str, list[tuple[dict[str, Any], int]]] = {
    "half an hour of nobody": [(CAT, 10), (NOBODY, 30)],
    "the night comes": [(CAT, 10), (NOBODY, 7), (DARK, 30)],
    "the camera freezes": [(CAT, 10), (NOBODY, 7), (FROZEN, 30)],
    "it comes back after the night": [(CAT, 10), (NOBODY, 7), (DARK, 25), (CAT, 10), (NOBODY, 20), (DARK, 15)],
}


def tell(database: Database, story: list[tuple[dict[str, Any], int]], remembered: bool) -> None:
    """Count a story's frames one by one, as of the time each was taken, with the ticker in between."""
    at, windows = minutes_ago(120), Windows()
    for shown, minutes in story:
        for _ in range(minutes * 60 // EVERY_S):
            at += timedelta(seconds=EVERY_S)
            one = [EstimateResult.model_validate(result("k1", at=at, **shown))]
            known = windows if remembered else Windows()
            database.write(partial(record_in, results=one, now=at, rules=Rules(), stale_after_s=600, windows=known))
            database.write(partial(pass_time, space_ids=["k1"], now=at, rules=Rules()))


def stays(database: Database) -> list[tuple[str, int, int | None]]:
    with database.read() as connection:
        rows = connection.execute(select(tables.stays).order_by(tables.stays.c.from_at)).mappings().all()
    return [
        (row["species"], microseconds(row["from_at"]), row["until_at"] and microseconds(row["until_at"]))
        for row in rows
    ]


def rebuilt(database: Database) -> list[tuple[str, int, int | None]]:
    with database.read() as connection:
        fold = rebuild(connection, "k1", Rules())
        newest = connection.execute(select(tables.spaces.c.newest_at)).scalar_one()
    fold.pass_time(microseconds(newest))
    return sorted(
        ((stay.species.value, stay.from_us, stay.until_us) for stay in fold.stays()), key=lambda stay: stay[1]
    )


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("name", STORIES)
def test_an_ended_stay_is_written_once(database: Database, name: str, remembered: bool) -> None:
    story = STORIES[name]
    tell(database, story, remembered)
    visits = sum(shown is CAT for shown, _ in story)
    found = stays(database)
    assert found == rebuilt(database)
    assert [until is not None for _, _, until in found] == [True] * visits
    with database.read() as connection:
        kinds = Counter(connection.execute(select(tables.changes.c.kind)).scalars())
    assert {kind: number for kind, number in kinds.items() if kind.startswith("stay")} == {
        "stay_opened": visits,
        "stay_closed": visits,
    }


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_cameras_show_the_stays_are_those_of_all_estimates(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    story = [(chance.choice((CAT, NOBODY, DARK, FROZEN)), chance.randint(3, 14)) for _ in range(10)]
    tell(database, story, remembered=True)
    assert stays(database) == rebuilt(database)
