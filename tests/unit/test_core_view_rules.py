"""When to wake somebody about one view: too old, failing, slow."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.alerts.lifecycle import Alert, Severity
from analytics_refreshd.core.model import Limits, Outcome, Pause, Reason, Run
from tests.support.alert_rules import NOW, aged, ago, found, run, seen, verdicts

STALE, FAILED, SLOW = (Alert.VIEW_STALE, "a"), (Alert.REFRESH_FAILED, "a"), (Alert.REFRESH_SLOW, "a")
PAUSE = Pause(ago(60), NOW + timedelta(hours=2), "migration")
BAD, GOOD = Reason.LOCK_TIMEOUT, None


@pytest.mark.parametrize(
    ("seconds", "holds", "severity"),
    [
        (600.0, False, Severity.WARNING),
        (600.1, True, Severity.WARNING),
        (1200.0, True, Severity.WARNING),
        (1200.1, True, Severity.CRITICAL),
    ],
)
def test_a_view_over_its_limit_is_stale(seconds: float, holds: bool, severity: Severity) -> None:
    """Over two intervals is a warning, over four critical, unless limits say otherwise."""
    condition = found(seen(ages=[aged(seconds)]))[STALE]
    assert (condition.holds, condition.severity, condition.for_seconds) == (holds, severity, 0.0)


def test_limits_are_a_views_own() -> None:
    """A view with its own limits is judged by them."""
    limits = Limits(max_age_seconds={"a": 60.0}, critical_age_seconds={"a": 90.0}, stale_for_seconds=7.0)
    condition = found(seen(ages=[aged(61.0)]), limits)[STALE]
    assert (condition.holds, condition.severity, condition.for_seconds) == (True, Severity.WARNING, 7.0)
    assert found(seen(ages=[aged(91.0)]), limits)[STALE].severity is Severity.CRITICAL


def test_an_unknown_age_is_stale_once_it_was_looked_at_for_the_whole_limit() -> None:
    """Infinitely old, hence critical; but a daemon that has just started must not page before its first refresh."""
    condition = found(seen(ages=[aged(None)]))[STALE]
    assert (condition.holds, condition.severity, condition.for_seconds) == (True, Severity.CRITICAL, 600.0)
    assert condition.summary == "shop: no refresh of a is known"
    assert "the status function knows no last refresh" in condition.description
    limits = Limits(stale_for_seconds=900.0)
    assert found(seen(ages=[aged(None)]), limits)[STALE].for_seconds == 900.0


def test_a_view_whose_age_was_never_read_cannot_be_judged() -> None:
    """Before the first reading there is neither stale nor fresh."""
    assert found(seen(ages=[]))[STALE].holds is None


def test_a_pause_holds_back_staleness_but_not_its_end() -> None:
    """A paused view may grow old without a page; one that was refreshed by hand resolves."""
    assert found(seen(ages=[aged(9999.0)], pause=PAUSE))[STALE].holds is None
    assert found(seen(ages=[aged(1.0)], pause=PAUSE))[STALE].holds is False


def test_after_a_pause_the_first_refresh_is_awaited() -> None:
    """The age that a pause left is no page: it counts after the first run, or two intervals later."""
    paused = run(Outcome.SKIPPED, Reason.PAUSED, started_at=ago(290))
    old = [aged(7200.0)]
    assert found(seen(ages=old, runs=[paused]))[STALE].holds is None
    assert found(seen(ages=old, runs=[run(None), paused]))[STALE].holds is None
    assert found(seen(ages=old, runs=[run(a=BAD), paused]))[STALE].holds is True
    long_ago = run(Outcome.SKIPPED, Reason.PAUSED, started_at=ago(601))
    assert found(seen(ages=old, runs=[long_ago]))[STALE].holds is True
    assert found(seen(ages=old, runs=[run(Outcome.SKIPPED, Reason.OVERLAP)]))[STALE].holds is True


def test_after_an_outage_the_first_refresh_is_awaited() -> None:
    """A database that was away for an hour raises no stale alerts when it is back, if the next refresh succeeds."""
    old = [aged(3600.0)]
    before, after = run(a=BAD, started_at=ago(3600)), run(a=BAD, started_at=ago(10))
    outage = (ago(3500), ago(20))
    assert found(seen(ages=old, runs=[before], last_outage=outage))[STALE].holds is None
    assert found(seen(ages=old, runs=[after, before], last_outage=outage))[STALE].holds is True
    assert found(seen(ages=old, runs=[before], last_outage=(ago(3500), ago(600))))[STALE].holds is True
    assert found(seen(ages=[aged(1.0)], last_outage=outage))[STALE].holds is False


def test_an_outage_excuses_only_what_it_caused() -> None:
    """A view that was stale before, or whose age is unknown, is not excused: or a connection cut in every run would."""
    before = run(a=BAD, started_at=ago(900))
    short = (ago(40), ago(20))
    assert found(seen(ages=[aged(700.0)], runs=[before], last_outage=short))[STALE].holds is True
    assert found(seen(ages=[aged(640.0)], runs=[before], last_outage=short))[STALE].holds is None
    assert found(seen(ages=[aged(None)], runs=[before], last_outage=short))[STALE].holds is True


def test_a_lead_that_an_outage_ended_at_once_counts_from_the_lead_on() -> None:
    """On an older install nobody knows what the leader before did: its refreshes may be seconds old."""
    outage = (ago(30), ago(20))
    cut_off = run(Outcome.FAILED, Reason.CONNECT, a=Reason.CONNECT, started_at=ago(29))
    followed: dict[str, Any] = {"history_available": False, "ages": [aged(None)]}
    led_for_a_moment: dict[str, Any] = {**followed, "leading_since": ago(31), "last_outage": outage}
    assert found(seen(runs=[cut_off], **led_for_a_moment))[STALE].holds is None
    after = run(Outcome.FAILED, a=BAD, started_at=ago(10))
    assert found(seen(runs=[after, cut_off], **led_for_a_moment))[STALE].holds is True
    led_for_long = {**led_for_a_moment, "leading_since": ago(700)}
    assert found(seen(runs=[cut_off], **led_for_long))[STALE].holds is True


def test_a_lead_taken_back_after_an_outage_is_excused_however_long_that_was() -> None:
    """On an older install another replica may have led unseen before it: nobody is seen during an outage."""
    known: dict[str, Any] = {
        "history_available": False, "own_success": {"a": ago(1500)}, "ages": [aged(None)], "leading_since": ago(9000),
        "lead_taken_at": ago(5),
    }  # fmt: skip
    assert found(seen(**known))[STALE].holds is True
    assert found(seen(**known, last_outage=(ago(700), ago(10))))[STALE].holds is None
    assert found(seen(**known, last_outage=(ago(200), ago(10))))[STALE].holds is True


def test_a_stale_text_says_age_limit_error_blocker_run_and_next_command() -> None:
    """What somebody woken at night needs is in the description."""
    last = run(Outcome.PARTIAL, a=BAD, sqlstate="55P03")
    text = found(seen(ages=[aged(725.0)], runs=[last]))[STALE].description
    assert "a was last refreshed 12 min 5 s ago; its limit is 10 min." in text
    assert "Last error: a broke (SQLSTATE 55P03)." in text
    assert f"Run {last.run_id}." in text
    assert "Next: analytics-refreshd history --view a --limit 5" in text
    fine = found(seen(ages=[aged(725.0)], runs=[run(a=None)]))[STALE]
    assert "Last error" not in fine.description
    assert fine.run_id is None


def history(*reasons: Reason | None) -> list[Run]:
    """Runs of view a, oldest first."""
    return [run(Outcome.OK if why is None else Outcome.FAILED, why, a=why) for why in reasons]


def test_two_failures_fire_and_two_successes_resolve() -> None:
    """One failure is nothing yet, and one success is not yet the end."""
    assert verdicts(Alert.REFRESH_FAILED, history(BAD, BAD, BAD, GOOD, BAD, GOOD, GOOD, GOOD)) == [
        False,
        True,
        True,
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_flapping_view_is_no_message_per_run() -> None:
    """Success and failure in turn never fire, and once firing never resolve."""
    assert not any(verdicts(Alert.REFRESH_FAILED, history(*[BAD, GOOD] * 10)))
    assert all(verdicts(Alert.REFRESH_FAILED, history(BAD, BAD, *[GOOD, BAD] * 10))[1:])


@pytest.mark.parametrize("reason", [Reason.PERMISSION, Reason.UNDEFINED, Reason.NO_UNIQUE_INDEX, Reason.MISSING])
def test_what_waiting_cannot_mend_fires_at_once(reason: Reason) -> None:
    """A permanent failure needs no second run, and its end needs two good ones like any other.

    What is wrong is found by `check`, whichever alert tells first.
    """
    assert verdicts(Alert.REFRESH_FAILED, history(reason, GOOD, GOOD)) == [True, True, False]
    told = found(seen(ages=[aged(725.0)], runs=history(reason)))
    for alert in (STALE, FAILED):
        assert told[alert].description.endswith("Next: analytics-refreshd check")


def test_a_permanent_fault_that_rolled_everything_back_fires_at_once() -> None:
    """The cause of the rollback decides, also where a function raised the error itself."""
    data = run(Outcome.FAILED, Reason.DATA, a=Reason.ROLLED_BACK, sqlstate="22003")
    raised = run(Outcome.FAILED, Reason.OTHER, a=Reason.ROLLED_BACK, sqlstate="P0001")
    unknown = run(Outcome.FAILED, Reason.OTHER, a=Reason.OTHER)
    assert [found(seen(runs=[item]))[FAILED].holds for item in (data, raised, unknown)] == [True, True, False]
    assert found(seen(runs=[data]))[FAILED].summary == "shop: refreshing a fails (data, 22003)"


def test_a_timeout_is_named_as_such() -> None:
    """After a timeout every view is rolled back: the alert's reason is the timeout, after the second run."""
    timeout = run(Outcome.TIMEOUT, Reason.TIMEOUT, a=Reason.ROLLED_BACK, sqlstate="57014")
    condition = found(seen(runs=[timeout, timeout]))[FAILED]
    assert (condition.holds, condition.summary) == (True, "shop: refreshing a fails (timeout, 57014)")
    assert found(seen(runs=[timeout]))[FAILED].holds is False


