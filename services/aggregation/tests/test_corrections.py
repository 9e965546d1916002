"""What people say of frames, over HTTP, on both databases."""

from fastapi.testclient import TestClient

from services.aggregation.tests.conftest import Record, minutes_ago, result


def occupancy(client: TestClient, space: str = "k1") -> str:
    return str(client.get(f"/v1/spaces/{space}").json()["occupancy"])


def test_a_correction_changes_the_space_and_undoing_it_changes_it_back(operator: TestClient, record: Record) -> None:
    frame = result(at=minutes_ago(2), cat=0.97)
    record(frame)
    before = operator.get("/v1/spaces/k1").json()
    url = f"/v1/estimates/{frame['receipt']}/correction"
    first = operator.put(url, json={"label": "dog"})
    assert (first.status_code, first.json()["correction"]["label"]) == (201, "dog")
    assert first.json()["correction"]["by"] == "tests"
    assert occupancy(operator) == "dog"
    assert operator.put(url, json={"label": "dog"}).status_code == 200
    assert operator.put(url, json={"label": "none"}).status_code == 200
    assert occupancy(operator) == "empty"
    assert operator.delete(url).status_code == 204
    after = operator.get("/v1/spaces/k1").json()
    assert (after["occupancy"], after["probabilities"]) == (before["occupancy"], before["probabilities"])
    assert operator.delete(url).status_code == 404
    kept = operator.get(url).json()
    assert kept["correction"] is None
    assert [one["label"] for one in kept["history"]] == [None, "none", "dog"]


def test_estimates_are_listed_with_what_people_said(operator: TestClient, record: Record) -> None:
    frames = [result(at=minutes_ago(number), cat=0.9) for number in (1, 2, 3)]
    record(*frames)
    operator.put(f"/v1/estimates/{frames[1]['receipt']}/correction", json={"label": "both"})
    first = operator.get("/v1/spaces/k1/estimates", params={"limit": 2}).json()
    assert [one["receipt"] for one in first["items"]] == [frames[0]["receipt"], frames[1]["receipt"]]
    assert [one["correction"] and one["correction"]["label"] for one in first["items"]] == [None, "both"]
    rest = operator.get("/v1/spaces/k1/estimates", params={"cursor": first["next"]}).json()
    assert [one["receipt"] for one in rest["items"]] == [frames[2]["receipt"]]
    assert rest["next"] is None


def test_a_correction_survives_the_frames_that_come_after_it(operator: TestClient, record: Record) -> None:
    at = minutes_ago(2)
    frame = result(at=at, cat=0.97)
    record(frame)
    operator.put(f"/v1/estimates/{frame['receipt']}/correction", json={"label": "dog"})
    record(*(result(at=at, cat=0.97) for _ in range(20)))
    assert occupancy(operator) == "dog"


def test_a_frame_of_bad_quality_is_evidence_once_a_person_looked(operator: TestClient, record: Record) -> None:
    frame = result(at=minutes_ago(2), quality="dark")
    record(frame)
    assert occupancy(operator) == "stale"
    operator.put(f"/v1/estimates/{frame['receipt']}/correction", json={"label": "cat"})
    assert occupancy(operator) == "cat"


def test_correcting_history_never_changes_the_present(operator: TestClient, record: Record) -> None:
    old = result(at=minutes_ago(30), cat=0.97)
    record(old)
    record(result(at=minutes_ago(1), dog=0.97))
    before = operator.get("/v1/spaces/k1").json()["probabilities"]
    assert operator.put(f"/v1/estimates/{old['receipt']}/correction", json={"label": "none"}).status_code == 201
    assert operator.get("/v1/spaces/k1").json()["probabilities"] == before


def test_only_counted_frames_can_be_corrected(operator: TestClient) -> None:
    url = f"/v1/estimates/{result()['receipt']}/correction"
    assert operator.put(url, json={"label": "cat"}).status_code == 404
    assert operator.get(url).status_code == 404
    assert operator.put(url, json={"label": "raccoon"}).status_code == 422
