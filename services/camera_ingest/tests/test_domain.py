"""The rules, as tables."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest

from services.camera_ingest.domain import (
    DueFrame,
    GiveUp,
    Offer,
    State,
    decide,
    next_offer_at,
    observed_at,
    parse_captured_at,
    parse_exif_time,
    plan_chunks,
    settled_state,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T10:00:00Z", NOW),
        ("2026-11-22t10:00:00z", NOW),
        ("2026-11-22 11:00:00+01:00", NOW),
        ("2026-11-22T10:00:00.250Z", NOW + timedelta(milliseconds=250)),
        ("2026-11-22T10:00:00.123456789Z", NOW + timedelta(microseconds=123456)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_captured_at_header_is_read_as_rfc_3339(text: str, expected: datetime) -> None:
    assert parse_captured_at(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "20261122T100000Z",
        "2026-13-01T00:00:00Z",
        "2026-11-22T10:00:60Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "٢٠٢٦-11-22T10:00:00Z",
        "2026-11-22T10:00:00Z\n",
        "1" * 10_000,
    ],
)
def test_a_captured_at_header_that_is_no_time_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        parse_captured_at(text)


MADRID = ZoneInfo("Europe/Madrid")


@pytest.mark.parametrize(
    ("text", "offset", "zone", "expected"),
    [
        ("2026:11:22 10:00:00", None, UTC, NOW),
        ("2026:11:22 11:00:00", None, MADRID, NOW),
        ("2026:07:22 12:00:00", None, MADRID, datetime(2026, 7, 22, 10, tzinfo=UTC)),
        ("2026:11:22 05:00:00", "-05:00", MADRID, NOW),
        ("0000:00:00 00:00:00", None, UTC, None),
        ("2026:11:22 10:00:00", "nonsense", UTC, None),
        ("0001:01:01 00:00:00", "+14:00", UTC, None),
        ("2026-11-22", None, UTC, None),
        (None, "+01:00", UTC, None),
    ],
)
def test_exif_time_is_in_its_own_offset_else_in_the_zone_of_the_setting(
    text: str | None, offset: str | None, zone: tzinfo, expected: datetime | None
) -> None:
    assert parse_exif_time(text, offset, zone) == expected


@pytest.mark.parametrize(
    ("captured", "believed"),
    [
        (None, False),
        (NOW, True),
        (NOW - timedelta(days=300), True),
        (NOW + timedelta(minutes=2), True),
        (NOW + timedelta(minutes=2, microseconds=1), False),
        (datetime(2020, 1, 1, tzinfo=UTC), True),
        (datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=1))), False),
    ],
)
def test_a_camera_is_believed_unless_its_clock_is_plainly_wrong(captured: datetime | None, believed: bool) -> None:
    assert observed_at(captured, NOW) == (captured if believed else NOW)


@pytest.mark.parametrize(
    ("current", "wanted", "new"),
    [
        (State.ACCEPTED, State.COUNTED, State.COUNTED),
        (State.ACCEPTED, State.REJECTED, State.REJECTED),
        (State.REJECTED, State.COUNTED, State.COUNTED),
        (State.REJECTED, State.REJECTED, State.REJECTED),
        (State.COUNTED, State.REJECTED, State.COUNTED),
        (State.COUNTED, State.COUNTED, State.COUNTED),
    ],
)
def test_a_frame_never_leaves_counted(current: State, wanted: State, new: State) -> None:
    assert settled_state(current, wanted) is new


@pytest.mark.parametrize(
    ("attempts", "attempt_begun", "later_one_settled", "expected"),
    [
        # never fetched: it waits like all others, however often it was offered and whatever else was settled
        (0, False, False, Offer("r", alone=False, attempts=0)),
        (0, False, True, Offer("r", alone=False, attempts=0)),
        # fetched and not finished while nothing later was either: an outage, which counts against nobody
        (0, True, False, Offer("r", alone=True, attempts=0)),
        (2, True, False, Offer("r", alone=True, attempts=2)),
        # fetched and not finished while the way was clear
        (0, True, True, Offer("r", alone=True, attempts=1)),
        (1, True, True, Offer("r", alone=True, attempts=2)),
        (2, True, True, GiveUp("r", attempts=3)),
        # suspected once, it stays alone even if that offer was lost before it was fetched
        (1, False, True, Offer("r", alone=True, attempts=1)),
        (2, False, False, Offer("r", alone=True, attempts=2)),
    ],
)
def test_an_attempt_counts_only_while_the_way_was_clear(
    attempts: int, attempt_begun: bool, later_one_settled: bool, expected: Offer | GiveUp
) -> None:
    frame = DueFrame("r", offers=7, offered_at=NOW, attempt_at=NOW if attempt_begun else None, attempts=attempts)
    assert decide(frame, later_one_settled) == expected


@pytest.mark.parametrize(
    ("frames", "waiting", "expected"),
    [
        ("", 0, []),
        ("a", 0, ["a"]),
        ("abc", 0, ["abc"]),
        ("abcde", 0, ["abcd", "e"]),
        ("abc", 1, []),
        ("abcd", 1, ["abcd"]),
        ("abcdefghi", 1, ["abcd", "efgh"]),
        ("abcdefghijklm", 0, ["abcd", "efgh", "ijkl"]),
        ("abcdefghijkl", 2, ["abcd"]),
        ("abcdefgh", 3, []),
        ("abcdefgh", 9, []),
        ("ABCDE", 0, ["A", "B", "C"]),
        ("ABCDE", 2, ["A"]),
        # beside others, suspects go last, one at a time, and only into an empty queue
        ("aBc", 0, ["ac", "B"]),
        ("AaBbCc", 0, ["abc", "A"]),
        ("ABabcdefghijkl", 0, ["abcd", "efgh", "A"]),
        ("BaC", 1, []),
        ("ABabcd", 1, ["abcd"]),
    ],
)
def test_chunks_go_out_full_or_when_the_queue_is_empty_and_suspects_alone(
    frames: str, waiting: int, expected: list[str]
) -> None:
    """Capital letters are frames that are offered alone; a chunk holds 4, the queue 3."""
    offers = [Offer(letter, alone=letter.isupper(), attempts=0) for letter in frames]
    chunks = plan_chunks(offers, waiting, chunk=4, max_chunks=3)
    assert ["".join(offer.receipt for offer in chunk) for chunk in chunks] == expected


@pytest.mark.parametrize(("offers", "seconds"), [(1, 15), (2, 30), (3, 30), (100, 30)])
def test_a_frame_comes_due_soon_after_its_first_offer_and_then_regularly(offers: int, seconds: int) -> None:
    assert next_offer_at(offers, NOW, after_s=15, every_s=30) == NOW + timedelta(seconds=seconds)
