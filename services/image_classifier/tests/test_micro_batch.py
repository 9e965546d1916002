"""Concurrent requests share forward passes, and none of them waits for company."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from services.image_classifier.micro_batch import MicroBatcher
from shared.problem import Problem

Doubler = MicroBatcher[int, int]


class Model:
    """Doubles numbers, one batch at a time; while `gate` is closed a batch that began does not end."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.gate = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.began.release()
        assert self.gate.wait(30)
        return [ValueError(f"{item} is odd luck") if item == 13 else 2 * item for item in items]


@asynccontextmanager
async def batcher(
    model: Model, threads: int = 1, batch_limit: int = 16, waiting_limit: int = 64
) -> AsyncIterator[Doubler]:
    made: Doubler = MicroBatcher(model, threads=threads, batch_limit=batch_limit, waiting_limit=waiting_limit)
    try:
        yield made
    finally:
        model.gate.set()
        await made.close()


async def submit(made: Doubler, *items: int) -> list[asyncio.Task[int]]:
    """Submit items as concurrent callers do, and return when all of them are queued."""
    tasks = [asyncio.create_task(made.submit(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def running(model: Model) -> None:
    """Return when one more batch is in the model."""
    assert await asyncio.to_thread(model.began.acquire, timeout=30)


async def test_one_that_comes_alone_does_not_wait_for_another() -> None:
    model = Model()
    model.gate.set()
    async with batcher(model) as made:
        assert await asyncio.wait_for(made.submit(1), 30) == 2
        assert await asyncio.wait_for(made.submit(2), 30) == 4
    assert model.batches == [[1], [2]]


async def test_those_that_come_while_a_batch_runs_share_the_next_one() -> None:
    model = Model()
    async with batcher(model) as made:
        first = await submit(made, 1)
        await running(model)
        others = await submit(made, 2, 3)
        model.gate.set()
        assert await asyncio.gather(*first, *others) == [2, 4, 6]
    assert model.batches == [[1], [2, 3]]


async def test_a_batch_is_never_larger_than_its_limit() -> None:
    model = Model()
    async with batcher(model, batch_limit=4) as made:
        first = await submit(made, 0)
        await running(model)
        others = await submit(made, *range(1, 11))
        model.gate.set()
        assert await asyncio.gather(*first, *others) == [2 * n for n in range(11)]
    assert [len(batch) for batch in model.batches] == [1, 4, 4, 2]


async def test_threads_share_what_waits_and_never_more_of_them_work_than_there_are() -> None:
    model = Model()
    async with batcher(model, threads=2, batch_limit=4) as made:
        first = await submit(made, 0, 1)
        await running(model)
        await running(model)
        others = await submit(made, *range(2, 8))
        assert model.began.acquire(blocking=False) is False
        assert [len(batch) for batch in model.batches] == [1, 1]
        model.gate.set()
        assert await asyncio.gather(*first, *others) == [2 * n for n in range(8)]
    # The first thread that was free took half of the six that waited, the next one half of what was left.
    assert sorted(len(batch) for batch in model.batches[2:4]) == [2, 3]
    assert sorted(item for batch in model.batches for item in batch) == list(range(8))


async def test_closing_waits_for_all_threads() -> None:
    model = Model()
    made: Doubler = MicroBatcher(model, threads=3, batch_limit=1, waiting_limit=8)
    tasks = await submit(made, 1, 2, 3, 4)
    closing = asyncio.create_task(made.close())
    await running(model)
    assert not closing.done()
    model.gate.set()
    await closing
    assert [task.result() for task in tasks] == [2, 4, 6, 8]


async def test_one_too_many_is_told_to_come_again_and_the_others_are_served() -> None:
    model = Model()
    async with batcher(model, waiting_limit=2) as made:
        first = await submit(made, 1)
        await running(model)
        waiting = await submit(made, 2, 3)
        with pytest.raises(Problem) as caught:
            await made.submit(4)
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        model.gate.set()
        assert await asyncio.gather(*first, *waiting) == [2, 4, 6]


async def test_one_that_goes_away_while_it_waits_takes_only_its_own_place() -> None:
    model = Model()
    async with batcher(model, waiting_limit=2) as made:
        first = await submit(made, 1)
        await running(model)
        gone, stays = await submit(made, 2, 3)
        gone.cancel()
        await asyncio.wait([gone])
        (late,) = await submit(made, 4)  # the place of the one that has gone is free again
        model.gate.set()
        assert await asyncio.gather(*first, stays, late) == [2, 6, 8]
    assert model.batches == [[1], [3, 4]]


async def test_one_that_goes_away_while_its_batch_runs_leaves_the_batch_to_the_others() -> None:
    model = Model()
    async with batcher(model) as made:
        gone, stays = await submit(made, 1, 2)
        await running(model)
        gone.cancel()
        await asyncio.wait([gone])
        model.gate.set()
        assert await stays == 4
        assert await made.submit(3) == 6


async def test_an_item_that_fails_fails_alone() -> None:
    model = Model()
    model.gate.set()
    async with batcher(model) as made:
        good, bad = await asyncio.gather(made.submit(1), made.submit(13), return_exceptions=True)
    assert good == 2
    assert isinstance(bad, ValueError)


@pytest.mark.parametrize("fault", ["raises", "gives too few results"])
async def test_a_model_at_fault_fails_those_who_wait_for_it_and_serves_the_next(fault: str) -> None:
    faults = [fault]

    def run(items: Sequence[int]) -> list[int | Exception]:
        if faults:
            if faults.pop() == "raises":
                raise RuntimeError("no model")
            return []
        return [2 * item for item in items]

    made: Doubler = MicroBatcher(run, threads=1, batch_limit=4, waiting_limit=4)
    with pytest.raises(RuntimeError):
        await made.submit(1)
    assert await made.submit(2) == 4
    await made.close()


async def test_closing_finishes_what_waits() -> None:
    model = Model()
    made: Doubler = MicroBatcher(model, threads=1, batch_limit=1, waiting_limit=8)
    tasks = await submit(made, 1, 2, 3)
    closing = asyncio.create_task(made.close())
    model.gate.set()
    await closing
    assert [task.result() for task in tasks] == [2, 4, 6]
