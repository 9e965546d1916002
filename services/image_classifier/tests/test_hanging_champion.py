"""A champion that was proven and then hangs on some photos costs a few ends of processes, and never the service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import Connection

from services.image_classifier.model_version import ModelVersion
from services.image_classifier.rollout import probation, store
from services.image_classifier.rollout.domain import single
from services.image_classifier.rollout.journal import Journal
from services.image_classifier.rollout.lineup import Lineup
from services.image_classifier.settings import Settings
from services.image_classifier.tables import leases
from services.image_classifier.tests.ingest_double import photo
from services.image_classifier.tests.rollout_worker import put_version
from services.image_classifier.tests.tiny_model import SIZE, hanging_graph, tiny_graph
from shared.database import Database, now
from shared.testing import TokenFor, free_port, wait_until
from shared.watchdog import EXIT_CODE

ROOT = Path(__file__).parents[3]
HOUR = timedelta(hours=1)
AT_ONCE_S = 1e-9  # a deadline that is over in the moment in which something begins


@pytest.mark.parametrize(
    ("hours", "too_many"),
    [
        ((), False),
        ((0, 0, 0, 0), False),
        ((0, 0, 0, 0, 0), True),
        ((0, 6, 12, 18, 24), True),
        ((0, 6, 12, 18, 25), False),
        ((0, 6, 12, 18, 25, 26, 27), True),
        ((0, 1, 2, 3, 4, 100, 200, 300), True),
        ((0, 7, 14, 21, 28, 35, 42, 49), False),
    ],
)
def test_five_deaths_within_a_day_are_too_many_and_stay_so(hours: tuple[int, ...], too_many: bool) -> None:
    start = datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert probation.too_many([start + hour * HOUR for hour in hours]) is too_many


def champion_is_2(database: Database, graph: bytes | None = None) -> None:
    """Make an uploaded version the champion, as revision 1."""
    put_version(database, "2", graph or tiny_graph())
    database.write(lambda connection: store.add(connection, single("tiny", "2"), "tests", "at once", now()))


def lineup_of(settings: Settings, database: Database, **changes: float) -> Lineup:
    """Return a process's line-up with the newest revision in force, unless it can't be."""
    changed = settings.model_copy(update=changes)
    lineup = Lineup(changed, database, Journal(database), candidates=False)
    lineup._look()
    return lineup


def deaths(database: Database, revision: int = 1) -> int:
    with database.read() as connection:
        # As of a little later, since what is written in this microsecond is not past yet.
        return len(probation.deaths(connection, revision, now() + timedelta(seconds=1)))


def hang(lineup: Lineup) -> str | None:
    """Let the champion be asked and not answer; return what the watchdog then makes of it."""
    with lineup.champion._watch():
        return lineup.stuck()


def test_a_champion_that_does_not_answer_is_a_death_at_once_and_five_are_too_many(
    settings: Settings, database: Database
) -> None:
    champion_is_2(database)
    for number in range(probation.DEATHS):
        lineup = lineup_of(settings, database, answer_deadline_s=AT_ONCE_S)
        assert lineup.champion.manifest.version == "2"
        assert lineup.stuck() is None, "nothing is asked of it"
        if number % 3 == 1:
            lineup._outlived(1)  # one that has lived with it for long dies of it all the same
        assert hang(lineup) == "tiny/2 did not answer within 1e-09 s"
        assert deaths(database) == number + 1
        if number % 3 == 2:
            lineup._outlived(1)  # even if that is found out in the moment between its last words and its end
            assert deaths(database) == number + 1
    assert lineup_of(settings, database).champion.manifest.version == "1"
    with database.read() as connection:
        assert len(connection.execute(leases.select()).all()) == probation.DEATHS, "one death is one row"


def test_a_champion_that_does_not_load_is_a_death_too(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineup = lineup_of(settings, database, proof_deadline_s=AT_ONCE_S)
    champion_is_2(database)
    told = []

    def load(*_: object) -> ModelVersion:
        told.append(lineup.stuck())
        return lineup.champion

    monkeypatch.setattr(ModelVersion, "from_graph", load)
    lineup.refresh()
    assert told == ["tiny/2 did not load within 1e-09 s"]
    assert deaths(database) == 1


def test_the_shipped_version_and_one_that_was_replaced_are_not_held_against_the_champion(
    settings: Settings, database: Database
) -> None:
    shipped = lineup_of(settings, database, answer_deadline_s=AT_ONCE_S)
    champion_is_2(database)
    assert hang(shipped) == "tiny/1 did not answer within 1e-09 s"
    replaced = lineup_of(settings, database, answer_deadline_s=AT_ONCE_S)
    put_version(database, "3", tiny_graph(swapped=True))
    database.write(lambda connection: store.add(connection, single("tiny", "3"), "tests", "another", now()))
    assert hang(replaced) == "tiny/2 did not answer within 1e-09 s"
    database.write(lambda connection: store.add(connection, single("tiny", "1"), "tests", "as shipped", now()))
    assert hang(lineup_of(settings, database, answer_deadline_s=AT_ONCE_S))
    assert [deaths(database, revision) for revision in (1, 2, 3)] == [0, 0, 0]


def test_a_process_ends_also_where_its_last_words_can_not_be_written(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion_is_2(database)
    lineup = lineup_of(settings, database, answer_deadline_s=AT_ONCE_S)

    def away(_: object) -> None:
        raise OSError("no database")

    monkeypatch.setattr(database, "submit", away)
    assert hang(lineup) == "tiny/2 did not answer within 1e-09 s"
    # It was young, so it counts as one that was killed does: once it would have been grown up.
    assert deaths(database) == 0
    with database.read() as connection:
        assert len(probation.deaths(connection, 1, now() + probation.YOUNG)) == 1


def test_one_that_is_held_up_or_has_lost_the_broker_ends_and_nothing_is_held_against_its_champion(
    settings: Settings, database: Database
) -> None:
    champion_is_2(database)
    of_batches = Lineup(
        settings.model_copy(update={"answer_deadline_s": AT_ONCE_S}),
        database,
        Journal(database),
        candidates=False,
        blames=False,
    )
    of_batches.refresh()
    assert hang(of_batches) == "tiny/2 did not answer within 1e-09 s"
    lineup_of(settings, database).excuse()
    with database.read() as connection:
        assert probation.deaths(connection, 1, now() + probation.YOUNG) == []


def test_a_process_that_is_the_last_to_follow_forgets_no_death_of_the_champion_after(database: Database) -> None:
    def say(connection: Connection) -> None:
        for revision in (9, 10, 11):
            probation.die(connection, revision, "one", now())
        probation.begin(connection, 10, "another", now())

    database.write(say)
    assert [deaths(database, revision) for revision in (9, 10, 11)] == [0, 1, 1]


class Service:
    """The HTTP service as a process of its own; `log` is the file that holds its standard output."""

    def __init__(self, environment: dict[str, str], log: Path, token: str) -> None:
        self.log = log
        with log.open("ab") as file:
            command = [sys.executable, "-m", "services.image_classifier.main"]
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=file, stderr=file)
        address = f"http://127.0.0.1:{environment['HUELLA_CLASSIFIER_PORT']}"
        headers = {"Authorization": f"Bearer {token}"}
        self.client = httpx.Client(base_url=address, headers=headers, timeout=60, trust_env=False)

    def ready(self) -> bool:
        """Wait until it answers; return whether it lives."""

        def answers() -> bool:
            try:
                return self.client.get("/livez").status_code == 200
            except httpx.HTTPError:
                return False

        wait_until("the service answers or has ended", lambda: answers() or self.process.poll() is not None, 60)
        return self.process.poll() is None

    def ask(self, path: str, content: bytes) -> dict[str, Any] | None:
        """Return the answer to a POST, None if the connection ended before it."""
        try:
            answer = self.client.post(path, content=content)
        except httpx.TransportError:
            return None
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body


@contextmanager
def serving(environment: dict[str, str], log: Path, token: str) -> Iterator[Service]:
    service = Service(environment, log, token)
    try:
        yield service
    finally:
        service.client.close()
        service.process.kill()
        service.process.wait(60)


def tensor(red: int) -> bytes:
    """Return the body that asks the Open Inference Protocol of a picture of one colour."""
    pixels = np.zeros((1, 3, SIZE, SIZE), dtype=np.uint8)
    pixels[:, 0] = red
    image = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
    return json.dumps({"inputs": [image]}).encode()


@pytest.mark.timeout(300)
def test_the_http_service_ends_itself_until_the_shipped_version_answers_the_very_photo(
    settings: Settings, database: Database, token_for: TokenFor
) -> None:
    champion_is_2(database, hanging_graph())
    environment = os.environ | {
        "HUELLA_DATA": str(settings.data),
        "HUELLA_KEYS": str(settings.keys),
        "HUELLA_CLASSIFIER_DATABASE_URL": settings.database_url,
        "HUELLA_CLASSIFIER_MODELS": str(settings.models),
        "HUELLA_CLASSIFIER_MODEL": "tiny",
        "HUELLA_CLASSIFIER_PORT": str(free_port()),
        "HUELLA_CLASSIFIER_ANSWER_DEADLINE_S": "5",
    }
    log = settings.data / "service.log"
    # Both ways in turn, since only one of them goes through the micro-batches.
    ways = (("/v1/predictions", photo("cat")), ("/v2/models/tiny/infer", tensor(red=250)))
    harmless: list[str] = []
    ends = 0
    while True:  # as its supervisor does
        assert ends <= probation.DEATHS
        with serving(environment, log, token_for("viewer")) as service:
            answer = None
            if service.ready():
                blue = service.ask("/v1/predictions", photo("dog"))
                harmless += [blue["version"]] if blue else []
                answer = service.ask(*ways[ends % 2])
            if answer is None:
                assert service.process.wait(60) == EXIT_CODE, log.read_text()[-2000:]
                ends += 1
                continue
            assert ends == probation.DEATHS
            predicted, inferred = (service.ask(*way) for way in ways)
            assert predicted
            assert (predicted["label"], predicted["version"]) == ("cat", "1")
            assert inferred
            assert inferred["model_version"] == "1"
            assert service.client.get("/readyz").json()["status"] == "ok"
            report = service.client.get("/v1/rollout/report").json()
            break
    assert set(harmless) == {"1", "2"}, "it answers what it does not hang on"
    assert (report["deaths"], report["left_alone"]) == (probation.DEATHS, True)
    assert report["reason"].startswith(
        "tiny/2 has ended 5 processes. Those that start now serve tiny/1, as shipped, until the rollout is changed. "
    )
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    reasons = [line["reason"] for line in lines if line["event"] == "process ends itself"]
    assert reasons == ["tiny/2 did not answer within 5 s"] * probation.DEATHS
