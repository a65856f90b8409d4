"""A history as long as a test or a benchmark needs it."""

from collections.abc import Sequence
from typing import Any

import psycopg

from analytics_refreshd.core.model import VIEWS


def add_failed_runs(
    connection: psycopg.Connection[Any], count: int, *, failing: Sequence[str], views: Sequence[str] = VIEWS
) -> None:
    """Add `count` runs, one every three seconds up to now, in which `failing` failed and the others succeeded."""
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, scheduled_at, started_at,"
        " finished_at, outcome, reason, sqlstate, error, duration_seconds, leader_epoch)"
        " select gen_random_uuid(), 'shop', 'host-1', 'schedule', t, t, t + interval '1 second', 'partial', 'data',"
        " '22012', 'recent_failures: division by zero', 1, 1 from generate_series(%(count)s, 1, -1) as n,"
        " lateral (select now() - n * interval '3 seconds') as a (t)",
        {"count": count},
    )
    connection.execute(
        "insert into analytics_refresh.view_results (run_id, view_name, success, reason, sqlstate, error, row_count,"
        " duration_seconds, finished_at)"
        " select r.run_id, v.name, v.good, case when not v.good then 'data' end, case when not v.good then '22012' end,"
        " case when not v.good then 'division by zero' end, case when v.good then 7 end, 0.1,"
        " case when v.good then r.finished_at end from analytics_refresh.runs r"
        " cross join (select name, not name = any (%(failing)s::text[]) from unnest(%(views)s::text[]) as u (name))"
        " as v (name, good)"
        " where not exists (select from analytics_refresh.view_results x where x.run_id = r.run_id)",
        {"failing": list(failing), "views": list(dict.fromkeys([*views, *failing]))},
    )
    connection.execute("analyze analytics_refresh.runs, analytics_refresh.view_results")
