"""Triggers that fail too often: one alert each, read by the leader every five minutes, and only where asked for."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.failing_triggers import FailingTriggers
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.core.alerts import trigger_rules
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertKey, AlertRecord, AlertState, Severity
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.failing_triggers import TriggerRate, TriggerRates
from analytics_refreshd.core.model import Limits, Reason, Role
from tests.support.alert_rules import NOW, ago, found, seen
from tests.support.fakes import FakeClock, RecordingLog, RecordingMetrics
from tests.support.states import MONOTONIC, healthy

LIMITS = Limits(trigger_success_rate_min_percent=80.0)
T1, T2 = (Alert.TRIGGER_FAILING, "t1"), (Alert.TRIGGER_FAILING, "t2")
REFUSED = DatabaseFault("permission denied", error_class=ErrorClass.PERMANENT, reason=Reason.PERMISSION)


def told(
    *rates: TriggerRate, firing: Sequence[AlertKey] = (), limits: Limits = LIMITS, **changes: object
) -> dict[str, bool | None]:
    """Whether each trigger's alert holds."""
    known: dict[str, object] = {"failing_triggers": rates, **changes}
    conditions = found(seen(firing=firing, **known), limits)  # type: ignore[arg-type]
    return {view: one.holds for (alert, view), one in conditions.items() if alert is Alert.TRIGGER_FAILING}


def test_each_trigger_below_the_limit_is_an_alert() -> None:
    """One that fires resolves a point above the limit; one that is not below any more is over."""
    assert told(TriggerRate("t1", 100, 79.9), TriggerRate("t2", 50, 80.5)) == {"t1": True, "t2": False}
    assert told(TriggerRate("t2", 50, 80.5), firing=[T1, T2]) == {"t1": False, "t2": True}
    condition = found(seen(limits=LIMITS, failing_triggers=(TriggerRate("t1", 340, 61.25),)))[T1]
    assert (condition.severity, condition.for_seconds) == (Severity.WARNING, 0.0)
    assert condition.summary == (
        "shop: 61.2 % of 340 actions of trigger t1 succeeded in the last 24 h; the limit is 80 %"
    )
    assert condition.description.endswith("Next: analytics-refreshd query unhealthy-triggers")


def test_it_is_off_by_default_and_holds_while_nothing_is_known() -> None:
    """What is not asked for any more is over; what cannot be read neither fires nor resolves."""
    bad = TriggerRate("t1", 100, 1.0)
    assert told(bad, limits=Limits()) == {}
    assert told(bad, limits=Limits(), firing=[T1]) == {"t1": False}
    assert told(firing=[T1], failing_triggers=None) == {"t1": None}
    assert told(bad, firing=[T1], database_down_since=ago(60)) == {"t1": None}
    over = {T1: AlertRecord(*T1, AlertState.RESOLVED, Severity.WARNING, ago(60))}
    assert told(alerts=over) == {}


def test_a_rule_that_raises_resolves_no_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is handed over, or raises; what fires goes on."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(trigger_rules, "_condition", broken)
    snapshot = seen(limits=LIMITS, failing_triggers=(TriggerRate("t1", 100, 1.0),), firing=[T1])
    failures: list[Exception] = []
    assert [one.holds for one in trigger_rules.trigger_conditions(snapshot, failures.append)] == [None]
    assert [str(each) for each in failures] == ["broken"]
    with pytest.raises(RuntimeError):
        list(trigger_rules.trigger_conditions(snapshot))


class FakeRates(TriggerRates):
    """One trigger that fails; `asked` has what was asked for. Raises `fault` while there is one."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, int]] = []
        self.fault: DatabaseFault | None = None

    def below(self, percent: float, min_executions: int) -> Sequence[TriggerRate]:
        self.asked.append((percent, min_executions))
        if self.fault:
            raise self.fault
        return [TriggerRate("t1", 100, 1.0)]


class Reading:
    """A daemon's look at the triggers, with its state."""

    def __init__(self, limits: Limits = LIMITS, role: Role = Role.LEADER) -> None:
        self.clock, log, self.rates = FakeClock(NOW), RecordingLog(), FakeRates()
        self.clock.seconds = MONOTONIC
        state = replace(healthy(role=role).state, limits=limits)
        self.state = StateHolder(state, self.clock)
        runtime = Runtime(self.state, DatabaseAvailability(self.state, log), log, RecordingMetrics(), self.clock)
        self.triggers = FailingTriggers(runtime, self.rates)

    def read(self) -> tuple[str, ...] | None:
        """What is known after another look."""
        self.triggers.read()
        known = self.state.current.failing_triggers
        return None if known is None else tuple(rate.trigger_id for rate in known)


def test_they_are_read_every_five_minutes_and_where_a_limit_changes() -> None:
    """With a margin above the limit, by which what fires resolves."""
    reading = Reading()
    assert [reading.read(), reading.read()] == [("t1",), ("t1",)]
    assert reading.rates.asked == [(81.0, 20)]
    reading.clock.seconds += 299
    reading.read()
    assert len(reading.rates.asked) == 1
    reading.clock.seconds += 1
    reading.read()
    assert len(reading.rates.asked) == 2
    reading.state.change(lambda state: replace(state, limits=replace(LIMITS, trigger_min_executions=5)))
    reading.read()
    assert reading.rates.asked[2:] == [(81.0, 5)]
    reading.state.change(lambda state: replace(state, limits=Limits()))
    assert reading.read() is None


@pytest.mark.parametrize(("limits", "role"), [(Limits(), Role.LEADER), (LIMITS, Role.STANDBY)])
def test_nothing_is_read_where_nobody_asked_or_another_leads(limits: Limits, role: Role) -> None:
    """Off by default, and only the leader looks."""
    reading = Reading(limits, role)
    assert reading.read() is None
    assert reading.rates.asked == []


def test_what_cannot_be_read_is_unknown_and_tried_again() -> None:
    """What was known before does not stand for now."""
    reading = Reading()
    reading.read()
    reading.rates.fault = REFUSED
    reading.clock.seconds += 300
    for _ in range(2):
        with pytest.raises(DatabaseFault):
            reading.read()
        assert reading.state.current.failing_triggers is None
    reading.rates.fault = None
    assert reading.read() == ("t1",)
