"""Counts failed exports, and logs the first one of many."""

import time
from collections.abc import Callable

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import EventLog
from analytics_refreshd.core.redaction import redact_error


class Outcomes:
    """Counts and logs how each export of one signal ended.

    One thread tells it: the one that exports that signal.
    """

    def __init__(self, signal: str, host: str, log: EventLog, count_failure: Callable[[str], None]) -> None:
        self._signal = signal
        self._host = host
        self._log = log
        self._count_failure = count_failure
        self._failures = 0
        self._failing_since = 0.0

    def taken(self) -> None:
        """Note that the collector took an export."""
        if self._failures:
            seconds = round(time.monotonic() - self._failing_since, 3)
            failures, self._failures = self._failures, 0
            self._log.emit(Event.OTEL_EXPORT_RESTORED, signal=self._signal, failures=failures, seconds=seconds)

    def failed(self, reason: str | None) -> None:
        """Note that it did not."""
        self._count_failure(self._signal)
        self._failures += 1
        if self._failures == 1:
            self._failing_since = time.monotonic()
            error = redact_error(reason) if reason else "the time for one export was over"
            self._log.emit(Event.OTEL_EXPORT_FAILED, level="warning", signal=self._signal, host=self._host, error=error)
