"""What became of the inputs: in pages, as CSV, as small pictures."""

import csv
import io
from collections.abc import Callable
from functools import partial

import httpx

from services.image_classifier.tests.batch_api.bodies import GOOD, ZIP, many, problem, zipped


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


async def test_there_is_no_csv_before_the_end_as_it_would_look_whole(
    client: httpx.AsyncClient, worker: Callable[[], int]
) -> None:
    location = (await client.post("/v1/batches", content=zipped(many(2)), headers=ZIP)).headers["Location"]
    csv_of = partial(client.get, f"{location}/predictions", headers={"Accept": "text/csv"})
    problem(await csv_of(), 409, "not-ended")
    worker()
    assert len((await csv_of()).text.splitlines()) == 3


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
