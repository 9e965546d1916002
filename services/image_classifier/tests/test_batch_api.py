"""`/v1/batches` over REST: what is taken, what is refused and leaves nothing, and how a batch is followed."""

import asyncio
import csv
import io
import json
import random
import struct
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import uuid_utils
from fastapi import FastAPI
from sqlalchemy import func, select

from services.image_classifier import images
from services.image_classifier.api import batches as routes
from services.image_classifier.api.batch_shapes import Batching
from services.image_classifier.batches import store, work
from services.image_classifier.batches.rules import CANCELLED, Quota
from services.image_classifier.batches.tables import batches, contents, inputs
from services.image_classifier.decode import decode
from services.image_classifier.main import MIGRATIONS, create_app
from services.image_classifier.model_version import ModelVersion
from services.image_classifier.settings import Settings
from services.image_classifier.tests.ingest_double import photo, serve_ingest
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.database import Database, migrate, now
from shared.testing import TokenFor
from shared.tokens import PEOPLE, Role, ServiceToken, Signer

GOOD = photo("cat")
ZIP = {"Content-Type": "application/zip"}
Files = dict[str, bytes]


def zipped(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def many(number: int) -> Files:
    return {f"{n}.jpg": GOOD for n in range(number)}


def receipts_of(request: httpx.Request) -> httpx.Response:
    """Answer as camera_ingest does: a camera named by a number has so many frames in any span."""
    asked = request.url.params
    every = [f"r-{n:04}" for n in range(int(asked["camera_id"]))]
    rest = [receipt for receipt in every if receipt > asked.get("cursor", "")]
    page = [{"receipt": receipt} for receipt in rest[:200]]
    return httpx.Response(200, json={"items": page, "next": rest[199] if len(rest) > 200 else None})


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid_utils.uuid7())}


def key_of(seconds: float) -> str:
    """Return a UUID of version 7 that was made at a time since 1970."""
    return str(UUID(int=int(seconds * 1000) << 80 | 7 << 76 | 2 << 62))


@pytest.fixture
def settings(tmp_path: Path, keys: Path) -> Settings:
    write_tiny_model(tmp_path / "models" / "tiny" / "1")
    settings = Settings(
        data=tmp_path,
        keys=keys,
        models=tmp_path / "models",
        model="tiny",
        batch_bytes=20_000_000,
        batch_jobs=3,
        image_bytes=1_000_000,
        batch_quota_bytes=30_000_000,
    )
    migrate(settings.database_url, MIGRATIONS)
    return settings


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = create_app(settings, ingest_transport=httpx.MockTransport(receipts_of))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI, token_for: TokenFor) -> AsyncIterator[httpx.AsyncClient]:
    """An operator's client of the app."""
    headers = {"Authorization": f"Bearer {token_for('operator')}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://classifier", headers=headers) as client:
        yield client


@pytest.fixture
def database(app: FastAPI) -> Database:
    found: Database = app.state.database
    return found


@pytest.fixture
def worker(settings: Settings, database: Database, keys: Path) -> Iterator[Callable[[], int]]:
    """A function that does what a worker does at each ring until nothing is left; returns how many inputs ended."""
    model = ModelVersion.load(settings.models / "tiny" / "1")
    token = ServiceToken(Signer(keys, "image_classifier"), "camera_ingest")
    with serve_ingest({"r-0000": GOOD, "r-0001": b"no photo"}) as url, images.create_client(5) as client:
        tools = work.Tools(
            model=lambda: model,
            decode=decode,
            fetch=lambda receipts: images.fetch(
                client, token, f"{url}/v1/images", receipts, deadline_s=10, image_bytes=1_000_000, settled=True
            ),
            cameras_wait=lambda: False,
            chunk=32,
            lease=timedelta(seconds=20),
        )

        def run() -> int:
            ended = 0
            while now := work.classify_batches(database, tools):
                ended += now
            return ended

        yield run


def left(settings: Settings, database: Database) -> tuple[int, int, int, list[Path]]:
    """Return what there is of batches: rows, and files of the folder in which bodies are received."""
    with database.read() as connection:
        numbers = [connection.scalar(select(func.count()).select_from(t)) or 0 for t in (batches, inputs, contents)]
    return numbers[0], numbers[1], numbers[2], list(settings.scratch.iterdir())


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"]) == (f"urn:huella:problem:{slug}", status)
    assert len(body["detail"]) > 40
    return body


