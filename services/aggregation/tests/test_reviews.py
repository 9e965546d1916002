"""Which frames a person is asked to look at, and taking a space out of service."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from services.aggregation.reviews import Reason, Seen, to_review
from services.aggregation.tests.conftest import As, Record, minutes_ago, result
from shared.tokens import Role

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def frame(number: int, second: float, label: str, camera: str = "c1", said: str | None = None, **more: str) -> Seen:
    at = NOON + timedelta(seconds=second)
    place, version = more.get("space", "k1"), more.get("version", "huella/1")
    return Seen(f"r{number}", place, camera, at, label, more.get("quality", "ok"), said, version)


TABLE = {
    "a sure frame alone": ([frame(1, 0, "cat")], {}),
    "unsure": ([frame(1, 0, "unsure")], {"r1": [Reason.UNSURE]}),
    "unsure, of bad quality": ([frame(1, 0, "unsure", quality="dark")], {}),
    "unsure, already corrected": ([frame(1, 0, "unsure", said="cat")], {}),
    "unsure, and its camera's frame just before is answered": (
        [frame(1, 0, "unsure", said="cat"), frame(2, 30, "unsure")],
        {},
    ),
    "unsure, and only another camera's frame is answered": (
        [frame(1, 0, "unsure", said="cat"), frame(2, 30, "unsure", "c2")],
        {"r2": [Reason.UNSURE]},
    ),
    "two cameras see different animals": (
        [frame(1, 0, "cat"), frame(2, 5, "dog", "c2")],
        {"r2": [Reason.CAMERA], "r1": [Reason.CAMERA]},
    ),
    "they are too far apart": ([frame(1, 0, "cat"), frame(2, 15, "dog", "c2")], {}),
    "of different spaces": ([frame(1, 0, "cat"), frame(2, 5, "dog", "c2", space="k2")], {}),
    "one sees nobody": ([frame(1, 0, "cat"), frame(2, 5, "none", "c2")], {}),
    "a person said otherwise just before": (
        [frame(1, 0, "cat", said="dog"), frame(2, 50, "cat")],
        {"r2": [Reason.PERSON]},
    ),
    "a person said the same": ([frame(1, 0, "dog", said="cat"), frame(2, 50, "cat")], {}),
    "a person said otherwise long before": ([frame(1, 0, "cat", said="dog"), frame(2, 70, "cat")], {}),
    "two versions see different animals": (
        [frame(1, 0, "cat"), frame(2, 2, "dog", version="huella/2")],
        {"r2": [Reason.MODEL]},
    ),
    "one of two versions sees nobody": (
        [frame(1, 0, "cat"), frame(2, 2, "none", version="huella/2")],
        {"r2": [Reason.MODEL]},
    ),
    "another version of long before": ([frame(1, 0, "cat"), frame(2, 15, "dog", version="huella/2")], {}),
    "one version sees an animal go": ([frame(1, 0, "cat"), frame(2, 2, "none")], {}),
    "the same scene again and again": (
        [frame(number, number * 10, "unsure") for number in range(1, 10)],
        {"r9": [Reason.UNSURE], "r3": [Reason.UNSURE]},
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_is_worth_a_look(case: str) -> None:
    frames, expected = TABLE[case]
    assert dict(to_review(frames)) == expected
    assert dict(to_review(reversed(frames))) == expected


def test_reviews_are_paged_newest_first_and_end_with_a_correction(as_role: As, record: Record) -> None:
    unsure = [{**result("k1", f"c{number}", minutes_ago(5)), "label": "unsure"} for number in range(3)]
    record(*unsure)
    operator = as_role(Role.OPERATOR)
    first = operator.get("/v1/reviews", params={"limit": 2}).json()
    second = operator.get("/v1/reviews", params={"limit": 2, "cursor": first["next"]}).json()
    got = [one["estimate"]["receipt"] for one in first["items"] + second["items"]]
    assert got == sorted((one["receipt"] for one in unsure), reverse=True)
    assert second["next"] is None
    assert {tuple(one["reasons"]) for one in first["items"]} == {("unsure",)}
    operator.put(f"/v1/estimates/{got[0]}/correction", json={"label": "cat"})
    left = [one["estimate"]["receipt"] for one in operator.get("/v1/reviews").json()["items"]]
    assert left == got[1:]


def test_an_operator_takes_a_space_out_of_service_and_changes_nothing_else(as_role: As, admin: TestClient) -> None:
    made = admin.put("/v1/spaces/k1", json={"name": "Kennel 1", "purpose": "quarantine", "stale_after_s": 60}).json()
    changed = as_role(Role.OPERATOR).patch("/v1/spaces/k1", json={"in_service": False})
    assert changed.status_code == 200
    described = ("id", "name", "purpose", "stale_after_s", "occupancy")
    assert [changed.json()[name] for name in described] == [made[name] for name in described]
    assert (made["in_service"], changed.json()["in_service"]) == (True, False)
    assert as_role(Role.VIEWER).patch("/v1/spaces/k1", json={"in_service": True}).status_code == 403
    assert as_role(Role.OPERATOR).patch("/v1/spaces/k1", json={"name": "K"}).status_code == 422
    assert as_role(Role.OPERATOR).patch("/v1/spaces/none", json={"in_service": True}).status_code == 404
