"""Probes of the catalogue: what shows where one has no answer."""

from datetime import datetime

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.probing import Prober
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import VIEWS, Reason
from analytics_refreshd.core.ports import ProbeResult, Probes
from tests.support.fakes import FakeClock, RecordingLog, RecordingMetrics
from tests.support.leading import holder

ENDPOINT = "health/summary"
GOOD = [ProbeResult(ENDPOINT, 0.02, None)]
BAD = [ProbeResult(ENDPOINT, None, "57014: canceling statement due to statement timeout")]
AWAY = DatabaseFault("server closed the connection", error_class=ErrorClass.CONN_LOST, reason=Reason.CONN_LOST)


class FakeProbes(Probes):
    """Probes that answer what they were given, in turn."""

    def __init__(self, *answers: list[ProbeResult] | DatabaseFault) -> None:
        self.endpoints = (ENDPOINT,)
        self._answers = list(answers)

    def run(self, budget_seconds: float, now: datetime) -> list[ProbeResult]:
        answer = self._answers.pop(0)
        if isinstance(answer, DatabaseFault):
            raise answer
        return answer


def test_a_probe_without_an_answer_is_told_once_and_leaves_no_figure() -> None:
    """Each miss ends the figure; only the first of several is a line, which says why."""
    clock, log, metrics = FakeClock(), RecordingLog(), RecordingMetrics()
    state = holder(VIEWS, clock)
    runtime = Runtime(state, DatabaseAvailability(state, log), log, metrics, clock)
    prober = Prober(runtime, FakeProbes(GOOD, BAD, AWAY, GOOD, AWAY), 10.0)
    told = []
    for _ in range(5):
        prober.run()
        told.append(len(log.of(Event.LIBRARY_MESSAGE)))
    assert metrics.probes == [(ENDPOINT, seconds) for seconds in (0.02, None, None, 0.02, None)]
    assert told == [0, 1, 1, 1, 2]
    first, second = log.of(Event.LIBRARY_MESSAGE)
    assert first["message"] == f"{ENDPOINT} has no answer: {BAD[0].error}"
    assert AWAY.message in str(second["message"])