async def test_a_zip_becomes_rows_that_say_what_a_single_prediction_says(
    client: httpx.AsyncClient, settings: Settings, database: Database, worker: Callable[[], int]
) -> None:
    files = {f"{label}/{kind}": photo(label, kind=kind) for label in ("cat", "dog", "none") for kind in ("JPEG", "PNG")}
    files |= {"broken.jpg": photo(size=(640, 480))[:-900], "empty.jpg": b"", "text.jpg": b"no photo"}
    answer = await client.post("/v1/batches", content=zipped(files), headers=ZIP)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["state"], body["total"]) == ("queued", 9)
    assert body.keys() == {"id", "state", "total"}
    assert answer.headers["Location"] == f"/v1/batches/{body['id']}"
    assert worker() == 9
    done = (await client.get(answer.headers["Location"])).json()
    assert (done["state"], done["total"], done["done"], done["failed"]) == ("done", 9, 6, 3)
    rows = (await client.get(f"/v1/batches/{body['id']}/predictions")).json()["items"]
    assert [row["input"] for row in rows] == list(files)
    for row in rows:
        single = await client.post("/v1/predictions", content=files[row["input"]])
        if single.status_code == 200:
            same = ("label", "probabilities", "quality", "model", "version")
            assert {name: row[name] for name in same} == single.json()
            assert row["error"] is None
        else:
            assert (row["label"], row["probabilities"], bool(row["error"])) == (None, None, True)
    assert left(settings, database) == (1, 9, 0, [])


async def test_a_multipart_of_files_is_a_batch_too(client: httpx.AsyncClient, worker: Callable[[], int]) -> None:
    parts = [("photos", (name, content)) for name, content in {"ünï.jpg": GOOD, "b/b.jpg": photo("dog")}.items()]
    answer = await client.post("/v1/batches", files=parts)
    assert answer.status_code == 202, answer.text
    assert worker() == 2
    rows = (await client.get(f"{answer.headers['Location']}/predictions")).json()["items"]
    assert [(row["input"], row["label"]) for row in rows] == [("ünï.jpg", "cat"), ("b/b.jpg", "dog")]


async def test_a_form_with_one_zip_is_a_batch_of_what_is_in_it(client: httpx.AsyncClient) -> None:
    content = zipped({"a.jpg": GOOD, "b.jpg": GOOD})
    assert (await client.post("/v1/batches", files={"photos": ("K 1.ZIP", content)})).json()["total"] == 2
    two = [("photos", (name, content)) for name in ("a.zip", "b.zip")]
    problem(await client.post("/v1/batches", files=two), 422, "refused-input")


async def test_receipts_are_fetched_from_ingest(client: httpx.AsyncClient, worker: Callable[[], int]) -> None:
    answer = await client.post("/v1/batches", json={"receipts": ["r-0000", "r-0001", "r-none"]})
    assert answer.json()["total"] == 3
    assert worker() == 3
    rows = (await client.get(f"{answer.headers['Location']}/predictions")).json()["items"]
    assert [(row["input"], row["label"], row["error"]) for row in rows] == [
        ("r-0000", "cat", None),
        ("r-0001", None, "not a JPEG, PNG or WebP image"),
        ("r-none", None, "camera_ingest does not know it"),
    ]


async def test_the_same_key_and_content_is_the_same_batch_whatever_it_is_at_by_then(
    client: httpx.AsyncClient, database: Database, settings: Settings, worker: Callable[[], int]
) -> None:
    key = new_key()
    span = {"camera_id": "3", **SPAN}
    ways: list[Callable[[], Any]] = [
        lambda: client.post("/v1/batches", content=zipped(many(3)), headers=ZIP | key),
        lambda: client.post("/v1/batches", content=zipped(many(3), zipfile.ZIP_DEFLATED), headers=ZIP | key),
        # each time with another boundary
        lambda: client.post("/v1/batches", files=[("p", item) for item in many(3).items()], headers=key),
    ]
    for send in ways:
        first = await send()
        assert first.status_code == 202, first.text
        assert first.json() == {"id": key["Idempotency-Key"], "state": "queued", "total": 3}
        assert (await send()).json() == first.json()
        assert left(settings, database)[:2] == (1, 3)
    worker()
    again = await ways[0]()
    assert (again.status_code, again.json()["state"]) == (202, "done")
    assert again.headers["Location"] == f"/v1/batches/{key['Idempotency-Key']}"
    key = new_key()
    for _ in range(2):
        answer = await client.post("/v1/batches", json=span, headers=key)
        assert answer.json() == {"id": key["Idempotency-Key"], "state": "queued", "total": 3}
    assert left(settings, database)[0] == 2


