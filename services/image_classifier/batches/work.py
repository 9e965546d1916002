"""What a worker does when the bell of batches rings: it takes a few inputs, predicts them, writes what became of them.

The message says nothing but that there is work: what is to be done, and whose turn it is, stands in the database. So
it does not matter how often a bell rings, or whether it is lost. Images are decoded and predicted by the very
functions that cameras' frames go through.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO

import structlog
from PIL import Image
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from services.image_classifier.batches import claims, metrics
from services.image_classifier.batches.claims import Claimed, Input, Result
from services.image_classifier.batches.sources import Fetch, fetched, kept
from services.image_classifier.batches.store import RECEIPTS, lock_inputs
from services.image_classifier.classify import Decode, predict_each
from services.image_classifier.decode import Picture, UndecodableImage
from services.image_classifier.images import FetchFailed
from services.image_classifier.model_version import ModelVersion, Prediction
from shared.database import Database, now
from shared.problem import Problem

log = structlog.get_logger(__name__)

PART = 8
"""Inputs whose bytes are asked for, and which are predicted, together, at most."""
LONGEST_S = 5.0
"""Time after which a worker writes what it has, and gives back the rest, if a quarter of the lease is not less."""
NOBODYS = "a-receipt-of-no-frame"
LATER = timedelta(seconds=15)
ERROR_LIMIT = 200
THUMBNAIL_QUALITY = 70


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker needs for batches.

    `model` gives the model version in use, and `fetch(receipts)` opens images at camera_ingest. A worker takes `chunk`
    inputs at a time and has them for `lease`; it begins nothing after a quarter of that, and `fetch` must give up after
    another, so nobody takes what it still has.
    """

    model: Callable[[], ModelVersion]
    decode: Decode
    fetch: Fetch
    chunk: int
    lease: timedelta


def classify_batches(database: Database, tools: Tools) -> int:
    """Work on the inputs whose turn it is; return how many have their result. Never raises because of one of them."""
    try:
        claimed = database.write(lambda connection: claims.claim(connection, now(), tools.chunk, tools.lease))
        if claimed is None:
            return 0
        with structlog.contextvars.bound_contextvars(batch=claimed.batch_id):
            return _work(database, tools, claimed)
    except (SQLAlchemyError, Problem) as error:
        # What was taken comes back by itself when its lease ends.
        metrics.FAILURES.labels("database").inc()
        log.error("batch left to its lease", error=str(error)[:300])
        return 0


