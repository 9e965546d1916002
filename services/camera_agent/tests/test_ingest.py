"""What becomes of frames by what ingest answers, and by what it does not."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.camera_agent import ingest as module
from services.camera_agent.domain import Verdict, name_frame
from services.camera_agent.ingest import Ingest
from services.camera_agent.spool import Kept
from services.camera_agent.tests.cameras import MORNING, SECRET, camera, config, giving, minutes
from services.camera_agent.tests.works import Told, Works, counted, lines
from shared.testing import wait_until


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_a_frame_that_ingest_will_never_take_is_dropped_once_and_the_reason_told(
    works: Works, told: list[Told], status: int
) -> None:
    name = f"refused-{status}"
    refused = minutes(3)[1]

    def answers(number: int, path: str) -> httpx.Response | None:
        if "T100001" in path:
            return httpx.Response(status, json={"detail": "The image is broken. Send it whole."})
        return None

    works.double.answers = answers
    spool = works.start(giving(minutes(3)), name)
    wait_until("the others are taken", lambda: len(works.double.taken) == 2 and len(spool) == 0)
    wait_until("it is told", lambda: bool(lines(told, "frames dropped")))
    assert works.double.asked == 3
    assert refused.captured_at not in works.taken(name)
    (said,) = lines(told, "frames dropped")
    assert said["said"] == f"answered {status}: The image is broken. Send it whole."
    assert counted("huella_agent_dropped_frames_total", name, reason="refused") == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_secret_or_id_keeps_every_frame_and_says_what_to_correct(
    works: Works, told: list[Told], quickly: list[float], status: int
) -> None:
    name = f"wrong-{status}"
    works.double.answers = lambda number, path: httpx.Response(status, json={"detail": "Send the camera's secret."})
    spool = works.start(giving(minutes(5)), name)
    wait_until("it asked again and again", lambda: works.double.asked >= 9 and len(spool) == 5)
    said = lines(told, "ingest takes no frames")
    assert "Send the camera's secret." in str(said[0]["ingest"])
    assert "correct the camera's id and secret" in str(said[0]["hint"])
    assert len(said) < works.double.asked
    assert max(quickly) >= 30
    assert SECRET not in str(told)
    works.double.answers = lambda number, path: None
    wait_until("all are taken", lambda: len(works.double.taken) == 5)
    assert counted("huella_agent_dropped_frames_total", name, reason="refused") == 0


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(works: Works, quickly: list[float], status: int) -> None:
    works.double.answers = lambda number, path: (
        httpx.Response(status, headers={"Retry-After": "90"}) if number <= 2 else None
    )
    works.start(giving(minutes(1)))
    wait_until("it is taken", lambda: len(works.double.taken) == 1)
    assert quickly == [90, 90]


def test_an_answer_that_was_lost_does_not_make_a_second_frame(works: Works) -> None:
    double = works.double

    def answers(number: int, path: str) -> httpx.Response | None:
        if number == 1:
            double.taken.append(("cam1", path.rpartition("/")[2], b""))
            raise httpx.ReadTimeout("the answer was lost")
        return None

    double.answers = answers
    spool = works.start(giving(minutes(2)))
    wait_until("both are taken", lambda: len(double.taken) == 2 and len(spool) == 0)
    assert len({name for _, name, _ in double.taken}) == 2


def test_an_answer_that_is_no_problem_document_is_understood_too() -> None:
    ingest = Ingest(config(), httpx.MockTransport(lambda request: httpx.Response(503, text="<html>busy</html>")))
    answer = ingest.put(camera(), Kept("", name_frame(MORNING, "ab" * 32), 0), b"")
    assert (answer.verdict, answer.said) == (Verdict.LATER, "answered 503: Service Unavailable")


@pytest.mark.parametrize(
    ("answer", "verdict", "status", "said"),
    [
        ({"text": "<html>log in to the Wi-Fi</html>"}, Verdict.MISCONFIGURED, 200, "no ingest"),
        ({"content": b""}, Verdict.MISCONFIGURED, 200, "no ingest"),
        ({"json": ["receipt", "frame_id"]}, Verdict.MISCONFIGURED, 200, "no ingest"),
        ({"json": {"status": "ok"}}, Verdict.MISCONFIGURED, 200, "no ingest"),
        ({"json": {"receipt": "r-1", "frame_id": "another"}}, Verdict.MISCONFIGURED, 200, "no ingest"),
        (
            {"json": {"status": 503, "detail": "The disk is full."}},
            Verdict.LATER,
            503,
            "answered 503: The disk is full.",
        ),
        (
            {"json": {"status": 401, "detail": "Wrong secret."}},
            Verdict.MISCONFIGURED,
            401,
            "answered 401: Wrong secret.",
        ),
        ({"json": {"status": 409, "receipt": "r-1"}}, Verdict.REFUSED, 409, "answered 409"),
    ],
)
def test_a_200_without_this_frames_receipt_has_not_taken_it(
    answer: dict[str, Any], verdict: Verdict, status: int, said: str
) -> None:
    ingest = Ingest(config(), httpx.MockTransport(lambda request: httpx.Response(200, **answer)))
    found = ingest.put(camera(), Kept("", name_frame(MORNING, "ab" * 32), 0), b"")
    assert (found.verdict, found.status, said in found.said) == (verdict, status, True), found


def test_a_portal_that_says_200_to_everything_takes_no_frame_from_the_spool(works: Works, told: list[Told]) -> None:
    works.double.answers = lambda number, path: httpx.Response(200, text="<html>") if number <= 5 else None
    works.start(giving(minutes(3)), "portal")
    wait_until("all are taken", lambda: len(works.taken("portal")) == 3)
    assert "correct `ingest` in the file" in str(lines(told, "ingest takes no frames")[0]["ingest"])


@pytest.mark.parametrize("status", [408, 500])
def test_one_frame_that_ingest_stumbles_over_holds_no_other_up_and_is_tried_again(
    works: Works, told: list[Told], status: int
) -> None:
    mended = threading.Event()
    works.double.answers = lambda number, path: (
        httpx.Response(status) if "T100001" in path and not mended.is_set() else None
    )
    name = f"stumble-{status}"
    spool = works.start(giving(minutes(6)), name)
    wait_until("the others are taken", lambda: len(works.taken(name)) == 5)
    assert [moment.second for moment in works.taken(name)] == [0, 2, 3, 4, 5]
    mended.set()
    wait_until("it is taken too", lambda: len(works.taken(name)) == 6)
    wait_until("none waits", lambda: len(spool) == 0)
    assert len(lines(told, "a frame stays behind")) == 1
    assert counted("huella_agent_dropped_frames_total", name, reason="refused") == 0


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_ingest_that_is_away_has_all_frames_in_order(works: Works, status: int) -> None:
    works.double.answers = lambda number, path: httpx.Response(status) if number <= 30 else None
    works.start(giving(minutes(4)), f"all-{status}")
    wait_until("all are taken", lambda: len(works.taken(f"all-{status}")) == 4)
    assert [moment.second for moment in works.taken(f"all-{status}")] == [0, 1, 2, 3]


class Endless(httpx.SyncByteStream):
    """An answer of a million bytes, a hundred at a time."""

    pieces = 0

    def __iter__(self) -> Iterator[bytes]:
        while self.pieces < 10_000:
            self.pieces += 1
            yield b" " * 100


@pytest.mark.parametrize(("bound", "pieces"), [({"MOST_ANSWERED": 1000}, 11), ({"ANSWER_S": -1.0}, 1)])
def test_an_answer_without_end_or_that_drips_is_given_up(
    monkeypatch: pytest.MonkeyPatch, bound: dict[str, float], pieces: int
) -> None:
    for key, value in bound.items():
        monkeypatch.setattr(module, key, value)
    endless = Endless()
    ingest = Ingest(config(), httpx.MockTransport(lambda request: httpx.Response(503, stream=endless)))
    answer = ingest.put(camera(), Kept("", name_frame(MORNING, "ab" * 32), 0), b"")
    assert (answer.verdict, endless.pieces) == (Verdict.LATER, pieces)
