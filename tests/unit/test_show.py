"""What `status` and `history` print for people, on terminals of every width."""

import io
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from analytics_refreshd.app.commands import status
from analytics_refreshd.app.commands.pause import pause_refreshes
from analytics_refreshd.cli import common, main, runs, show, tables
from analytics_refreshd.config import Config
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.model import VIEWS, Outcome, Reason, Run, ViewResult
from analytics_refreshd.observe.status.document import status_document
from tests.support.states import NOW, healthy, of_database, run_at, view_state


class Screen:
    """A terminal of some width, and what was printed on it."""

    def __init__(self) -> None:
        self.console = Console(file=io.StringIO(), width=80, highlight=False)

    @property
    def lines(self) -> list[str]:
        assert isinstance(self.console.file, io.StringIO)
        return [line.rstrip() for line in self.console.file.getvalue().splitlines()]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Print there instead of on standard output."""
    made = Screen()
    for module in (common, show, tables):
        monkeypatch.setattr(module, "console", lambda *width: made.console)
    return made


def document(*last: ViewResult, **changes: Any) -> dict[str, Any]:
    """Every view stale, with these results in its last run."""
    results = {result.view: result for result in last}
    run = replace(
        run_at(1, NOW - timedelta(minutes=5)),
        views=tuple(results.get(view, ViewResult(view, True, duration_seconds=0.283)) for view in VIEWS),
    )
    views = [replace(view_state(view, age_seconds=1259.0, rows=2532), size_bytes=811_008) for view in VIEWS]
    return status_document(of_database(healthy(views=views, runs=[run], **changes)))


def test_a_narrow_terminal_cuts_no_name_and_no_value_apart(screen: Screen) -> None:
    """What does not fit is a block per view, one value a line."""
    screen.console.width = 50
    show.show_status(document())
    assert screen.lines[1:4] == [
        "view           action_metrics_hourly",
        "verdict        stale",
        "age            21 min 4 s",
    ]
    assert "view           trigger_performance_summary" in screen.lines
    assert "last duration  283 ms" in screen.lines


@pytest.mark.fault
def test_L29_the_usual_terminal_shows_the_status_in_twelve_lines(screen: Screen) -> None:
    """80 columns have a line a view, without size and time of the last success; nothing is folded."""
    show.show_status(document())
    assert screen.lines[0].split() == ["view", "verdict", "age", "rows", "last", "duration"]
    assert [line.split()[0] for line in screen.lines[1:5]] == list(VIEWS)
    assert len(screen.lines) <= 12
    assert all(len(line) <= 80 for line in screen.lines[:5])


def test_a_wide_terminal_has_a_line_per_view(screen: Screen) -> None:
    """Where it fits it is a table."""
    screen.console.width = 120
    show.show_status(document())
    assert screen.lines[0].split()[:3] == ["view", "verdict", "age"]
    assert [line.split()[0] for line in screen.lines[1:5]] == list(VIEWS)
    assert screen.lines[1].endswith("283 ms")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_history_keeps_a_duration_with_its_unit(screen: Screen, width: int) -> None:
    """Each view of a run is one line, on any terminal that can hold it."""
    screen.console.width = width
    failed = replace(run_at(2, NOW, seconds=0.103), outcome=Outcome.FAILED, reason=Reason.LOCK_TIMEOUT)
    runs.show_runs_table([run_at(1, NOW, seconds=0.103), failed])
    for view in VIEWS:
        assert sum(line.endswith(f"{view} 103 ms") for line in screen.lines) == 2
    assert any(line.endswith("lock_timeout") for line in screen.lines)


def test_running_text_is_folded_between_words_where_the_rest_fits(screen: Screen) -> None:
    """A sentence in the last column does not turn a table into blocks, unless hardly anything is left for it."""
    rows = [["latency", "how long actions took, " * 5]]
    tables.print_table(["query", "purpose"], rows, prose=["purpose"])
    assert screen.lines[0].split() == ["query", "purpose"]
    assert screen.lines[1].startswith("latency  how long actions took,")
    assert all(len(line) <= 80 for line in screen.lines)
    screen.console.width = 24
    tables.print_table(["query", "purpose"], rows, prose=["purpose"])
    assert "query    latency" in screen.lines


def test_an_alert_tells_its_severity_and_since_when_it_fires(screen: Screen) -> None:
    """As the page does: firing counts from when it fired, pending from when its condition began."""
    began, fired = NOW - timedelta(minutes=9), NOW - timedelta(minutes=4)
    alerts = (
        AlertRecord(
            Alert.VIEW_STALE, VIEWS[0], AlertState.FIRING, Severity.CRITICAL, began, fired, summary="orders: v is old"
        ),
        AlertRecord(Alert.NO_LEADER, "", AlertState.PENDING, Severity.WARNING, began, summary="orders: nobody leads"),
    )
    screen.console.width = 120
    show.show_status(document(alerts=alerts))
    assert screen.lines[-2:] == [
        "FIRING critical since 2026-03-01 14:03:30Z: AnalyticsViewStale: orders: v is old",
        "pending warning since 2026-03-01 13:58:30Z: AnalyticsNoLeader: orders: nobody leads",
    ]


def test_a_failure_without_a_sqlstate_reads_well(screen: Screen) -> None:
    """What is not known leaves no gap."""
    failed = [
        ViewResult(VIEWS[0], False, error="the function did not return it"),
        ViewResult(VIEWS[1], False, sqlstate="55P03", error="lock timeout"),
        ViewResult(VIEWS[2], False),
    ]
    screen.console.width = 120
    show.show_status(document(*failed))
    assert screen.lines[-3:] == [
        f"{VIEWS[0]}: the last run failed: the function did not return it",
        f"{VIEWS[1]}: the last run failed: 55P03 lock timeout",
        f"{VIEWS[2]}: the last run failed: no text",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("24h", timedelta(hours=24)), ("2026-03-01T15:00:00+01:00", NOW.replace(minute=0, second=0))],
)
def test_history_takes_what_incident_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str, expected: timedelta | datetime
) -> None:
    """A duration or a time; the server's clock says from where a duration counts."""
    asked: list[object] = []

    def noted(config: Config, **how: object) -> list[Run]:
        asked.append(how["since"])
        return []

    monkeypatch.setattr(status, "past_runs", noted)
    monkeypatch.setenv("ANALYTICS_REFRESHD_DATABASE__URL", "postgresql://u@localhost/orders")
    monkeypatch.setattr(sys, "argv", ["analytics-refreshd", "history", "--since", given])
    assert main() == 0
    assert asked == [expected]
    assert f"no run matches within --since {given}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("length", "problem"), [(timedelta(0), "must be over zero"), (timedelta(days=8), "at most 7d")]
)
def test_a_pause_of_no_length_is_told_from_one_that_is_too_long(length: timedelta, problem: str) -> None:
    """Each is refused by its own limit, before the database is asked."""
    with pytest.raises(UsageError, match=problem):
        pause_refreshes(
            Config.model_validate({"database": {"url": "postgresql://u@localhost/orders"}}), length, "upgrade"
        )