async def test_a_key_is_for_one_batch_of_one_client(
    app: FastAPI, client: httpx.AsyncClient, settings: Settings, database: Database
) -> None:
    key = new_key()
    (await client.post("/v1/batches", content=zipped(many(3)), headers=ZIP | key)).raise_for_status()
    for other in (many(2), many(3) | {"2.jpg": photo("dog")}, {f"x{name}": GOOD for name in many(3)}):
        answer = await client.post("/v1/batches", content=zipped(other), headers=ZIP | key)
        assert "other content" in problem(answer, 409, "key-taken")["detail"]
    problem(await client.post("/v1/batches", json={"receipts": ["r-0001"]}, headers=key), 409, "key-taken")
    headers = {"Authorization": f"Bearer {Signer(settings.keys_folder, 'cli').mint('somebody', Role.OPERATOR, PEOPLE)}"}
    answer = await client.post("/v1/batches", content=zipped(many(3)), headers=ZIP | key | headers)
    assert "another client" in problem(answer, 409, "key-taken")["detail"]
    assert left(settings, database)[:2] == (1, 3)


@pytest.mark.parametrize(
    "key", ["x", str(uuid_utils.uuid4()), "0" * 32, key_of(time.time() + 2 * 86_400), "f" * 36], ids=range(5)
)
async def test_a_key_that_is_no_fresh_uuid_is_refused(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP | {"Idempotency-Key": key})
    problem(answer, 422, "invalid-key")


async def test_a_key_answers_though_the_quota_is_full_and_may_be_used_again_when_its_batch_is_removed(
    client: httpx.AsyncClient, worker: Callable[[], int]
) -> None:
    keys = [new_key() for _ in range(3)]
    sends = [partial(client.post, "/v1/batches", content=zipped(many(1)), headers=ZIP | key) for key in keys]
    for send in sends * 2:
        assert (await send()).status_code == 202
    problem(await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP | new_key()), 429, "too-many-batches")
    assert (await client.delete(f"/v1/batches/{keys[0]['Idempotency-Key']}")).status_code == 204
    assert (await sends[0]()).json()["state"] == "queued"
    assert worker() == 3


async def test_while_a_batch_is_still_received_its_key_is_told_to_wait(
    client: httpx.AsyncClient, database: Database
) -> None:
    key = new_key()
    new = store.NewBatch(key["Idempotency-Key"], "cli:tests", store.UPLOAD, ["0.jpg"], 1, now())
    database.write(lambda c: store.create(c, new, Quota(10, 1000, 1000)))
    answer = await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP | key)
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


SPAN = {"since": "2026-11-22T10:00:00Z", "until": "2026-11-22T11:00:00Z"}