@pytest.mark.parametrize(
    "silent",
    [
        run(Outcome.CANCELLED, Reason.SHUTDOWN, a=Reason.ROLLED_BACK),
        run(Outcome.CANCELLED, Reason.CONN_LOST, a=Reason.ROLLED_BACK),
        run(Outcome.UNKNOWN, Reason.CONN_LOST, a=Reason.CONN_LOST),
        run(Outcome.FAILED, Reason.CONNECT, a=Reason.CONNECT),
        run(Outcome.FAILED, Reason.NOT_PRIMARY, a=Reason.NOT_PRIMARY),
        run(Outcome.SKIPPED, Reason.OVERLAP),
        run(None, None, a=BAD),
    ],
)
def test_runs_that_are_not_the_views_fault_neither_fire_nor_resolve(silent: Run) -> None:
    """A stop, an absent database, a standby and an unknown outcome say nothing about a view."""
    assert found(seen(runs=[silent] * 5))[FAILED].holds is False
    assert found(seen(runs=[silent] * 5, firing={FAILED}))[FAILED].holds is None
    bad = run(Outcome.FAILED, a=BAD)
    assert found(seen(runs=[silent, bad, silent, bad]))[FAILED].holds is True


def test_one_views_absent_connection_does_not_hide_anothers_failure() -> None:
    """With a transaction per view, one view's failure to connect leaves the others' results standing."""
    mixed = run(Outcome.FAILED, Reason.CONNECT, b=Reason.CONNECT, a=Reason.PERMISSION)
    told = found(seen(views=("a", "b"), runs=[mixed]))
    assert told[FAILED].holds is True
    assert told[Alert.REFRESH_FAILED, "b"].holds is False


