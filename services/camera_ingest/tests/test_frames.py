"""Frames as cameras put them: the good, the bad, the same again, and many at once."""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy.exc import OperationalError

from services.camera_ingest import files, store
from services.camera_ingest.api import accept
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.photos import exif, photo, png_header
from services.camera_ingest.tests.running import Ingest, running
from shared.database import now
from shared.messages import isoformat
from shared.receipts import given_at
from shared.testing import TokenFor


def test_a_frame_is_accepted_with_its_receipt(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    image = photo(5)
    answer = ingest.put("photo-1.jpg", image, headers={"Captured-At": "2026-11-22T11:00:00+01:00"})
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/receipts/{body['receipt']}"
    assert body | {"camera_id": "c1", "frame_id": "photo-1.jpg", "space_id": "k1", "state": "accepted"} == body
    assert body["observed_at"] == body["captured_at"] == "2026-11-22T10:00:00.000000Z"
    assert (body["size"], body["media_type"], body["width"], body["height"]) == (len(image), "image/jpeg", 64, 48)
    assert ingest.receipt(body["receipt"]) == body
    assert ingest.parts.files.read(body["receipt"]) == image
    path = ingest.parts.files.path(body["receipt"])
    given = given_at(body["receipt"])
    assert path.relative_to(ingest.parts.files.folder).parts == (f"{given:%Y-%m-%d}", f"{given:%H}", body["receipt"])
    assert ingest.audit() == {"accepted": 1, "counted": 0, "rejected": 0, "in_flight": 1}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_the_bytes_say_what_a_photo_is_and_not_its_header(ingest: Ingest, form: str) -> None:
    answer = ingest.put("a", photo(form=form), headers={"Content-Type": "text/html"})
    assert (answer.status_code, answer.json()["media_type"]) == (201, f"image/{form.lower()}")


@pytest.mark.parametrize(
    ("header", "exif_time", "expected"),
    [
        ("2026-11-22T10:00:00Z", "2026:11:20 08:00:00", "2026-11-22T10:00:00.000000Z"),
        (None, "2026:11:20 08:00:00", "2026-11-20T07:00:00.000000Z"),
        (None, "0000:00:00 00:00:00", None),
        (None, None, None),
        ("1999-01-01T00:00:00Z", "2026:11:20 08:00:00", None),
        ("2090-01-01T00:00:00Z", None, None),
    ],
)
def test_the_header_s_time_comes_before_that_of_exif_and_both_before_ours(
    make_settings: MakeSettings, token_for: TokenFor, header: str | None, exif_time: str | None, expected: str | None
) -> None:
    with running(make_settings(camera_timezone="Europe/Madrid"), token_for) as ingest:
        ingest.make_camera()
        image = photo(exif=exif(exif_time)) if exif_time else photo()
        body = ingest.put("a", image, headers={"Captured-At": header} if header else {}).json()
        assert body["observed_at"] == (expected or body["received_at"])


PDF = b"%PDF-1.7\n" + bytes(1000)
BAD: list[tuple[str, bytes, dict[str, Any], int, str]] = [
    ("empty", b"", {}, 422, "empty"),
    ("truncated header", photo()[:100], {}, 422, "broken-photo"),
    ("bomb", png_header(30_000, 30_000), {}, 422, "too-many-pixels"),
    ("a pixel too many", png_header(40_000_001, 1), {}, 422, "too-many-pixels"),
    ("PDF called .jpg", PDF, {"headers": {"Content-Type": "image/jpeg"}}, 415, "not-a-photo"),
    ("11 MB", photo() + bytes(11_000_000), {}, 413, "too-large"),
    ("wrong secret", photo(), {"auth": ("c1", "wrong")}, 401, "unauthorized"),
    ("no credentials", photo(), {"auth": None}, 401, "unauthorized"),
    ("other camera's id", photo(), {"camera_id": "c2", "auth": "c1"}, 403, "forbidden"),
    ("no time", photo(), {"headers": {"Captured-At": "now"}}, 422, "captured-at"),
    ("time without a zone", photo(), {"headers": {"Captured-At": "2026-11-22T10:00:00"}}, 422, "captured-at"),
]
ROUTES = [("PUT", "frames/bad"), ("PUT", "frame"), ("POST", "frame")]


@pytest.mark.parametrize(("image", "options", "status", "slug"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_bad_input_is_told_what_is_wrong_and_leaves_nothing(
    ingest: Ingest, method: str, path: str, image: bytes, options: dict[str, Any], status: int, slug: str
) -> None:
    ingest.make_camera("c2")
    options = dict(options)
    camera_id = options.pop("camera_id", "c1")
    auth = options.pop("auth", camera_id)
    answer = ingest.client.request(
        method,
        f"/v1/cameras/{camera_id}/{path}",
        content=image,
        auth=(auth, ingest.secrets[auth]) if isinstance(auth, str) else auth,
        **options,
    )
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == f"urn:huella:problem:{slug}"
    assert ingest.files() == set()
    assert ingest.audit()["accepted"] == 0


def test_a_body_without_a_length_is_bounded_too(ingest: Ingest) -> None:
    def endless() -> Iterator[bytes]:
        yield photo()
        for _ in range(200):
            yield bytes(64 * 1024)

    assert ingest.put("a", endless()).status_code == 413  # type: ignore[arg-type]  # httpx sends it in chunks
    assert ingest.files() == set()


def test_ten_megabytes_are_taken(ingest: Ingest) -> None:
    image = photo().ljust(ingest.parts.settings.frame_bytes, b"\x00")
    receipt = ingest.accept("a", image)
    assert ingest.parts.files.read(receipt) == image


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/v1/cameras/c1/frames/" + "x" * 64, {201}),
        ("/v1/cameras/c1/frames/A-Z.a_z-0.9", {201}),
        ("/v1/cameras/c1/frames/" + "x" * 65, {422}),
        ("/v1/cameras/c1/frames/" + "x" * 300, {422}),
        ("/v1/cameras/c1/frames/a/b", {404}),
        ("/v1/cameras/c1/frames/a%2Fb", {404}),
        ("/v1/cameras/c1/frames/..%2F..%2Fetc", {404}),
        ("/v1/cameras/c1/frames/%2e%2e%2fx", {404}),
        ("/v1/cameras/c1/frames/", {404, 307}),
        ("/v1/cameras/c1/frames/a%00", {422}),
        ("/v1/cameras/c1/frames/a%0A", {422}),
        ("/v1/cameras/c1/frames/%F0%9F%90%88", {422}),
        ("/v1/cameras/c1/frames/a b", {422}),
        ("/v1/cameras/" + "x" * 300 + "/frames/a", {422}),
        ("/v1/cameras/c1%2F..%2Fc2/frames/a", {404}),
    ],
)
def test_names_that_are_no_names_are_refused(ingest: Ingest, path: str, statuses: set[int]) -> None:
    answer = ingest.client.put(path, content=photo(), auth=("c1", ingest.secrets["c1"]), follow_redirects=False)
    assert answer.status_code in statuses, answer.text
    assert len(ingest.files()) == (1 if statuses == {201} else 0)


def test_the_same_frame_again_is_the_same_receipt_and_other_bytes_a_conflict(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    first = ingest.put("a", photo(1))
    again = ingest.put("a", photo(1))
    other = ingest.put("a", photo(2))
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.json()["receipt"] == first.json()["receipt"] == other.json()["receipt"]
    assert again.headers["Location"] == first.headers["Location"]
    assert ingest.files() == {first.json()["receipt"]}
    ingest.make_camera("c2")
    assert ingest.put("a", photo(1), "c2").status_code == 201
    assert ingest.audit()["accepted"] == 2


def test_a_repeat_tells_where_the_frame_stands_by_now(ingest: Ingest) -> None:
    receipt = ingest.accept("a")
    ingest.settle({"receipt": receipt, "state": "counted"})
    again = ingest.put("a")
    assert (again.status_code, again.json()["state"]) == (200, "counted")


def test_equal_bytes_of_two_frames_have_two_files(ingest: Ingest) -> None:
    receipts = {ingest.accept("a", photo(1)), ingest.accept("b", photo(1))}
    assert len(receipts) == 2
    assert ingest.files() == receipts


T1, T2 = {"Captured-At": "2026-11-22T10:00:00Z"}, {"Captured-At": "2026-11-22T10:00:01Z"}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ((1, T1), (1, T1), True),
        ((1, T1), (1, {"Captured-At": "2026-11-22T11:00:00+01:00"}), True),
        ((1, T1), (1, T2), False),
        ((1, T1), (2, T1), False),
        ((1, {}), (1, {}), True),
        ((1, {}), (2, {}), False),
        ((1, {}), (1, T1), False),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_frame_without_a_name_is_the_same_by_bytes_and_time(
    ingest_on_each: Ingest,
    method: str,
    first: tuple[int, dict[str, str]],
    second: tuple[int, dict[str, str]],
    same: bool,
) -> None:
    ingest = ingest_on_each
    receipts = []
    for seed, headers in (first, second):
        answer = ingest.client.request(
            method,
            "/v1/cameras/c1/frame",
            content=photo(seed),
            headers=headers,
            auth=("c1", ingest.secrets["c1"]),
        )
        receipts.append(answer.json()["receipt"])
    assert (answer.status_code, receipts[0] == receipts[1]) == ((200, True) if same else (201, False))
    assert ingest.files() == set(receipts)


@pytest.mark.parametrize(("seconds", "same"), [(9, True), (11, False)])
def test_without_a_time_equal_bytes_are_a_repeat_for_ten_seconds(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, seconds: int, same: bool
) -> None:
    at = now()
    monkeypatch.setattr(accept, "now", lambda: at)
    first = ingest.put(None).json()["receipt"]
    at += timedelta(seconds=seconds)
    assert (ingest.put(None).json()["receipt"] == first) is same


def test_fifty_puts_at_once_of_which_ten_are_conflicting_repeats(ingest_on_each: Ingest) -> None:
    """Concurrent frames share commits, and a conflict among them fails nobody else."""
    ingest = ingest_on_each
    jobs = [(f"f{number}", photo(number)) for number in range(40)] + [(f"f{n}", photo(1000 + n)) for n in range(10)]
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda job: ingest.put(*job), jobs))
    assert Counter(answer.status_code for answer in answers) == {201: 40, 409: 10}
    accepted = {answer.json()["receipt"] for answer in answers if answer.status_code == 201}
    assert ingest.files() == accepted
    assert ingest.audit()["accepted"] == ingest.audit()["in_flight"] == 40
    for answer in answers:
        kept = ingest.receipt(answer.json()["receipt"])
        assert answer.status_code == 409 or kept == answer.json()


