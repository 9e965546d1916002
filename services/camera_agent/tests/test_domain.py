"""The agent's rules, as tables."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from services.camera_agent import domain
from services.camera_agent.domain import Shown, Verdict
from services.camera_agent.photo import fingerprint
from services.camera_agent.tests.cameras import MORNING, grainy, scene

BLANK = bytes(domain.FINGERPRINT[0] * domain.FINGERPRINT[1])


def with_cells(number: int, level: int) -> bytes:
    return bytes([level] * number) + BLANK[number:]


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        (BLANK, False),
        (with_cells(domain.ENOUGH, domain.NOTICED), True),
        (with_cells(domain.ENOUGH - 1, 255), False),
        (with_cells(len(BLANK), domain.NOTICED - 1), False),
    ],
)
def test_a_scene_has_changed_when_enough_cells_differ_enough(after: bytes, changed: bool) -> None:
    assert domain.changed(BLANK, after) is changed
    assert domain.changed(after, BLANK) is changed


def test_noise_of_a_sensor_is_no_change_and_a_small_cat_is_one() -> None:
    quiet = [fingerprint(grainy(seed, grain=60)) for seed in range(4)]
    assert not any(domain.changed(quiet[0], other) for other in quiet[1:])
    # Four cells by three, a twentieth of the picture's width: a cat at the far wall.
    cat = bytearray(quiet[0])
    for row in range(20, 23):
        for column in range(30, 34):
            cat[row * domain.FINGERPRINT[0] + column] += 25
    assert domain.changed(quiet[0], bytes(cat))


@pytest.mark.parametrize(
    ("passed_s", "level", "worth"),
    [(1, 0, False), (59.9, 0, False), (60, 0, True), (1, 200, True), (-1, 0, True)],
)
def test_a_frame_is_worth_sending_if_it_changed_or_once_a_heartbeat(passed_s: float, level: int, worth: bool) -> None:
    now = Shown(with_cells(20, level), MORNING + timedelta(seconds=passed_s))
    assert domain.worth_sending(Shown(BLANK, MORNING), now, heartbeat_s=60) is worth


def test_slow_changes_add_up() -> None:
    sent, last = 0, None
    for minute in range(20):
        now = Shown(with_cells(len(BLANK), 4 * minute), MORNING + timedelta(seconds=minute))
        if domain.worth_sending(last, now, heartbeat_s=3600):
            sent, last = sent + 1, now
    assert sent == 7


def test_a_frames_name_is_the_same_whoever_makes_it_and_holds_its_time() -> None:
    summer = timezone(timedelta(hours=2))
    moment = datetime(2026, 7, 1, 12, 0, 0, 120, tzinfo=summer)
    name = domain.name_frame(moment, "ab" * 32)
    assert name == "20260701T100000000120Z-abababababab"
    assert name == domain.name_frame(moment.astimezone(UTC), "ab" * 32)
    assert domain.time_of_frame(name) == moment


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((200, 201), Verdict.TAKEN),
        ((400, 409, 410, 411, 413, 415, 422, 431), Verdict.REFUSED),
        ((301, 307, 401, 403, 404, 405), Verdict.MISCONFIGURED),
        ((408, 425, 429, 500, 502, 503, 504, 507), Verdict.LATER),
    ],
)
def test_what_an_answer_means(statuses: tuple[int, ...], verdict: Verdict) -> None:
    assert {domain.judge(status) for status in statuses} == {verdict}


def test_waits_double_up_to_a_minute_are_spread_and_never_shorter_than_asked() -> None:
    assert [domain.wait_s(failures, 1.0) for failures in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]
    assert [domain.wait_s(failures, 0.0) for failures in (1, 2, 7)] == [0.5, 1, 30]
    assert domain.wait_s(1, 0.5, asked_s=120) == 120
    assert domain.wait_s(9, 1.0, asked_s=10) == 60
    assert domain.wait_s(1, 0.5, asked_s=1e9) == 3600


@pytest.mark.parametrize(
    ("header", "asked_s"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        (" 30 ", 30),
        ("-5", 0),
        ("soon", 0),
        ("999999999999", 3600),
        ("Sun, 22 Nov 2026 10:00:20 GMT", 20),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0),
        ("Sun, 22 Nov 2026 10:00:20 -0000", 20),
    ],
)
def test_retry_after_is_read_in_both_of_its_forms(header: str | None, asked_s: float) -> None:
    assert domain.asked_wait_s(header, MORNING) == asked_s


def test_fingerprints_tell_scenes_apart() -> None:
    assert domain.changed(fingerprint(scene(40)), fingerprint(scene(140)))
