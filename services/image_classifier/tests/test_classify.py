"""What a worker does with one message: every way in which a chunk and a frame of it can end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from prometheus_client import REGISTRY
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from services.image_classifier import images
from services.image_classifier.classify import Fetch, PublishFailed, Tools, classify_frames
from services.image_classifier.decode import Picture, decode
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.rollout.journal import Entry
from services.image_classifier.rollout.lineup import alone
from services.image_classifier.tests.ingest_double import chunk, photo, serve_ingest, tar_answer
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.messages import EstimateResult, RecordEstimates
from shared.tokens import ServiceToken, Signer

INGEST = "http://ingest:8001"
LARGEST = 100_000
PHOTOS = {"r-1": photo("cat"), "r-2": photo("dog"), "r-3": photo("both"), "r-4": photo("none")}

Answer = Callable[[httpx.Request], httpx.Response]


class Bench:
    """A worker without its queue: `answer` stands for camera_ingest, `published` holds what went to aggregation."""

    def __init__(self, folder: Path, keys: Path) -> None:
        self.asked: list[httpx.Request] = []
        self.published: list[RecordEstimates] = []
        self.entries: list[Entry] = []
        self.in_force = alone(ModelVersion.load(write_tiny_model(folder)))
        self.answer: Answer = give(tar_answer(PHOTOS))
        self.client = images.create_client(10, httpx.MockTransport(self._ingest))
        self.token = ServiceToken(Signer(keys, "image_classifier"), "camera_ingest")
        self.tools = Tools(
            ingest_url=INGEST,
            in_force=lambda: self.in_force,
            decode=decode,
            fetch=self.fetch_within(30),
            publish=lambda message: self.published.append(RecordEstimates.model_validate(message)),
            record=self.entries.append,
        )

    def fetch_within(self, deadline_s: float) -> Fetch:
        return partial(images.fetch, self.client, self.token, deadline_s=deadline_s, image_bytes=LARGEST)

    def _ingest(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer(request)

    def outcomes(self) -> dict[str, str]:
        """Return what became of each frame of the one published message: its label, or its outcome and reason."""
        (message,) = self.published
        return {
            result.receipt: result.label if isinstance(result, EstimateResult) else f"{result.outcome}: {result.reason}"
            for result in message.results
        }


@pytest.fixture
def bench(tmp_path: Path, keys: Path) -> Bench:
    return Bench(tmp_path / "tiny", keys)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"huella_classifier_{name}_total", labels) or 0.0


def give(content: bytes, status: int = 200) -> Answer:
    return lambda _: httpx.Response(status, stream=httpx.ByteStream(content))


def test_every_frame_of_a_chunk_comes_out_with_all_that_aggregation_needs(bench: Bench) -> None:
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    (message,) = bench.published
    assert bench.outcomes() == {"r-1": "cat", "r-2": "dog", "r-3": "both", "r-4": "none"}
    sent = chunk(PHOTOS, INGEST)
    assert (message.chunk, message.traceparent) == (sent["chunk"], sent["traceparent"])
    assert message.settle_url == f"{INGEST}/v1/settlements"
    for offered, result in zip(sent["frames"], message.results, strict=True):  # type: ignore[call-overload]  # a list
        assert isinstance(result, EstimateResult)
        written = result.model_dump(mode="json")
        assert {key: written[key] for key in offered} == offered
        assert written["prior"] == {"cat": 0.4, "dog": 0.4}
        assert (result.model, result.version, result.variant, result.quality) == ("tiny", "1", "champion", "ok")


def test_a_chunk_is_one_request_that_names_all_receipts_and_says_who_asks(bench: Bench) -> None:
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    (request,) = bench.asked
    assert request.url == f"{INGEST}/v1/images"
    assert request.read() == b'{"receipts":["r-1","r-2","r-3","r-4"],"settled":false}'
    scheme, _, token = request.headers["Authorization"].partition(" ")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (scheme, claims["iss"], claims["aud"]) == ("Bearer", "image_classifier", "camera_ingest")
    assert request.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"%PDF-1.7", "rejected: not a JPEG, PNG or WebP image"),
        (b"", "rejected: empty"),
        (photo(size=(640, 480))[:-900], "rejected: truncated"),
    ],
)
def test_a_photo_that_can_not_be_decoded_is_rejected_alone(bench: Bench, content: bytes, outcome: str) -> None:
    photos = PHOTOS | {"r-2": content}
    bench.answer = give(tar_answer(photos))
    classify_frames(chunk(photos, INGEST), bench.tools)
    assert bench.outcomes() == {"r-1": "cat", "r-2": outcome, "r-3": "both", "r-4": "none"}


@pytest.mark.parametrize(
    ("photos", "states", "expected"),
    [
        pytest.param(PHOTOS | {"r-2": photo("cat")}, None, "retry: the bytes are not those", id="another photo"),
        pytest.param({k: v for k, v in PHOTOS.items() if k != "r-2"}, None, "retry: camera_ingest does", id="unknown"),
        pytest.param(
            {k: v for k, v in PHOTOS.items() if k != "r-2"},
            dict.fromkeys(PHOTOS, "accepted"),
            "retry: image not received",
            id="accepted, not sent",
        ),
        pytest.param(PHOTOS | {"r-2": bytes(LARGEST + 1)}, None, "rejected: larger than", id="too large"),
        pytest.param(PHOTOS, dict.fromkeys(PHOTOS, "accepted") | {"r-2": "counted"}, None, id="counted"),
        pytest.param(PHOTOS, dict.fromkeys(PHOTOS, "accepted") | {"r-2": "rejected"}, None, id="rejected before"),
        pytest.param(PHOTOS | {"r-9": photo()}, None, "dog", id="one more than was asked for"),
    ],
)
def test_what_ingest_answers_of_one_frame_is_no_matter_of_the_others(
    bench: Bench, photos: dict[str, bytes], states: dict[str, str] | None, expected: str | None
) -> None:
    bench.answer = give(tar_answer(photos, states))
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    outcomes = bench.outcomes()
    second = outcomes.pop("r-2", None)
    assert second == expected if expected is None else second is not None and second.startswith(expected)
    assert outcomes == {"r-1": "cat", "r-3": "both", "r-4": "none"}


def test_of_a_chunk_that_is_settled_already_nothing_is_published(bench: Bench) -> None:
    before = counted("chunks", outcome="settled")
    bench.answer = give(tar_answer({}, dict.fromkeys(PHOTOS, "counted")))
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    assert bench.published == []
    assert counted("chunks", outcome="settled") == before + 1


def refuse(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def stall(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("silence")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refuse, id="refused"),
        pytest.param(stall, id="timeout"),
        pytest.param(give(b"", 401), id="401"),
        pytest.param(give(b"", 503), id="503"),
        pytest.param(lambda _: httpx.Response(302, headers={"Location": "http://elsewhere/"}), id="redirect"),
        pytest.param(give(b""), id="empty"),
        pytest.param(give(b"no tar" * 1000), id="no tar"),
        pytest.param(give(tar_answer(PHOTOS)[:700]), id="cut in the index"),
        pytest.param(give(tar_answer(PHOTOS).replace(b"index.json", b"other.json")), id="no index"),
        pytest.param(give(tar_answer(PHOTOS).replace(b'"frames"', b'"FRAMES"')), id="index of another shape"),
        pytest.param(give(tar_answer(PHOTOS).replace(b'{"frames"', b'["frames"')), id="index is no JSON"),
    ],
)
def test_without_an_answer_from_ingest_the_chunk_is_left_to_the_relay(bench: Bench, answer: Answer) -> None:
    before = counted("chunks", outcome="not_fetched")
    bench.answer = answer
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    assert bench.published == []
    assert counted("chunks", outcome="not_fetched") == before + 1


def test_an_answer_cut_in_the_middle_costs_only_the_frames_after_the_cut(bench: Bench) -> None:
    whole = tar_answer(PHOTOS)
    bench.answer = give(whole[: whole.index(PHOTOS["r-3"]) + 100])
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    assert bench.outcomes() == {
        "r-1": "cat",
        "r-2": "dog",
        "r-3": "retry: image not received",
        "r-4": "retry: image not received",
    }


def test_fetching_has_a_deadline_however_the_bytes_drip(bench: Bench) -> None:
    bench.tools = replace(bench.tools, fetch=bench.fetch_within(-1))
    before = counted("chunks", outcome="not_fetched")
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    assert counted("chunks", outcome="not_fetched") == before + 1


def test_a_deadline_that_passes_in_the_middle_costs_only_the_frames_after_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, at = tar_answer(PHOTOS), [0.0]
    middle = whole.index(PHOTOS["r-3"])

    def dripping() -> Iterator[bytes]:
        yield whole[:middle]
        at[0] = 31.0
        yield whole[middle : middle + 10]
        yield whole[middle + 10 :]

    monkeypatch.setattr(images, "time", SimpleNamespace(monotonic=lambda: at[0]))
    bench.answer = lambda _: httpx.Response(200, content=dripping())
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    late = "retry: image not received"
    assert bench.outcomes() == {"r-1": "cat", "r-2": "dog", "r-3": late, "r-4": late}


def test_an_answer_larger_than_its_images_may_be_is_not_read_to_its_end(bench: Bench) -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        yield tar_answer({"r-1": PHOTOS["r-1"]})
        while True:
            read += 1
            yield bytes(1_000_000)

    bench.answer = lambda _: httpx.Response(200, content=endless())
    classify_frames(chunk({"r-1": PHOTOS["r-1"]}, INGEST), bench.tools)
    assert read <= 2


def test_one_connection_serves_chunk_after_chunk(bench: Bench) -> None:
    connections: list[object] = []
    # Bytes after a JPEG's end change nothing; this many let the answer end just where a piece that is received does.
    photos = {receipt: content + bytes(80_000 - len(content)) for receipt, content in PHOTOS.items()}
    assert len(tar_answer(photos)) % (64 * 1024) == 0
    with (
        serve_ingest(photos, lambda request: connections.append(request.client_address)) as url,
        images.create_client(10) as bench.client,
    ):
        bench.tools = replace(bench.tools, ingest_url=url, fetch=bench.fetch_within(30))
        for _ in range(3):
            classify_frames(chunk(photos, url), bench.tools)
    assert len(bench.published) == 3
    assert (len(connections), len(set(connections))) == (3, 1)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(None, id="nothing"),
        pytest.param("text", id="text"),
        pytest.param([], id="list"),
        pytest.param({}, id="empty"),
        pytest.param(chunk(PHOTOS, INGEST, schema=2), id="another schema"),
        pytest.param(chunk(PHOTOS, INGEST, frames=[]), id="no frames"),
        pytest.param({k: v for k, v in chunk(PHOTOS, INGEST).items() if k != "images_url"}, id="no URL"),
        pytest.param(chunk(PHOTOS, INGEST, frames=[{"receipt": "r-1"}]), id="a frame without its fields"),
        pytest.param(chunk({f"r-{n}": b"" for n in range(64)}, INGEST) | {"chunk": "../.."}, id="a path as chunk"),
        pytest.param(chunk(PHOTOS, "http://elsewhere:8001"), id="another host"),
        pytest.param(chunk(PHOTOS, "http://ingest:8002"), id="another port"),
        pytest.param(chunk(PHOTOS, "https://ingest:8001"), id="another scheme"),
        pytest.param(chunk(PHOTOS, "http://ingest:8001@elsewhere"), id="host as user"),
        pytest.param(chunk(PHOTOS, "http://user@ingest:8001"), id="a user"),
        pytest.param(chunk(PHOTOS, "file:///etc"), id="a file"),
        pytest.param(chunk(PHOTOS, "http://ingest:port"), id="no port"),
    ],
)
def test_a_message_that_is_not_to_be_trusted_is_refused_and_counted(bench: Bench, raw: object) -> None:
    before = counted("chunks", outcome="refused")
    classify_frames(raw, bench.tools)
    assert (bench.asked, bench.published) == ([], [])
    assert counted("chunks", outcome="refused") == before + 1


def test_fields_that_a_newer_writer_added_are_ignored(bench: Bench) -> None:
    message = chunk(PHOTOS, INGEST, added_later={"deep": [1]})
    message["frames"] = [frame | {"added_later": 1} for frame in message["frames"]]  # type: ignore[attr-defined]  # a list
    classify_frames(message, bench.tools)
    assert len(bench.outcomes()) == len(PHOTOS)


def test_a_message_without_its_optional_fields_is_classified(bench: Bench) -> None:
    message = chunk(PHOTOS, INGEST)
    del message["traceparent"]
    classify_frames(message, bench.tools)
    assert len(bench.outcomes()) == len(PHOTOS)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a reader's fault")])
def test_a_decoder_that_fails_on_one_photo_leaves_just_that_one_to_the_relay(bench: Bench, error: Exception) -> None:
    def fragile(data: bytes, size: int) -> Picture:
        if data == PHOTOS["r-2"]:
            raise error
        return decode(data, size)

    bench.tools = replace(bench.tools, decode=fragile)
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    outcome = f"retry: decoding failed: {type(error).__name__}"
    assert bench.outcomes() == {"r-1": "cat", "r-2": outcome, "r-3": "both", "r-4": "none"}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("onnxruntime")])
def test_a_forward_pass_that_fails_is_done_again_one_by_one(
    bench: Bench, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = bench.in_force.champion.predict

    def fragile(pictures: Sequence[Picture]) -> list[Prediction]:
        # The dog's photo: the only one with little red and much blue.
        if any(picture.pixels[..., 0].mean() < 80 and picture.pixels[..., 2].mean() > 100 for picture in pictures):
            raise error
        return predict(pictures)

    monkeypatch.setattr(bench.in_force.champion, "predict", fragile)
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    outcome = f"retry: the model failed: {type(error).__name__}"
    assert bench.outcomes() == {"r-1": "cat", "r-2": outcome, "r-3": "both", "r-4": "none"}


def test_results_that_the_broker_does_not_take_are_counted_and_nothing_is_raised(bench: Bench) -> None:
    def refused(_: object) -> None:
        raise PublishFailed("OperationalError: no broker")

    before = REGISTRY.get_sample_value("huella_classifier_publish_failures_total") or 0.0
    bench.tools = replace(bench.tools, publish=refused)
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    assert REGISTRY.get_sample_value("huella_classifier_publish_failures_total") == before + 1


def test_one_image_is_held_at_a_time(bench: Bench) -> None:
    held: list[str] = []

    @contextmanager
    def fetch(url: str, receipts: Sequence[str]) -> Any:
        def members() -> Any:
            for receipt in receipts:
                held.append(f"sent {receipt}")
                yield receipt, PHOTOS[receipt]

        yield images.Images(dict.fromkeys(receipts, "accepted"), members())

    def watch(data: bytes, size: int) -> Picture:
        held.append("decoded")
        return decode(data, size)

    bench.tools = replace(bench.tools, fetch=fetch, decode=watch)
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    assert held == [step for receipt in PHOTOS for step in (f"sent {receipt}", "decoded")]


def test_each_frame_and_batch_is_measured(bench: Bench) -> None:
    before = counted("frames", outcome="estimate", label="cat")
    batches = REGISTRY.get_sample_value("huella_classifier_batch_frames_sum") or 0.0
    classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    assert counted("frames", outcome="estimate", label="cat") == before + 1
    assert REGISTRY.get_sample_value("huella_classifier_batch_frames_sum") == batches + len(PHOTOS)
    for stage in ("fetch", "decode", "predict", "publish"):
        assert REGISTRY.get_sample_value("huella_classifier_stage_seconds_count", {"stage": stage})


def test_a_chunk_is_one_line_of_the_log_that_names_chunk_and_trace(
    bench: Bench,
) -> None:
    with capture_logs([merge_contextvars]) as lines:
        classify_frames(chunk(PHOTOS, INGEST), bench.tools)
    (line,) = (line for line in lines if "chunk" in line)
    assert (line["chunk"], line["estimate"]) == ("chunk-1", 4)
    assert line["traceparent"] == chunk(PHOTOS, INGEST)["traceparent"]
