"""Views with intervals of their own, on a real daemon: every slot of every view is accounted for."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.schedule import Schedule
from tests.support.daemon import Daemon, Settings, command
from tests.support.installs import make_stretchable, stretch

SECOND = timedelta(seconds=1)
UNMEETABLE = "AnalyticsTargetUnmeetable"
FAILURES, TRIGGERS = "recent_failures", "trigger_performance_summary"
COMMON = ("action_metrics_hourly", "action_type_distribution")
MIXED: Settings = {
    "refresh__isolation": "view",
    "schedule__interval": "4s",
    "schedule__views": {FAILURES: "1s", TRIGGERS: "2s"},
    "alerts__stale_for": "0s",
}
PLAN = Schedule(4 * SECOND, views=(*COMMON, FAILURES, TRIGGERS), own={FAILURES: SECOND, TRIGGERS: 2 * SECOND})

Connection = psycopg.Connection[Any]
Slots = dict[datetime, list[set[str]]]


def slots(connection: Connection) -> Slots:
    """The views that each run in a slot refreshed, or tried to, in order; a skipped slot has a run without views.

    From the first slot of all views after the run at the start, which has no slot, and takes some.
    """
    rows = connection.execute(
        "select r.scheduled_at, array_remove(array_agg(v.view_name), null) from analytics_refresh.runs r "
        "left join analytics_refresh.view_results v using (run_id) "
        "where r.scheduled_at = date_trunc('second', r.scheduled_at) and r.scheduled_at > (select "
        "coalesce(max(date_bin('4s', s.finished_at, 'epoch') + interval '3.5s'), '-infinity') "
        "from analytics_refresh.runs s where s.scheduled_at <> date_trunc('second', s.scheduled_at)) "
        "group by r.run_id, r.scheduled_at order by r.scheduled_at, r.started_at"
    )
    found: Slots = {}
    for scheduled_at, views in rows:
        found.setdefault(scheduled_at, []).append(set(views))
    return found


@pytest.mark.slow
def test_every_slot_of_every_view_is_accounted_for(dsn: str, connection: Connection) -> None:
    """Each slot has one run, or was skipped; each view is in the first run from a slot of its own on, and in no other.

    One view is slow, so that others have slots meanwhile: those are skipped and counted, and made good by the next run.
    """
    make_stretchable(connection)
    stretch(connection, COMMON[0], 2.2)
    with Daemon(dsn, **MIXED) as daemon:
        # in history: of runs that go as those before the log has a summary
        daemon.until(lambda: _full_runs(connection) >= 2)
        metrics = daemon.get("/metrics")[1]
        document = command(dsn, "status", "--format", "json", **MIXED)
        assert daemon.stop() == 0
    for threshold, view, value in (
        ("view_interval_seconds", FAILURES, "1.0"),
        ("view_age_seconds", FAILURES, "2.0"),
        ("view_age_seconds", COMMON[0], "8.0"),
    ):
        assert re.search(rf'^analytics_threshold{{.*name="{threshold}",view="{view}"}} {value}$', metrics, re.M)
    views = json.loads(document.stdout)["views"]
    assert {view["view"]: view["interval_seconds"] for view in views}[TRIGGERS] == 2.0
    found = slots(connection)
    first, last = min(found), max(found)
    assert PLAN.slots_at(first) == dict.fromkeys(PLAN.views, first)
    assert sorted(found) == [first + number * SECOND for number in range(round((last - first) / SECOND) + 1)]
    due: set[str] = set()
    for slot, runs in sorted(found.items()):
        due |= {view for view, latest in PLAN.slots_at(slot).items() if latest == slot}
        refreshed = [views for views in runs if views]
        assert len(refreshed) <= 1
        if refreshed:
            assert refreshed[0] >= due
            assert refreshed[0] == due or _failed(connection, slot - 4 * SECOND)
        due -= set().union(*refreshed)
    skipped = connection.execute("select distinct reason from analytics_refresh.runs where outcome = 'skipped'")
    assert skipped.fetchall() == [("overlap",)]


def _full_runs(connection: Connection) -> int:
    """How many runs of a slot were of all views."""
    return sum(len(views) == len(PLAN.views) for runs in slots(connection).values() for views in runs)


def _failed(connection: Connection, since: datetime) -> bool:
    """Whether a view failed lately, as on a busy machine: then it is due before its next slot."""
    found = connection.execute(
        "select exists (select from analytics_refresh.view_results v join analytics_refresh.runs r using (run_id) "
        "where not v.success and r.scheduled_at >= %s)",
        [since],
    ).fetchone()
    return found == (True,)


@pytest.mark.slow
def test_an_interval_that_cannot_hold_is_told_with_the_smallest_that_would(dsn: str, connection: Connection) -> None:
    """A view that times out in each slot raises an alert of its own, and `check` says the same."""
    make_stretchable(connection)
    stretch(connection, FAILURES, 1.5)
    own: Settings = {
        "refresh__isolation": "view",
        "schedule__interval": "1h",
        "schedule__views": {FAILURES: "1s"},
    }
    with Daemon(dsn, **own) as daemon:
        told = daemon.wait_for("alert.firing", lambda line: line["alert"] == UNMEETABLE)
        assert daemon.stop() == 0
    assert (told["view"], told["severity"]) == (FAILURES, "warning")
    checked = command(dsn, "check", "--format", "json", **own)
    (found,) = (each for each in json.loads(checked.stdout) if each["name"] == "schedule")
    assert found["level"] == "warning"
    reason = "since a timeout ends it, of an interval of 1.0 s; the smallest interval that would hold is 5.0 s"
    assert reason in told["description"]
    assert reason in found["text"]


_ANY_VIEW = """
drop function refresh_action_analytics_view(text);
create function refresh_action_analytics_view(name text)
returns table (view_name text, refresh_duration_ms integer, rows_refreshed bigint, success boolean, error_message text)
language plpgsql as $$
begin
    execute format('refresh materialized view concurrently public.%I', name);
    return query select name, 1, 1::bigint, true, null::text;
