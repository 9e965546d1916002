"""Messages are checked when written and read; what is unknown is ignored and what is wrong is refused."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from shared.messages import ClassifyFrames, RecordEstimates, isoformat, to_wire

FRAME = {
    "receipt": "018bcfe5-6800-7000-8000-000000000000",
    "camera_id": "c1",
    "space_id": "k1",
    "observed_at": "2026-11-22T10:00:00Z",
    "sha256": "0" * 64,
}
CHUNK: dict[str, Any] = {
    "schema": 1,
    "chunk": "a",
    "offered_at": "2026-11-22T10:00:00Z",
    "images_url": "http://127.0.0.1:8001/v1/images",
    "frames": [FRAME],
}
ESTIMATE = {
    **FRAME,
    "outcome": "estimate",
    "probabilities": {"cat": 0.9, "dog": 0.1},
    "prior": {"cat": 0.5, "dog": 0.5},
    "label": "cat",
    "quality": "ok",
    "model": "m",
    "version": "1",
    "variant": "champion",
}
RESULTS: dict[str, Any] = {"schema": 1, "chunk": "a", "settle_url": "http://127.0.0.1:8001/v1/settlements"}
FINISHED = {"outcome": "rejected", "receipt": "r", "reason": "it does not decode"}


def test_a_message_survives_the_wire_and_what_is_new_is_ignored() -> None:
    message = ClassifyFrames.model_validate({**CHUNK, "new": 1, "frames": [{**FRAME, "new": 2}]})
    wire = to_wire(message)
    assert wire["schema"] == 1
    assert "new" not in wire
    assert "traceparent" not in wire
    assert ClassifyFrames.model_validate(wire) == message


def test_results_are_told_apart_by_their_outcome() -> None:
    rows = [ESTIMATE, FINISHED, {**FINISHED, "outcome": "retry"}]
    message = RecordEstimates.model_validate({**RESULTS, "results": rows})
    assert [result.outcome for result in message.results] == ["estimate", "rejected", "retry"]
    assert RecordEstimates.model_validate(to_wire(message)) == message


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"chunk": ""},
        {"chunk": "a b"},
        {"frames": []},
        {"frames": [FRAME] * 65},
        {"offered_at": "2026-11-22T10:00:00"},
        {"images_url": "x" * 501},
        {"frames": [{**FRAME, "receipt": "../../etc"}]},
        {"frames": [{**FRAME, "camera_id": "a/b"}]},
        {"frames": [{**FRAME, "sha256": "0" * 63}]},
    ],
)
def test_a_bad_chunk_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClassifyFrames.model_validate({**CHUNK, **change})


@pytest.mark.parametrize(
    "row",
    [
        {**ESTIMATE, "label": "raccoon"},
        {**ESTIMATE, "probabilities": {"cat": 1.1, "dog": 0}},
        {**ESTIMATE, "probabilities": {"cat": "NaN", "dog": 0}},
        {**ESTIMATE, "probabilities": {"cat": 0.5}},
        {**FINISHED, "reason": ""},
        {**FINISHED, "outcome": "lost"},
    ],
)
def test_a_bad_result_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RecordEstimates.model_validate({**RESULTS, "results": [row]})


def test_times_are_written_in_utc() -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=timezone(timedelta(hours=1)))
    assert isoformat(noon) == "2026-11-22T11:00:00.000000Z"
