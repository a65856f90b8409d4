"""The page's words, status.json, and the timeline: what they say of a state."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any
from uuid import UUID

import pytest

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.delta import Delta
from analytics_refreshd.core.model import (
    VIEWS,
    LeaderInfo,
    Limits,
    Outcome,
    Pause,
    Progress,
    Rates,
    Reason,
    Role,
    Run,
    ViewResult,
)
from analytics_refreshd.core.retention import End, LastRuns
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.warehouse import Batch
from analytics_refreshd.observe.page.render import PAGE_POLICY, render_page
from analytics_refreshd.observe.page.words import cut, words
from analytics_refreshd.observe.status.document import status_document, status_json
from analytics_refreshd.observe.status.notices import headline, notices
from analytics_refreshd.observe.status.timeline import timeline
from tests.support.states import MONOTONIC, NOW, a_day, healthy, later, run_at, view_state
from tests.unit.test_core_warehouse import OUTBOX

MARKUP = "<b onclick='x'>\"&</b>"


def page(state: Snapshot) -> str:
    return render_page(state).decode()


def shown(state: Snapshot) -> dict[str, Any]:
    return words(status_document(state))


def data(state: Snapshot) -> Any:
    return json.loads(status_json(state))


class Elements(HTMLParser):
    """Start tags and the attributes that could run or load something."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.active: list[tuple[str, str, str | None]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name in ("src", "style", "href", "action"):
                self.active.append((tag, name, value))


def test_nothing_is_loaded_from_elsewhere() -> None:
    """One document: its links are relative, its icon is inside, no element runs code but the one script."""
    found = Elements(page(healthy()))
    assert found.tags.count("script") == 1
    assert [(tag, name) for tag, name, _ in found.active] == [("link", "href"), ("a", "href"), ("a", "href")]
    assert [value for _, _, value in found.active][1:] == ["status.json", "metrics"]
    assert "http" not in page(healthy()).replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_the_policy_allows_exactly_the_style_and_the_script() -> None:
    """The hashes are those of the document's own style and script, and nothing unsafe is allowed."""
    document = page(healthy())
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", document, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY


def test_the_templates_are_in_the_package() -> None:
    """An installed wheel has the page."""
    folder = files("analytics_refreshd.observe.page")
    assert {entry.name for entry in folder.iterdir()} >= {"page.html.j2", "page.css", "page.js"}


@pytest.mark.fault
def test_H05_markup_from_the_database_stays_text() -> None:
    """Whatever names, reasons and errors hold, no element and no attribute comes of it."""
    plain = Elements(page(healthy()))
    runs = (run_at(5000, NOW, failed=VIEWS, outcome=Outcome.FAILED, error=MARKUP), *a_day())
    hostile = healthy(
        runs=runs,
        database=MARKUP,
        replica=MARKUP,
        version=MARKUP,
        delta=Delta(MARKUP),
        isolation=MARKUP,
        run_problems=(MARKUP,),
        database_up=False,
        database_down_since=NOW,
        database_error=MARKUP,
        leader=LeaderInfo(MARKUP, 1),
        pause=Pause(NOW, NOW + timedelta(hours=1), MARKUP, MARKUP),
        views=tuple(replace(view_state(f"{view}{MARKUP}"), exists=False) for view in VIEWS),
        alerts=(
            AlertRecord(Alert.VIEW_STALE, MARKUP, AlertState.FIRING, Severity.CRITICAL, NOW, NOW, None, MARKUP, MARKUP),
        ),
        delivery={MARKUP: MARKUP},
    )
    found = Elements(page(hostile))
    assert set(found.tags) <= set(plain.tags) | {"strong", "wbr", "ul", "li"}
    assert found.active[1:] == plain.active[1:]
    assert found.active[0][:2] == ("link", "href")
    assert MARKUP not in page(hostile)