@pytest.mark.parametrize("frame_id", ["a", None])
def test_twenty_repeats_at_once_are_one_frame(ingest_on_each: Ingest, frame_id: str | None) -> None:
    ingest = ingest_on_each
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ingest.put(frame_id, photo(3)), range(20)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 19}
    assert ingest.files() == {answer.json()["receipt"] for answer in answers}
    assert len(ingest.files()) == 1


def test_bytes_and_folder_are_synced_before_the_row_is_written(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest.accept("before")  # the folder exists and is known
    order: list[str] = []
    sync, accept = os.fsync, store.accept_frame

    def watched_sync(descriptor: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        sync(descriptor)

    def watched_accept(connection: Any, frame: store.NewFrame) -> Any:
        assert ingest.parts.files.read(frame.receipt) == photo(9)
        order.append("row")
        return accept(connection, frame)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(store, "accept_frame", watched_accept)
    ingest.accept("a", photo(9))
    assert order == ["file", "folder", "row"]


def test_a_folder_that_can_t_be_synced_is_503_and_leaves_no_file(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.accept("before")
    before = ingest.files()
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", Mock(side_effect=OSError(5, "Input/output error")))
        assert ingest.put("a", photo(1)).status_code == 503
    assert ingest.files() == before
    ingest.accept("a", photo(1))


@pytest.mark.parametrize("lost", [False, True])
def test_a_row_that_can_t_be_written_is_503_and_its_file_goes_unless_the_row_may_exist(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    def fail(connection: Any, frame: store.NewFrame) -> Any:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("disk"), connection_invalidated=lost)

    monkeypatch.setattr(store, "accept_frame", fail)
    answer = ingest.put("a")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert len(ingest.files()) == (1 if lost else 0)
    monkeypatch.undo()
    assert ingest.put("a").status_code == 201


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_a_full_disk_is_503_with_retry_after_and_leaves_no_file(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    ingest.accept("before")
    before = ingest.files()

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        answer = ingest.put("a", photo(1))
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert ingest.files() == before
    assert ingest.put("a", photo(1)).status_code == 201


def test_what_is_no_photo_never_touches_the_disk(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", None)
    assert ingest.put("a", b"no photo").status_code == 415


@pytest.mark.parametrize(("setting", "value"), [("max_in_flight", 1), ("quota_bytes", 10**6), ("free_bytes", 2**60)])
def test_no_room_for_more_is_503_with_retry_after(
    make_settings: MakeSettings, token_for: TokenFor, setting: str, value: int
) -> None:
    with running(make_settings(**{setting: value}), token_for) as ingest:
        ingest.make_camera()
        ingest.parts.janitor.stop()  # it measures by itself, maybe from before what is accepted now
        if setting != "free_bytes":
            ingest.accept("a", photo().ljust(10**6, b"\x00"))
        answer = ingest.put("b")
        assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_hour_of_the_folder_may_be_removed_while_it_is_empty(ingest: Ingest) -> None:
    receipt = ingest.accept("a")
    path = ingest.parts.files.path(receipt)
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    assert ingest.put("b").status_code == 201


def test_receipts_are_listed_by_state_camera_and_time_in_pages(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    ingest.make_camera("c2")
    receipts = [ingest.accept(f"f{number}", photo(number), f"c{number % 2 + 1}") for number in range(6)]
    for receipt in receipts[:3]:
        ingest.settle({"receipt": receipt, "state": "rejected", "reason": "no picture"})
    ingest.settle({"receipt": receipts[3], "state": "counted"})

    def listed(**parameters: Any) -> list[str]:
        seen, cursor = [], ""
        while cursor is not None:
            answer = ingest.get("/v1/receipts", params={"limit": 2, "cursor": cursor} | parameters)
            assert answer.status_code == 200, answer.text
            seen += [item["receipt"] for item in answer.json()["items"]]
            cursor = answer.json()["next"]
        return seen

    assert listed() == receipts
    assert listed(state="rejected") == receipts[:3]
    assert listed(state="accepted") == receipts[4:]
    assert listed(state="counted") == receipts[3:4]
    assert listed(camera_id="c1") == receipts[::2]
    assert listed(state="rejected", camera_id="c2") == receipts[1:2]
    assert listed(since=isoformat(given_at(receipts[2]))) == receipts[2:]
    assert listed(since=isoformat(datetime.now(UTC) + timedelta(hours=1))) == []
    assert ingest.get("/v1/receipts", params={"since": "2026-11-22T10:00:00"}).status_code == 422


def test_an_unknown_receipt_is_not_found(ingest: Ingest) -> None:
    for path in ("/v1/receipts/nothing", "/v1/receipts/nothing/image", "/v1/cameras/c1/latest-image"):
        assert ingest.get(path).status_code == 404
