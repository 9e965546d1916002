"""How recorded stays follow a refold (pure), and what people decide of them (over HTTP)."""

import pytest
from fastapi.testclient import TestClient

from services.aggregation.belief import FoldedStay
from services.aggregation.domain import Species
from services.aggregation.stays import KeptStay, revise
from services.aggregation.tests.conftest import Record, minutes_ago, result

CAT, DOG = Species.CAT, Species.DOG
NOW = 1000


def kept(from_us: int, until_us: int | None = None, *, recorded: bool = True, species: Species = CAT) -> KeptStay:
    return KeptStay("id", species, from_us, until_us, recorded)


REVISIONS = {
    "a new one opens": ([], [FoldedStay(CAT, 10, None)], ([FoldedStay(CAT, 10, None)], [], [])),
    "the same one stays": ([kept(10)], [FoldedStay(CAT, 10, None)], ([], [], [])),
    "it ends": ([kept(10)], [FoldedStay(CAT, 10, 50)], ([], [(10, 50)], [])),
    "its end is taken back": ([kept(10, 50)], [FoldedStay(CAT, 10, None)], ([], [(10, None)], [])),
    "one not recorded yet moves": ([kept(10, recorded=False)], [FoldedStay(CAT, 5, None)], ([], [(5, None)], [])),
    "a recorded one does not move": ([kept(10)], [FoldedStay(CAT, 5, None)], ([], [], [])),
    "but learns its end": ([kept(10)], [FoldedStay(CAT, 5, 40)], ([], [(10, 40)], [])),
    "and never ends before it began": ([kept(30)], [FoldedStay(CAT, 5, 30)], ([], [(30, 30)], [])),
    "one not recorded goes": ([kept(10, recorded=False)], [], ([], [], [10])),
    "a recorded one without support ends now": ([kept(10)], [], ([], [(10, NOW)], [])),
    "a recorded one that ended stays": ([kept(10, 20)], [], ([], [], [])),
    "species are never mixed up": (
        [kept(10, species=DOG)],
        [FoldedStay(CAT, 10, None), FoldedStay(DOG, 10, None)],
        ([FoldedStay(CAT, 10, None)], [], []),
    ),
    "a later one is another": (
        [kept(10, 20)],
        [FoldedStay(CAT, 10, 20), FoldedStay(CAT, 60, None)],
        ([FoldedStay(CAT, 60, None)], [], []),
    ),
}


@pytest.mark.parametrize("name", REVISIONS)
def test_a_refold_revises_stays(name: str) -> None:
    before, folded, (opened, revised, withdrawn) = REVISIONS[name]
    revision = revise(before, folded, NOW)
    assert revision.opened == opened
    assert [(from_us, until_us) for _, from_us, until_us in revision.revised] == revised
    assert [stay.from_us for stay in revision.withdrawn] == withdrawn


def open_stay(client: TestClient, record: Record, space: str = "k1") -> dict[str, object]:
    record(result(space, at=minutes_ago(5), cat=0.98))
    stays = client.get("/v1/stays", params={"open": True, "space_id": space}).json()["items"]
    assert len(stays) == 1
    found: dict[str, object] = stays[0]
    return found


def test_an_operators_decision_shows_in_the_status(operator: TestClient, record: Record) -> None:
    stay = open_stay(operator, record)
    assert (stay["state"], stay["number_of_animals"]) == ("available", 1)
    decided = operator.patch(f"/v1/stays/{stay['id']}", json={"number_of_animals": 3, "note": "a litter"})
    assert decided.status_code == 200
    assert operator.get("/v1/adoption-status").json()["totals"]["up_for_adoption"] == {"cats": 3, "dogs": 0}
    operator.patch(f"/v1/stays/{stay['id']}", json={"state": "adopted"})
    status = operator.get("/v1/adoption-status").json()
    assert status["totals"]["up_for_adoption"] == {"cats": 0, "dogs": 0}
    assert (status["stays"][0]["state"], status["stays"][0]["note"]) == ("adopted", "a litter")
    assert status["changes"][0]["kind"] == "stay_decided"


def test_a_refold_never_removes_nor_moves_what_a_person_decided_about(operator: TestClient, record: Record) -> None:
    stay = open_stay(operator, record)
    operator.patch(f"/v1/stays/{stay['id']}", json={"state": "reserved"})
    # Frames of the same moment and before it: a refold would have no stay of a cat at all.
    record(*(result("k1", at=minutes_ago(5), dog=0.98) for _ in range(5)))
    record(*(result("k1", f"c{i}", at=minutes_ago(5), dog=0.99) for i in range(5)))
    after = operator.get(f"/v1/stays/{stay['id']}").json()
    assert (after["from"], after["state"]) == (stay["from"], "reserved")


def test_a_stay_that_nobody_decided_about_follows_late_frames(operator: TestClient, record: Record) -> None:
    stay = open_stay(operator, record)
    record(result("k1", at=minutes_ago(6), cat=0.98))
    after = operator.get(f"/v1/stays/{stay['id']}").json()
    assert after["from"] < str(stay["from"])


def test_the_first_state_follows_the_purpose(admin: TestClient, record: Record) -> None:
    admin.put("/v1/spaces/q1", json={"name": "Q1", "purpose": "quarantine"})
    assert open_stay(admin, record, "q1")["state"] == "not_available"


def test_if_match_guards_against_a_decision_about_something_else(operator: TestClient, record: Record) -> None:
    stay = open_stay(operator, record)
    url = f"/v1/stays/{stay['id']}"
    tag = operator.get(url).headers["ETag"]
    assert operator.patch(url, json={"state": "reserved"}, headers={"If-Match": tag}).status_code == 200
    assert operator.patch(url, json={"state": "adopted"}, headers={"If-Match": tag}).status_code == 412
    assert operator.patch(url, json={"state": "adopted"}, headers={"If-Match": "nonsense"}).status_code == 412


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"state": "sold"},
        {"number_of_animals": 0},
        {"number_of_animals": 10**9},
        {"note": "x" * 501},
        {"note": "a\0b"},
        {"colour": "black"},
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bad_decision_is_refused(operator: TestClient, record: Record, body: dict[str, object]) -> None:
    stay = open_stay(operator, record)
    assert operator.patch(f"/v1/stays/{stay['id']}", json=body).status_code == 422


def test_an_unknown_stay_is_not_found(operator: TestClient) -> None:
    assert operator.patch("/v1/stays/none", json={"state": "adopted"}).status_code == 404
    assert operator.get("/v1/stays/none").status_code == 404


def test_stays_come_in_pages_newest_first(viewer: TestClient, record: Record) -> None:
    record(*(result(f"k{i}", at=minutes_ago(5), cat=0.98) for i in range(5)))
    seen, cursor = [], None
    while True:
        page = viewer.get("/v1/stays", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [stay["space_id"] for stay in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(seen) == [f"k{i}" for i in range(5)]