def test_fifty_views_in_the_worst_of_moods_fit_into_100_kb() -> None:
    """Every view failing with a megabyte of markup, every alert firing, everything at once: still under 100 kB."""
    names = [f"a_rather_long_name_for_a_materialized_view_of_department_{number:02}" for number in range(50)]
    failing = run_at(5000, NOW, names, failed=names, outcome=Outcome.FAILED, error="<&\"'é" * 200_000)
    runs = [failing]
    for run in a_day(names)[1:]:
        jagged = tuple(
            replace(result, duration_seconds=0.01 * ((number * 7919 + run.run_id.int * 104_729) % 997))
            for number, result in enumerate(run.views)
        )
        runs.append(replace(run, views=jagged, outcome=Outcome.PARTIAL, reason=Reason.TOO_MANY_CONNECTIONS))
    alerts = [
        AlertRecord(alert, name, AlertState.FIRING, Severity.CRITICAL, NOW, NOW, None, "<&" * 5000, "<&" * 5000)
        for alert in Alert
        for name in names
    ]
    state = healthy(
        names,
        runs=tuple(runs),
        views=tuple(view_state(name, age_seconds=9999) for name in names),
        alerts=tuple(alerts),
        run_problems=tuple("<problem>" * 100 for _ in range(50)),
    )
    size = len(render_page(state))
    assert size < 100_000
    assert shown(state)["alerts_left_out"] == len(alerts) - 20


def test_the_worst_views_come_first() -> None:
    """Stale before late before fresh, otherwise as configured."""
    ages = dict(zip(VIEWS, (10.0, 500.0, 9000.0, 20.0), strict=True))
    state = healthy(views=tuple(view_state(view, age_seconds=age) for view, age in ages.items()))
    names = ["_".join(view["name"]) for view in shown(state)["views"]]
    assert names == [VIEWS[2], VIEWS[1], VIEWS[0], VIEWS[3]]


def test_verdicts_follow_the_clock_not_the_last_evaluation() -> None:
    """A view that was fresh when last looked at is shown stale once its time is over."""
    state = healthy()
    assert {view["verdict"] for view in data(state)["views"]} == {"fresh"}
    assert {view["verdict"] for view in data(later(state, 400))["views"]} == {"late"}
    assert {view["verdict"] for view in data(later(state, 600))["views"]} == {"stale"}
    assert data(later(state, 600))["views"][0]["age_seconds"] == 755.0


def test_rows_change_median_and_last_error() -> None:
    """Rows are compared with the success before; the median is of successes; an error that is over says so."""
    runs = (
        run_at(5, NOW, seconds=3.0),
        run_at(3, NOW - timedelta(minutes=5), seconds=1.0),
        run_at(2, NOW - timedelta(minutes=10), failed=VIEWS, outcome=Outcome.FAILED, error="lock timeout"),
        run_at(1, NOW - timedelta(minutes=15), seconds=2.0),
    )
    view = data(healthy(runs=runs, views=(view_state(VIEWS[0]),)))["views"][0]
    assert view["rows_change"] == 2
    assert view["median_duration_seconds"] == 2.0
    assert view["last_run"]["success"] is True
    assert view["last_error"] == {
        "at": "2026-03-01T13:57:30.000Z",
        "run_id": str(UUID(int=2)),
        "text": "lock timeout",
        "current": False,
    }
    assert len(view["recent"]) == 4


@pytest.mark.fault
def test_L28_one_error_of_several_views_is_said_once() -> None:
    """Four views that failed by one cause are one entry; another cause is another one, and what is over comes last."""
    runs = (
        run_at(5, NOW, failed=VIEWS[:2], outcome=Outcome.PARTIAL, error="lock timeout"),
        run_at(2, NOW - timedelta(minutes=10), failed=VIEWS[2:], outcome=Outcome.PARTIAL, error="disk full"),
    )
    state = healthy(runs=runs)
    first, second = shown(state)["errors"]
    assert (first["title"], first["text"], first["views"]) == (
        "Failed at 03-01 14:07 UTC:",
        "lock timeout",
        f"{VIEWS[0]}, {VIEWS[1]}",
    )
    assert (second["title"], second["text"]) == ("Failed at 03-01 13:57 UTC, not since:", "disk full")
    assert page(state).count("lock timeout") == page(state).count("disk full") == 1


