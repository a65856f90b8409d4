"""When to wake somebody about the database as a whole."""

import re
from dataclasses import replace
from datetime import timedelta
from importlib import resources

import pytest

from analytics_refreshd.core.alerts import rules
from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.model import Limits, Outcome, Rates, Reason
from analytics_refreshd.core.retention import End, LastRuns
from tests.support.alert_rules import ago, found, run, seen

RATES = Rates(executions=100, success_rate_percent=89.9, latency_p95_seconds=1.01, latency_executions=100)


def test_every_alert_is_judged_on_every_look() -> None:
    """Each alert has a condition for the database or for each view, also when all is well, so that it can resolve."""
    told = found(seen(views=("a", "b")))
    per_view = {Alert.VIEW_STALE, Alert.REFRESH_FAILED, Alert.REFRESH_SLOW, Alert.TARGET_UNMEETABLE}
    assert set(told) == {(alert, "") for alert in set(Alert) - per_view - {Alert.TRIGGER_FAILING}} | {
        (alert, view) for alert in per_view for view in ("a", "b")
    }
    assert not any(condition.holds for condition in told.values())


def test_an_absent_database_is_one_alert() -> None:
    """While the database is away everything else is held: neither fired nor resolved, for half an hour too."""
    away = seen(
        views=("a",),
        runs=[run(a=Reason.PERMISSION)] * 3,
        rates=RATES,
        database_down_since=ago(1800),
        database_error="connection refused",
        history_failing_since=ago(1800),
        leaderless_since=ago(1800),
        run_problems=["x"],
    )
    told = found(away)
    down = told.pop((Alert.DATABASE_UNAVAILABLE, ""))
    assert (down.holds, down.severity, down.since, down.for_seconds) == (True, Severity.CRITICAL, ago(1800), 120.0)
    assert "connection refused" in down.description
    assert "since 2026-05-04 11:30:00 UTC" in down.summary
    # whether this process evaluates has nothing to do with the database
    assert told.pop((Alert.EVALUATION_STUCK, "")).holds is False
    assert {condition.holds for condition in told.values()} == {None}


def test_no_error_text_still_makes_a_sentence() -> None:
    """An outage without an error says that there was no answer."""
    told = found(seen(database_down_since=ago(1)))
    assert "no answer" in told[Alert.DATABASE_UNAVAILABLE, ""].description


def test_nobody_leads() -> None:
    """Without a leader the alert counts from when there was none, and says who holds the lock instead."""
    told = found(seen(leaderless_since=ago(700), leaderless_reason="pid 9 of psql holds the lock"))
    condition = told[Alert.NO_LEADER, ""]
    assert (condition.holds, condition.since, condition.for_seconds) == (True, ago(700), 600.0)
    assert "pid 9 of psql holds the lock" in condition.description
    assert "no replica" in found(seen(leaderless_since=ago(700)))[Alert.NO_LEADER, ""].description


def test_history_that_cannot_be_written() -> None:
    """Failing history says how many runs wait."""
    condition = found(seen(history_failing_since=ago(60), history_pending=7))[Alert.HISTORY_FAILING, ""]
    assert (condition.holds, condition.since, condition.for_seconds) == (True, ago(60), 900.0)
    assert condition.description.startswith("7 runs wait")


def test_a_broken_contract_lists_what_is_wrong() -> None:
    """Every problem is in the text, and it is critical at once."""
    condition = found(seen(run_problems=["no function f", "view v lacks x"]))[Alert.CONTRACT_BROKEN, ""]
    assert (condition.holds, condition.severity, condition.for_seconds) == (True, Severity.CRITICAL, 0.0)
    assert condition.description.startswith("no function f; view v lacks x.")


@pytest.mark.parametrize(
    ("rates", "low", "slow"),
    [
        (None, None, None),
        (Rates(0, None, None), False, False),
        (RATES, True, True),
        (Rates(100, 90.0, 1.0, 100), False, False),
        (Rates(19, 0.0, 9.0, 19), False, False),
        (Rates(20, 0.0, 9.0), True, True),
        (Rates(1000, 0.0, 9.0, 19), True, False),
        (Rates(1000, 0.0, None, 0, "GRANT SELECT"), True, None),
    ],
)
def test_rates_need_enough_executions(rates: Rates | None, low: bool | None, slow: bool | None) -> None:
    """Success rate and p95 are judged from twenty executions on, the p95 by those that have a duration."""
    told = found(seen(rates=rates))
    assert told[Alert.LOW_SUCCESS_RATE, ""].holds is low
    assert told[Alert.HIGH_LATENCY, ""].holds is slow


