"""The HTTP service, in process and, where the socket matters, behind a real one."""

import asyncio
import json
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import uvicorn
from fastapi import FastAPI

from services.image_classifier import serving
from services.image_classifier.decode import Picture, decode
from services.image_classifier.main import MIGRATIONS, create_app
from services.image_classifier.model_version import Prediction
from services.image_classifier.settings import Settings
from services.image_classifier.tests.ingest_double import photo
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.migrations import migrate
from shared.testing import TokenFor, free_port, wait_until
from shared.tokens import Role

GOOD = photo("cat")


@pytest.fixture
def settings(tmp_path: Path, keys: Path) -> Settings:
    for version in ("1", "2", "3"):
        write_tiny_model(tmp_path / "models" / "tiny" / version, version=version)
    return Settings(
        data=tmp_path, keys=keys, models=tmp_path / "models", model="tiny", predictors=1, predictions_at_once=3
    )


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    migrate(settings.database_url, MIGRATIONS)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI, token_for: TokenFor) -> AsyncIterator[httpx.AsyncClient]:
    """A viewer's client of the app."""
    headers = {"Authorization": f"Bearer {token_for('viewer')}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://classifier", headers=headers) as client:
        yield client


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Return the answer's problem document, which must have this status and kind and say what to do."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"]) == (f"urn:huella:problem:{slug}", status)
    assert len(body["detail"]) > 20
    return body


