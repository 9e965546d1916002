"""A chunk of frames becomes estimates: what a worker does with one `classify_frames` message.

Nothing here fails a neighbour: each frame ends as `estimate`, as `rejected` with a reason, or as `retry`, which leaves
it to ingest's relay. A chunk that can't be worked on at all is logged and counted, and comes again by the relay too.
"""

import hashlib
import hmac
import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog
from prometheus_client import Counter, Histogram
from pydantic import ValidationError

from services.image_classifier.decode import Picture, UndecodableImage
from services.image_classifier.images import FetchFailed, Images, same_origin
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.rollout.domain import Choice
from services.image_classifier.rollout.journal import Entry
from services.image_classifier.rollout.lineup import InForce
from services.image_classifier.rollout.serving import Answer, Shot, answer, choose, sizes
from shared.database import now
from shared.messages import (
    ClassifyFrames,
    EstimateResult,
    FrameToClassify,
    RecordEstimates,
    RejectedResult,
    Result,
    RetryResult,
    SpeciesProbabilities,
    to_wire,
)

log = structlog.get_logger(__name__)

REASON_LIMIT = 200

CHUNKS = Counter("huella_classifier_chunks_total", "Chunks taken from the queue, by how they ended.", ["outcome"])
FRAMES = Counter(
    "huella_classifier_frames_total",
    "Frames of those chunks, by outcome and, of estimates, label.",
    ["outcome", "label"],
)
BATCH = Histogram("huella_classifier_batch_frames", "Frames of one forward pass.", buckets=(1, 2, 4, 8, 16, 32, 64))
STAGE = Histogram(
    "huella_classifier_stage_seconds",
    "Time of one chunk in each stage.",
    ["stage"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
PUBLISH_FAILURES = Counter("huella_classifier_publish_failures_total", "Results that the broker did not take.")

Decode = Callable[[bytes, int], Picture]
Fetch = Callable[[str, Sequence[str]], AbstractContextManager[Images]]
Publish = Callable[[dict[str, object]], None]


class PublishFailed(Exception):
    """The broker did not take a message; the text is one line for the log."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker needs to classify chunks.

    `in_force()` gives the rollout with its versions, `record` takes what was decided,
    `fetch(url, receipts)` opens the images (see images.fetch), `publish` sends one `record_estimates` message or
    raises PublishFailed, `decode` is decode.decode.
    """

    ingest_url: str
    in_force: Callable[[], InForce]
    decode: Decode
    fetch: Fetch
    publish: Publish
    record: Callable[[Entry], None]
    candidate_deadline_s: float = 1.0


def classify_frames(raw: object, tools: Tools) -> None:
    """Classify the chunk that the message `raw` names and publish its results; never raises because of its input."""
    try:
        message = ClassifyFrames.model_validate(raw)
    except ValidationError as error:
        CHUNKS.labels("refused").inc()
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['type']}" for item in error.errors()[:5]]
        log.error("message refused", task="classify_frames", problems=problems)
        return
    with structlog.contextvars.bound_contextvars(chunk=message.chunk, traceparent=message.traceparent):
        if not same_origin(message.images_url, tools.ingest_url):
            CHUNKS.labels("refused").inc()
            log.error("message refused", task="classify_frames", problems=["images_url: not camera_ingest's origin"])
            return
        outcome = _classify(message, tools)
        CHUNKS.labels(outcome).inc()


def _classify(message: ClassifyFrames, tools: Tools) -> str:
    started = time.perf_counter()
    try:
        results, settled = estimate_chunk(message, tools)
    except FetchFailed as error:
        log.warning("chunk left to the relay", reason=str(error), frames=len(message.frames))
        return "not_fetched"
    FRAMES.labels("settled", "").inc(settled)
    for (outcome, label), number in _tally(results).items():
        FRAMES.labels(outcome, label).inc(number)
    if not results:
        log.info("chunk was settled already", frames=settled)
        return "settled"
    answer = RecordEstimates(
        chunk=message.chunk,
        settle_url=f"{tools.ingest_url}/v1/settlements",
        results=results,
        traceparent=message.traceparent,
    )
    publishing = time.perf_counter()
    try:
        tools.publish(to_wire(answer))
    except PublishFailed as error:
        PUBLISH_FAILURES.inc()
        log.error("results not published; the relay offers the chunk again", reason=str(error), frames=len(results))
        return "not_published"
    ended = time.perf_counter()
    STAGE.labels("publish").observe(ended - publishing)
    outcomes: dict[str, int] = Tally(result.outcome for result in results)
    reasons = sorted({result.reason for result in results if not isinstance(result, EstimateResult)})
    log.info("chunk classified", **outcomes, settled=settled, reasons=reasons, ms=round(1000 * (ended - started)))
    return "published"


def estimate_chunk(message: ClassifyFrames, tools: Tools) -> tuple[list[Result], int]:
    """Return a result for every frame of the chunk that is not settled yet, and how many are settled.

    One image's bytes are held at a time, so memory does not grow with the chunk. Raises FetchFailed if camera_ingest
    gave no answer; an answer that is cut in the middle costs only the frames after the cut.
    """
    started = time.perf_counter()
    frames = {frame.receipt: frame for frame in message.frames}
    in_force = tools.in_force()
    choices = {frame.receipt: choose(in_force, frame.camera_id, frame.receipt) for frame in message.frames}
    shots: list[Shot] = []
    results: dict[str, Result] = {}
    decoding = 0.0
    with tools.fetch(message.images_url, list(frames)) as images:
        try:
            for receipt, content in images.members:
                begun = time.perf_counter()
                frame = frames.get(receipt)
                if frame is not None:
                    outcome = _decode(frame, content, tools, choices[receipt], in_force)
                    if isinstance(outcome, Shot):
                        shots.append(outcome)
                    else:
                        results[receipt] = outcome
                decoding += time.perf_counter() - begun
        except FetchFailed as error:
            log.warning("images cut short", reason=str(error), images=len(shots) + len(results))
    fetched = time.perf_counter()
    answers = answer(in_force, shots, predict_each, now(), tools.candidate_deadline_s, tools.record)
    for receipt, found in answers.items():
        results[receipt] = _result(frames[receipt], found, in_force.rollout.revision)
    STAGE.labels("fetch").observe(fetched - started - decoding)
    STAGE.labels("decode").observe(decoding)
    STAGE.labels("predict").observe(time.perf_counter() - fetched)
    settled = {receipt for receipt in frames if images.states.get(receipt) in ("counted", "rejected")}
    for receipt in frames.keys() - results.keys() - settled:
        known = receipt in images.states
        results[receipt] = _retry(receipt, "image not received" if known else "camera_ingest does not know it")
    return [results[receipt] for receipt in frames if receipt in results], len(settled - results.keys())


def predict_each(model: ModelVersion, pictures: Sequence[Picture]) -> list[Prediction | Exception]:
    """Return a prediction or its error for each picture, in order; one that fails the model never fails the others."""
    if not pictures:
        return []
    try:
        predictions = model.predict(pictures)
    except Exception as error:  # noqa: BLE001 - the runtime's errors have no common type; each picture then fails alone
        if len(pictures) == 1:
            return [error]
        log.warning("batch failed, asking one by one", frames=len(pictures), kind=type(error).__name__)
        return [answer for picture in pictures for answer in predict_each(model, [picture])]
    BATCH.observe(len(pictures))
    return list(predictions)


def _decode(
    frame: FrameToClassify, content: bytes | None, tools: Tools, choice: Choice, in_force: InForce
) -> Shot | Result:
    if content is None:
        return _rejected(frame.receipt, "larger than the classifier takes")
    if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), frame.sha256):
        return _retry(frame.receipt, "the bytes are not those that the camera sent (SHA-256)")
    try:
        pictures = {size: tools.decode(content, size) for size in sizes(in_force, choice)}
        return Shot(frame.receipt, frame.camera_id, choice, pictures)
    except UndecodableImage as error:
        return _rejected(frame.receipt, error.reason)
    except Exception as error:  # noqa: BLE001 - whatever one image does to its reader is no matter of its neighbours
        log.error("decoding failed", receipt=frame.receipt, kind=type(error).__name__, error=str(error)[:200])
        return _retry(frame.receipt, f"decoding failed: {type(error).__name__}")


