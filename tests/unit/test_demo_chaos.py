"""`demo --chaos`: what breaks next, what counts as detected, told and healed, and the score."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from typer.testing import CliRunner

from analytics_refreshd.cli.main import app
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.demo.chaos import report
from analytics_refreshd.demo.chaos.cases import (
    BEAT_SECONDS,
    PATIENCE_SECONDS,
    SHOWN_SECONDS,
    Case,
    Mark,
    Next,
    Score,
    begin,
    decide,
    fixed,
    next_begin,
    observe,
    score,
)
from analytics_refreshd.demo.chaos.daemons import read_shown
from analytics_refreshd.demo.chaos.inbox import read_message
from analytics_refreshd.demo.chaos.model import Break, Evidence, Kind, Logged, Shown, Told, breaks
from analytics_refreshd.demo.chaos.signs import sign

VIEW, OTHER = VIEWS[0], VIEWS[1]
FAILED = "AnalyticsRefreshFailed"
OK = {"outcome": "ok", "views": [{"view": VIEW, "success": True, "seconds": 0.1}]}
BAD = {"outcome": "partial", "views": [{"view": VIEW, "success": False, "reason": "lock_timeout", "seconds": 3.0}]}
SLOW = {"outcome": "ok", "views": [{"view": VIEW, "success": True, "seconds": 1.7}]}


def _run(at: float, fields: Mapping[str, object], replica: str = "one") -> Logged:
    return Logged(at, replica, "refresh.finished", fields)


def _broken(kind: Kind) -> Break:
    on_view = kind in (Kind.LOCK, Kind.DROP, Kind.REVOKE)
    return Break(kind, VIEW if on_view else "", "one" if kind is Kind.KILL else "")


def test_each_round_breaks_everything_once_and_nothing_twice_in_a_row() -> None:
    """For every seed; a view is named where one is broken, and each comes up."""
    orders = set()
    for seed in range(50):
        drawn = list(islice(breaks(seed, VIEWS), 60))
        assert all(Counter(one.kind for one in drawn[at : at + 6]) == Counter(Kind) for at in range(0, 60, 6))
        assert all(one.kind is not other.kind for one, other in pairwise(drawn))
        assert {one.view for one in drawn} == {"", *VIEWS}
        assert drawn == list(islice(breaks(seed, VIEWS), 60))
        orders.add(tuple(one.kind for one in drawn[:6]))
    assert len(orders) > 40


@pytest.mark.parametrize(
    ("kind", "evidence", "place"),
    [
        (Kind.LOCK, Shown(1, "one", blocker="nightly-etl"), "status document: blocked by nightly-etl"),
        (Kind.LOCK, Shown(1, "one", blocker="somebody"), None),
        (Kind.LOCK, Logged(1, "one", "view.blocked"), "log: view.blocked"),
        (Kind.LOCK, _run(1, BAD), "log: refresh.finished, lock_timeout"),
        (Kind.DROP, _run(1, BAD), "log: refresh.finished, lock_timeout"),
        (Kind.DROP, _run(1, OK), None),
        (Kind.DROP, Logged(1, "one", "view.blocked"), None),
        (Kind.REVOKE, Shown(1, "one", failing=frozenset({VIEW})), "gauge: analytics_view_refresh_success is 0"),
        (Kind.REVOKE, Shown(1, "one", failing=frozenset({OTHER})), None),
        (Kind.KILL, Logged(1, "two", "leader.acquired"), "log: leader.acquired by two"),
        (Kind.KILL, Logged(1, "one", "leader.acquired"), None),
        (Kind.KILL, Shown(1, "two", leads=True), "gauge: analytics_leader of two is 1"),
        (Kind.KILL, Shown(1, "two"), None),
        (Kind.STOP, Logged(1, "two", "database.lost"), "log: database.lost"),
        (Kind.STOP, Shown(1, "two", database_up=False), "gauge: analytics_database_up is 0"),
        (Kind.STOP, Shown(1, "two"), None),
        (Kind.SLOW, _run(1, SLOW), "log: refresh.finished, 1.7 s"),
        (Kind.SLOW, _run(1, OK), None),
        (Kind.SLOW, _run(1, {"views": [{"view": VIEW, "seconds": None}]}), None),
        (Kind.SLOW, _run(1, {"views": None}), None),
        (Kind.SLOW, Shown(1, "one", slowest_seconds=1.7), "gauge: analytics_refresh_duration_seconds is 1.7"),
        (Kind.SLOW, Told(1, "AnalyticsRefreshSlow", VIEW, firing=True), None),
    ],
)
def test_what_counts_as_detected(kind: Kind, evidence: Evidence, place: str | None) -> None:
    """A gauge, the status document or the log must show this break, not just any trouble."""
    assert sign(_broken(kind), evidence) == place


def _after(case: Case, *evidence: Evidence) -> Case:
    for one in evidence:
        case = observe(case, one)
    return case


def test_a_break_is_detected_told_mended_and_healed() -> None:
    """Each step once, counted from the break, healing from the fix; what comes first counts."""
    case = begin(Break(Kind.LOCK, VIEW), 100.0)
    case = _after(
        case, _run(103.0, BAD), Told(104.0, FAILED, VIEW, firing=True), Told(105.0, FAILED, VIEW, firing=True)
    )
    assert (case.detected, case.told) == (
        Mark(3.0, "log: refresh.finished, lock_timeout"),
        Mark(4.0, f"{FAILED} {VIEW}"),
    )
    assert decide(case, 104.0 + SHOWN_SECONDS - 0.1) is Next.WAIT
    assert decide(case, 104.0 + SHOWN_SECONDS) is Next.FIX
    case = fixed(case, 110.0)
    healthy = Shown(113.0, "one", leads=True)
    assert _after(case, healthy).healed is None, "no run has ended well"
    case = _after(case, _run(111.0, OK))
    assert _after(case, healthy).healed is None, "the alert still fires"
    case = _after(case, Told(112.0, FAILED, VIEW, firing=False))
    assert _after(case, replace(healthy, leads=False)).healed is None, "a standby does not know"
    assert _after(case, replace(healthy, healthy=False)).healed is None
    assert _after(case, _run(112.5, BAD), healthy).healed is None, "it failed again"
    assert decide(case, 113.0) is Next.WAIT
    case = _after(case, healthy, replace(healthy, at=120.0))
    assert case.healed == Mark(3.0, "all well by one")
    assert decide(case, 113.0) is Next.END


def test_what_shows_while_it_is_being_broken_comes_at_once() -> None:
    """A server's end is logged before the server has ended."""
    case = _after(begin(Break(Kind.STOP), 100.0), Logged(99.8, "one", "database.lost"))
    assert case.detected == Mark(0.0, "log: database.lost")