def _work(database: Database, tools: Tools, claimed: Claimed) -> int:
    started = time.perf_counter()
    longest_s = min(LONGEST_S, tools.lease.total_seconds() / 4)
    model = tools.model()
    outcome = _Outcome([], [], {}, {})
    rest = list(claimed.inputs)

    def must_end() -> bool:
        return time.perf_counter() - started > longest_s

    while rest:
        part, rest = rest[:PART], rest[PART:]
        left, goes_on = _predict_part(database, tools, model, claimed, part, outcome, must_end)
        rest = left + rest
        if not goes_on:
            break
    if outcome.later:  # camera_ingest is away: the rest would only wait for it as long
        outcome.later.extend(one.number for one in rest)
        rest = []
    if rest:
        metrics.GIVEN_BACK.inc()
    given_back = [one.number for one in rest]

    def write(connection: Connection) -> int:
        at = now()
        lock_inputs(connection, claimed.batch_id, [one.number for one in claimed.inputs])
        if given_back:
            claims.put_back(connection, claimed, given_back, at)
        if outcome.later:
            claims.put_back(connection, claimed, outcome.later, at + LATER)
        claims.try_again(connection, claimed, outcome.again, at)
        claims.try_again(connection, claimed, outcome.again_later, at + LATER)
        return claims.finish(connection, claimed.batch_id, outcome.results, at)

    ended = database.write(write)
    outcomes = Tally("failed" if result.error else "done" for result in outcome.results)
    for name, number in outcomes.items():
        metrics.INPUTS.labels(name).inc(number)
    log.info(
        "inputs predicted",
        **outcomes,
        given_back=len(given_back),
        later=len(outcome.later),
        again=len(outcome.again) + len(outcome.again_later),
        ms=round(1000 * (time.perf_counter() - started)),
    )
    return ended


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of the inputs of a chunk.

    `results`; the numbers of those that could not be had and are asked for `later`, which was no attempt; and those to
    try `again`, or `again_later`, each alone, with the reason.
    """

    results: list[Result]
    later: list[int]
    again: dict[int, str]
    again_later: dict[int, str]


def _predict_part(
    database: Database,
    tools: Tools,
    model: ModelVersion,
    claimed: Claimed,
    part: Sequence[Input],
    outcome: _Outcome,
    must_end: Callable[[], bool],
) -> tuple[list[Input], bool]:
    """Predict a part up to the input after which `must_end`; return those not looked at, and whether to go on."""
    pictures: dict[int, Picture] = {}
    seen: set[int] = set()
    goes_on = True
    given = fetched(tools.fetch, part) if claimed.source == RECEIPTS else kept(database, claimed.batch_id, part)
    try:
        with closing(given) as found:
            for number, content in found:
                seen.add(number)
                if isinstance(content, str):
                    outcome.results.append(Result(number, error=content))
                else:
                    _decode(tools.decode, content, model, number, pictures, outcome)
                if must_end():
                    goes_on = False
                    break
    except FetchFailed as error:
        _predict(model, pictures, outcome)
        _not_fetched(tools, [one.number for one in part if one.number not in seen], error, outcome)
        return [], False
    _predict(model, pictures, outcome)
    return ([] if goes_on else [one for one in part if one.number not in seen]), goes_on


def _not_fetched(tools: Tools, numbers: Sequence[int], error: FetchFailed, outcome: _Outcome) -> None:
    """Put off inputs whose images did not come; it counts as an attempt if camera_ingest answers otherwise.

    So while camera_ingest is away inputs wait as long as that takes, and one that breaks its answers ends as an error.
    """
    metrics.FAILURES.labels("fetch").inc()
    try:
        with tools.fetch([NOBODYS]):
            answers = True
    except FetchFailed:
        answers = False
    log.warning("images not received; they are asked for again later", reason=str(error), others_are=answers)
    if answers:
        outcome.again_later.update(dict.fromkeys(numbers, f"its image could not be had: {error}"[:ERROR_LIMIT]))
    else:
        outcome.later.extend(numbers)


def _decode(
    decode: Decode, content: bytes, model: ModelVersion, number: int, pictures: dict[int, Picture], outcome: _Outcome
) -> None:
    """Add the picture to `pictures`, or to `outcome` why there is none."""
    manifest = model.manifest
    try:
        pictures[number] = decode(content, manifest.input_size)
    except UndecodableImage as error:
        reason = error.reason[:ERROR_LIMIT]
        outcome.results.append(Result(number, error=reason, model=manifest.name, version=manifest.version))
    except Exception as error:  # noqa: BLE001 - whatever one image does to its reader is no matter of its neighbours
        log.error("decoding failed", input=number, kind=type(error).__name__, error=str(error)[:200])
        outcome.again[number] = f"decoding failed ({type(error).__name__})"


def _predict(model: ModelVersion, pictures: dict[int, Picture], outcome: _Outcome) -> None:
    """Take `pictures`, and add to `outcome` what the model says of each."""
    for number, prediction in zip(pictures, predict_each(model, list(pictures.values())), strict=True):
        if isinstance(prediction, Exception):
            log.error("model failed", input=number, kind=type(prediction).__name__, error=str(prediction)[:200])
            outcome.again[number] = f"the model failed ({type(prediction).__name__})"
        else:
            outcome.results.append(_result(number, prediction, pictures[number], model))
    pictures.clear()


def _result(number: int, prediction: Prediction, picture: Picture, model: ModelVersion) -> Result:
    chances, manifest = prediction.probabilities, model.manifest
    return Result(
        number,
        label=prediction.label.value,
        cat=chances.cat,
        dog=chances.dog,
        quality=prediction.quality.value,
        model=manifest.name,
        version=manifest.version,
        thumbnail=_thumbnail(picture),
    )


def _thumbnail(picture: Picture) -> bytes:
    """Return what the model saw as a small JPEG: a few kilobytes without metadata, by which people know the photo."""
    out = BytesIO()
    Image.fromarray(picture.pixels).save(out, "JPEG", quality=THUMBNAIL_QUALITY)
    return out.getvalue()