def _result(frame: FrameToClassify, found: Answer, revision: int) -> Result:
    prediction = found.said
    if isinstance(prediction, Exception):
        log.error("model failed", receipt=frame.receipt, kind=type(prediction).__name__, error=str(prediction)[:200])
        return _retry(frame.receipt, f"the model failed: {type(prediction).__name__}")
    chances, prior, manifest = prediction.probabilities, found.manifest.priors, found.manifest
    return EstimateResult(
        outcome="estimate",
        receipt=frame.receipt,
        camera_id=frame.camera_id,
        space_id=frame.space_id,
        observed_at=frame.observed_at,
        sha256=frame.sha256,
        probabilities=SpeciesProbabilities(cat=chances.cat, dog=chances.dog),
        prior=SpeciesProbabilities(cat=prior.cat, dog=prior.dog),
        label=prediction.label.value,
        quality=prediction.quality.value,
        model=manifest.name,
        version=manifest.version,
        variant=found.variant.role.value,
        revision=revision,
    )


def _rejected(receipt: str, reason: str) -> RejectedResult:
    return RejectedResult(outcome="rejected", receipt=receipt, reason=reason[:REASON_LIMIT])


def _retry(receipt: str, reason: str) -> RetryResult:
    return RetryResult(outcome="retry", receipt=receipt, reason=reason[:REASON_LIMIT])


def _tally(results: Sequence[Result]) -> Tally[tuple[str, str]]:
    return Tally((result.outcome, result.label if isinstance(result, EstimateResult) else "") for result in results)
