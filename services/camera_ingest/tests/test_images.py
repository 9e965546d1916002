"""Images for the classifier, exact and many at once; images for people, without metadata."""

import io
import json
import tarfile

import pytest

from services.camera_ingest.files import ImageFiles
from services.camera_ingest.tests.photos import exif, photo
from services.camera_ingest.tests.running import Ingest
from shared.database import now
from shared.tokens import Role


def members(answer_content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(answer_content)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]  # files only


def test_the_classifier_gets_the_exact_bytes_of_what_is_in_flight(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    images = {f"f{number}": photo(number, form) for number, form in enumerate(("JPEG", "PNG", "WEBP", "JPEG", "JPEG"))}
    receipts = {name: ingest.accept(name, image) for name, image in images.items()}
    ingest.settle({"receipt": receipts["f3"], "state": "counted"})
    ingest.settle({"receipt": receipts["f4"], "state": "rejected", "reason": "no picture"})
    wanted = [receipts["f4"], "unknown", *receipts.values()]
    answer = ingest.images(*wanted)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-tar")
    found = members(answer.content)
    assert next(iter(found)) == "index.json"
    assert json.loads(found.pop("index.json")) == {
        "frames": [
            {"receipt": receipts["f4"], "state": "rejected", "media_type": "image/jpeg"},
            {"receipt": receipts["f0"], "state": "accepted", "media_type": "image/jpeg"},
            {"receipt": receipts["f1"], "state": "accepted", "media_type": "image/png"},
            {"receipt": receipts["f2"], "state": "accepted", "media_type": "image/webp"},
            {"receipt": receipts["f3"], "state": "counted", "media_type": "image/jpeg"},
        ]
    }
    assert found == {receipts[name]: images[name] for name in ("f0", "f1", "f2")}


def test_large_images_come_whole_in_one_answer(ingest: Ingest) -> None:
    images = {f"f{number}": photo(number).ljust(3_000_001 + number, b"\x07") for number in range(5)}
    receipts = {name: ingest.accept(name, image) for name, image in images.items()}
    found = members(ingest.images(*receipts.values()).content)
    assert all(found[receipts[name]] == image for name, image in images.items())


def test_answering_begins_an_attempt_for_what_is_in_flight_only(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    flying, done = ingest.accept("a"), ingest.accept("b", photo(1))
    ingest.settle({"receipt": done, "state": "counted"})
    before = now()
    ingest.images(flying, done)
    with ingest.parts.database.read() as connection:
        rows = {
            row.receipt: row.attempt_at for row in connection.exec_driver_sql("SELECT receipt, attempt_at FROM frames")
        }
    assert rows[done] is None
    assert rows[flying] >= before.timestamp() * 1e6


def test_an_image_that_is_missing_harms_no_other(ingest: Ingest) -> None:
    gone, kept = ingest.accept("a"), ingest.accept("b", photo(1))
    ingest.parts.files.path(gone).unlink()
    assert set(members(ingest.images(gone, kept).content)) == {"index.json", kept}


def test_an_image_that_can_t_be_read_once_its_length_is_told_harms_no_other(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, bad, last = (ingest.accept(name, photo(number)) for number, name in enumerate("abc"))
    read = ImageFiles.read

    def fail(files: ImageFiles, receipt: str) -> bytes:
        if receipt == bad:
            raise OSError(5, "Input/output error")
        return read(files, receipt)

    monkeypatch.setattr(ImageFiles, "read", fail)
    found = members(ingest.images(first, bad, last).content)
    assert (found[first], found[last]) == (photo(0), photo(2))
    assert set(found[bad]) == {0}


@pytest.mark.parametrize("receipts", [[], ["x"] * 65, [""], ["../../etc/passwd"], ["x" * 65]])
def test_requests_for_nothing_or_too_much_are_refused(ingest: Ingest, receipts: list[str]) -> None:
    assert ingest.images(*receipts).status_code == 422


def test_people_see_the_picture_and_not_its_metadata(ingest: Ingest) -> None:
    image = photo(exif=exif("2026:11:22 10:00:00", position=True))
    receipt = ingest.accept("a", image)
    answer = ingest.get(f"/v1/receipts/{receipt}/image")
    body = ingest.receipt(receipt)
    assert answer.status_code == 200
    assert answer.content.startswith(b"\xff\xd8")
    assert b"SECRET" in image
    assert b"SECRET" not in answer.content
    assert answer.headers["ETag"] == f'"{body["sha256"]}"'
    assert answer.headers["Cache-Control"] == "private"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "image/jpeg"


def test_an_image_that_the_caller_has_is_not_sent_again(ingest: Ingest) -> None:
    path = f"/v1/receipts/{ingest.accept('a')}/image"
    etag = ingest.get(path).headers["ETag"]
    for value in (etag, f"W/{etag}", f'"other", {etag}'):
        answer = ingest.get(path, headers={"If-None-Match": value})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    assert ingest.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_latest_image_of_a_camera_is_its_newest_frame_s(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    ingest.accept("a", photo(1))
    newest = ingest.accept("b", photo(2), headers={"Captured-At": "2026-01-01T00:00:00Z"})
    answer = ingest.get("/v1/cameras/c1/latest-image")
    assert (answer.status_code, answer.headers["Huella-Receipt"]) == (200, newest)


def test_an_image_whose_metadata_can_t_be_found_is_not_shown(ingest: Ingest) -> None:
    whole = photo(form="JPEG", size=(64, 48))
    scan = whole.index(b"\xff\xda")
    receipt = ingest.accept("a", whole[:scan] + b"\xff\xe1\xff\xffcut off")
    answer = ingest.get(f"/v1/receipts/{receipt}/image")
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")


def test_a_removed_image_is_gone(ingest: Ingest) -> None:
    receipt = ingest.accept("a")
    ingest.parts.files.remove(receipt)
    answer = ingest.client.get(f"/v1/receipts/{receipt}/image", headers=ingest.bearer(Role.VIEWER))
    assert (answer.status_code, answer.headers["Content-Type"]) == (410, "application/problem+json")
