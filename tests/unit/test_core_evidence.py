"""What several rules ask of a snapshot."""

from dataclasses import replace
from datetime import timedelta

import pytest

from analytics_refreshd.core.alerts.evidence import cause, describe, is_attempt, streak
from analytics_refreshd.core.model import Blocker, Outcome, Pause, Reason, ViewResult
from tests.support.alert_rules import NOW, ago, run, seen

BLOCKER = Blocker(812, "etl", "nightly-etl", "active", ago(60), None, None)


@pytest.mark.parametrize(
    ("verdicts", "firing", "holds"),
    [
        ([], False, False),
        ([], True, None),
        ([True], False, False),
        ([True, True], False, True),
        ([True, False, True], False, False),
        ([False], True, True),
        ([False, True], True, True),
        ([False, False], True, False),
        ([False, False, True, True], True, False),
    ],
)
def test_hysteresis(verdicts: list[bool], firing: bool, holds: bool | None) -> None:
    """Newest first: so many bad ones to fire, so many good ones to resolve, and nothing at all changes nothing."""
    assert streak(verdicts, firing=firing, fire_after=2, resolve_after=2) is holds


def test_a_single_bad_run_fires_where_one_is_enough() -> None:
    """Both lengths are the caller's."""
    assert streak([True], firing=False, fire_after=1, resolve_after=3) is True
    assert streak([False, False], firing=True, fire_after=1, resolve_after=3) is True
    assert streak([False, False, False], firing=True, fire_after=1, resolve_after=3) is False


def test_the_cause_of_a_rollback_is_the_runs() -> None:
    """Rolled back is what happened to a view, not why."""
    failed = run(Outcome.TIMEOUT, Reason.TIMEOUT)
    assert cause(failed, ViewResult("a", False, Reason.ROLLED_BACK)) is Reason.TIMEOUT
    assert cause(failed, ViewResult("a", False, Reason.PERMISSION)) is Reason.PERMISSION


def test_attempts_are_runs_that_tell_something() -> None:
    """Skipped, cancelled, unknown and running runs are no attempts; order is kept."""
    runs = {outcome: run(outcome) for outcome in (*Outcome, None)}
    told = [each for each in runs.values() if is_attempt(each)]
    assert told == [runs[item] for item in (Outcome.OK, Outcome.PARTIAL, Outcome.FAILED, Outcome.TIMEOUT)]


def test_a_description_holds_what_is_known_and_nothing_else() -> None:
    """Error, blocker, pause, run and command in this order; what is unknown leaves no gap."""
    blocked = run(a=Reason.LOCK_TIMEOUT)
    full = seen(blocker=BLOCKER, pause=Pause(ago(60), NOW + timedelta(seconds=1), "x"))
    text = describe(full, "It broke.", blocked, ViewResult("a", False, error="no lock"), "look")
    assert text == (
        "It broke. Last error: no lock. It waits on pid 812, nightly-etl, active since 11:59 UTC. "
        f"Refreshes are paused until 2026-05-04 12:00 UTC. Run {blocked.run_id}. Next: look"
    )
    assert describe(seen(), "It broke.", None, None, "look") == "It broke. Next: look"


def test_the_blocker_of_the_run_is_named_where_none_blocks_now() -> None:
    """The last one seen in the run counts; a session that blocks now is better."""
    past = replace(run(a=Reason.LOCK_TIMEOUT), blockers=(replace(BLOCKER, pid=1), replace(BLOCKER, pid=2)))
    assert "pid 2" in describe(seen(), "x", past, None, "look")
    assert "pid 812" in describe(seen(blocker=BLOCKER), "x", past, None, "look")
