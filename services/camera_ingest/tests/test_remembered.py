"""A camera that is remembered is let in without the database, and nothing is accepted of one that has changed since."""

from typing import Any

import httpx
import pytest

from services.camera_ingest import registry, remembered
from services.camera_ingest.api import credentials
from services.camera_ingest.registry import Camera, digest_of
from services.camera_ingest.remembered import Remembered
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest
from services.camera_ingest.throttle import FAILURES
from shared.database import now
from shared.tokens import Role


def test_a_camera_is_found_by_the_secret_that_it_was_known_by_alone() -> None:
    known = Remembered()
    known.note(Camera("c1", "k1", secret=digest_of("right")))
    known.note(Camera("by-digest", "k1"))
    assert known.find("c1", digest_of("right")) == Camera("c1", "k1", secret=digest_of("right"))
    assert known.find("c1", digest_of("wrong")) is None
    assert known.find("c2", digest_of("right")) is None
    assert known.find("by-digest", digest_of("right")) is None
    known.forget("c1")
    assert known.find("c1", digest_of("right")) is None


def test_the_camera_that_sent_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "REMEMBERED", 2)
    known = Remembered()
    for name in ("a", "b"):
        known.note(Camera(name, "k1", secret=digest_of(name)))
    known.find("a", digest_of("a"))
    known.note(Camera("c", "k1", secret=digest_of("c")))
    assert [name for name in "abc" if known.find(name, digest_of(name))] == ["a", "c"]


def change_elsewhere(ingest: Ingest, **chosen: Any) -> None:
    """Change the camera as another process would, of which this one hears nothing."""
    with ingest.parts.database.read() as connection:
        space = registry.read_camera(connection, "c1").space_id  # type: ignore[union-attr]  # it is there
    values = {"space_id": space} | chosen
    ingest.parts.database.write(lambda c: registry.put_camera(c, "c1", values.pop("space_id", "k1"), now(), **values))


def test_the_second_frame_asks_the_database_for_its_camera_no_more(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.accept("first")
    monkeypatch.setattr(credentials, "identify_camera", None)
    ingest.accept("second", photo(2))
    secret = {"Authorization": f"Bearer {ingest.secrets['c1']}"}
    assert ingest.put("third", photo(3), auth=None, headers=secret).status_code == 201


def test_a_camera_that_answers_a_challenge_takes_no_other_s_place(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "REMEMBERED", 1)
    ingest.make_camera("c2")
    switched = {"space_id": "k1", "authentication": "digest"}
    secret = ingest.client.put("/v1/cameras/c2", json=switched, headers=ingest.bearer(Role.ADMIN)).json()["secret"]
    ingest.accept("first")
    ingest.accept("second", photo(2), "c2", auth=httpx.DigestAuth("c2", secret))
    monkeypatch.setattr(credentials, "identify_camera", None)
    ingest.accept("third", photo(3))


def test_a_wrong_secret_of_a_remembered_camera_is_401(ingest: Ingest) -> None:
    ingest.accept("first")
    assert ingest.put("second", photo(2), auth=("c1", "wrong")).status_code == 401


@pytest.mark.parametrize("frame_id", ["new", "known", None])
@pytest.mark.parametrize("always_200", [False, True])
def test_a_secret_that_was_revoked_elsewhere_is_401_and_leaves_nothing(
    ingest_on_each: Ingest, frame_id: str | None, always_200: bool
) -> None:
    ingest = ingest_on_each
    change_elsewhere(ingest, always_200=always_200)
    ingest.put("known")
    ingest.put(None, photo(3))
    before, files = ingest.audit(), ingest.files()
    ingest.parts.database.write(lambda connection: registry.keep_newest_secrets(connection, "c1", 0))
    for image in (photo(), photo(2), photo(3)):
        answer = ingest.put(frame_id, image)
        assert answer.status_code == 401, answer.text
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert (ingest.audit(), ingest.files()) == (before, files)


@pytest.mark.parametrize("always_200", [False, True])
def test_a_secret_that_was_revoked_elsewhere_is_never_answered_200_however_often_it_is_sent(
    ingest: Ingest, always_200: bool
) -> None:
    change_elsewhere(ingest, always_200=always_200)
    ingest.put("first")
    for _ in range(FAILURES):
        assert ingest.put("second", auth=("c1", "wrong")).status_code == 401
    ingest.parts.database.write(lambda connection: registry.keep_newest_secrets(connection, "c1", 0))
    answer = ingest.put("second", photo(2))
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (429, "too-many-wrong-secrets")
    assert int(answer.headers["Retry-After"]) > 0
    assert len(ingest.files()) == 1


def test_a_camera_that_was_removed_elsewhere_is_401(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    ingest.accept("first")
    ingest.parts.database.write(lambda connection: registry.remove_camera(connection, "c1"))
    assert ingest.put("second", photo(2)).status_code == 401
    assert len(ingest.files()) == 1


def test_a_frame_is_of_the_space_that_its_camera_is_in_when_it_is_accepted(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    first = ingest.accept("first")
    change_elsewhere(ingest, space_id="k2")
    second = ingest.accept("second", photo(2))
    assert [ingest.receipt(receipt)["space_id"] for receipt in (first, second)] == ["k1", "k2"]


def test_answering_200_to_everything_begins_and_ends_with_the_next_frame(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    ingest.accept("first")
    change_elsewhere(ingest, always_200=True)
    assert [ingest.put("second", photo(2)).status_code for _ in range(2)] == [200, 200]
    assert ingest.put("third", b"no photo").status_code == 200
    change_elsewhere(ingest, always_200=False)
    assert ingest.put("fourth", photo(4)).status_code == 201
    assert ingest.put("fifth", b"no photo").status_code == 415
    assert len(ingest.files()) == 3


def test_of_a_refused_frame_s_camera_the_next_answer_is_as_the_database_says(ingest: Ingest) -> None:
    ingest.accept("first")
    change_elsewhere(ingest, always_200=True)
    assert ingest.put("second", b"no photo").status_code == 415  # nothing was written, so nothing was asked
    assert ingest.put("second", b"no photo").status_code == 200
