"""The adoption status and spaces, over HTTP, and who may do what."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, insert

from services.aggregation import tables, views
from services.aggregation.occupancy import Rules
from services.aggregation.store import new_space
from services.aggregation.tests.conftest import As, Record, minutes_ago, result
from shared.database import Database
from shared.tokens import Role


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
    assert [change["sequence"] for change in status["changes"]] == [5, 4, 3, 2, 1]
    assert status["spaces"][0]["since"].endswith("Z")


def test_a_space_out_of_service_is_shown_and_not_counted(admin: TestClient, record: Record) -> None:
    admin.put("/v1/spaces/k1", json={"name": "K1", "in_service": False})
    record(result("k1", cat=0.98))
    status = admin.get("/v1/adoption-status").json()
    assert status["spaces"][0]["occupancy"] == "cat"
    assert status["totals"]["cat"] == 0
    assert status["totals"]["up_for_adoption"] == {"cats": 0, "dogs": 0}


def test_quarantine_is_neither_free_nor_up_for_adoption(admin: TestClient, record: Record) -> None:
    for space in ("q1", "q2"):
        admin.put(f"/v1/spaces/{space}", json={"name": space, "purpose": "quarantine"})
    record(result("q1", cat=0.98), result("q2"))
    totals = admin.get("/v1/adoption-status").json()["totals"]
    assert (totals["empty"], totals["spaces_free"], totals["up_for_adoption"]["cats"]) == (1, 0, 0)


def test_a_space_nobody_looks_at_is_stale_on_reading(viewer: TestClient, record: Record) -> None:
    record(result("k1", cat=0.98, at=minutes_ago(30)))
    space = viewer.get("/v1/adoption-status").json()["spaces"][0]
    assert space["occupancy"] == "stale"
    seen, since = (datetime.fromisoformat(space[name]) for name in ("last_evidence_at", "since"))
    assert since - seen == timedelta(seconds=600)


def test_the_etag_changes_with_the_status_and_only_then(operator: TestClient, record: Record) -> None:
    record(result("k1", cat=0.98))
    first = operator.get("/v1/adoption-status")
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    again = operator.get("/v1/adoption-status", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    record(result("k1", cat=0.98))
    second = operator.get("/v1/adoption-status", headers={"If-None-Match": tag})
    assert second.status_code == 200
    stay = second.json()["stays"][0]["id"]
    operator.patch(f"/v1/stays/{stay}", json={"note": "shy"})
    third = operator.get("/v1/adoption-status", headers={"If-None-Match": second.headers["ETag"]})
    assert third.status_code == 200


def test_the_etag_changes_when_a_space_becomes_stale(database: Database, record: Record) -> None:
    record(result("k1", cat=0.98))
    now = datetime.now(UTC)
    with database.read() as connection:
        assert views.status_tag(connection, now) != views.status_tag(connection, now + timedelta(seconds=700))


def test_500_spaces_take_no_more_statements_than_one(database: Database) -> None:
    """That is what keeps it flat; `make bench` says how long it takes."""
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    now = datetime.now(UTC)
    took = []
    for first, last in ((0, 1), (1, 500)):
        rows = [new_space(f"k{number}", now, 600, Rules()) for number in range(first, last)]
        stays = [
            {"id": f"s{number}", "space_id": f"k{number}", "species": "cat", "from_at": now, "state": "available"}
            | {"number_of_animals": 1, "note": "", "version": 1, "recorded": True}
            for number in range(first, last)
        ]
        database.write(lambda connection, rows=rows: connection.execute(insert(tables.spaces), rows))  # type: ignore[misc]  # bound now
        database.write(lambda connection, stays=stays: connection.execute(insert(tables.stays), stays))  # type: ignore[misc]  # bound now
        asked.clear()
        with database.read() as connection:
            assert len(views.status(connection, now)["spaces"]) == last
        took.append(len(asked))
    assert took[0] == took[1] > 0


def test_a_space_is_made_once_and_described_again(admin: TestClient) -> None:
    body = {"name": "Kennel 1", "purpose": "staff", "stale_after_s": 60, "in_service": True}
    made = admin.put("/v1/spaces/k1", json=body)
    assert (made.status_code, made.json()["occupancy"]) == (201, "stale")
    assert admin.put("/v1/spaces/k1", json=body).status_code == 200
    changed = admin.put("/v1/spaces/k1", json={**body, "name": "Quiet room"})
    assert (changed.status_code, changed.json()["name"]) == (200, "Quiet room")
    assert [space["id"] for space in admin.get("/v1/spaces").json()["items"]] == ["k1"]


@pytest.mark.parametrize(
    ("space_id", "body"),
    [
        ("k1", {}),
        ("k1", {"name": ""}),
        ("k1", {"name": "a\0b"}),
        ("k1", {"name": "K", "purpose": "hotel"}),
        ("k1", {"name": "K", "stale_after_s": 0}),
        ("k1", {"name": "K", "colour": "red"}),
        ("k 1", {"name": "K"}),
        ("k" * 65, {"name": "K"}),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bad_description_is_refused(admin: TestClient, space_id: str, body: dict[str, object]) -> None:
    assert admin.put(f"/v1/spaces/{space_id}", json=body).status_code == 422


def test_history_tells_what_was_shown_when(viewer: TestClient, record: Record) -> None:
    record(result(at=minutes_ago(30), cat=0.98))
    then = minutes_ago(5)
    record(result("k1", "a", at=then, dog=0.98), result("k1", "b", at=then, dog=0.98))
    spans = viewer.get("/v1/spaces/k1/history").json()["items"]
    assert [span["occupancy"] for span in spans] == ["dog", "stale", "cat"]
    assert [span["until"] for span in spans] == [None, spans[0]["from"], spans[1]["from"]]
    recent = viewer.get("/v1/spaces/k1/history", params={"since": minutes_ago(6).isoformat()}).json()["items"]
    assert [span["occupancy"] for span in recent] == ["dog", "stale"]
    first = viewer.get("/v1/spaces/k1/history", params={"limit": 1}).json()
    rest = viewer.get("/v1/spaces/k1/history", params={"cursor": first["next"]}).json()
    assert [span["occupancy"] for span in rest["items"]] == ["stale", "cat"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", ["history", "stays", "estimates"])
def test_an_unknown_space_and_a_made_up_cursor_are_told_apart(viewer: TestClient, path: str, record: Record) -> None:
    assert viewer.get(f"/v1/spaces/none/{path}").status_code == 404
    record(result("k1"))
    for cursor in ("!!", "AAAA", "é", "bm9wZQp4"):
        assert viewer.get(f"/v1/spaces/k1/{path}", params={"cursor": cursor}).status_code == 422


ROUTES = [
    ("GET", "/v1/adoption-status", Role.VIEWER),
    ("GET", "/v1/spaces", Role.VIEWER),
    ("GET", "/v1/spaces/k1", Role.VIEWER),
    ("GET", "/v1/spaces/k1/history", Role.VIEWER),
    ("GET", "/v1/spaces/k1/stays", Role.VIEWER),
    ("GET", "/v1/spaces/k1/estimates", Role.VIEWER),
    ("PUT", "/v1/spaces/k1", Role.ADMIN),
    ("PATCH", "/v1/spaces/k1", Role.OPERATOR),
    ("GET", "/v1/reviews", Role.VIEWER),
    ("GET", "/v1/stays", Role.VIEWER),
    ("GET", "/v1/stays/x", Role.VIEWER),
    ("PATCH", "/v1/stays/x", Role.OPERATOR),
    ("GET", "/v1/estimates/x", Role.VIEWER),
    ("GET", "/v1/estimates/x/correction", Role.VIEWER),
    ("PUT", "/v1/estimates/x/correction", Role.OPERATOR),
    ("DELETE", "/v1/estimates/x/correction", Role.OPERATOR),
    ("GET", "/v1/reconciliation", Role.VIEWER),
    ("GET", "/v1/adoption-status/events", Role.VIEWER),
]
RANKS = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("method", "path", "needed"), ROUTES)
def test_a_route_lets_in_its_role_and_nobody_below(
    as_role: As, record: Record, method: str, path: str, needed: Role
) -> None:
    record(result("k1"))
    body = {"name": "K"} if method == "PUT" and "spaces" in path else {"label": "cat"} if method == "PUT" else {}
    content = {"json": body} if method in ("PUT", "PATCH") else {}
    stranger = as_role(Role.VIEWER)
    stranger.headers.pop("Authorization")
    assert stranger.request(method, path, **content).status_code == 401
    for role in (Role.SERVICE, *RANKS):
        allowed = role is not Role.SERVICE and RANKS.index(role) >= RANKS.index(needed)
        if allowed and path.endswith("/events"):
            continue  # it would not end; test_events listens
        answer = as_role(role).request(method, path, **content)
        assert (answer.status_code != 403) is allowed, role


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_route_is_in_the_table_of_roles(viewer: TestClient) -> None:
    paths = viewer.get("/openapi.json").json()["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    named = {"space_id": "k1", "stay_id": "x", "receipt": "x"}
    assert {(method, path.format(**named)) for method, path in served} == {(method, path) for method, path, _ in ROUTES}
