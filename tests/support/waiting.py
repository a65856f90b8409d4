"""Waiting for something to become true, with a deadline and the reason why it did not."""

import time
from collections.abc import Callable
from typing import Literal, TypeVar

Value = TypeVar("Value")


def eventually(
    probe: Callable[[], Value | Literal[False] | None], *, within: float = 60.0, every: float = 0.02
) -> Value:
    """Call `probe` until it returns something truthy and hand that back, or fail after `within` seconds.

    An AssertionError or OSError inside the probe counts as "not yet" and is shown in the end.
    """
    deadline = time.monotonic() + within
    reason: object = None
    while time.monotonic() < deadline:
        try:
            value = probe()
        except (AssertionError, OSError) as error:
            reason = error
        else:
            if value:
                return value
            reason = value
        time.sleep(every)
    raise AssertionError(f"not within {within} s: {reason!r}")


def within_one_hour(seconds: float) -> None:
    """Return with so many seconds left in this hour of UTC, once the next one has begun if they are not."""
    hour, of = 3600.0, time.time()
    if hour - of % hour < seconds:
        eventually(lambda: time.time() // hour > of // hour, within=seconds + 60, every=0.5)
