"""Concurrent requests share forward passes without ever waiting for company.

A thread that is free takes its share of what waits, at most `batch_limit`: a request that comes alone is run at once,
and under load the batches fill by themselves. Each batch is one thread's from its bytes to its answers: with a thread a
core none of them is held up by another (docs/adr/0017-one-thread-a-batch.md).
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

from shared.problem import unavailable

T = TypeVar("T")
R = TypeVar("R")


class MicroBatcher(Generic[T, R]):
    """Runs `run(items)` in `threads` threads; it gives, in order, a result or an exception for each item.

    Belongs to one event loop. At most `waiting_limit` items wait.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Sequence[R | Exception]],
        *,
        threads: int,
        batch_limit: int,
        waiting_limit: int,
    ) -> None:
        self._run = run
        self._threads = threads
        self._batch_limit = batch_limit
        self._waiting_limit = waiting_limit
        self._waiting: dict[asyncio.Future[R], T] = {}  # in the order in which they came
        self._free = threads
        self._running: set[asyncio.Task[None]] = set()  # one for each thread that is not free
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="micro-batch")

    async def submit(self, item: T) -> R:
        """Return the result of `item`. Raises its exception, or Problem 503 when too many wait.

        A caller that is cancelled takes only its own item away.
        """
        if len(self._waiting) >= self._waiting_limit:
            raise unavailable("Too many images wait for the model. Send it again shortly.", 1)
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting[future] = item
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        try:
            return await future
        finally:
            self._waiting.pop(future, None)  # still there only if the caller was cancelled before its turn

    async def close(self) -> None:
        """Finish what waits, then end the threads."""
        while self._running:
            await asyncio.wait(self._running)
        self._executor.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                share = min(self._batch_limit, -(-len(self._waiting) // self._threads))
                futures = list(islice(self._waiting, share))
                items = [self._waiting.pop(future) for future in futures]
                try:
                    results = await loop.run_in_executor(self._executor, self._run, items)
                    if len(results) != len(items):
                        raise RuntimeError(f"{len(results)} results for {len(items)} items")
                except Exception as error:  # noqa: BLE001 - it belongs to those who wait for this batch
                    results = [error] * len(items)
                for future, result in zip(futures, results, strict=True):
                    if future.done():  # its caller has gone
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._free += 1  # at once: who is told its result here may ask again before this task counts as done