async def test_a_camera_and_a_span_are_all_its_frames(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/batches", json={"camera_id": "450", **SPAN})).json()["total"] == 450
    more = problem(await client.post("/v1/batches", json={"camera_id": "1001", **SPAN}), 422, "too-many-inputs")
    assert "shorter spans" in more["detail"]
    none = problem(await client.post("/v1/batches", json={"camera_id": "0", **SPAN}), 422, "empty-batch")
    assert "no such camera" in none["detail"]
    long = await client.post("/v1/batches", content=b" " * 300_000, headers={"Content-Type": "application/json"})
    assert "256 KiB" in problem(long, 413, "content-too-large")["detail"]


async def test_ingest_that_is_away_is_a_503_that_says_when_to_come_again(
    settings: Settings, token_for: TokenFor
) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("away")

    app = create_app(settings, ingest_transport=httpx.MockTransport(away))
    headers = {"Authorization": f"Bearer {token_for('operator')}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://c", headers=headers) as client,
    ):
        answer = await client.post("/v1/batches", json={"camera_id": "3", **SPAN})
        problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert left(settings, app.state.database)[0] == 0


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


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
async def test_a_photo_as_heavy_as_one_may_be_is_taken(settings: Settings, token_for: TokenFor, method: int) -> None:
    # After its end a JPEG may have anything: a photo of 5 MiB, and one of the most that is taken by default.
    noise = random.Random(1).randbytes(10 * 1024 * 1024)
    files = {"5.jpg": GOOD + noise[: 5 * 1024 * 1024], "10.jpg": GOOD + noise[len(GOOD) :], "small.jpg": GOOD}
    defaults = Settings(data=settings.data, keys=settings.keys, models=settings.models, model="tiny")
    app = create_app(defaults)
    headers = {"Authorization": f"Bearer {token_for('operator')}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://c", headers=headers) as client,
    ):
        answer = await client.post("/v1/batches", content=zipped(files, method), headers=ZIP)
        assert answer.status_code == 202, answer.text
        with app.state.database.read() as connection:
            kept = connection.execute(select(contents.c.content).order_by(contents.c.number)).scalars().all()
    assert [bytes(content) for content in kept] == list(files.values())


async def test_the_names_that_are_checked_are_those_that_are_kept(
    client: httpx.AsyncClient, worker: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Renaming(zipfile.ZipFile):
        """As newer readers do by an extra field: `filename` is another than the one that was in the directory."""

        def infolist(self) -> list[zipfile.ZipInfo]:
            for entry in super().infolist():
                entry.filename = "../../x.jpg"
            return super().infolist()

    monkeypatch.setattr(zipfile, "ZipFile", Renaming)
    body = zipped({"a.jpg": GOOD})
    answer = await client.post("/v1/batches", content=body, headers=ZIP)
    worker()
    rows = (await client.get(f"{answer.headers['Location']}/predictions")).json()["items"]
    assert [row["input"] for row in rows] == ["a.jpg"]


def twice(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, GOOD)
        archive.writestr(name, photo("dog"))
    return out.getvalue()


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


async def test_an_endless_body_is_cut_off_though_no_header_tells_its_length(
    client: httpx.AsyncClient, settings: Settings, database: Database
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1_000_000)

    problem(await client.post("/v1/batches", content=endless(), headers=ZIP), 413, "content-too-large")
    assert left(settings, database) == (0, 0, 0, [])


async def dripping() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await asyncio.sleep(0.02)


async def test_a_body_that_drips_is_cut_off(settings: Settings, token_for: TokenFor) -> None:
    app = create_app(settings.model_copy(update={"body_deadline_s": 0.2}))
    headers = {"Authorization": f"Bearer {token_for('operator')}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://c", headers=headers) as client,
    ):
        problem(await client.post("/v1/batches", content=dripping(), headers=ZIP), 408, "request-timeout")


async def test_one_client_takes_half_of_the_places_at_most(app: FastAPI, client: httpx.AsyncClient) -> None:
    parts: Batching = app.state.batching
    places = parts.settings.batch_uploads // 2
    held = [asyncio.create_task(client.post("/v1/batches", content=dripping(), headers=ZIP)) for _ in range(places)]
    async with asyncio.timeout(30):
        while parts.uploading.total() < places:  # noqa: ASYNC110 - what counts is the app's own number
            await asyncio.sleep(0.01)
    problem(await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP), 429, "too-many-batches")
    assert not parts.uploads.locked()
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert (await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP)).status_code == 202


async def test_spans_that_are_looked_up_have_places_as_uploads_do(app: FastAPI, client: httpx.AsyncClient) -> None:
    parts: Batching = app.state.batching
    for _ in range(parts.settings.batch_uploads):
        await parts.uploads.acquire()
    problem(await client.post("/v1/batches", json={"camera_id": "3", **SPAN}), 503, "unavailable")
    parts.uploads.release()
    assert (await client.post("/v1/batches", json={"camera_id": "3", **SPAN})).status_code == 202


