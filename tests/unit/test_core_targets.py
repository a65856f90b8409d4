"""Whether a view's interval can hold."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from analytics_refreshd.core.alerts import target_rules
from analytics_refreshd.core.alerts.lifecycle import Alert, Severity
from analytics_refreshd.core.model import Limits, Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.targets import RefreshTime, refresh_time, unmet_target
from tests.support.alert_rules import ago, found, run, seen

KEY = (Alert.TARGET_UNMEETABLE, "a")
OWN = Limits(
    interval_seconds=300.0,
    view_interval_seconds={"a": 30.0, "b": 3600.0},
    view_stale_for_seconds={"a": 30.0, "b": 60.0},
    shortest_interval_seconds=30.0,
)
COMMON = Limits(interval_seconds=30.0, stale_for_seconds=30.0)


def took(*seconds: float | None, run_seconds: float | None = 0.5, why: Reason | None = None) -> list[Run]:
    """Runs, newest first, in which view a took so long; `why` it failed."""
    return [
        replace(
            run(Outcome.OK if why is None else Outcome.PARTIAL, started_at=ago(60.0 * number)),
            duration_seconds=run_seconds,
            views=(ViewResult("a", why is None, why, duration_seconds=each),),
        )
        for number, each in enumerate(seconds, start=1)
    ]


def typical(runs: Sequence[Run], isolation: str = "view") -> RefreshTime | None:
    """What these runs tell of their view."""
    return refresh_time([(each, each.views[0]) for each in runs], isolation)


def text(limits: Limits = OWN, *, share: float = 1.0, **times: RefreshTime) -> str | None:
    """What is said of view a, with the smallest interval."""
    unmet = unmet_target("a", times, limits, share=share)
    return None if unmet is None else f"{unmet.text}; {unmet.advice}"


def test_the_median_of_the_last_nine_refreshes_is_typical() -> None:
    """Older ones do not count, nor do outliers, nor runs that say nothing of the view's duration."""
    newest = [1.0, 9.0, 2.0, None, 8.0, 3.0, 7.0, 4.0, 6.0, 5.0]
    assert typical(took(*newest, *[99.0] * 9, run_seconds=None)) == RefreshTime(5.0, 5.0)
    assert typical(took(*newest, run_seconds=12.0)) == RefreshTime(6.0, 12.0)


def test_fewer_than_five_refreshes_tell_nothing() -> None:
    """Neither of the four is typical; what failed for another reason than a timeout does not count."""
    assert typical(took(*[40.0] * 4)) is None
    assert typical([*took(*[40.0] * 4), *took(*[40.0] * 9, why=Reason.LOCK_TIMEOUT)]) is None
    skipped = [replace(each, outcome=Outcome.CANCELLED) for each in took(*[40.0] * 9)]
    assert typical(skipped) is None
    assert found(seen(isolation="view", runs=took(*[40.0] * 4)), OWN)[KEY].holds is None
    assert found(seen(isolation="view", runs=took(*[40.0] * 4), firing=[KEY]), OWN)[KEY].holds is None


def test_what_a_timeout_ended_took_that_long_at_least() -> None:
    """A view that times out in each slot has no success to tell by."""
    assert typical(took(*[24.01] * 5, why=Reason.TIMEOUT)) == RefreshTime(24.01, 0.5, cut_off=True)
    mixed = [*took(*[24.01] * 4, why=Reason.TIMEOUT), *took(*[20.0] * 5)]
    assert typical(mixed) == RefreshTime(20.0, 0.5)


def test_within_one_transaction_a_view_takes_as_long_as_the_run() -> None:
    """Its rows are there when the run commits. A run that was rolled back knows no view's time."""
    assert typical(took(*[2.0] * 5, run_seconds=11.0), "cycle") == RefreshTime(11.0, 11.0)
    rolled_back = took(*[None] * 5, run_seconds=24.0, why=Reason.ROLLED_BACK)
    ended = [replace(each, reason=Reason.TIMEOUT) for each in rolled_back]
    assert typical(ended, "cycle") == typical(ended) == RefreshTime(24.0, 24.0, cut_off=True)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (24.0, None),
        (24.1, "a refresh of a takes 24 s of an interval of 30 s; the smallest interval that would hold is 35 s"),
        (40.0, "a refresh of a takes 40 s of an interval of 30 s; the smallest interval that would hold is 50 s"),
        (48.0, "a refresh of a takes 48 s of an interval of 30 s; the smallest interval that would hold is 1 min"),
        (7e4, "a refresh of a takes 19 h 26 min of an interval of 30 s; no interval of a day or less would hold"),
    ],
)
def test_a_view_with_an_interval_of_its_own_may_take_four_fifths_of_it(seconds: float, said: str | None) -> None:
    """Longer refreshes are ended by the server: 125 % of the time, in full five seconds, would hold."""
    assert text(a=RefreshTime(seconds, seconds)) == said


