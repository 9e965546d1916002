import io
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from deploy.local import cameras, screen
from deploy.local.cameras import Feed, Unexpected, checked, keep, load_kept, register
from deploy.local.photos import DrawnPhotos
from deploy.local.showing import Demo, title
from deploy.local.story import SPACES, Condition, Event, Story
from deploy.local.system import System

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
Answer = Callable[[httpx.Request], httpx.Response]


def feed() -> Feed:
    return Feed("http://ingest", Story(), DrawnPhotos(SPACES, (64, 64)), {}, 1.0)


def client(answer: Answer) -> httpx.Client:
    return httpx.Client(base_url="http://ingest", transport=httpx.MockTransport(answer))


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("answers", "counts"),
    [
        ([201], {"sent": 1, "accepted": 1}),
        ([200], {"sent": 1, "accepted": 1}),
        ([503, 429, 201], {"sent": 1, "retries": 2, "accepted": 1}),
        ([None, 201], {"sent": 1, "retries": 1, "accepted": 1}),
        ([422], {"sent": 1, "refused": 1}),
    ],
)
def test_a_photo_is_sent_again_until_it_is_taken_or_refused_for_good(
    monkeypatch: pytest.MonkeyPatch, answers: list[int | None], counts: Mapping[str, int]
) -> None:
    monkeypatch.setattr(cameras, "RETRY_AFTER_S", 0.001)
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        status = answers[len(requests) - 1]
        return httpx.Response(status) if status else refused(request)

    sender = feed()
    with client(answer) as ingest:
        sender.send(ingest, "k1-front", b"photo")
    assert dict(sender.counts) == counts
    assert len({(request.url, request.headers["captured-at"]) for request in requests}) == 1
    assert requests[0].headers["captured-at"].endswith("Z")


def test_a_camera_that_waits_for_a_dead_system_ends_when_the_feed_does() -> None:
    sender = feed()

    def answer(request: httpx.Request) -> httpx.Response:
        sender._stopped.set()
        return httpx.Response(503, headers={"retry-after": "3600"})

    with client(answer) as ingest:
        sender.send(ingest, "k1-front", b"photo")
    assert sender.counts["accepted"] == 0


def test_a_camera_keeps_its_secret_and_gets_a_new_one_only_if_it_is_lost() -> None:
    asked: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        if request.method == "POST":
            return httpx.Response(201, json={"secret": "rotated"})
        return (
            httpx.Response(200, json={}) if "back" in request.url.path else httpx.Response(201, json={"secret": "new"})
        )

    secrets: dict[str, str] = {}
    with client(answer) as ingest:
        register(ingest, SPACES[3], secrets)
        assert secrets == {"k4-front": "new", "k4-back": "rotated"}
        asked.clear()
        register(ingest, SPACES[3], secrets)
    assert ("POST", "/v1/cameras/k4-back/secrets") not in asked


def test_secrets_are_kept_in_a_file_of_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "demo" / "cameras.json"
    assert load_kept(path) == {}
    keep(path, {"a": "b"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_kept(path) == {"a": "b"} == json.loads(path.read_text())


def test_an_answer_that_is_no_success_names_the_request_and_its_problem() -> None:
    with (
        client(lambda request: httpx.Response(403, text='{"title": "forbidden"}')) as ingest,
        pytest.raises(Unexpected, match=r"PUT /v1/cameras/a was answered 403: .*forbidden"),
    ):
        checked(ingest.put("/v1/cameras/a"))


def row(shown: str, right: bool | None = True, probability: float = 0.97, there: str = "Luna the cat") -> screen.Row:
    since = (NOW - timedelta(seconds=75)).isoformat().replace("+00:00", "Z")
    space = {"id": "k1", "name": "K1", "occupancy": shown, "probability": probability, "since": since}
    return screen.row(space, there, "", right, NOW)


def test_a_change_is_a_line_and_neither_what_stays_nor_the_first_stale_is_one() -> None:
    changes = screen.Changes()
    for occupancy, lines in (
        ("stale", []),
        ("cat", ["17:04 K1: stale → cat (97%)"]),
        ("cat", []),
        ("stale", ["17:04 K1: cat → stale"]),
    ):
        assert changes.note([row(occupancy)], "17:04") == lines


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (75, "1 min 15 s"), (3700, "1 h 1 min"), (-3, "0 s")])
def test_how_long_ago_is_said_in_a_few_characters(seconds: int, text: str) -> None:
    assert screen.ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text
    assert screen.ago(None, NOW) == ""


