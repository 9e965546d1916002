"""What is refused as a batch: the answer says what to do, and nothing of it is left."""

import io
import json
import struct
import zipfile
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.image_classifier.settings import Settings
from services.image_classifier.tests.batch_api.bodies import GOOD, SPAN, ZIP, left, many, problem, zipped
from services.image_classifier.tests.ingest_double import photo
from shared.database import Database


def encrypted() -> bytes:
    data = bytearray(zipped({"a.jpg": GOOD}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1
    return bytes(data)


def lying(size: int) -> bytes:
    """Make a zip whose directory says that its member has `size` bytes, which it has not."""
    data = bytearray(zipped({"a.jpg": bytes(900_000)}, zipfile.ZIP_DEFLATED))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(signature) + at, size)
    return bytes(data)


def overlapping() -> bytes:
    """Make a zip with two entries over the same bytes."""
    data = bytearray(zipped({"a.jpg": GOOD, "b.jpg": GOOD}))
    second = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, second + 42, 0)
    return bytes(data)


def link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("a.jpg")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


def huge_directory() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for n in range(80_000):
            archive.writestr(f"{n:030}", b"")
    return out.getvalue()


def twice(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, GOOD)
        archive.writestr(name, photo("dog"))
    return out.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("make", "status", "slug"),
    [
        pytest.param(lambda: zipped({"a.jpg": bytes(15_000_000)}, zipfile.ZIP_DEFLATED), 422, "zip-bomb", id="bomb"),
        pytest.param(
            lambda: zipped({f"{n}.jpg": bytes(1_000_000) for n in range(30)}, zipfile.ZIP_DEFLATED),
            *(413, "content-too-large"),
            id="many small bombs",
        ),
        pytest.param(lambda: lying(100), 422, "broken-archive", id="a size declared too small"),
        pytest.param(lambda: lying(990_000), 422, "broken-archive", id="a size declared too large"),
        pytest.param(overlapping, 422, "zip-bomb", id="entries that share bytes"),
        pytest.param(huge_directory, 422, "broken-archive", id="a huge directory"),
        pytest.param(lambda: zipped({"a.jpg": GOOD, "in.zip": zipped({"b": GOOD})}), 422, "refused-input", id="nested"),
        pytest.param(lambda: zipped({"a.jpg": GOOD, "b.jpg": zipped({"b": GOOD})}), 422, "refused-input", id="hidden"),
        pytest.param(lambda: zipped({"../../a.jpg": GOOD}), 422, "refused-input", id="out of the folder"),
        pytest.param(lambda: zipped({"/etc/a.jpg": GOOD}), 422, "refused-input", id="absolute"),
        pytest.param(lambda: zipped({"..\\a.jpg": GOOD}), 422, "refused-input", id="backslashes"),
        pytest.param(link, 422, "refused-input", id="a link"),
        pytest.param(lambda: twice("a.jpg"), 422, "repeated-input", id="a name twice"),
        pytest.param(lambda: zipped(many(1001)), 422, "too-many-inputs", id="1,001 inputs"),
        pytest.param(lambda: zipped({}), 422, "empty-batch", id="empty"),
        pytest.param(lambda: zipped({"__MACOSX/._a.jpg": b"", "folder/": b""}), 422, "empty-batch", id="litter alone"),
        pytest.param(encrypted, 422, "encrypted-archive", id="encrypted"),
        pytest.param(lambda: zipped({"a": GOOD}, zipfile.ZIP_LZMA), 422, "broken-archive", id="another compression"),
        pytest.param(lambda: zipped(many(3))[:-200], 422, "broken-archive", id="truncated"),
        pytest.param(lambda: b"", 422, "broken-archive", id="nothing"),
        pytest.param(lambda: GOOD, 422, "broken-archive", id="a photo"),
        pytest.param(lambda: bytes(20_000_001), 413, "content-too-large", id="too many bytes"),
    ],
)
async def test_a_bad_zip_is_told_what_to_do_and_leaves_nothing(
    client: httpx.AsyncClient, settings: Settings, database: Database, make: Callable[[], bytes], status: int, slug: str
) -> None:
    problem(await client.post("/v1/batches", content=make(), headers=ZIP), status, slug)
    assert left(settings, database) == (0, 0, 0, [])


def multipart(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


def part(name: str, content: bytes = b"x") -> bytes:
    return f'Content-Disposition: form-data; name="photos"; filename="{name}"\r\n\r\n'.encode() + content


@pytest.mark.parametrize(
    ("content_type", "content", "status", "slug"),
    [
        ("multipart/form-data", multipart(part("a")), 422, "broken-multipart"),
        ("multipart/form-data; boundary=b", multipart(), 422, "empty-batch"),
        ("multipart/form-data; boundary=b", multipart(part("a.jpg"), part("a.jpg")), 422, "repeated-input"),
        ("multipart/form-data; boundary=b", multipart(part("../a.jpg")), 422, "refused-input"),
        ("multipart/form-data; boundary=b", multipart(part("a.jpg", b"PK\x03\x04")), 422, "refused-input"),
        ("multipart/form-data; boundary=b", multipart(*[part(str(n)) for n in range(1001)]), 422, "too-many-inputs"),
        ("multipart/form-data; boundary=b", multipart(part("a.jpg"), end=b""), 422, "broken-multipart"),
        ("multipart/form-data; boundary=b", multipart(b"X-Y: z\r\n\r\nx"), 422, "broken-multipart"),
        ("multipart/form-data; boundary=b", b"no multipart at all", 422, "broken-multipart"),
        ("application/json", b"{", 422, "invalid-request"),
        ("application/json", b"[" * 100_000, 422, "invalid-request"),
        ("application/json", b"{}", 422, "invalid-request"),
        ("application/json", json.dumps({"receipts": []}).encode(), 422, "empty-batch"),
        ("application/json", json.dumps({"receipts": ["a", "a"]}).encode(), 422, "repeated-input"),
        ("application/json", json.dumps({"receipts": ["../x"]}).encode(), 422, "invalid-request"),
        ("application/json", json.dumps({"receipts": [str(n) for n in range(1001)]}).encode(), 422, "too-many-inputs"),
        (
            "application/json",
            json.dumps({"camera_id": "3", **SPAN, "until": SPAN["since"]}).encode(),
            422,
            "invalid-request",
        ),
        ("application/json", b" " * 300_000, 413, "content-too-large"),
        ("image/jpeg", GOOD, 415, "unsupported-media-type"),
        ("", GOOD, 415, "unsupported-media-type"),
    ],
)
async def test_a_bad_body_is_told_what_to_do_and_leaves_nothing(
    client: httpx.AsyncClient,
    settings: Settings,
    database: Database,
    content_type: str,
    content: bytes,
    status: int,
    slug: str,
) -> None:
    answer = await client.post("/v1/batches", content=content, headers={"Content-Type": content_type})
    problem(answer, status, slug)
    assert left(settings, database) == (0, 0, 0, [])


@pytest.mark.parametrize(
    ("content_type", "beginning"),
    [("application/zip", b""), ("multipart/form-data; boundary=b", b"--b\r\n" + part("a.jpg"))],
)
async def test_an_endless_body_is_cut_off_though_no_header_tells_its_length(
    client: httpx.AsyncClient, settings: Settings, database: Database, content_type: str, beginning: bytes
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield beginning
        while True:
            yield bytes(1_000_000)

    answer = await client.post("/v1/batches", content=endless(), headers={"Content-Type": content_type})
    problem(answer, 413, "content-too-large")
    assert left(settings, database) == (0, 0, 0, [])