def test_a_view_with_the_common_interval_may_take_all_of_it() -> None:
    """A longer statement_timeout may be configured; where a timeout ends it, it was too short."""
    assert text(COMMON, a=RefreshTime(29.0, 29.0)) is None
    said = text(COMMON, a=RefreshTime(24.01, 24.01, cut_off=True))
    assert said is not None
    assert said.startswith("a refresh of a takes 24 s or longer, since a timeout ends it, of an interval of 30 s")
    # the timeout that is configured is to blame, not the interval
    assert text(COMMON, a=RefreshTime(10.0, 10.0, cut_off=True)) is None
    assert "takes 31 s of" in (text(COMMON, a=RefreshTime(31.0, 31.0)) or "")


def test_a_view_whose_runs_are_longer_than_its_interval_loses_slots() -> None:
    """Two views of 20 s, one after the other, cannot both be refreshed every 30 s."""
    assert text(a=RefreshTime(20.0, 30.0)) is None
    assert text(a=RefreshTime(20.0, 41.0)) == (
        "a run that refreshes a takes 41 s, longer than the view's interval of 30 s;"
        " the smallest interval that would hold is 45 s"
    )


def test_a_slow_view_makes_a_frequent_one_stale() -> None:
    """One slot that is lost once an hour is no alert; a view that AnalyticsViewStale would tell of each time is one."""
    fast = RefreshTime(0.5, 0.5)
    assert text(a=fast, b=RefreshTime(59.0, 60.0)) is None
    assert text(a=fast, b=RefreshTime(59.0, 61.0)) == (
        "while a run that refreshes b takes 1 min 1 s, a gets 1 min 30 s old, over its limit of 1 min;"
        " the smallest interval that would hold is 1 min 5 s"
    )
    patient = replace(OWN, max_age_seconds={"a": 120.0})
    assert text(patient, a=fast, b=RefreshTime(59.0, 61.0)) is None
    assert text(replace(OWN, view_stale_for_seconds={}), a=fast, b=RefreshTime(59.0, 60.0)) is not None


def test_what_does_not_hold_must_get_clearly_better() -> None:
    """An alert that fires resolves at nine tenths of each limit."""
    assert text(share=0.9, a=RefreshTime(21.6, 21.6)) is None
    assert text(share=0.9, a=RefreshTime(21.7, 21.7)) is not None
    assert text(share=0.9, a=RefreshTime(20.0, 27.1)) is not None
    assert text(share=0.9, a=RefreshTime(0.5, 0.5), b=RefreshTime(29.0, 29.0)) is None


def test_the_alert_names_the_view_and_the_smallest_interval() -> None:
    """A warning, and what to type next."""
    now = seen(isolation="view", views=("a", "c"), runs=took(*[40.0] * 5, run_seconds=40.0))
    told = found(now, OWN)
    assert (told[KEY].holds, told[KEY].severity) == (True, Severity.WARNING)
    assert told[KEY].summary == "shop: a cannot be refreshed every 30 s"
    assert told[KEY].description == (
        "A refresh of a takes 40 s of an interval of 30 s; the smallest interval that would hold is 50 s."
        " Next: analytics-refreshd check"
    )
    assert told[Alert.TARGET_UNMEETABLE, "c"].holds is None
    assert found(now, replace(OWN, view_interval_seconds={"a": 50.0}))[KEY].holds is False


def test_an_alert_that_fires_resolves_below_its_limit() -> None:
    """A refresh of 23 s of 24 s neither fires nor resolves it. An absent database leaves it as it is."""
    runs = took(*[23.0] * 9, run_seconds=23.0)
    assert found(seen(isolation="view", runs=runs), OWN)[KEY].holds is False
    assert found(seen(isolation="view", runs=runs, firing=[KEY]), OWN)[KEY].holds is True
    assert found(seen(isolation="view", runs=runs, database_down_since=ago(5)), OWN)[KEY].holds is None


def test_a_rule_that_raises_is_handed_over_or_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """It silences no other rule, and neither fires nor resolves this one."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(target_rules, "refresh_time", broken)
    errors: list[Exception] = []
    (condition,) = target_rules.target_conditions(seen(), errors.append)
    assert (condition.alert, condition.view, condition.holds) == (*KEY, None)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    with pytest.raises(ZeroDivisionError):
        list(target_rules.target_conditions(seen()))