@pytest.mark.parametrize(("hour", "text"), [(0.0, "00:00"), (17.5, "17:30"), (23.999, "23:59")])
def test_the_shelters_clock(hour: float, text: str) -> None:
    assert screen.clock(hour) == text


def test_the_screen_has_the_truth_beside_what_huella_says_what_happened_and_the_audit() -> None:
    audit = screen.audit_line({"accepted": 10, "counted": 7, "rejected": 1, "in_flight": 2})
    assert audit == "Photos: 10 accepted = 7 counted + 1 rejected + 2 in flight"
    assert "≠" in screen.audit_line({"accepted": 11, "counted": 7, "rejected": 1, "in_flight": 2})
    rows = [row("cat"), row("dog", right=False), row("empty", right=None, there="nobody")]
    picture = screen.Picture("18:40", rows, ["18:39 K1: Luna the cat arrives"], ["18:40 K1: empty → cat"], [audit])
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(screen.live("Huella", picture))
    drawn = console.export_text()
    for part in ("18:40", "K1", "Luna the cat", "97%", "1 min 15 s", "✓", "✗", "…", "arrives", "empty → cat", audit):
        assert part in drawn
    lines = screen.plain(picture).splitlines()
    assert lines[1].split() == ["K1", "cat", "97%", "truth:", "Luna", "the", "cat"]
    assert lines[2].endswith("<- wrong")


@pytest.mark.parametrize("condition", list(Condition))
def test_a_camera_does_what_its_condition_says(monkeypatch: pytest.MonkeyPatch, condition: Condition) -> None:
    """Photos go on while it is well or its clock is wrong, turn black, or stay the same byte for byte."""
    story = Story()
    monkeypatch.setattr(story, "condition", lambda camera, at_s: condition if at_s > 0.05 else Condition.WELL)
    sent: list[tuple[bytes, datetime]] = []
    sender = Feed("http://ingest", story, DrawnPhotos(SPACES, (64, 64)), {"k1-front": "secret"}, 0.02)

    def note(client: object, camera_id: str, photo: bytes, ahead: timedelta) -> None:
        sent.append((photo, datetime.now(UTC) + ahead))
        if len(sent) == 8:
            sender._stopped.set()

    monkeypatch.setattr(sender, "send", note)
    sender.started_at = time.monotonic()
    sender._work(SPACES[0], "k1-front", 0.0)
    assert sender.failure is None
    last = {photo for photo, _ in sent[-3:]}
    assert len(last) == (1 if condition is Condition.FROZEN else 3)
    mean = float(np.asarray(Image.open(io.BytesIO(sent[-1][0]))).mean())
    assert (mean < 10) == (condition is Condition.DARK)
    ahead_by = (sent[-1][1] - datetime.now(UTC)).total_seconds()
    assert (ahead_by > 3000) == (condition is Condition.AHEAD)


class Aggregation:
    """Answers the status, and remembers what is decided of its stays."""

    def __init__(self, *stays: dict[str, Any]) -> None:
        self.stays = stays
        self.decided: list[tuple[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.decided.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={})


def test_people_note_an_adoption_in_the_open_stay_of_that_species() -> None:
    stays = [
        {"id": "1", "space_id": "k1", "species": "dog", "until": None},
        {"id": "2", "space_id": "k1", "species": "cat", "until": None},
        {"id": "3", "space_id": "k2", "species": "dog", "until": None},
        {"id": "4", "space_id": "k1", "species": "dog", "until": "2026-11-22T09:00:00Z"},
    ]
    asked = Aggregation()
    story = Story()
    local = System(Path("data"), 8000, Path("keys"))
    with client(asked) as aggregation:
        demo = Demo(local, aggregation, aggregation, story, feed())
        demo.status = {"stays": stays}
        demo.adopt(Event(1.0, "k1", "Rex the dog is adopted", ("dog",)))
    assert asked.decided == [("/v1/stays/1", {"state": "adopted"})]


def test_the_title_has_the_link_that_logs_in_until_it_was_used(tmp_path: Path) -> None:
    with client(lambda request: httpx.Response(200)) as http:
        demo = Demo(System(tmp_path, 8000, tmp_path / "keys"), http, http, Story(), feed())
        assert title(demo).endswith("The page: http://127.0.0.1:8000")
        (tmp_path / "dashboard").mkdir()
        (tmp_path / "dashboard" / "first-link").write_text("http://127.0.0.1:8000/invitations/abc\n")
        assert "http://127.0.0.1:8000/invitations/abc" in title(demo)