def test_only_what_comes_after_the_mending_heals() -> None:
    """A run that ended well before, and a line that is read late, prove nothing."""
    case = fixed(_after(begin(Break(Kind.SLOW), 100.0), _run(101.0, SLOW)), 110.0)
    healthy = Shown(112.0, "one", leads=True)
    assert _after(case, _run(109.0, OK), healthy).healed is None
    assert _after(case, _run(111.0, OK), healthy).healed is not None


def test_an_alert_on_another_view_or_of_another_name_is_not_told() -> None:
    """It has to be resolved all the same."""
    case = begin(Break(Kind.DROP, VIEW), 100.0)
    case = _after(
        case, Told(101.0, FAILED, OTHER, firing=True), Told(101.0, "AnalyticsContractBroken", "", firing=True)
    )
    assert case.told is None
    assert len(case.unresolved) == 2
    assert report.missing(case) == ["detected", "told", "healed"]


def test_a_killed_leader_is_replaced_by_the_other() -> None:
    """Nobody fixes and nobody is told; what the dead one had still logged proves nothing."""
    case = begin(Break(Kind.KILL, replica="one"), 100.0)
    assert decide(case, 100.0) is Next.WAIT
    case = _after(case, _run(100.1, OK, "one"), Shown(100.2, "one", leads=True))
    assert (case.detected, case.healed, case.refreshed) == (None, None, False)
    case = _after(case, Logged(102.0, "two", "leader.acquired"), _run(105.0, OK, "two"))
    case = _after(case, Shown(105.5, "two", leads=True))
    assert case.healed == Mark(5.5, "two took over")
    assert report.missing(case) == []
    assert score([case]) == Score(due=2, in_time=2)


def test_nothing_is_waited_for_longer_than_a_minute() -> None:
    """What was never told is fixed, and what never heals ends."""
    case = begin(Break(Kind.STOP), 100.0)
    assert decide(case, 100.0 + PATIENCE_SECONDS) is Next.WAIT
    assert decide(case, 100.1 + PATIENCE_SECONDS) is Next.FIX
    case = fixed(case, 200.0)
    assert decide(case, 200.0 + PATIENCE_SECONDS) is Next.WAIT
    assert decide(case, 200.1 + PATIENCE_SECONDS) is Next.END