async def test_a_photo_that_is_too_large_is_one_bad_row(client: httpx.AsyncClient, worker: Callable[[], int]) -> None:
    files = {"large.jpg": GOOD + bytes(range(256)) * 5000, "a.jpg": GOOD}
    answer = await client.post("/v1/batches", content=zipped(files), headers=ZIP)
    assert answer.status_code == 202
    worker()
    rows = (await client.get(f"{answer.headers['Location']}/predictions")).json()["items"]
    assert rows[0]["error"].startswith("larger than")
    assert rows[1]["label"] == "cat"


async def test_what_waits_is_bounded_and_the_answer_says_when_to_come_again(
    client: httpx.AsyncClient, app: FastAPI, token_for: TokenFor, worker: Callable[[], int]
) -> None:
    content = zipped(many(1))
    for _ in range(3):
        assert (await client.post("/v1/batches", content=content, headers=ZIP)).status_code == 202
    answer = await client.post("/v1/batches", content=content, headers=ZIP)
    assert problem(answer, 429, "too-many-batches")["what"] == "jobs"
    assert int(answer.headers["Retry-After"]) > 0
    worker()
    assert (await client.post("/v1/batches", content=content, headers=ZIP)).status_code == 202


async def test_predictions_come_in_pages_that_lose_and_repeat_nothing(
    client: httpx.AsyncClient, worker: Callable[[], int]
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(70)), headers=ZIP)).headers["Location"]
    assert worker() == 70
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get(f"{location}/predictions", params={"limit": 20, **cursor})).json()
        names += [item["input"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert names == [f"{n}.jpg" for n in range(70)]


async def test_results_are_a_csv_for_who_accepts_it(client: httpx.AsyncClient, worker: Callable[[], int]) -> None:
    files = {"a, b.jpg": GOOD, "=cmd.jpg": GOOD, "bad.jpg": b"x"}
    location = (await client.post("/v1/batches", content=zipped(files), headers=ZIP)).headers["Location"]
    worker()
    answer = await client.get(f"{location}/predictions", headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["input"], row["label"], row["error"]) for row in rows] == [
        ("a, b.jpg", "cat", ""),
        ("'=cmd.jpg", "cat", ""),
        ("bad.jpg", "", "not a JPEG, PNG or WebP image"),
    ]
    assert (rows[0]["model"], rows[0]["version"]) == ("tiny", "1")
    assert float(rows[0]["cat"]) > 0.5 > float(rows[0]["dog"])
    other = await client.get(f"{location}/predictions", headers={"Accept": "application/json, text/csv;q=0.1"})
    assert other.headers["Content-Type"] == "application/json"
    assert answer.headers["Vary"] == other.headers["Vary"] == "Accept"


async def test_a_cancelled_batch_ends_at_once_keeps_its_results_and_forgets_its_photos(
    client: httpx.AsyncClient, settings: Settings, database: Database, worker: Callable[[], int]
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(5)), headers=ZIP)).headers["Location"]
    answer = await client.patch(location, json={"state": "cancelled"})
    assert answer.json()["state"] == "cancelled"
    assert (answer.json()["done"], answer.json()["failed"]) == (0, 5)
    assert (await client.patch(location, json={"state": "cancelled"})).status_code == 200
    assert left(settings, database) == (1, 5, 0, [])
    assert worker() == 0
    rows = (await client.get(f"{location}/predictions")).json()["items"]
    assert [row["error"] for row in rows] == [CANCELLED] * 5
    done = (await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP)).headers["Location"]
    worker()
    problem(await client.patch(done, json={"state": "cancelled"}), 409, "already-ended")


async def test_there_is_no_csv_before_the_end_as_it_would_look_whole(
    client: httpx.AsyncClient, worker: Callable[[], int]
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(2)), headers=ZIP)).headers["Location"]
    csv_of = partial(client.get, f"{location}/predictions", headers={"Accept": "text/csv"})
    problem(await csv_of(), 409, "not-ended")
    worker()
    assert len((await csv_of()).text.splitlines()) == 3


async def test_a_removed_batch_is_gone_with_all_that_it_had(
    client: httpx.AsyncClient, settings: Settings, database: Database
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(5)), headers=ZIP)).headers["Location"]
    assert (await client.delete(location)).status_code == 204
    problem(await client.get(location), 404, "unknown-batch")
    problem(await client.delete(location), 404, "unknown-batch")
    assert left(settings, database) == (0, 0, 0, [])


