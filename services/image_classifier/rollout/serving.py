"""One chunk's pictures become answers: who is asked, who serves, what is compared, and what is written of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import datetime

import structlog

from services.image_classifier.decode import Picture
from services.image_classifier.model_version import Manifest, ModelVersion, Prediction
from services.image_classifier.rollout.candidate import Asked, Candidate, Down
from services.image_classifier.rollout.domain import Choice, Strategy, Variant, decide
from services.image_classifier.rollout.journal import Entry
from services.image_classifier.rollout.lineup import InForce
from services.image_classifier.versions.isolated import Late

log = structlog.get_logger(__name__)

PATIENCE = 3
"""How many times as long as the champion a candidate may take for a frame before it is late, if that is longer than its
deadline: on a machine that is slow for all, no candidate is to blame."""
LONGEST_S = 20.0
"""The most that this makes of its time, and that a chunk waits for all its candidates after the champion has answered:
what a worker does with a chunk has an end (`task_deadline_s`), and fetching takes its part of that."""

Predict = Callable[[ModelVersion, Sequence[Picture]], list[Prediction | Exception]]
Said = Mapping[str, Prediction | Exception]
Record = Callable[[Entry], None]


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame on its way through the chunk: its pictures by size, and who looks at it."""

    receipt: str
    camera_id: str
    choice: Choice
    pictures: Mapping[int, Picture]


@dataclass(frozen=True, slots=True)
class Answer:
    """What leaves the service for a frame, and who said it."""

    said: Prediction | Exception
    variant: Variant
    manifest: Manifest


def choose(now: InForce, camera_id: str, receipt: str) -> Choice:
    """Say who looks at a frame."""
    return decide(now.rollout, camera_id, receipt, now.belief)


def sizes(now: InForce, choice: Choice) -> set[int]:
    """Return the sizes of picture that a frame is needed in; the champion must always be able to step in."""
    found = {now.champion.manifest.input_size}
    for variant in (choice.served, *choice.shadows):
        if variant.key in now.candidates:
            found.add(now.candidates[variant.key].manifest.input_size)
    return found


def answer(
    now: InForce,
    shots: Sequence[Shot],
    predict: Predict,
    at: datetime,
    deadline_s: float,
    record: Record,
) -> dict[str, Answer]:
    """Return the answer to each frame, and `record` what was decided; shadows that nobody waits for come later."""
    asked = {key: _ask(candidate, shots, deadline_s, now) for key, candidate in now.candidates.items()}
    champion = now.champion_variant
    size = now.champion.manifest.input_size
    needed = [shot for shot in shots if champion in (shot.choice.served, *shot.choice.shadows)]
    begun = time.perf_counter()
    trusted = _ask_champion(now, needed, predict, size)
    seconds = (time.perf_counter() - begun) / max(1, len(needed))
    entry = Entry()
    if needed:
        entry.called(now.rollout.revision, champion, seconds)
        for candidate in now.candidates.values():
            candidate.champions_pace_s = seconds
    answers: dict[str, Answer] = {}
    for shot in needed:
        if shot.choice.served == champion:
            answers[shot.receipt] = Answer(trusted[shot.receipt], champion, now.champion.manifest)
        _note(entry, now, shot, champion, trusted[shot.receipt], seconds, at)
    until = time.monotonic() + LONGEST_S
    for key, (future, theirs) in asked.items():
        served = [shot for shot in theirs if shot.choice.served.key == key]
        candidate = now.candidates[key]
        if future is None:
            continue
        if served:
            wait([future], max(0.0, min(until, candidate.due) - time.monotonic()))
            if not future.done() and candidate.withdraw():
                continue
        if not served or not future.done():
            # What it does once nobody waits for it is still evidence. Whether it is late, its own clock says.
            future.add_done_callback(_later(now, candidate, theirs, trusted, at, record))
            continue
        said = _heard(entry, now, candidate, future, theirs, trusted, at, in_time=True)
        for shot in served:
            found = said.get(shot.receipt)
            if isinstance(found, Prediction):
                answers[shot.receipt] = Answer(found, candidate.variant, candidate.manifest)
    # Whoever has no answer yet was to be served by one that could not: the champion steps in.
    fallen = [shot for shot in shots if shot.receipt not in answers]
    missing = [shot for shot in fallen if shot.receipt not in trusted]
    trusted |= _ask_champion(now, missing, predict, size)
    for shot in fallen:
        answers[shot.receipt] = Answer(trusted[shot.receipt], champion, now.champion.manifest)
        if shot in missing:
            _note(entry, now, shot, champion, trusted[shot.receipt], None, at, fallback=True)
    for shot in shots:
        said_of = answers[shot.receipt].said
        if isinstance(said_of, Prediction):
            entry.spread(shot.camera_id, at, shot.pictures[size], said_of)
    record(entry)
    return answers