@pytest.mark.fault
def test_L28_each_view_has_a_lane_of_its_own() -> None:
    """A view that failed beside three that did not is seen at once; many views share one lane."""
    runs = (run_at(5, NOW, failed=[VIEWS[2]], outcome=Outcome.PARTIAL, error="lock timeout"),)
    row = timeline(healthy(runs=runs))
    assert [(lane.view, lane.spans[-1].state, lane.spans[-1].cells) for lane in row.lanes] == [
        (VIEWS[0], "ok", 1),
        (VIEWS[1], "ok", 1),
        (VIEWS[2], "failed", 1),
        (VIEWS[3], "ok", 1),
    ]
    drawn = shown(healthy(runs=runs))["slots"]
    assert [lane["name"] for lane in drawn["lanes"]] == ["all", *VIEWS]
    assert [hour for _, hour in drawn["hours"]] == [
        "15:00",
        "18:00",
        "21:00",
        "00:00",
        "03:00",
        "06:00",
        "09:00",
        "12:00",
    ]
    many = tuple(f"view_{number}" for number in range(9))
    assert len(shown(healthy(many, views=tuple(view_state(view) for view in many)))["slots"]["lanes"]) == 1


@pytest.mark.fault
def test_L28_the_next_command_stands_apart() -> None:
    """What an alert says to type is marked as a command, and only that."""
    told = "it is old. Next: analytics-refreshd history --view b"
    alert = AlertRecord(Alert.VIEW_STALE, VIEWS[1], AlertState.FIRING, Severity.WARNING, NOW, NOW, None, "old", told)
    (shown_alert,) = shown(healthy(alerts=(alert,)))["alerts"]
    assert (shown_alert["description"], shown_alert["command"]) == (
        "it is old.",
        "analytics-refreshd history --view b",
    )
    (hostile,) = shown(healthy(alerts=(replace(alert, description="x Next: rm -rf /"),)))["alerts"]
    assert hostile["command"] == ""


@pytest.mark.fault
def test_L28_the_page_names_the_server_and_the_runbook() -> None:
    """A link only where a browser can follow it: the shipped default is a folder."""
    alert = AlertRecord(Alert.VIEW_STALE, VIEWS[1], AlertState.FIRING, Severity.WARNING, NOW, NOW, None, "old", "")
    state = healthy(alerts=(alert,), runbooks_url="https://wiki.example.com/r?space=ops")
    assert '<a href="https://wiki.example.com/r/AnalyticsViewStale.md?space=ops"' in page(state)
    assert "app at db1.example.com:5432" in page(state)
    assert data(state)["server"] == "app at db1.example.com:5432"
    for address in ("deploy/runbooks", "javascript:alert(1)//", ""):
        assert "Runbook" not in page(healthy(alerts=(alert,), runbooks_url=address))


@pytest.mark.fault
def test_L28_each_view_tells_its_last_runs_and_the_command_for_all() -> None:
    """The newest first; a failed one is called so."""
    runs = (
        run_at(5, NOW, failed=[VIEWS[2]], outcome=Outcome.PARTIAL, error="lock timeout"),
        run_at(2, NOW - timedelta(minutes=10)),
    )
    view = next(view for view in shown(healthy(runs=runs))["views"] if view["id"] == VIEWS[2])
    assert [(began, ended.partition(",")[0].startswith("failed")) for began, ended, _ in view["runs"]] == [
        (f"{NOW:%m-%d %H:%M:%S}", True),
        (f"{NOW - timedelta(minutes=10):%m-%d %H:%M:%S}", False),
    ]
    assert view["history"] == f"analytics-refreshd history --view {VIEWS[2]}"
    hostile = "x; rm -rf /"
    (one,) = shown(healthy((hostile,), views=(view_state(hostile),)))["views"]
    assert one["history"] == "analytics-refreshd history --view 'x; rm -rf /'"
    many = tuple(f"view_{number}" for number in range(9))
    assert not any(view["runs"] for view in shown(healthy(many, views=tuple(map(view_state, many))))["views"])


