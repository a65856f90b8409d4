"""What a refresh is believed by, and since when changes wait behind views that are reported as fresh."""

from dataclasses import replace
from datetime import timedelta

import pytest

from analytics_refreshd.core.alerts.lifecycle import Alert
from analytics_refreshd.core.delta import Delta, Waiting
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.evidence import RollupsAfter, disbelieved, overdue_since, unfolded
from analytics_refreshd.core.model import VIEWS, Reason, ViewReport
from analytics_refreshd.core.snapshot import Snapshot
from tests.support.alert_rules import found
from tests.support.states import NOW, healthy

FOLDED = RollupsAfter(left=0, marked=False, built=True, captured=True, folded=True)
LIMIT = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (replace(FOLDED, left=1200), "left 1,200 changed rows out"),
        (replace(FOLDED, marked=True), "left out a rebuild"),
        (replace(FOLDED, built=False), "are not built"),
        (replace(FOLDED, captured=False), "other tables or capture triggers"),
        (replace(FOLDED, folded=False), "folded nothing"),
    ],
)
def test_L01_what_a_refresh_left_undone_is_named(after: RollupsAfter, words: str) -> None:
    """Each has its own words and the same remedy."""
    text = unfolded(after)
    assert text is not None
    assert words in text
    assert text.endswith("run analytics-refreshd migrate, which puts its functions in place")


def test_a_refresh_that_did_all_is_believed() -> None:
    """Nothing left, nothing marked, built from what is there, and folded."""
    assert unfolded(FOLDED) is None


def test_only_reported_successes_are_disbelieved() -> None:
    """Views that failed keep their error, others their success; a fault gives its own reason."""
    failed = ViewReport(VIEWS[1], None, None, False, error="broken", reason=Reason.DATA)
    reports = [ViewReport(VIEWS[0], None, None, True), failed, ViewReport(VIEWS[2], None, None, True)]
    doubted = disbelieved(reports, VIEWS[:2], "no")
    assert [(one.success, one.reason, one.error) for one in doubted] == [
        (False, Reason.CONTRACT, "no"), (False, Reason.DATA, "broken"), (True, None, None),
    ]  # fmt: skip
    fault = DatabaseFault("x", error_class=ErrorClass.CONTENTION, reason=Reason.LOCK_TIMEOUT, sqlstate="55P03")
    (first, *_) = disbelieved(reports, VIEWS[:1], "x", fault)
    assert (first.reason, first.sqlstate) == (Reason.LOCK_TIMEOUT, "55P03")


def rolled_up(**delta: object) -> Snapshot:
    """A healthy daemon over the incremental mode, whose views are fresh."""
    return healthy(delta=replace(Delta("incremental", 3), **delta))  # type: ignore[arg-type]


def test_L01_changes_wait_too_long_behind_fresh_views() -> None:
    """From the first reading on, for longer than a view may be old; or with no fold at all for that and an interval."""
    for since in (NOW - LIMIT + timedelta(minutes=1), NOW - LIMIT - timedelta(minutes=1)):
        late = since < NOW - LIMIT
        assert overdue_since(rolled_up(waiting=Waiting("1:1:", since))) == (since if late else None)
    idle = NOW - LIMIT - timedelta(minutes=6)
    assert overdue_since(rolled_up(folded_at=idle)) == idle
    assert overdue_since(rolled_up(folded_at=idle + timedelta(minutes=2))) is None
    assert overdue_since(rolled_up(folded_at=idle, pending_rows=0)) is None
    assert overdue_since(rolled_up(folded_at=idle, waiting=Waiting("1:1:", idle))) == idle


def test_changes_behind_stale_views_are_told_by_those() -> None:
    """A stale view has its own alert, whatever keeps the changes waiting; plain mode has no changes."""
    waiting = Waiting("1:1:", NOW - timedelta(days=1))
    snapshot = rolled_up(waiting=waiting)
    assert overdue_since(snapshot) == waiting.seen_at
    assert overdue_since(replace(snapshot, state=replace(snapshot.state, status=None))) is None
    assert overdue_since(healthy(delta=Delta("plain", waiting=waiting))) is None
    assert overdue_since(healthy()) is None
    assert overdue_since(healthy(("recent_failures",), delta=replace(Delta("incremental"), waiting=waiting))) is None


def test_L01_overdue_changes_break_the_contract() -> None:
    """They are a problem of their own: no green light, a critical alert, and the command to type."""
    snapshot = rolled_up(overdue_since=NOW - timedelta(minutes=11))
    assert not snapshot.healthy
    condition = found(snapshot)[Alert.CONTRACT_BROKEN, ""]
    assert condition.holds
    assert "changes wait to be folded since 2026-03-01 13:56:30 UTC" in condition.description
