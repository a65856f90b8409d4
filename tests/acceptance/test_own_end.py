"""A view's age counts from the end of its own refresh, however long the run goes on: in every mode, by its content."""

import json
from datetime import datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from tests.support.daemon import Daemon, Settings
from tests.support.faults import Connection, age_views, refreshes_under_way, value
from tests.support.installs import install_older
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

_SLOT: Settings = {"schedule__interval": "10m", "alerts__evaluate_every": "1s"}
_SHOWS = {
    "action_metrics_hourly": "action_type",
    "trigger_performance_summary": "trigger_id",
    "recent_failures": "id",
    "action_type_distribution": "action_type",
}


def _prepare(connection: Connection, mode: str) -> None:
    if mode == "older":
        install_older(connection)
    connection.execute("insert into triggers (id) values ('marker'), ('other'), ('early')")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status)"
        " values ('other', 'j', 'other', 'rest', 'failed')"
    )
    if mode == "incremental":
        incremental.install(connection)
    connection.execute("select * from refresh_action_analytics()")
    # what was refreshed already, and not changed since, is not refreshed again
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status)"
        " values ('early', 'j', 'early', 'early', 'failed')"
    )
    if mode != "older":
        age_views(connection)


def _waits(connection: Connection) -> bool:
    """Whether the refresh waits for a view, and works on no other one beside it."""
    waiting = value(
        connection,
        "select count(*) from pg_locks l join pg_stat_activity a using (pid) where not l.granted"
        " and l.locktype = 'relation' and a.application_name like 'analytics-refreshd/%'"
        " and l.database = (select oid from pg_database where datname = current_database())",
    )
    return waiting == 1 and refreshes_under_way(connection, "%refresh%") == 1


def _add_marker(connection: Connection) -> datetime:
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status)"
        " values ('marker', 'j', 'marker', 'marker', 'failed')"
    )
    marked = value(connection, "select clock_timestamp()")
    assert isinstance(marked, datetime)
    return marked


def _ends(daemon: Daemon) -> dict[str, datetime]:
    """Each view's last success as the daemon tells it, once it tells all of them."""
    document: dict[str, Any] = json.loads(daemon.get("/status.json")[1])
    found = {view["view"]: view["last_success_at"] for view in document["views"] if view["last_success_at"]}
    return {view: datetime.fromisoformat(at) for view, at in found.items()} if len(found) == len(VIEWS) else {}


@pytest.mark.parametrize("blocked", ["action_type_distribution", "trigger_performance_summary"])
@pytest.mark.parametrize(
    ("mode", "isolation"),
    [
        ("ours", "cycle"),
        ("ours", "view"),
        ("incremental", "cycle"),
        ("incremental", "view"),
        pytest.param("older", "cycle", marks=pytest.mark.quick),
        ("older", "view"),
    ],
)
def test_L08_a_view_that_lacks_what_came_during_the_run_is_as_old_as_that(
    request: pytest.FixtureRequest, mode: str, isolation: str, blocked: str
) -> None:
    """A run waits for one view; a row comes; the views without it were refreshed before it, as told and as recorded."""
    dsn: str = request.getfixturevalue("application_dsn" if mode == "older" else "dsn")
    with psycopg.connect(dsn, autocommit=True) as connection, psycopg.connect(dsn) as holder:
        _prepare(connection, mode)
        # the view's lock and no other: in incremental mode a refresh would fold as well
        holder.execute("set analytics_refresh.fold = 'off'")
        holder.execute(sql.SQL("refresh materialized view concurrently {}").format(sql.Identifier(blocked)))
        with Daemon(dsn, refresh__isolation=isolation, **_SLOT) as daemon:
            began = value(connection, "select clock_timestamp()")
            daemon.until(lambda: _waits(connection))
            if isolation == "view":
                # the others are refreshed, and committed, beside the one that waits
                others = [view for view in VIEWS if view != blocked]
                daemon.until(lambda: all(_shows(connection, view, "early") for view in others))
            marked = _add_marker(connection)
            holder.rollback()
            assert daemon.wait_for("refresh.finished")["outcome"] == "ok"
            told = eventually(lambda: _fresh(_ends(daemon), began), within=60)
            recorded = told if mode == "older" else eventually(lambda: _recorded(connection), within=60)
        # the view that waited is as fresh as its own end, like any other; its snapshot is from before it waited
        shows = {view: _shows(connection, view) for view in VIEWS if view != blocked}
        assert False in shows.values(), "the run was not under way when the row came"
        _agree(shows, told, marked, began)
        _agree(shows, recorded, marked, began)


def _fresh(ends: dict[str, datetime], began: datetime) -> dict[str, datetime]:
    """The ends, once all are of this run."""
    return ends if ends and all(at > began for at in ends.values()) else {}


def _shows(connection: Connection, view: str, name: str = "marker") -> bool:
    query = sql.SQL("select exists (select from {} where {} = {})").format(
        sql.Identifier(view), sql.Identifier(_SHOWS[view]), sql.Literal(name)
    )
    row = connection.execute(query).fetchone()
    return bool(row and row[0])


def _recorded(connection: Connection) -> dict[str, datetime]:
    rows = connection.execute("select view_name, finished_at from analytics_refresh.view_results where success")
    ends: dict[str, datetime] = {view: at for view, at in rows}
    if len(ends) < len(VIEWS):
        return {}
    for view, at in connection.execute(
        "select view_name, greatest(last_success_at, last_checked_at) from analytics_refresh.last_refresh"
    ):
        ends[view] = max(at, ends[view])
    return ends


def _agree(shows: dict[str, bool], ends: dict[str, datetime], marked: datetime, began: datetime) -> None:
    too_fresh = {view: ends[view] for view, there in shows.items() if not there and ends[view] > marked}
    assert too_fresh == {}, f"the row came at {marked}"
    assert min(ends.values()) > began