def test_a_failure_text_counts_and_remembers() -> None:
    """The text says how often in a row, and after a success that it is not over yet."""
    bad, good = run(Outcome.FAILED, a=BAD), run(a=None)
    texts = [
        found(seen(runs=runs, firing={FAILED}))[FAILED].description
        for runs in ([bad, good], [bad, bad, bad, good], [good, bad])
    ]
    assert texts[0].startswith("a failed in the last run.")
    assert texts[1].startswith("a failed in the last 3 runs in a row.")
    assert texts[2].startswith("a failed lately and has not yet succeeded 2 times in a row.")
    assert all("Last error: a broke" in text for text in texts)


def timed(*seconds: float | None) -> list[Run]:
    """Successful runs of view a, oldest first, by duration."""
    return [run(a=None, seconds=item) for item in seconds]


def test_two_slow_runs_fire_and_two_quick_ones_resolve() -> None:
    """Exactly the limit is not slow; a run of unknown duration says nothing."""
    assert verdicts(Alert.REFRESH_SLOW, timed(5.1, None, 5.1, 5.0, None, 5.1, 5.0, 4.0)) == [
        False,
        False,
        True,
        True,
        True,
        True,
        True,
        False,
    ]
    assert not any(verdicts(Alert.REFRESH_SLOW, timed(5.1, 5.0, 5.1, 5.0)))