async def test_batches_are_listed_newest_first_in_pages(client: httpx.AsyncClient) -> None:
    made = [(await client.post("/v1/batches", json={"receipts": [f"r-{n}"]})).json()["id"] for n in range(3)]
    first = (await client.get("/v1/batches", params={"limit": 2})).json()
    second = (await client.get("/v1/batches", params={"limit": 2, "cursor": first["next"]})).json()
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None


async def test_progress_that_did_not_change_costs_no_body(client: httpx.AsyncClient, worker: Callable[[], int]) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(2)), headers=ZIP)).headers["Location"]
    etag = (await client.get(location)).headers["ETag"]
    assert (await client.get(location, headers={"If-None-Match": etag})).status_code == 304
    worker()
    assert (await client.get(location, headers={"If-None-Match": etag})).status_code == 200


async def events(client: httpx.AsyncClient, location: str, **headers: str) -> list[dict[str, str]]:
    text = (await client.get(f"{location}/events", headers=headers)).text
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append(fields)
    return found


async def test_progress_is_streamed_to_its_end_and_resumes_after_what_was_seen(
    client: httpx.AsyncClient, worker: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOOK_EVERY_S", 0.01)
    location = (await client.post("/v1/batches", content=zipped(many(2)), headers=ZIP)).headers["Location"]
    worker()
    (last,) = await events(client, location)
    assert (last["event"], json.loads(last["data"])["state"]) == ("progress", "done")
    assert await events(client, location, **{"Last-Event-ID": "queued-0-0"}) == [last]
    ended = await client.get(f"{location}/events", headers={"Last-Event-ID": last["id"]})
    assert (ended.status_code, ended.content) == (204, b"")


async def test_a_stream_ends_with_the_token_that_it_was_opened_with(
    client: httpx.AsyncClient, token_for: TokenFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOOK_EVERY_S", 0.01)
    location = (await client.post("/v1/batches", content=zipped(many(2)), headers=ZIP)).headers["Location"]
    token = {"Authorization": f"Bearer {token_for('viewer', lifetime_s=-5)}"}  # five seconds more, as clocks may differ
    (seen,) = await events(client, location, **token)
    assert json.loads(seen["data"])["state"] == "queued"


async def test_streams_beyond_their_number_are_a_503_and_places_come_back(
    app: FastAPI, client: httpx.AsyncClient, worker: Callable[[], int]
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP)).headers["Location"]
    worker()
    parts: Batching = app.state.batching
    for _ in range(parts.settings.batch_streams + 1):
        assert len(await events(client, location)) == 1
    for _ in range(parts.settings.batch_streams):
        await parts.streams.acquire()
    problem(await client.get(f"{location}/events"), 503, "unavailable")


async def test_a_small_picture_of_each_predicted_input_is_kept(
    client: httpx.AsyncClient, worker: Callable[[], int]
) -> None:
    location = (await client.post("/v1/batches", content=zipped({"a": GOOD, "b": b"x"}), headers=ZIP)).headers[
        "Location"
    ]
    worker()
    rows = (await client.get(f"{location}/predictions")).json()["items"]
    answer = await client.get(rows[0]["thumbnail"])
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8")
    assert rows[1]["thumbnail"] is None
    problem(await client.get(f"{location}/predictions/2/thumbnail"), 404, "no-thumbnail")


@pytest.mark.parametrize("role", ["viewer"])
async def test_who_may_only_look_can_send_cancel_and_remove_nothing(
    app: FastAPI, client: httpx.AsyncClient, token_for: TokenFor, role: str
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(1)), headers=ZIP)).headers["Location"]
    headers = {"Authorization": f"Bearer {token_for(role)}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://classifier", headers=headers
    ) as viewer:
        assert (await viewer.get(location)).status_code == 200
        problem(await viewer.post("/v1/batches", content=b"", headers=ZIP), 403, "forbidden")
        problem(await viewer.patch(location, json={"state": "cancelled"}), 403, "forbidden")
        problem(await viewer.delete(location), 403, "forbidden")