def test_rate_texts_name_figure_limit_and_next_command() -> None:
    """The text holds the figure and its limit."""
    told = found(seen(rates=RATES))
    assert "89.9 % of 100 actions" in told[Alert.LOW_SUCCESS_RATE, ""].summary
    assert "the limit is 90 %" in told[Alert.LOW_SUCCESS_RATE, ""].summary
    assert "24 h is 1.01 s; the limit is 1 s" in told[Alert.HIGH_LATENCY, ""].summary


def test_every_query_that_a_text_tells_people_to_type_exists() -> None:
    """The commands in alert texts name queries of the catalogue."""
    named = set()
    for condition in found(seen(rates=RATES)).values():
        named |= set(re.findall(r"analytics-refreshd query ([\w-]+)", condition.description))
    assert len(named) == 2
    catalogue = resources.files("analytics_refreshd.postgres") / "catalogue"
    assert named <= {file.name.removesuffix(".sql") for file in catalogue.iterdir()}


def test_a_full_disk_is_critical_at_once_and_over_after_two_good_runs() -> None:
    """One run without space fires; one good run is not yet the end of it."""
    full, good = run(a=Reason.DISK_FULL, b=None), run(a=None, b=None)
    key = (Alert.DATABASE_DISK_FULL, "")
    condition = found(seen(runs=[full]))[key]
    assert (condition.holds, condition.severity, condition.run_id) == (True, Severity.CRITICAL, full.run_id)
    assert "Last error: a broke" in condition.description
    assert found(seen(runs=[good, full]))[key].holds is False
    assert found(seen(runs=[good, full], firing={key}))[key].holds is True
    assert found(seen(runs=[good, good, full], firing={key}))[key].holds is False


def test_a_full_disk_is_over_once_each_view_had_room() -> None:
    """A small view that is refreshed every half minute does not show that there is room for a large one."""
    limits = Limits(view_interval_seconds={"b": 30.0}, shortest_interval_seconds=30.0)
    key = (Alert.DATABASE_DISK_FULL, "")
    full, good, small = run(a=Reason.DISK_FULL, b=None), run(a=None, b=None), run(b=None)
    assert found(seen(runs=[small, full]), limits)[key].holds is True
    assert found(seen(runs=[small, small, small, full], firing={key}), limits)[key].holds is True
    assert found(seen(runs=[small, good, small, full], firing={key}), limits)[key].holds is True
    assert found(seen(runs=[small, good, good, small, full], firing={key}), limits)[key].holds is False
    assert found(seen(runs=[small]), limits)[key].holds is False
    assert found(seen(runs=[]), limits)[key].holds is False


def test_a_disk_that_filled_outside_a_view_counts() -> None:
    """A call that raised rolled all views back: the run's own reason tells."""
    full = run(Outcome.FAILED, Reason.DISK_FULL, a=Reason.ROLLED_BACK)
    assert found(seen(runs=[full]))[Alert.DATABASE_DISK_FULL, ""].holds is True


@pytest.mark.parametrize(
    "silent",
    [
        run(Outcome.FAILED, Reason.CONNECT, a=Reason.CONNECT),
        run(Outcome.UNKNOWN, Reason.CONN_LOST, a=Reason.CONN_LOST),
        run(Outcome.CANCELLED, Reason.SHUTDOWN, a=Reason.ROLLED_BACK),
        run(Outcome.SKIPPED, Reason.PAUSED),
        run(None),
    ],
)
def test_runs_that_could_not_see_the_disk_do_not_resolve_it(silent: object) -> None:
    """Runs that never touched a view tell nothing about the space left."""
    key = (Alert.DATABASE_DISK_FULL, "")
    full = run(a=Reason.DISK_FULL)
    assert found(seen(runs=[silent, silent, full], firing={key}))[key].holds is True
    assert found(seen(runs=[silent, silent], firing={key}))[key].holds is None
    assert found(seen(runs=[silent]))[key].holds is False


