"""The watchdog ends a process that hangs, swells or is deaf, and no other."""

import threading

import pytest

from shared.watchdog import Deadline, Deafness, Watchdog, memory_bound, resident_bytes


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def deaf_worker(clock: Clock, waiting: int | None) -> tuple[Deadline, Watchdog]:
    tasks = Deadline(30, clock)
    return tasks, Watchdog(tasks.look, Deafness(tasks, 10, lambda: waiting, clock).look)


def test_a_task_past_its_deadline_ends_the_process(clock: Clock) -> None:
    tasks, dog = deaf_worker(clock, waiting=5)
    with tasks.task():
        clock.now = 30
        assert dog.look() is None
        clock.now = 31
        assert dog.look() == "a task passed its deadline"
    assert dog.look() is None


def test_of_several_tasks_at_once_each_has_its_own_time(clock: Clock) -> None:
    tasks = Deadline(30, clock)
    first, second = tasks.task("one"), tasks.task("two")
    first.__enter__()
    clock.now = 20
    second.__enter__()
    clock.now = 31
    assert tasks.passed() == "one"
    first.__exit__(None, None, None)
    assert tasks.passed() is None
    assert tasks.busy
    clock.now = 51
    assert tasks.look() == "two passed its deadline"
    second.__exit__(None, None, None)
    assert not tasks.busy


def test_a_task_that_fails_is_at_work_no_longer(clock: Clock) -> None:
    tasks = Deadline(30, clock)
    with pytest.raises(ValueError, match="no"), tasks.task():
        raise ValueError("no")
    clock.now = 31
    assert tasks.passed() is None


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
    _, dog = deaf_worker(clock, waiting)
    clock.now = after_s
    assert dog.look() == reason


def test_a_worker_that_consumes_is_not_deaf(clock: Clock) -> None:
    tasks, dog = deaf_worker(clock, waiting=3)
    for _ in range(5):
        clock.now += 8
        with tasks.task():
            pass
        assert dog.look() is None


def test_a_worker_that_is_long_at_one_task_is_not_deaf_after_it(clock: Clock) -> None:
    tasks, dog = deaf_worker(clock, waiting=3)
    with tasks.task():
        clock.now = 29
        assert dog.look() is None
    clock.now = 39
    assert dog.look() is None
    clock.now = 40
    assert dog.look() == "messages wait and none was consumed"


def test_an_empty_queue_starts_the_time_anew(clock: Clock) -> None:
    waiting = [0]
    rule = Deafness(Deadline(1, clock), 10, lambda: waiting[0], clock)
    clock.now = 100
    assert rule.look() is None
    waiting[0] = 1
    assert rule.look() is None


def test_a_swollen_process_is_ended_idle_or_at_work(clock: Clock) -> None:
    tasks = Deadline(30, clock)
    dog = Watchdog(tasks.look, memory_bound(resident_bytes() // 2))
    assert dog.look() == "memory passed its bound"
    with tasks.task():
        assert dog.look() == "memory passed its bound"


def test_the_first_rule_that_has_a_reason_tells_it() -> None:
    assert Watchdog(lambda: None, lambda: "one", lambda: "two").look() == "one"
    assert Watchdog().look() is None


def test_the_thread_ends_the_process_once_with_the_reason() -> None:
    reasons: list[str] = []
    ended = threading.Event()

    def end(reason: str) -> None:
        reasons.append(reason)
        ended.set()

    dog = Watchdog(memory_bound(0), end=end)
    dog.start(every_s=0.01)
    assert ended.wait(20)
    assert reasons == ["memory passed its bound"]


def test_a_process_that_stood_still_is_given_until_the_next_look() -> None:
    # As the thread reads them: it starts, comes a minute too late, and comes in time.
    times = iter([0.0, 60.0, 60.0, *[60.01] * 3])
    looked: list[float] = []
    ended = threading.Event()

    def clock() -> float:
        at = next(times)
        looked.append(at)
        return at

    def reason() -> str:
        return f"after {len(looked)} looks at the clock"

    reasons: list[str] = []

    def end(reason: str) -> None:
        reasons.append(reason)
        ended.set()

    Watchdog(reason, end=end, clock=clock).start(every_s=0.01)
    assert ended.wait(20)
    assert reasons == ["after 5 looks at the clock"]


def test_once_it_is_stopped_the_thread_looks_no_more() -> None:
    looks: list[bool] = []

    def look() -> None:
        looks.append(True)

    before = set(threading.enumerate())
    dog = Watchdog(look)
    dog.start(every_s=0.01)
    (thread,) = (one for one in set(threading.enumerate()) - before if one.name == "watchdog")
    dog.stop()
    thread.join(20)
    assert not thread.is_alive()
    # Nor does one that is stopped before its first look.
    looks.clear()
    dog.start(every_s=0.01)
    for one in set(threading.enumerate()) - before:
        one.join(20)
    assert not looks
