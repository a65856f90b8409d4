"""How long an evaluation may take."""

_LEAST_PERIOD_SECONDS = 5.0
"""Shorter periods are a test's or a demo's: a busy machine needs that long for one evaluation."""
_STUCK_PERIODS = 3
_HUNG_PERIODS = 5
_HUNG_SECONDS = 300.0


def deadline_seconds(evaluate_seconds: float) -> float:
    """Return how long one evaluation may wait for the database altogether.

    That leaves two seconds of the period to give up a statement, and some to evaluate and tell.
    """
    return 0.8 * max(evaluate_seconds, _LEAST_PERIOD_SECONDS) - 1.0


def stuck_seconds(evaluate_seconds: float) -> float:
    """Return how long no evaluation may end before somebody is told."""
    return _STUCK_PERIODS * max(evaluate_seconds, _LEAST_PERIOD_SECONDS)


def hung_seconds(evaluate_seconds: float) -> float:
    """Return how long one evaluation may run before a restart.

    That is long after its own deadline, because a restart loses what waits in memory: a server that is stopped or hangs
    must never be the reason for one.
    """
    return deadline_seconds(evaluate_seconds) + max(_HUNG_PERIODS * evaluate_seconds, _HUNG_SECONDS)
