"""When to tell of an unusual hour: as a hint, which everything else holds back."""

from datetime import timedelta

import pytest

from analytics_refreshd.core.alerts.inhibition import with_inhibited
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Condition, Severity
from analytics_refreshd.core.hour_series import HOUR, Measure
from analytics_refreshd.core.unusual import LastHour, Reading
from analytics_refreshd.observe.status.notices import headline
from tests.support.alert_rules import NOW, ago, found, seen
from tests.support.states import healthy

HINT = (Alert.UNUSUAL, "")


def reading(measure: Measure, value: float, expected: float, high: float, *, unusual: bool = True) -> Reading:
    """One of the type `rest`, in the hour before NOW."""
    return Reading("rest", measure, NOW - HOUR, value, expected, 0.0, high, (value - expected) / expected, unusual)


FAILS = reading(Measure.FAILURE_RATE, 0.2, 0.02, 0.081)
USUAL = reading(Measure.VOLUME, 100, 100, 150, unusual=False)


def told(*readings: Reading, enabled: bool = True, **changes: object) -> Condition:
    """What the rule makes of the last hour's readings."""
    last = LastHour(NOW - HOUR, readings)
    return found(seen(unusual_enabled=enabled, **{"unusual": last, **changes}))[HINT]  # type: ignore[arg-type]


def test_what_deviates_for_two_hours_is_a_hint() -> None:
    """With both hours, the value and its band, and no severity that asks anybody to act."""
    condition = told(USUAL, FAILS)
    assert (condition.holds, condition.severity, condition.for_seconds) == (True, Severity.INFO, 0.0)
    assert condition.summary == "shop: failure_rate:rest unusual from 10:00 to 12:00 UTC"
    assert condition.description.startswith(
        "Of the hour from 11:00: failure_rate:rest is 20.0 %, expected 2.0 % (0.0 % to 8.1 %). A hint"
    )
    assert told(USUAL).holds is False


def test_of_many_series_the_strangest_are_named() -> None:
    """Five of them, each in its unit, and how many more there are."""
    slow = reading(Measure.P95, 2.0, 0.5, 1.2)
    many = reading(Measure.VOLUME, 300, 100, 150)
    condition = told(*[slow] * 4, many, FAILS)
    assert condition.summary == "shop: 6 series unusual from 10:00 to 12:00 UTC"
    assert "p95_seconds:rest is 2.0 s, expected 500 ms (0 ms to 1.2 s)" in condition.description
    assert "volume:rest" not in condition.description
    assert "; and 1 more. A hint" in condition.description
    assert "volume:rest is 300, expected 100 (0 to 150)" in told(many).description


def test_it_is_off_by_default_and_silent_while_nothing_is_known() -> None:
    """What is not asked for any more is over; hours that are long past say nothing."""
    assert told(FAILS, enabled=False).holds is False
    assert told(FAILS, unusual=None).holds is None
    assert told(FAILS, database_down_since=ago(60)).holds is None
    old = LastHour(NOW - 4 * HOUR, (FAILS,))
    assert told(unusual=old).holds is None


def record(alert: Alert, severity: Severity, state: AlertState = AlertState.FIRING) -> AlertRecord:
    """One that began an hour ago."""
    return AlertRecord(alert, "", state, severity, NOW - timedelta(hours=1))


A_HINT = record(Alert.UNUSUAL, Severity.INFO)
LOW = record(Alert.LOW_SUCCESS_RATE, Severity.WARNING)
AWAY = record(Alert.DATABASE_UNAVAILABLE, Severity.CRITICAL)
OTHERS = record(Alert.NO_LEADER, Severity.CRITICAL)


@pytest.mark.parametrize(
    ("fires", "sent", "held"),
    [
        ([A_HINT], [A_HINT], [OTHERS]),
        ([A_HINT, LOW], [LOW], [OTHERS, A_HINT]),
        ([A_HINT, LOW, AWAY], [AWAY], [OTHERS, A_HINT, LOW]),
        ([LOW], [LOW], [OTHERS]),
    ],
)
def test_whatever_else_fires_holds_a_hint_back(
    fires: list[AlertRecord], sent: list[AlertRecord], held: list[AlertRecord]
) -> None:
    """And the database's absence holds back everything."""
    assert [list(part) for part in with_inhibited(fires, [OTHERS])] == [sent, held]


def test_a_hint_that_is_over_is_told_beside_other_alerts() -> None:
    """Who heard of it hears of its end; and what is over holds back nothing."""
    over = record(Alert.UNUSUAL, Severity.INFO, AlertState.RESOLVED)
    assert with_inhibited([over, LOW], []) == ([over, LOW], [])
    low_over = record(Alert.LOW_SUCCESS_RATE, Severity.WARNING, AlertState.RESOLVED)
    assert with_inhibited([A_HINT, low_over], []) == ([A_HINT, low_over], [])


def test_a_hint_makes_nothing_unhealthy() -> None:
    """`status` ends with 0, and the page's headline stays green; any other alert counts."""
    assert healthy(alerts=(A_HINT,)).healthy
    assert headline(healthy(alerts=(A_HINT,))).text == "All 4 views fresh"
    both = healthy(alerts=(A_HINT, LOW))
    assert not both.healthy
    assert headline(both).text == "All 4 views fresh; 1 alert fires"