def test_when_the_next_break_begins() -> None:
    """Every 20 seconds, later where the last one took longer, and none that ends long after the time."""
    assert next_begin(0.0, None, 5.0, 1) == 5.0
    assert next_begin(0.0, 20.0, 25.0, 1) == 20.0 + BEAT_SECONDS
    assert next_begin(0.0, 20.0, 47.0, 1) == 47.0
    assert next_begin(0.0, 20.0, 51.0, 1) is None
    assert next_begin(0.0, 20.0, 5000.0, None) == 5000.0


def test_the_score_counts_what_was_due() -> None:
    """In time, late, never; the exit code follows `perfect`."""
    good = Case(Break(Kind.STOP), 0.0, Mark(1.0, "a"), Mark(20.0, "b"), 25.0, Mark(3.0, "c"))
    late = replace(good, told=Mark(20.1, "b"))
    never = replace(good, detected=None, healed=None)
    assert score([good]) == Score(3, 3, 0)
    assert score([good]).perfect
    assert score([good, late, never]) == Score(9, 6, 1)
    assert not score([late]).perfect
    assert score([good, late, never]).missing == 2
    assert report.verdict([good, late, never]).startswith("Score: 6 of 9 steps within 20 s, 1 late, 2 never. 3 breaks")
    assert report.verdict([good]).startswith("Score: 3 of 3 steps within 20 s. 1 break: ")


def test_the_tables_say_what_came_when() -> None:
    """The line as it goes, and the row at the end."""
    case = Case(Break(Kind.LOCK, VIEW), 0.0, Mark(1.25, "log: view.blocked"), Mark(21.0, FAILED), 25.0, None)
    assert report.line(3661.0, 7, "told", FAILED, 4.04) == f"01:01:01    7  told       4.0 s   {FAILED}"
    assert len(report.HEAD[: report.HEAD.index("what")]) == report.line(0.0, 1, "a", "what").index("what")
    killed = Case(Break(Kind.KILL, replica="one"), 0.0, Mark(1.0, "a"), None, 0.0, Mark(5.0, "two took over"))
    assert report.rows([case, killed]) == [
        ("1", f"a view is locked: {VIEW}", "1.2 s, log: view.blocked", f"21.0 s (late), {FAILED}", "never"),
        ("2", "the leader is killed: one", "1.0 s, a", "nobody needs to act", "5.0 s, two took over"),
    ]
    before = replace(case, told=None)
    assert list(report.news(before, case)) == [("told", Mark(21.0, FAILED))]


def test_a_webhooks_message_is_read() -> None:
    """All its alerts; one on the whole database has no view."""
    message = {
        "alerts": [
            {"alert": FAILED, "view": VIEW, "status": "firing"},
            {"alert": "AnalyticsDatabaseUnavailable", "view": None, "status": "resolved"},
        ]
    }
    assert read_message(json.dumps(message).encode(), 5.0) == [
        Told(5.0, FAILED, VIEW, firing=True),
        Told(5.0, "AnalyticsDatabaseUnavailable", "", firing=False),
    ]


def test_what_a_daemon_shows_is_read() -> None:
    """From its gauges and its status document; a standby exports less."""
    metrics = f"""
# TYPE analytics_leader gauge
analytics_leader{{database="demo"}} 1.0
# TYPE analytics_database_up gauge
analytics_database_up{{database="demo"}} 0.0
# TYPE analytics_view_refresh_success gauge
analytics_view_refresh_success{{database="demo",view="{VIEW}"}} 0.0
analytics_view_refresh_success{{database="demo",view="{OTHER}"}} 1.0
# TYPE analytics_refresh_duration_seconds gauge
analytics_refresh_duration_seconds{{database="demo",view="{VIEW}"}} 1.5
"""
    document = {"healthy": False, "progress": {"blocker": {"application": "nightly-etl"}}}
    assert read_shown(9.0, "one", metrics, document) == Shown(
        9.0, "one", True, False, False, frozenset({VIEW}), 1.5, "nightly-etl"
    )
    standby = read_shown(9.0, "two", "", {"healthy": True, "progress": None})
    assert standby == Shown(9.0, "two")
    assert read_shown(9.0, "two", "", {"healthy": True, "progress": {"blocker": None}}) == standby


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--chaos", "--cycles", "3"], "--chaos and --cycles exclude each other"),
        (["--chaos", "--data", "kept"], "--chaos and --data exclude each other"),
        (["--minutes", "5"], "--minutes and --seed go with --chaos"),
    ],
)
def test_options_that_exclude_each_other_are_refused(words: list[str], problem: str) -> None:
    """Before anything starts."""
    refused = CliRunner().invoke(app, ["demo", *words])
    assert problem in str(refused.exception)
