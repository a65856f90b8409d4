"""Probes of the catalogue: what shows where one has no answer."""

from datetime import datetime

from analytics_refreshd.app.memory import Identity, Memory
from analytics_refreshd.app.probing import Prober
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import VIEWS, Limits, Reason
from analytics_refreshd.core.ports import ProbeResult
from tests.support.receivers import Clock, Log

ENDPOINT = "health/summary"
GOOD = [ProbeResult(ENDPOINT, 0.02, None)]
BAD = [ProbeResult(ENDPOINT, None, "57014: canceling statement due to statement timeout")]
AWAY = DatabaseFault("server closed the connection", error_class=ErrorClass.CONN_LOST, reason=Reason.CONN_LOST)


class Answers:
    """Probes that answer what they were given, in turn."""

    endpoints = (ENDPOINT,)

    def __init__(self, *answers: list[ProbeResult] | DatabaseFault) -> None:
        self._answers = list(answers)

    def run(self, budget_seconds: float, now: datetime) -> list[ProbeResult]:
        answer = self._answers.pop(0)
        if isinstance(answer, DatabaseFault):
            raise answer
        return answer


class Probed:
    """Keeps what the metrics were told."""

    def __init__(self) -> None:
        self.seconds: list[float | None] = []

    def probed(self, endpoint: str, seconds: float | None) -> None:
        assert endpoint == ENDPOINT
        self.seconds.append(seconds)


def test_a_probe_without_an_answer_is_told_once_and_leaves_no_figure() -> None:
    """Each miss ends the figure; only the first of several is a line, which says why."""
    clock, log, metrics = Clock(), Log(), Probed()
    memory = Memory(Identity("orders", "r1", "0"), views=VIEWS, limits=Limits(), isolation="cycle", clock=clock)
    prober = Prober(
        Answers(GOOD, BAD, AWAY, GOOD, AWAY),
        10.0,
        metrics=metrics,  # type: ignore[arg-type]
        memory=memory,
        log=log,
    )
    told = []
    for _ in range(5):
        prober.run()
        told.append(len(log.of(Event.LIBRARY_MESSAGE)))
    assert metrics.seconds == [0.02, None, None, 0.02, None]
    assert told == [0, 1, 1, 1, 2]
    first, second = log.of(Event.LIBRARY_MESSAGE)
    assert first["message"] == f"{ENDPOINT} has no answer: {BAD[0].error}"
    assert AWAY.message in str(second["message"])