def test_it_says_what_waits_for_a_warehouse() -> None:
    """An export, batches and for how long, or that nothing does; without a warehouse it says nothing."""
    outbox = replace(OUTBOX, waiting=(), read_at=NOW)
    assert shown(healthy())["warehouse"] is None
    assert "Warehouse" not in page(healthy())
    assert shown(healthy(warehouse=outbox))["warehouse"] == {
        "text": "up to date",
        "detail": "it has batch 7 of epoch 3",
    }
    behind = replace(outbox, waiting=(Batch(8, UUID(int=8), 1200, NOW - timedelta(seconds=90)),))
    assert shown(healthy(warehouse=behind))["warehouse"] == {
        "text": "1 min 30 s behind",
        "detail": "1 batch, 1,200 rows wait; it has batch 7 of epoch 3",
    }
    assert "2 batches" in page(healthy(warehouse=replace(behind, waiting=behind.waiting * 2)))
    exporting = replace(outbox, recording=False, epoch_at=NOW - timedelta(seconds=5))
    assert shown(healthy(warehouse=exporting))["warehouse"] == {
        "text": "exporting for 5.0 s",
        "detail": "epoch 3: installation",
    }


def test_the_last_retention_run_is_told() -> None:
    """Nothing where nobody deletes rows; a run that failed stands out."""
    assert shown(healthy())["retention"] is shown(healthy(retention=LastRuns()))["retention"] is None
    ran = LastRuns(begun_at=NOW, ended_at=NOW, outcome=End.FAILED, reason="no room", rows_deleted=1200)
    assert shown(healthy(retention=ran))["retention"] == {
        "text": "failed",
        "tone": "bad",
        "detail": "03-01 14:07 UTC, 1,200 rows deleted, no room",
    }
    assert "no end yet" in page(healthy(retention=replace(ran, outcome=None, reason=None)))


def test_a_view_without_runs_has_no_sparkline_and_no_figures() -> None:
    """Unknown is said, not drawn as zero."""
    view = shown(healthy(runs=(), views=(view_state(VIEWS[0], age_seconds=None, rows=None),)))["views"][0]
    assert (view["spark"], view["age_seconds"], view["rows"]) == (None, None, "unknown")
    assert (view["last"], view["median"], view["verdict"]) == ("unknown", "unknown", "unknown")


def test_the_sparkline_marks_failures_slow_runs_and_the_limit() -> None:
    """Failed runs in full height, slow ones above the limit's line, usual ones below it."""
    runs = [
        run_at(4, NOW, seconds=20.0),
        run_at(3, NOW - timedelta(minutes=5), failed=VIEWS, outcome=Outcome.FAILED),
        run_at(2, NOW - timedelta(minutes=10), seconds=0.05),
        run_at(1, NOW - timedelta(minutes=15), seconds=0.05),
    ]
    spark = shown(healthy(runs=tuple(runs), views=(view_state(VIEWS[0]),)))["views"][0]["spark"]
    assert dict(spark["paths"]) == {"ok": "M280 30V28h10V30z", "failed": "M292 0v30", "slow": "M295 30V0h5V30z"}
    assert spark["limit"] == 15
    assert spark["label"] == "Last 4 runs: median 50 ms, longest 20 s, limit 5.0 s, 1 failed"


@pytest.mark.parametrize(
    ("interval", "cells", "cell_seconds"),
    [(300, 288, 300), (10, 288, 300), (420, 206, 420), (3600, 24, 3600), (86_400, 1, 86_400), (7, 287, 301)],
)
def test_the_timeline_covers_24_hours_whatever_the_interval(interval: float, cells: int, cell_seconds: float) -> None:
    """Cells hold whole slots, are never more than 288, and the last one is under way."""
    row = timeline(healthy(runs=(), limits=Limits(interval_seconds=interval)))
    assert (len(row.cells), row.cell_seconds) == (cells, cell_seconds)
    assert row.cells[-1].starts_at <= NOW < row.cells[-1].starts_at + timedelta(seconds=cell_seconds)


