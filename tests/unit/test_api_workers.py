"""The API's threads: what is asked of them is done, at most so much at a time."""

import asyncio
import contextvars
import threading
from collections.abc import Callable

import pytest

from analytics_refreshd.api.workers import Workers

SPAN = contextvars.ContextVar("span", default="none")


def test_the_caller_gets_what_the_work_gives() -> None:
    """Its result or its exception; in another thread, within the caller's context."""

    def fails() -> None:
        raise ValueError("so it is")

    async def ask() -> tuple[str, bool]:
        workers = Workers(2)
        SPAN.set("mine")
        with pytest.raises(ValueError, match="so it is"):
            await workers.run(fails)
        return await workers.run(lambda: (SPAN.get(), threading.current_thread() is threading.main_thread()))

    assert asyncio.run(ask()) == ("mine", False)


def test_threads_start_as_they_are_needed() -> None:
    """One serves all that come one after the other, and no more than the most are ever at work."""

    async def ask() -> tuple[int, int]:
        workers, before = Workers(2), set(threading.enumerate())
        for _ in range(5):
            await workers.run(lambda: None)
        one_by_one = len(set(threading.enumerate()) - before)
        entered, leave, most = threading.Semaphore(0), threading.Event(), 0
        at_work: list[int] = []

        def hold() -> None:
            nonlocal most
            at_work.append(1)
            most = max(most, len(at_work))
            entered.release()
            assert leave.wait(60)
            at_work.pop()

        waiting = [asyncio.create_task(workers.run(hold)) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.to_thread(lambda: [entered.acquire(timeout=60) for _ in range(2)])
        assert not entered.acquire(blocking=False)
        leave.set()
        await asyncio.gather(*waiting)
        return one_by_one, most

    assert asyncio.run(ask()) == (1, 2)


def test_a_caller_that_is_gone_disturbs_nobody() -> None:
    """Its work ends by itself, and the thread takes the next."""

    async def ask() -> str:
        workers, troubles = Workers(1), []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, trouble: troubles.append(trouble))
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            entered.set()
            assert leave.wait(60)

        gone = asyncio.create_task(workers.run(hold))
        await asyncio.to_thread(entered.wait, 60)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        following = asyncio.create_task(workers.run(lambda: "done"))
        leave.set()
        done = await following
        assert troubles == []
        return done

    assert asyncio.run(ask()) == "done"


def test_what_ends_after_its_loop_ends_quietly() -> None:
    """As where the server gave it up."""
    entered, leave, seen = threading.Event(), threading.Event(), threading.Event()
    workers = Workers(1)

    def hold() -> None:
        entered.set()
        assert leave.wait(60)

    async def give_up(work: Callable[[], None]) -> None:
        asyncio.create_task(workers.run(work))  # noqa: RUF006 - the loop's end cancels it
        await asyncio.to_thread(entered.wait, 60)

    asyncio.run(give_up(hold))
    leave.set()

    async def next_loop() -> None:
        await workers.run(seen.set)

    asyncio.run(next_loop())
    assert seen.is_set()