@pytest.mark.parametrize("label", ["cat", "dog", "both", "none"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_an_image_is_answered_with_label_probabilities_quality_and_model(
    client: httpx.AsyncClient, label: str, kind: str
) -> None:
    answer = await client.post("/v1/predictions", content=photo(label, kind=kind))
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"label", "probabilities", "quality", "model", "version"}
    assert (body["label"], body["quality"], body["model"], body["version"]) == (label, "ok", "tiny", "1")
    assert (body["probabilities"]["cat"] > 0.5, body["probabilities"]["dog"] > 0.5) == (
        label in ("cat", "both"),
        label in ("dog", "both"),
    )


def bomb() -> bytes:
    """Make a PNG of a few bytes whose header claims 30,000 x 30,000 pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(b"\0" * 99)) + part(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        pytest.param(b"", 415, "unsupported-media-type", id="empty"),
        pytest.param(b"%PDF-1.7 called .jpg", 415, "unsupported-media-type", id="a PDF"),
        pytest.param(photo(kind="GIF"), 415, "unsupported-media-type", id="a GIF"),
        pytest.param(b'{"image": "a.jpg"}', 415, "unsupported-media-type", id="JSON"),
        pytest.param(photo(size=(640, 480))[:-900], 422, "undecodable-image", id="truncated"),
        pytest.param(GOOD[:40], 422, "undecodable-image", id="a header alone"),
        pytest.param(bomb(), 422, "undecodable-image", id="a bomb"),
        pytest.param(bytes(11_000_000), 413, "content-too-large", id="11 MB"),
    ],
)
async def test_a_bad_image_is_told_as_what_it_is(
    client: httpx.AsyncClient, content: bytes, status: int, slug: str
) -> None:
    problem(await client.post("/v1/predictions", content=content), status, slug)


async def test_an_image_of_nearly_ten_megabytes_is_answered(client: httpx.AsyncClient) -> None:
    content = GOOD + bytes(10_000_000 - len(GOOD))  # what follows a JPEG's end is not looked at
    assert (await client.post("/v1/predictions", content=content)).json()["label"] == "cat"


async def test_a_body_past_the_limit_is_refused_though_no_header_tells_its_length(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1_000_000)

    problem(await client.post("/v1/predictions", content=endless()), 413, "content-too-large")


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png", "text/plain", "multipart/form-data", "no such thing", ""])
async def test_the_content_decides_and_not_the_header(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/v1/predictions", content=GOOD, headers={"Content-Type": kind})
    assert answer.json()["label"] == "cat"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/predictions"), ("GET", "/v1/models"), ("GET", "/v1/models/tiny/1")]
)
async def test_only_people_with_a_token_are_answered(app: FastAPI, token_for: TokenFor, method: str, path: str) -> None:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://classifier") as client:
        for authorization in (None, "Bearer nonsense", "Basic dTpw"):
            headers = {} if authorization is None else {"Authorization": authorization}
            answer = await client.request(method, path, content=GOOD, headers=headers)
            problem(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        service = token_for(Role.SERVICE, audience="image_classifier")
        answer = await client.request(method, path, content=GOOD, headers={"Authorization": f"Bearer {service}"})
        problem(answer, 403, "forbidden")


class Gate:
    """Holds the model: forward passes wait until it is opened."""

    def __init__(self, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.began = threading.Semaphore(0)
        self.open = threading.Event()
        predict = app.state.serving.model.predict

        def held(pictures: Sequence[Picture]) -> list[Prediction]:
            self.batches.append(len(pictures))
            self.began.release()
            assert self.open.wait(30)
            answers: list[Prediction] = predict(pictures)
            return answers

        monkeypatch.setattr(app.state.serving.model, "predict", held)


@pytest.fixture
def gate(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(app, monkeypatch)
    yield gate
    gate.open.set()


async def until(true: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, "what the test waits for", true)


def waiting(app: FastAPI) -> int:
    return len(app.state.serving.batcher._waiting)


async def test_requests_that_come_while_the_model_runs_share_its_next_pass(
    app: FastAPI, client: httpx.AsyncClient, gate: Gate
) -> None:
    first = asyncio.create_task(client.post("/v1/predictions", content=GOOD))
    assert await asyncio.to_thread(gate.began.acquire, timeout=30)
    others = [asyncio.create_task(client.post("/v1/predictions", content=photo(label))) for label in ("dog", "both")]
    await until(lambda: waiting(app) == 2)
    gate.open.set()
    answers = await asyncio.gather(first, *others)
    assert [answer.json()["label"] for answer in answers] == ["cat", "dog", "both"]
    assert gate.batches == [1, 2]


async def test_with_every_place_taken_a_request_is_told_to_come_again(
    app: FastAPI, client: httpx.AsyncClient, gate: Gate
) -> None:
    taken = [asyncio.create_task(client.post("/v1/predictions", content=GOOD)) for _ in range(3)]
    await until(lambda: app.state.serving.places.locked())
    answer = await client.post("/v1/predictions", content=GOOD)
    problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "1"
    gate.open.set()
    assert [answer.status_code for answer in await asyncio.gather(*taken)] == [200] * 3
    assert (await client.post("/v1/predictions", content=GOOD)).status_code == 200


async def test_a_caller_that_goes_away_gives_its_place_back(
    app: FastAPI, client: httpx.AsyncClient, gate: Gate
) -> None:
    calls = [asyncio.create_task(client.post("/v1/predictions", content=GOOD)) for _ in range(3)]
    await until(lambda: app.state.serving.places.locked())
    calls[2].cancel()
    await asyncio.wait([calls[2]])
    assert not app.state.serving.places.locked()
    gate.open.set()
    assert [answer.status_code for answer in await asyncio.gather(*calls[:2])] == [200] * 2


async def test_an_image_that_breaks_its_reader_fails_alone(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking = photo("dog")

    def broken(data: bytes, size: int) -> Picture:
        if data == breaking:
            raise RuntimeError("a fault of the reader")
        return decode(data, size)

    monkeypatch.setattr(serving, "decode", broken)
    model = app.state.serving.model
    first, fault, last = serving._predict([(model, GOOD), (model, breaking), (model, GOOD)])
    assert isinstance(first, Prediction)
    assert isinstance(fault, RuntimeError)
    assert last == first


async def test_an_image_for_which_there_is_no_memory_may_come_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(data: bytes, size: int) -> Picture:
        raise MemoryError

    monkeypatch.setattr(serving, "decode", exhausted)
    answer = await client.post("/v1/predictions", content=GOOD)
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@contextmanager
def served(settings: Settings) -> Iterator[int]:
    """Serve the app on a real socket, and give its port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until("the server listens", lambda: server.started)
        yield port
    finally:
        server.should_exit = True
        thread.join(30)


async def test_a_sender_that_stalls_is_cut_off_and_one_that_hangs_up_does_no_harm(
    settings: Settings, token_for: TokenFor
) -> None:
    settings = settings.model_copy(update={"body_deadline_s": 0.3})
    with served(settings) as port:
        head = f"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_for('viewer')}\r\n"
        head += f"Content-Length: {len(GOOD)}\r\n\r\n"

        async def send(content: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + content)
            await writer.drain()
            return reader, writer

        _, gone = await send(GOOD[:100])
        gone.close()
        reader, writer = await send(GOOD[:100])
        answer = await asyncio.wait_for(reader.read(), 30)  # to the end: the connection is closed, too
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"urn:huella:problem:request-timeout" in answer
        reader, writer = await send(GOOD)
        assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_the_models_are_listed_in_pages_with_the_default_marked(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/models", params={"limit": 2})).json()
    second = (await client.get("/v1/models", params={"limit": 2, "cursor": first["next"]})).json()
    items = first["items"] + second["items"]
    assert [(item["name"], item["version"], item["default"]) for item in items] == [
        ("tiny", "1", True),
        ("tiny", "2", False),
        ("tiny", "3", False),
    ]
    assert (len(first["items"]), second["next"]) == (2, None)
    assert (await client.get("/v1/models", params={"cursor": "zzz"})).json() == {"items": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=many", "cursor=" + 300 * "x"])
async def test_a_page_that_can_not_be_is_refused(client: httpx.AsyncClient, query: str) -> None:
    problem(await client.get(f"/v1/models?{query}"), 422, "invalid-request")


async def test_a_card_says_all_that_its_manifest_says(client: httpx.AsyncClient, settings: Settings) -> None:
    card = (await client.get("/v1/models/tiny/2")).json()
    manifest = json.loads((settings.models / "tiny" / "2" / "manifest.json").read_text())
    assert {key: card[key] for key in manifest if key != "schema"} == {
        k: v for k, v in manifest.items() if k != "schema"
    }
    assert card["default"] is False
    assert card["size_bytes"] == (settings.models / "tiny" / "2" / "model.onnx").stat().st_size


@pytest.mark.parametrize(
    "path",
    [
        "tiny/4",
        "none/1",
        "tiny/..%2f..%2fkeys",
        "%2e%2e/models",
        "../models/tiny",
        "tiny/1%00",
        "tiny/1%0a",
        "TINY/1",
        "tiny/" + 300 * "1",
        "%2fetc/passwd",
        "tiny/1/manifest.json",
    ],
)
async def test_a_model_that_is_not_there_is_not_found_whatever_its_name_tries(
    client: httpx.AsyncClient, path: str
) -> None:
    problem(await client.get(f"/v1/models/{path}"), 404, "not-found")


@pytest.mark.parametrize("spoil", ["manifest", "graph", "another's"])
async def test_a_model_version_that_could_not_serve_is_not_shown(
    client: httpx.AsyncClient, settings: Settings, spoil: str
) -> None:
    folder = settings.models / "tiny" / "2"
    if spoil == "manifest":
        (folder / "manifest.json").write_text("{}")
    elif spoil == "graph":
        (folder / "model.onnx").unlink()
    else:
        write_tiny_model(folder, name="tiny", version="7")
    problem(await client.get("/v1/models/tiny/2"), 404, "not-found")
    assert [item["version"] for item in (await client.get("/v1/models")).json()["items"]] == ["1", "3"]


async def test_it_is_alive_and_ready_once_the_model_answers(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.get("/livez")).status_code == 200
    assert (await client.get("/readyz")).json() == {
        "status": "ok",
        "checks": {"model": "ok", "database": "ok", "bell": "ok", "controller": "ok"},
    }

    def broken(pictures: Sequence[Picture]) -> list[Prediction]:
        raise RuntimeError("no model")

    monkeypatch.setattr(app.state.serving.model, "predict", broken)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (
        503,
        {"model": "failed", "database": "ok", "bell": "ok", "controller": "ok"},
    )


async def test_openapi_documents_every_answer_with_an_example_that_fits_its_schema(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    told = ("/v1/predictions", "/v1/models", "/v1/rollout", "/v1/feedback", "/v2")
    paths = {path: operations for path, operations in document["paths"].items() if path.startswith(told)}
    assert {"/v1/predictions", "/v1/models", "/v1/models/{name}/{version}", "/v1/rollout"} <= paths.keys()
    for operations in paths.values():
        for operation in operations.values():
            assert {"401", "403", "422"} <= operation["responses"].keys()
            for status, response in operation["responses"].items():
                media = "application/json" if status < "300" else "application/problem+json"
                if media not in response.get("content", {}):
                    assert status in ("200", "204", "304")  # a graph, or nothing at all
                    continue
                content = response["content"][media]
                schema = content["schema"]
                if "$ref" in schema:
                    schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
                example = content.get("example") or schema["example"]
                jsonschema.validate(example, schema | {"components": document["components"]})


@pytest.mark.parametrize(
    ("status", "content"), [(415, b"hello"), (422, GOOD[:40]), (413, bytes(11_000_000)), (401, None)]
)
async def test_problems_are_as_openapi_documents_them(
    client: httpx.AsyncClient, status: int, content: bytes | None
) -> None:
    headers = {"Authorization": "Bearer nonsense"} if content is None else {}
    answer = await client.post("/v1/predictions", content=content or b"", headers=headers)
    document = (await client.get("/openapi.json")).json()
    documented = document["paths"]["/v1/predictions"]["post"]["responses"][str(status)]["content"]
    example = documented["application/problem+json"]["example"]
    body = problem(answer, status, example["type"].rpartition(":")[2])
    assert (body["title"], body.keys()) == (example["title"], example.keys())
