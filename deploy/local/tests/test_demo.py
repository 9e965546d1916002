import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from deploy.local import cameras, screen
from deploy.local.cameras import Feed, Unexpected, checked, keep, load_kept, register
from deploy.local.story import SPACES, Chapter, DrawnPhotos, Story

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
Answer = Callable[[httpx.Request], httpx.Response]


def feed() -> Feed:
    return Feed("http://ingest", Story(), DrawnPhotos([], (64, 64)), {}, 1.0)


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
        sender.send(ingest, "k1-door", b"photo")
    assert dict(sender.counts) == counts
    assert len({(request.url, request.headers["captured-at"]) for request in requests}) == 1
    assert requests[0].headers["captured-at"].endswith("Z")


def test_a_camera_that_waits_for_a_dead_system_ends_when_the_feed_does() -> None:
    sender = feed()

    def answer(request: httpx.Request) -> httpx.Response:
        sender._stopped.set()
        return httpx.Response(503, headers={"retry-after": "3600"})

    with client(answer) as ingest:
        sender.send(ingest, "k1-door", b"photo")
    assert sender.counts["accepted"] == 0


def test_a_camera_keeps_its_secret_and_gets_a_new_one_only_if_it_is_lost() -> None:
    asked: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        if request.method == "POST":
            return httpx.Response(201, json={"secret": "rotated"})
        return (
            httpx.Response(200, json={}) if "wall" in request.url.path else httpx.Response(201, json={"secret": "new"})
        )

    secrets: dict[str, str] = {}
    with client(answer) as ingest:
        register(ingest, SPACES[3], secrets)
        assert secrets == {"k4-door": "new", "k4-wall": "rotated"}
        asked.clear()
        register(ingest, SPACES[3], secrets)
    assert ("POST", "/v1/cameras/k4-wall/secrets") not in asked


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


def status(**occupancies: str) -> dict[str, Any]:
    since = (NOW - timedelta(seconds=75)).isoformat().replace("+00:00", "Z")
    return {
        "spaces": [
            {"id": space_id, "name": space_id.upper(), "occupancy": occupancy, "probability": 0.97, "since": since}
            for space_id, occupancy in occupancies.items()
        ]
    }


def test_a_space_is_judged_only_when_the_truth_had_time_to_be_noticed() -> None:
    chapters = {
        "k1": Chapter(0, "cat", 1),
        "k2": Chapter(0, "none", 1, somebody_left=True),
        "k3": Chapter(90, "dog", 1),
        "k4": Chapter(50, "none", 1, somebody_left=True),
    }
    shown = screen.rows(status(k1="cat", k2="dog", k3="empty", k4="cat"), chapters, 100, NOW)
    assert [(row.space_id, row.truth, row.right) for row in shown] == [
        ("k1", "cat", True),
        ("k2", "empty", False),
        ("k3", "dog", None),
        ("k4", "empty", None),
    ]
    tally = screen.Tally()
    assert "not judged" in str(tally)
    tally.add(shown)
    assert str(tally).startswith("right 50% of the time")


def test_a_change_is_a_line_and_what_stays_is_none() -> None:
    changes = screen.Changes()
    for occupancy, lines in (
        ("stale", ["10:00:00 K1: stale; truth: cat"]),
        ("stale", []),
        ("cat", ["10:00:00 K1: stale → cat (97%); truth: cat"]),
    ):
        shown = screen.rows(status(k1=occupancy), {"k1": Chapter(0, "cat", 1)}, 100, NOW)
        assert changes.note(shown, NOW) == lines


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (75, "1 min 15 s"), (3700, "1 h 1 min"), (-3, "0 s")])
def test_how_long_ago_is_said_in_a_few_characters(seconds: int, text: str) -> None:
    assert screen.ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text
    assert screen.ago(None, NOW) == ""


def test_the_screen_has_each_space_its_truth_and_the_audit() -> None:
    shown = screen.rows(status(k1="cat", k2="dog"), {"k1": Chapter(0, "cat", 1), "k2": Chapter(0, "cat", 1)}, 100, NOW)
    audit = screen.audit_line({"accepted": 10, "counted": 7, "rejected": 1, "in_flight": 2})
    assert audit == "Frames: 10 accepted = 7 counted + 1 rejected + 2 in flight"
    assert "≠" in screen.audit_line({"accepted": 11, "counted": 7, "rejected": 1, "in_flight": 2})
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(screen.table("Huella", shown, [audit], screen.Changes()))
    drawn = console.export_text()
    for part in ("K1", "cat", "97%", "1 min 15 s", "✓", "✗", audit):
        assert part in drawn
    lines = screen.plain(shown, [audit]).splitlines()
    assert lines[1].split() == ["K1", "cat", "97%", "truth:", "cat"]
    assert lines[2].endswith("<- wrong")
