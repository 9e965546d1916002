"""The adoption status and spaces, over HTTP, on both databases."""

from fastapi.testclient import TestClient

from services.aggregation.tests.conftest import Record, minutes_ago, result


def test_a_counted_frame_shows_in_the_status(viewer: TestClient, record: Record) -> None:
    at = minutes_ago(1)
    record(result("k1", cat=0.98, at=at), result("k2", dog=0.98, at=at), result("k3", at=at))
    status = viewer.get("/v1/adoption-status").json()
    assert {space["id"]: space["occupancy"] for space in status["spaces"]} == {"k1": "cat", "k2": "dog", "k3": "empty"}
    assert status["totals"] == {
        "cat": 1,
        "dog": 1,
        "both": 0,
        "empty": 1,
        "unsure": 0,
        "stale": 0,
        "up_for_adoption": {"cats": 1, "dogs": 1},
        "spaces_free": 1,
    }
    assert {stay["species"] for stay in status["stays"]} == {"cat", "dog"}
    assert status["changes"]
