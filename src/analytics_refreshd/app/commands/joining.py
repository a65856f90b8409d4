"""Waits for the refresh under way, for `refresh --wait`."""

import threading
from collections.abc import Iterable
from uuid import UUID

from analytics_refreshd.core.model import Outcome, Reason, Run
from analytics_refreshd.core.ports import Clock, History, StatusReader

EVERY_SECONDS = 0.5
_RECORDED_WITHIN_SECONDS = 10.0
_LOOKED_AT = 50
_ANSWERS = (Outcome.OK, Outcome.PARTIAL, Outcome.FAILED, Outcome.TIMEOUT)


def answers(run: Run, views: Iterable[str]) -> bool:
    """Whether a run says what became of all `views`.

    One of some views does not, nor one that was cancelled.
    """
    return run.outcome in _ANSWERS and {result.view for result in run.views} >= set(views)


def overlapped(run: Run) -> bool:
    """Whether another refresh kept this run, or a view of it, away."""
    return Reason.OVERLAP in (run.reason, *(result.reason for result in run.views))


class RunUnderWay:
    """Waits for other runs to end, until `stopped` is set."""

    def __init__(self, status: StatusReader, history: History, clock: Clock, stopped: threading.Event) -> None:
        self._status = status
        self._history = history
        self._clock = clock
        self._stopped = stopped

    def join(self, until_monotonic: float) -> Run | None:
        """Wait for the run under way; return it as history has it.

        None where none is under way, where it ends without a record, and when time is up. Raises DatabaseFault.
        """
        progress = self._status.progress()
        if progress is None:
            return None
        # with a transaction for each view nothing shows between two of them, and a record is written after the last
        seen = self._clock.monotonic()
        while (now := self._clock.monotonic()) < until_monotonic and now - seen < _RECORDED_WITHIN_SECONDS:
            run = self._recorded(progress.run_id)
            if run is not None:
                return run
            if self._stopped.wait(EVERY_SECONDS):
                return None
            current = self._status.progress()
            if current is not None and current.run_id == progress.run_id:
                seen = self._clock.monotonic()
        return None

    def _recorded(self, run_id: UUID) -> Run | None:
        runs = self._history.recent(_LOOKED_AT)
        return next((run for run in runs if run.run_id == run_id and run.outcome is not None), None)