def _run(outcome: Outcome | None, seconds: float = 0.1, minutes: float = 0.0) -> Run:
    run = run_at(1, NOW - timedelta(minutes=minutes), seconds=seconds)
    return replace(run, outcome=outcome)


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (_run(Outcome.OK), "ok"),
        (_run(Outcome.OK, seconds=5.1), "slow"),
        (_run(Outcome.PARTIAL), "partial"),
        (_run(Outcome.FAILED), "failed"),
        (_run(Outcome.TIMEOUT), "failed"),
        (_run(Outcome.UNKNOWN), "failed"),
        (_run(Outcome.CANCELLED), "skipped"),
        (_run(Outcome.SKIPPED), "skipped"),
        (_run(None), "running"),
    ],
)
def test_what_a_slot_shows(run: Run, state: str) -> None:
    """Each outcome has its state; slow is an ok run with a view over the limit."""
    assert timeline(healthy(runs=(run,))).cells[-1].state == state


def test_a_cell_of_several_runs_shows_the_worst() -> None:
    """A failure among thirty runs of a fast schedule is not hidden by the others."""
    limits = Limits(interval_seconds=10)
    runs = [_run(Outcome.OK, minutes=0.5), _run(Outcome.FAILED, minutes=1), _run(Outcome.OK, minutes=1.5)]
    state = healthy(limits=limits, runs=tuple(runs))
    assert timeline(state).cells[-1].count == 3
    assert "|3 runs, the worst failed" in shown(state)["slots"]["words"]


def test_the_legend_says_that_it_counts_slots() -> None:
    """Thirty runs of a fast schedule are one slot: whoever reads the figures is told what they count."""
    slots = shown(healthy(limits=Limits(interval_seconds=10)))["slots"]
    assert slots["label"].startswith("Timeline of the last 24 hours in slots of 5 min: ")
    assert sum(count for _, _, count in slots["legend"]) == 288
    assert "Slots of 5 min, each with the worst of its runs" in page(healthy())


def test_a_lane_shows_the_slots_of_its_view() -> None:
    """An hourly view fills the cells of its hour, whatever others do; a frequent one shows the worst of its cell."""
    limits = Limits(view_interval_seconds={"hourly": 3600.0, "often": 30.0}, shortest_interval_seconds=30.0)
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    runs = (
        run_at(1, hour - timedelta(hours=2), ["often", "hourly"], failed=["hourly"], outcome=Outcome.PARTIAL),
        run_at(2, hour - timedelta(hours=1), ["often", "hourly"]),
        run_at(3, hour - timedelta(minutes=31), ["often"], failed=["often"], outcome=Outcome.FAILED),
        replace(run_at(4, hour - timedelta(minutes=21), []), outcome=Outcome.SKIPPED),
    )
    row = timeline(healthy(("often", "hourly"), runs=runs, limits=limits))
    assert row.cell_seconds == 300
    often, hourly = ([span for span in lane.spans if span.state != "none"] for lane in row.lanes)
    assert [(span.state, span.cells) for span in hourly] == [("failed", 12), ("ok", 12)]
    assert [(span.state, span.cells) for span in often] == [("ok", 1), ("ok", 1), ("failed", 1), ("skipped", 1)]


