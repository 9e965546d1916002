"""The watchdog ends a worker that hangs, swells or is deaf, and no other."""

import threading

import pytest

from shared.watchdog import Watchdog, resident_bytes


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watchdog(clock: Clock, waiting: int | None = 0, memory_bytes: int = 1 << 50) -> Watchdog:
    return Watchdog(deadline_s=30, memory_bytes=memory_bytes, deaf_s=10, messages_waiting=lambda: waiting, clock=clock)


def test_a_task_past_its_deadline_ends_the_process(clock: Clock) -> None:
    dog = watchdog(clock, waiting=5)
    with dog.task():
        clock.now = 30
        assert dog.look() is None
        clock.now = 31
        assert dog.look() == "a task passed its deadline"
    assert dog.look() is None


@pytest.mark.parametrize(
    ("waiting", "after_s", "reason"),
    [
        (3, 11, "messages wait and none was consumed"),
        (3, 10, None),
        (0, 100, None),
        (None, 100, None),
    ],
)
def test_a_deaf_worker_is_ended_and_an_idle_one_is_not(
    clock: Clock, waiting: int | None, after_s: float, reason: str | None
) -> None:
    dog = watchdog(clock, waiting)
    clock.now = after_s
    assert dog.look() == reason


def test_a_worker_that_consumes_is_not_deaf(clock: Clock) -> None:
    dog = watchdog(clock, waiting=3)
    for _ in range(5):
        clock.now += 8
        with dog.task():
            pass
        assert dog.look() is None


def test_an_empty_queue_starts_the_time_anew(clock: Clock) -> None:
    waiting = [0]
    dog = Watchdog(deadline_s=1, memory_bytes=1 << 50, deaf_s=10, messages_waiting=lambda: waiting[0], clock=clock)
    clock.now = 100
    assert dog.look() is None
    waiting[0] = 1
    assert dog.look() is None


def test_a_swollen_process_is_ended_idle_or_at_work(clock: Clock) -> None:
    dog = watchdog(clock, memory_bytes=resident_bytes() // 2)
    assert dog.look() == "memory passed its bound"
    with dog.task():
        assert dog.look() == "memory passed its bound"


def test_the_thread_ends_the_process_once_with_the_reason(clock: Clock) -> None:
    reasons: list[str] = []
    ended = threading.Event()

    def end(reason: str) -> None:
        reasons.append(reason)
        ended.set()

    dog = Watchdog(deadline_s=1, memory_bytes=0, deaf_s=1, messages_waiting=lambda: 0, end=end, clock=clock)
    dog.start(every_s=0.01)
    assert ended.wait(20)
    assert reasons == ["memory passed its bound"]