def test_limits_come_from_the_configuration() -> None:
    """Changed limits change the verdicts."""
    limits = Limits(
        database_unavailable_for_seconds=1.0,
        history_failing_for_seconds=2.0,
        no_leader_for_seconds=3.0,
        success_rate_min_percent=50.0,
        latency_p95_max_seconds=2.0,
    )
    told = found(seen(rates=RATES), limits)
    assert told[Alert.DATABASE_UNAVAILABLE, ""].for_seconds == 1.0
    assert told[Alert.HISTORY_FAILING, ""].for_seconds == 2.0
    assert told[Alert.NO_LEADER, ""].for_seconds == 3.0
    assert not told[Alert.LOW_SUCCESS_RATE, ""].holds
    assert not told[Alert.HIGH_LATENCY, ""].holds
    assert timedelta(seconds=limits.interval_seconds) == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("alert", "bad", "near", "well"),
    [
        (Alert.LOW_SUCCESS_RATE, (89.9, 0.1), (90.5, 0.1), (91.0, 0.1)),
        (Alert.HIGH_LATENCY, (99.0, 1.01), (99.0, 0.95), (99.0, 0.9)),
    ],
)
def test_a_figure_around_its_limit_does_not_flap(
    alert: Alert, bad: tuple[float, float], near: tuple[float, float], well: tuple[float, float]
) -> None:
    """What fires goes on until the figure is clearly better; what does not fire is judged by the limit alone."""

    def holds(figures: tuple[float, float], *, firing: bool) -> bool | None:
        rates = replace(RATES, success_rate_percent=figures[0], latency_p95_seconds=figures[1])
        return found(seen(rates=rates, firing=frozenset({(alert, "")} if firing else ())))[alert, ""].holds

    assert [holds(bad, firing=False), holds(near, firing=False)] == [True, False]
    assert [holds(near, firing=True), holds(well, firing=True)] == [True, False]


@pytest.mark.fault
def test_L11_a_rule_that_raises_is_handed_over_or_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever evaluates decides; a rule that cannot be evaluated neither fires nor resolves."""

    def broken(snapshot: object) -> Condition:
        raise OverflowError

    monkeypatch.setattr(rules, "_RULES", {**rules._RULES, Alert.HIGH_LATENCY: broken})
    met: list[Exception] = []
    told = {condition.alert: condition.holds for condition in rules.conditions(seen(), met.append)}
    assert told[Alert.HIGH_LATENCY] is None
    assert told[Alert.HISTORY_FAILING] is False
    assert [type(error) for error in met] == [OverflowError]
    with pytest.raises(OverflowError):
        list(rules.conditions(seen()))


def test_retention_that_is_overdue() -> None:
    """It counts from the last run that ended well; a stopped one does not count, and the last one's reason is told."""
    limits = Limits(retention_overdue_seconds=3600.0)
    good = LastRuns(begun_at=ago(3700), ended_at=ago(3500), outcome=End.OK, ok_at=ago(3500))
    late = LastRuns(
        begun_at=ago(60),
        ended_at=ago(50),
        outcome=End.STOPPED,
        reason="[retention] max_duration is over",
        ok_at=ago(3700),
    )
    assert found(seen(limits=limits, retention=good))[Alert.RETENTION_OVERDUE, ""].holds is False
    told = found(seen(limits=limits, retention=late))[Alert.RETENTION_OVERDUE, ""]
    assert (told.holds, told.severity, told.for_seconds) == (True, Severity.WARNING, 0.0)
    assert "max_duration is over" in told.description
    assert "1 h 1 min" in told.summary


def test_retention_that_never_ran_has_its_time_to_begin() -> None:
    """Where no run is recorded, the alert fires when it was looked for as long as the limit says."""
    limits = Limits(retention_overdue_seconds=3600.0)
    never = found(seen(limits=limits, retention=LastRuns()))[Alert.RETENTION_OVERDUE, ""]
    assert (never.holds, never.for_seconds) == (True, 3600.0)
    assert "no run is recorded" in never.description
    killed = LastRuns(begun_at=ago(7200), ok_at=None)
    assert "without an end" in found(seen(limits=limits, retention=killed))[Alert.RETENTION_OVERDUE, ""].description


def test_retention_that_cannot_be_read_is_not_judged() -> None:
    """Unknown is neither good nor overdue; what is not asked for is over."""
    limits = Limits(retention_overdue_seconds=3600.0)
    assert found(seen(limits=limits, retention=None))[Alert.RETENTION_OVERDUE, ""].holds is None
    assert found(seen(limits=Limits(), retention=LastRuns()))[Alert.RETENTION_OVERDUE, ""].holds is False