end $$
"""
"""A function of one's own, which refreshes any view."""


@pytest.mark.slow
def test_forty_views_due_at_once_do_not_pile_up(dsn: str, connection: Connection) -> None:
    """They are one run, on `parallel` connections; no two runs overlap, no slot is lost or done twice."""
    names = [f"extra_{number:02}" for number in range(40)]
    for name in names:
        view = sql.Identifier(name)
        connection.execute(sql.SQL("create materialized view {0} as select 1 as id").format(view))
        connection.execute(sql.SQL("create unique index on {0} (id)").format(view))
    connection.execute(_ANY_VIEW)
    many: Settings = {
        "refresh__isolation": "view",
        "refresh__views": names,
        "refresh__parallel": 2,
        "schedule__interval": "1h",
        "schedule__views": dict.fromkeys(names, "5s"),
    }
    ours = "select count(*) from pg_stat_activity where application_name like 'analytics-refreshd/%'"
    ended = (
        "select array_agg(v.success) from analytics_refresh.runs r join analytics_refresh.view_results v using (run_id)"
        " where r.finished_at is not null group by r.run_id, r.started_at order by r.started_at"
    )
    busy = []
    runs: list[tuple[list[bool]]] = []
    with Daemon(dsn, **many) as daemon:
        # in history: of runs that go as those before the log has a summary
        while len(runs) < 3:
            busy.append(connection.execute(ours).fetchone() or (0,))
            runs = connection.execute(ended).fetchall()
            assert daemon.process.poll() is None
        assert daemon.stop() == 0
    # the leader's session, the one for status and history, and two that refresh
    assert max(busy) <= (4,)
    assert all(any(successes) for (successes,) in runs)
    assert [len(successes) for (successes,) in runs] == [40] * 3
    overlapping = connection.execute(
        "select count(*) from analytics_refresh.runs a join analytics_refresh.runs b on a.run_id < b.run_id and"
        " tstzrange(a.started_at, a.finished_at) && tstzrange(b.started_at, b.finished_at)"
        " where a.outcome <> 'skipped' and b.outcome <> 'skipped'"
    )
    assert overlapping.fetchone() == (0,)
    found = connection.execute(
        "select scheduled_at from analytics_refresh.runs where scheduled_at = date_bin('5s', scheduled_at, 'epoch')"
        " order by 1"
    ).fetchall()
    assert [slot for (slot,) in found] == [found[0][0] + number * 5 * SECOND for number in range(len(found))]
