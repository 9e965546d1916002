"""What is taken as a batch: a zip, a form, receipts, a camera's span."""

import random
import zipfile
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import select

from services.image_classifier.batches.tables import contents
from services.image_classifier.main import create_app
from services.image_classifier.settings import Settings
from services.image_classifier.tests.batch_api.bodies import GOOD, SPAN, ZIP, left, problem, zipped
from services.image_classifier.tests.ingest_double import photo
from shared.database import Database
from shared.testing import TokenFor


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


async def test_a_photo_that_is_too_large_is_one_bad_row(client: httpx.AsyncClient, worker: Callable[[], int]) -> None:
    files = {"large.jpg": GOOD + bytes(range(256)) * 5000, "a.jpg": GOOD}
    answer = await client.post("/v1/batches", content=zipped(files), headers=ZIP)
    assert answer.status_code == 202
    worker()
    rows = (await client.get(f"{answer.headers['Location']}/predictions")).json()["items"]
    assert rows[0]["error"].startswith("larger than")
    assert rows[1]["label"] == "cat"