def test_a_run_that_started_late_stays_in_its_slot() -> None:
    """The slot counts, not the moment at which the run got going; what is older than a day is left out."""
    late = replace(run_at(1, NOW), scheduled_at=NOW - timedelta(minutes=5))
    old = run_at(2, NOW - timedelta(hours=25))
    cells = timeline(healthy(runs=(late, old))).cells
    assert [cell.state for cell in cells[-2:]] == ["ok", "none"]
    assert sum(cell.count for cell in cells) == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"database_up": False}, "The database has not answered yet."),
        ({"role": Role.DRAINING}, "This replica is shutting down."),
        ({"role": Role.STANDBY, "leader": None}, "No replica holds the leader lock: nothing is refreshed."),
        (
            {"role": Role.STANDBY, "leader": LeaderInfo("psql", 99, ours=False)},
            "The leader lock is held by pid 99, which is not one of our daemons: nothing is refreshed.",
        ),
        ({"history_pending": 3}, "3 runs wait in memory to be written to history."),
        ({"run_problems": ("view x is missing",)}, "view x is missing"),
        (
            {"config_refused_at": NOW},
            "The configuration read at 2026-03-01 14:07 UTC was refused: the old one is in force; "
            "see config.reload_failed in the log.",
        ),
        ({"log_lines_lost": 1200}, "1,200 log lines could not be written since this replica started."),
        (
            {"delta": Delta("incremental", uncaptured=("public.x",))},
            "Incremental mode: not all changes of public.x are captured: run analytics-refreshd migrate --incremental.",
        ),
        (
            {"delta": Delta("incremental", verified_ok=False, verified_differences=1200)},
            "Incremental mode: the last verification found 1,200 rows that differ from the plain views: "
            "run analytics-refreshd migrate --verify --rebuild.",
        ),
        (
            {"delta": Delta("incremental", rebuild_reason="TRUNCATE of action_results")},
            "The next refresh rebuilds the rollups: TRUNCATE of action_results.",
        ),
        ({"run_deadline_monotonic": MONOTONIC - 31}, "The refresh under way passed its deadline 31 s ago."),
        (
            {"progress": Progress(UUID(int=1), NOW, 12.0, None)},
            "A refresh has been running for 12 s.",
        ),
    ],
)
def test_trouble_is_told_in_words(changes: dict[str, Any], text: str) -> None:
    """Each kind of trouble has its sentence."""
    assert text in [notice.text for notice in notices(healthy(**changes))]


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (None, "plain mode, one transaction for all views"),
        (Delta(), "plain mode, one transaction for all views"),
        (Delta("incremental"), "incremental mode, one transaction for all views"),
        (
            Delta("incremental", 1234, fold_seconds=0.18),
            "incremental mode, one transaction for all views, 1,234 changes wait, the last fold took 180 ms, "
            "never verified",
        ),
        (
            Delta("incremental", 0, NOW, True),
            "incremental mode, one transaction for all views, 0 changes wait, exact at 03-01 14:07 UTC",
        ),
        (
            Delta("incremental", 0, NOW, False),
            "incremental mode, one transaction for all views, 0 changes wait, different at 03-01 14:07 UTC",
        ),
        (
            Delta("incremental", 0, NOW, True, frozen_until=NOW, late_rows=2),
            "incremental mode, one transaction for all views, 0 changes wait, exact at 03-01 14:07 UTC, "
            "frozen until 2026-03-01 14:07 UTC",
        ),
    ],
)
def test_the_mode_says_what_the_incremental_one_costs(delta: Delta | None, text: str) -> None:
    """Backlog, last fold and last verification follow the mode; what this role may not read is left out."""
    assert shown(healthy(delta=delta))["mode"] == text


@pytest.mark.parametrize(
    ("error", "end"),
    [
        ("Is the server running on that socket?", "Is the server running on that socket? Ages below"),
        ("connection refused", "connection refused. Ages below"),
        (None, "(0 ms). Ages below"),
    ],
)
def test_an_error_that_ends_its_sentence_gets_no_second_full_stop(error: str | None, end: str) -> None:
    """What libpq says ends with a question mark, what the system says with nothing."""
    state = healthy(database_up=False, database_down_since=NOW, database_error=error)
    assert end in notices(state)[0].text


def test_while_the_database_is_away_nobody_is_known_to_refresh() -> None:
    """Who led when the database last answered is told as past, on that replica and on every other."""
    for replica in ("host-1", "host-2"):
        state = healthy(role=Role.STANDBY, replica=replica, database_up=False, database_down_since=NOW)
        told = [notice.text for notice in notices(state)]
        assert "While the database is away nobody is known to refresh. host-1 led last." in told
        assert shown(state)["leader"] == "host-1 led last"
        assert not any("stands by" in text for text in told)
    stranger = healthy(leader=LeaderInfo("psql", 99, ours=False), database_up=False)
    assert notices(stranger)[-1].text == "While the database is away nobody is known to refresh."
    assert shown(stranger)["leader"] == "no leader known"