def _ask(
    candidate: Candidate, shots: Sequence[Shot], deadline_s: float, now: InForce
) -> tuple[Asked | None, list[Shot]]:
    """Begin to ask a candidate about its frames, for some seconds at most; None for the future if it is not asked."""
    key = candidate.variant.key
    theirs = [shot for shot in shots if key in {one.key for one in (shot.choice.served, *shot.choice.shadows)}]
    if candidate.busy:
        # Shadows are dropped: nobody waits for them. Frames that it should serve wait for their turn.
        theirs = [shot for shot in theirs if shot.choice.served.key == key]
    if not theirs or candidate.away:
        # One that starts is not asked and not blamed: the champion serves its frames.
        return None, []
    patience_s = max(deadline_s, min(LONGEST_S, PATIENCE * candidate.champions_pace_s * len(theirs)))
    size = candidate.manifest.input_size
    return candidate.ask([shot.pictures[size] for shot in theirs], patience_s), theirs


def _ask_champion(
    now: InForce, shots: Sequence[Shot], predict: Predict, size: int
) -> dict[str, Prediction | Exception]:
    said = predict(now.champion, [shot.pictures[size] for shot in shots])
    return {shot.receipt: one for shot, one in zip(shots, said, strict=True)}


def _heard(
    entry: Entry,
    now: InForce,
    candidate: Candidate,
    future: Asked,
    shots: Sequence[Shot],
    trusted: Said,
    at: datetime,
    *,
    in_time: bool,
) -> dict[str, Prediction | Exception]:
    """Write down what a candidate did, in time to serve or not, and return what it says of each frame; nothing if it is
    down."""
    try:
        predictions, seconds = future.result()
        said: dict[str, Prediction | Exception] = {
            shot.receipt: one for shot, one in zip(shots, predictions, strict=True)
        }
        took = seconds / len(shots)
        entry.called(now.rollout.revision, candidate.variant, took)
    except Down:
        return {}
    except Exception as error:  # noqa: BLE001 - whatever a candidate does is counted against it and harms no frame
        log.warning(
            "a candidate failed",
            model=candidate.manifest.name,
            version=candidate.manifest.version,
            kind=type(error).__name__,
            error=str(error)[:200],
            frames=len(shots),
        )
        said = {shot.receipt: error for shot in shots}
        took = None
        entry.called(now.rollout.revision, candidate.variant, None)
    for shot in shots:
        _note(entry, now, shot, candidate.variant, said[shot.receipt], took, at, trusted, in_time=in_time)
    return said


def _later(
    now: InForce,
    candidate: Candidate,
    shots: Sequence[Shot],
    trusted: Said,
    at: datetime,
    record: Record,
) -> Callable[[Asked], None]:
    def done(future: Asked) -> None:
        if future.cancelled():
            return
        entry = Entry()
        _heard(entry, now, candidate, future, shots, trusted, at, in_time=False)
        record(entry)

    return done


def _note(
    entry: Entry,
    now: InForce,
    shot: Shot,
    variant: Variant,
    said: Prediction | Exception,
    seconds: float | None,
    at: datetime,
    trusted: Said | None = None,
    fallback: bool = False,
    in_time: bool = True,
) -> None:
    """Write down what one variant did with one frame."""
    prediction = said if isinstance(said, Prediction) else None
    outcome = "late" if isinstance(said, Late) else "error" if prediction is None else "fallback" if fallback else "ok"
    served = fallback or (in_time and shot.choice.served.key == variant.key and prediction is not None)
    champion = trusted.get(shot.receipt) if trusted is not None else None
    revision = now.rollout.revision
    entry.decided(
        revision,
        variant,
        outcome,
        served=served,
        seconds=seconds,
        champion=champion if isinstance(champion, Prediction) else None,
        said=prediction,
    )
    # Of a frame that the champion alone looks at, under a policy that leaves no choice, there is nothing to learn.
    if now.rollout.strategy not in (Strategy.SINGLE, Strategy.SILENT) or shot.choice.shadows:
        entry.row(
            revision,
            variant,
            shot.receipt,
            shot.camera_id,
            outcome,
            at,
            served=served,
            propensity=shot.choice.propensity,
            said=prediction,
        )