def test_a_slow_text_names_the_last_slow_run() -> None:
    """Where the last run was quick again, the text is about the one that was not."""
    slow, quick = timed(65.0)[0], timed(0.2)[0]
    condition = found(seen(runs=[quick, slow, slow], firing={SLOW}))[SLOW]
    assert condition.summary == "shop: refreshing a took 1 min 5 s"
    assert condition.run_id == slow.run_id
    assert found(seen(firing={SLOW}))[SLOW].summary == "shop: refreshing a took too long"
    assert found(seen(firing={SLOW}))[SLOW].holds is None


@given(st.lists(st.sampled_from([BAD, GOOD, Reason.PERMISSION, Reason.CONNECT]), max_size=30))
def test_hysteresis_holds_for_any_history(reasons: list[Reason | None]) -> None:
    """It fires after one permanent or two plain failures in a row, and resolves after two successes in a row."""
    firing = False
    told: list[Reason | None] = []
    for holds, reason in zip(verdicts(Alert.REFRESH_FAILED, history(*reasons)), reasons, strict=True):
        if reason is not Reason.CONNECT:
            told.append(reason)
        if holds and not firing:
            assert told[-1] is Reason.PERMISSION or (len(told) > 1 and None not in told[-2:])
        if holds is False and firing:
            assert told[-2:] == [None, None]
        firing = firing if holds is None else holds


OWN = Limits(
    view_interval_seconds={"a": 3600.0, "b": 30.0},
    view_stale_for_seconds={"a": 60.0, "b": 30.0},
    shortest_interval_seconds=30.0,
)


def test_limits_follow_from_a_views_own_interval() -> None:
    """Stale over two of its own intervals, for as long as its own interval asks."""
    conditions = found(seen(views=("a", "b", "c"), ages=[aged(7201.0), aged(59.0, "b"), aged(601.0, "c")]), OWN)
    assert [conditions[Alert.VIEW_STALE, view].holds for view in "abc"] == [True, False, True]
    assert [conditions[Alert.VIEW_STALE, view].for_seconds for view in "abc"] == [60.0, 30.0, 0.0]
    assert found(seen(ages=[aged(7199.0)]), OWN)[STALE].holds is False


def test_what_is_tried_again_in_the_slots_of_other_views_is_one_run() -> None:
    """An hourly view that waits for a lock for two minutes has failed once, and that is over with its next success."""
    locked = [run(started_at=ago(30.0 * number), a=BAD) for number in range(1, 5)]
    assert found(seen(runs=locked), OWN)[FAILED].holds is False
    before = run(started_at=ago(3600.0 + 10), a=BAD)
    assert found(seen(runs=[*locked, before]), OWN)[FAILED].holds is True
    assert found(seen(runs=[run(started_at=ago(10), a=GOOD), *locked, before]), OWN)[FAILED].holds is False
    assert found(seen(runs=locked))[FAILED].holds is True


def test_after_a_pause_the_first_run_of_the_view_counts() -> None:
    """Runs of another view do not end what excuses this one; two of its own intervals do."""
    paused = run(Outcome.SKIPPED, Reason.PAUSED, started_at=ago(60))
    other, own = run(started_at=ago(30), b=None), run(Outcome.FAILED, a=Reason.LOCK_TIMEOUT, started_at=ago(20))
    old = [aged(9000.0)]
    assert found(seen(ages=old, runs=[other, paused]), OWN)[STALE].holds is None
    assert found(seen(ages=old, runs=[own, other, paused]), OWN)[STALE].holds is True
    long_ago = run(Outcome.SKIPPED, Reason.PAUSED, started_at=ago(7201))
    assert found(seen(ages=old, runs=[other, long_ago]), OWN)[STALE].holds is True