def test_a_pause_is_told_before_the_ages_that_it_makes() -> None:
    """Nothing is red of a pause alone, no run is promised within it, and none of it is told once it is over."""
    pause = Pause(NOW - timedelta(hours=1), NOW + timedelta(minutes=5), "upgrade", "alice")
    state = healthy(pause=pause, views=tuple(view_state(view, age_seconds=3000.0) for view in VIEWS))
    found = headline(state)
    text = "Refreshes are paused by alice until 2026-03-01 14:12 UTC"
    assert (found.level, found.text) == ("warn", f"{text}. 4 of 4 views stale")
    assert f"{text}: upgrade" in [notice.text for notice in notices(state)]
    assert shown(state)["next_run"] == {"seconds": None, "words": "after the pause", "at": "03-01 14:12:30 UTC"}
    assert "data-until" not in page(state).partition("<script>")[0]
    assert headline(replace(state, state=replace(state.state, database_reached=False))).level == "bad"
    over = later(state, 301)
    assert headline(over).text == "4 of 4 views stale"
    assert not any("paused" in notice.text for notice in notices(over))
    assert data(over)["pause"] is None
    assert shown(over)["next_run"]["words"] == "overdue by 2 min 31 s"


def test_an_ordinary_afternoon_needs_no_notice() -> None:
    """Nothing is said where nothing is wrong."""
    assert notices(healthy()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("info", "All 4 views fresh")),
        ({"views": ()}, ("warn", "Nothing is known about the views yet")),
        (
            {"views": tuple(view_state(view, age_seconds=500.0) for view in VIEWS)},
            ("warn", "4 of 4 views late"),
        ),
        (
            {"views": tuple(view_state(view, age_seconds=None) for view in VIEWS)},
            ("bad", "4 of 4 views never seen refreshed"),
        ),
        (
            {"alerts": (AlertRecord(Alert.NO_LEADER, "", AlertState.FIRING, Severity.WARNING, NOW),)},
            ("bad", "All 4 views fresh; 1 alert fires"),
        ),
        ({"database_up": False}, ("bad", "The database does not answer")),
    ],
)
def test_the_headline_is_the_whole_page_in_one_sentence(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    """Fresh, late, stale, unknown, with the alerts that fire."""
    found = headline(healthy(**changes))
    assert (found.level, found.text) == expected


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (Rates(1000, 95.0, 0.5), ("within limit", "within limit")),
        (Rates(1000, 80.0, 1.5), ("beyond limit", "beyond limit")),
        (Rates(19, 10.0, 9.0), ("too few executions", "too few executions")),
        (Rates(0, None, None), ("nothing ran", "nothing ran")),
        (Rates(1000, 95.0, None, 0, "GRANT SELECT"), ("within limit", "not judged")),
        (None, ("not known", "not known")),
    ],
)
def test_rates_are_judged_as_the_alerts_judge_them(rates: Rates | None, expected: tuple[str, str]) -> None:
    """The word beside a figure is the rule's: few executions are not judged."""
    assert tuple(rate["word"] for rate in shown(healthy(rates=rates))["rates"]) == expected


def test_what_is_cut_counts_as_it_is_written() -> None:
    """Markup takes several bytes a character; the limit holds for what is sent."""
    assert cut("short", 10) == "short"
    assert cut("<" * 100, 43) == "<" * 10 + "…"
    assert len(cut("é" * 100, 43).encode()) <= 43


def test_infinities_and_huge_texts_do_not_break_status_json() -> None:
    """Numbers are finite, texts are a kilobyte, and what cannot be encoded is replaced."""
    odd = ViewResult(VIEWS[0], False, Reason.DATA, error="x\ud800\x1b" * 2_000_000, duration_seconds=float("inf"))
    run = replace(run_at(1, NOW), views=(odd,), duration_seconds=float("nan"))
    rates = Rates(1000, float("nan"), float("inf"))
    document = data(healthy(runs=(run,), views=(view_state(VIEWS[0]),), rates=rates))
    assert document["rates"]["success_rate_percent"] is None
    error = document["views"][0]["last_error"]["text"]
    assert len(error) <= 1024
    assert "\x1b" not in error
    assert document["views"][0]["last_run"]["duration_seconds"] is None
    assert page(healthy(runs=(run,), views=(view_state(VIEWS[0]),)))
