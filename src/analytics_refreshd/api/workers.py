"""Waits for the database in threads, without delaying the server's loop."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

_Value = TypeVar("_Value")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", contextvars.Context, Callable[[], Any]]


class Workers:
    """Does work in threads, at most `most`, started as needed.

    anyio's threads do the same, with scopes and checkpoints that nothing here uses: those took a tenth of the CPU time
    of a short answer. The threads are daemons, so that one which hangs keeps no process from ending.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._started = 0
        self._under_way = 0

    async def run(self, work: Callable[[], _Value]) -> _Value:
        """Return what `work` returns, or raise what it raises. For one loop alone.

        Beyond `most` it waits for a thread. If the caller is cancelled, the work goes on, and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Value] = loop.create_future()
        self._under_way += 1
        if self._under_way > self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, name=f"request-{self._started}", daemon=True).start()
        self._jobs.put((loop, future, contextvars.copy_context(), work))
        return await future

    def _work(self) -> None:
        while True:
            loop, future, context, work = self._jobs.get()
            error: BaseException | None = None
            result: object = None
            try:
                result = context.run(work)
            except BaseException as raised:
                error = raised
            # the loop is closed where the server ended while this went on
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._done, future, result, error)
            # nothing of a request stays here until the next one
            del loop, future, context, work, result, error

    def _done(self, future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
        """Give the caller what the work gave. On the loop."""
        self._under_way -= 1
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
