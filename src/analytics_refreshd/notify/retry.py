"""Decides what an answer means, and when to try again. The queue waits."""

from analytics_refreshd.notify.exchange import Answer
from analytics_refreshd.notify.settings import DeliverySettings

_MAY_PASS = frozenset({408, 425, 429})
_LONGEST_HOLD_SECONDS = 300.0


class RetryableError(Exception):
    """This try failed in a way that may pass. The receiver asked for `wait_seconds`, if not None."""

    def __init__(self, problem: str, wait_seconds: float | None = None) -> None:
        super().__init__(problem)
        self.wait_seconds = wait_seconds


class RejectedError(Exception):
    """The receiver refuses this message, however often it is sent."""


def check_answer(answer: Answer) -> None:
    """Accept any 2xx. Raises RetryableError for what may pass, RejectedError for the rest."""
    if 200 <= answer.status < 300:
        return
    if answer.status >= 500 or answer.status in _MAY_PASS:
        raise RetryableError(f"HTTP {answer.status}", answer.retry_after_seconds)
    if 300 <= answer.status < 400:
        raise RejectedError(f"HTTP {answer.status}: redirects are not followed; configure the address it leads to")
    raise RejectedError(f"HTTP {answer.status}")


def wait_seconds(settings: DeliverySettings, attempt: int, share: float, asked: float | None) -> float:
    """Return the pause before the next try of one message.

    It grows with `attempt`, which counts from 1, and has jitter: `share` is a random number in [0, 1). It is longer
    where the receiver asked for that, up to the cap.
    """
    ceiling = min(settings.longest_wait_seconds, settings.first_wait_seconds * 2.0 ** min(attempt, 16))
    delay = ceiling / 2 + share * ceiling / 2
    return max(delay, min(asked, settings.retry_after_cap_seconds)) if asked is not None else delay


def hold_seconds(settings: DeliverySettings, failures: int, *, replaces: bool, rejected: bool) -> float:
    """Return how long a message waits after all its tries failed.

    `failures` counts such failures in a row. A rejected message waits for its repetition. One that `replaces` earlier
    ones never waits long if it may pass: the receiver forgets alerts that it does not hear of.
    """
    again = settings.failed_again_seconds
    if rejected and not replaces:
        return settings.repeat_every_seconds
    if replaces and not rejected:
        return again
    return min(_LONGEST_HOLD_SECONDS, again * 2.0 ** min(failures - 1, 16))
