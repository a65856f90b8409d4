"""Section A of the fault matrix: the refresh of a view goes wrong."""

from typing import Any, LiteralString

import pytest
from psycopg import sql

from analytics_refreshd.core.model import VIEWS
from tests.support.adapters import holding_refresh
from tests.support.daemon import Daemon
from tests.support.faults import (
    FAST,
    Connection,
    act,
    alerts_of,
    as_role,
    fired,
    least_role,
    result_of,
    value,
)
from tests.support.installs import stretch

pytestmark = pytest.mark.fault

# no pattern of a secret or an address covers its first half, which nothing but leaving the row out keeps
CANARY = "canary-7f3a/canary.7f3a@person.example"
PATIENT = FAST | {"alerts__failed_after_runs": 100}
"""Only what waiting cannot mend alerts."""


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def others(line: dict[str, Any], view: str) -> list[dict[str, Any]]:
    return [part for part in line["views"] if part["view"] != view]


def test_A08_statement_timeout_in_view_3(dsn: str, stretched: Connection) -> None:
    """A timeout in one view rolls back all four and is not tried again before the next slot, which is normal."""
    act(stretched, "1")
    stretch(stretched, VIEWS[2], 5)
    # the slot has room for another attempt
    settings = FAST | {
        "schedule__interval": "8s",
        "refresh__lock_timeout": "200ms",
        "refresh__statement_timeout": "2s",
        "alerts__failed_after_runs": 1,
    }
    with Daemon(dsn, **settings) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], line["reason"], line["sqlstate"]) == ("timeout", "timeout", "57014")
        assert line["attempts"] == 1
        assert [view["reason"] for view in line["views"]] == ["rolled_back"] * 4
        assert not any(view["success"] for view in line["views"])
        assert line["duration_seconds"] >= 2
        assert value(stretched, "select count(*) from action_metrics_hourly") == 0
        # restored once it is told: the next slot may come at once, and its success ends what would fire
        alert = fired(daemon, "AnalyticsRefreshFailed", VIEWS[0])
        stretch(stretched, VIEWS[2])
        assert "(timeout, 57014)" in alert["summary"]
        daemon.wait_for("refresh.finished", ok)
        assert daemon.events("refresh.retry") == []
        assert daemon.stop() == 0
    assert value(stretched, "select count(*) from action_metrics_hourly") == 1
    wrong = (
        "select count(*) from analytics_refresh.view_results v join analytics_refresh.runs r using (run_id)"
        " where r.outcome = 'timeout' and (v.success or v.reason <> 'rolled_back')"
    )
    assert value(stretched, wrong) == 0


@pytest.mark.parametrize("isolation", ["cycle", "view"])
def test_A09_lock_contention_on_one_view(dsn: str, connection: Connection, isolation: str) -> None:
    """A view locked elsewhere fails alone, its run is partial, never ok; the second in a row alerts, and says who."""
    settings = FAST | {"refresh__lock_timeout": "700ms", "refresh__isolation": isolation}
    with holding_refresh(dsn, VIEWS[1]) as holder, Daemon(dsn, **settings) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert line["outcome"] == "partial"
        failed = result_of(line, VIEWS[1])
        assert (failed["success"], failed["sqlstate"], failed["reason"]) == (False, "55P03", "lock_timeout")
        assert all(part["success"] for part in others(line, VIEWS[1]))
        alert = fired(daemon, "AnalyticsRefreshFailed", VIEWS[1])
        assert "55P03" in alert["description"]
        # however short the wait
        assert f"on pid {holder.info.backend_pid}, nightly-etl" in alert["description"]
        before = daemon.lines[: daemon.lines.index(alert)]
        assert sum(line["event"] == "refresh.finished" for line in before) >= 2
        assert (daemon.metric("analytics_runs_total", outcome="partial") or 0) >= 2
        assert daemon.stop() == 0
        assert not any(ok(line) for line in daemon.events("refresh.finished"))


@pytest.mark.quick
def test_A10_every_row_failed(dsn: str, connection: Connection) -> None:
    """A call that returns four failed rows is a failed run that alerts at once, for every view."""
    with least_role(connection) as role:
        connection.execute(
            sql.SQL("revoke maintain on {} from {}").format(
                sql.SQL(", ").join(sql.Identifier("public", view) for view in VIEWS), sql.Identifier(role)
            )
        )
        with Daemon(as_role(dsn, role), **PATIENT) as daemon:
            line = daemon.wait_for("refresh.finished")
            assert line["outcome"] == "failed"
            assert {(view["success"], view["sqlstate"]) for view in line["views"]} == {(False, "42501")}
            for view in VIEWS:
                fired(daemon, "AnalyticsRefreshFailed", view)
            assert daemon.metric("analytics_runs_total", outcome="ok") in (0, None)
            assert daemon.stop() == 0


@pytest.mark.parametrize("view", [VIEWS[0], VIEWS[3]])
def test_A11_one_view_dropped(dsn: str, connection: Connection, view: str) -> None:
    """A dropped view fails by 42P01 and alerts at once, the others refresh, nothing retries, and its series stay."""
    with Daemon(dsn, **PATIENT) as daemon:
        daemon.wait_for("refresh.finished", ok)
        connection.execute(sql.SQL("drop materialized view {}").format(sql.Identifier(view)))
        line = daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "partial")
        assert (result_of(line, view)["sqlstate"], line["attempts"]) == ("42P01", 1)
        assert all(part["success"] for part in others(line, view))
        fired(daemon, "AnalyticsRefreshFailed", view)
        assert {line["view"] for line in alerts_of(daemon, "AnalyticsRefreshFailed")} == {view}
        assert daemon.metric("analytics_view_refresh_success", view=view) == 0
        assert daemon.metric("analytics_refreshes_total", view=view) is not None
        assert daemon.events("refresh.retry") == []
        assert daemon.stop() == 0


@pytest.mark.parametrize("index", ["missing", "partial"])
def test_A12_unique_index(dsn: str, connection: Connection, index: str) -> None:
    """Without a usable unique index the view fails for good, says what to create, and never locks out readers."""
    connection.execute("drop index idx_recent_failures_unique")
    if index == "partial":
        connection.execute("create unique index on recent_failures (id) where id > ''")
    # a refresh without CONCURRENTLY, which locks out readers, gives the view new storage
    storage = value(connection, "select pg_relation_filenode('recent_failures')")
    with Daemon(dsn, **PATIENT) as daemon:
        line = daemon.wait_for("refresh.finished")
        failed = result_of(line, "recent_failures")
        assert (failed["sqlstate"], failed["reason"], line["attempts"]) == ("55000", "no_unique_index", 1)
        assert all(part["success"] for part in others(line, "recent_failures"))
        assert "concurrently" in daemon.wait_for("view.failed")["error"]
        fired(daemon, "AnalyticsRefreshFailed", "recent_failures")
        assert daemon.stop() == 0
    assert value(connection, "select pg_relation_filenode('recent_failures')") == storage


def test_A13_duplicate_rows_do_not_leak(dsn: str, connection: Connection) -> None:
    """Duplicate rows fail the view by 21000; the doubled values are in no log line, history, alert or metric."""
    for statement in (
        "drop materialized view recent_failures",
        "create table doubled (id text)",
        "create materialized view recent_failures as select id from doubled",
        "create unique index on recent_failures (id)",
    ):
        connection.execute(statement)
    connection.execute("insert into doubled select %s from generate_series(1, 2)", (CANARY,))
    with Daemon(dsn, **PATIENT, log__level="debug") as daemon:
        line = daemon.wait_for("refresh.finished")
        failed = result_of(line, "recent_failures")
        assert (failed["sqlstate"], failed["reason"], line["attempts"]) == ("21000", "duplicate_rows", 1)
        fired(daemon, "AnalyticsRefreshFailed", "recent_failures")
        pages = [daemon.get(path)[1] for path in ("/metrics", "/", "/status.json", "/readyz")]
        assert daemon.stop() == 0
        assert not [raw for raw in daemon.raw if "canary" in raw.lower()]
    assert not [page for page in pages if "canary" in page.lower()]
    for table in ("runs", "view_results", "alerts"):
        rows = connection.execute(
            sql.SQL("select t::text from {} t").format(sql.Identifier("analytics_refresh", table))
        ).fetchall()
        assert rows
        assert "canary" not in str(rows).lower()


def test_A14_view_not_populated(dsn: str, connection: Connection) -> None:
    """A view that was never populated fails by 0A000, its age is unknown and never fresh, and it alerts as stale."""
    connection.execute("refresh materialized view recent_failures with no data")
    connection.execute("delete from analytics_refresh.last_refresh where view_name = 'recent_failures'")
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished")
        failed = result_of(line, "recent_failures")
        assert (failed["sqlstate"], failed["reason"]) == ("0A000", "not_populated")
        alert = fired(daemon, "AnalyticsViewStale", "recent_failures")
        assert alert["severity"] == "critical"
        assert "no refresh of recent_failures is known" in alert["summary"]
        assert daemon.metric("analytics_view_age_minutes", view="recent_failures") is None
        assert daemon.metric("analytics_view_age_minutes", view=VIEWS[0]) is not None
        assert daemon.stop() == 0


FUNCTION = "select pg_get_functiondef('refresh_action_analytics'::regproc)"


@pytest.mark.parametrize("breakage", ["dropped", "column renamed"])
def test_A15_function_missing_or_of_another_shape(dsn: str, connection: Connection, breakage: str) -> None:
    """Without the contract's function the daemon stays up, alerts once, and works when the function is back."""
    definition = value(connection, FUNCTION)
    connection.execute("drop function refresh_action_analytics()")
    if breakage == "column renamed":
        connection.execute(definition.replace("rows_refreshed bigint", "rows bigint"))
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], line["attempts"]) == ("failed", 1)
        alert = fired(daemon, "AnalyticsContractBroken")
        assert "refresh_action_analytics" in alert["description"]
        daemon.wait_for("refresh.finished", count=2)
        connection.execute("drop function if exists refresh_action_analytics()")
        connection.execute(definition)
        daemon.wait_for("refresh.finished", ok)
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsContractBroken")
        assert len(alerts_of(daemon, "AnalyticsContractBroken")) == 1
        assert daemon.stop() == 0


def test_A16_strangers_and_negative_durations(dsn: str, connection: Connection) -> None:
    """Views nobody configured get no series of their own, a negative duration is not observed, and both are told."""
    connection.execute("drop function refresh_action_analytics()")
    connection.execute(
        "create function refresh_action_analytics() returns table (view_name text, refresh_duration_ms integer,"
        " rows_refreshed bigint, success boolean, error_message text) language sql as $$"
        " select v, -5000, 1::bigint, true, null::text from unnest(array['action_metrics_hourly',"
        " 'trigger_performance_summary', 'recent_failures', 'action_type_distribution']) v union all"
        " select 'stranger_' || md5(random()::text), 1, 1::bigint, true, null::text from generate_series(1, 500) $$"
    )
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished", count=2)
        assert [view["view"] for view in line["views"]] == list(VIEWS)
        assert all((view["seconds"] or 0) >= 0 and (view.get("reported_seconds") or 0) >= 0 for view in line["views"])
        alert = fired(daemon, "AnalyticsContractBroken")
        assert "not configured" in alert["description"]
        page = daemon.get("/metrics")[1]
        assert "stranger_" not in page
        assert all((daemon.metric("analytics_refresh_duration_seconds", view=view) or 0) >= 0 for view in VIEWS)
        assert daemon.stop() == 0
    stored = "select count(*), count(coalesce(reported_seconds, duration_seconds)) from analytics_refresh.view_results"
    count, figures = connection.execute(stored).fetchone() or (0, 0)
    assert (count > 0, figures) == (True, 0)


@pytest.mark.parametrize("rows", ["nothing", "no word on success"])
def test_A16_no_usable_rows(dsn: str, connection: Connection, rows: str) -> None:
    """A call that returns no row, or does not say that it succeeded, is a failed run and breaks the contract."""
    connection.execute("drop function refresh_action_analytics()")
    connection.execute(
        sql.SQL(
            "create function refresh_action_analytics() returns table (view_name text, refresh_duration_ms integer,"
            " rows_refreshed bigint, success boolean, error_message text) language sql as $$"
            " select v, null::integer, null::bigint, null::boolean, null::text"
            " from unnest(array[{views}]) v where {returned} $$"
        ).format(views=sql.SQL(", ").join(VIEWS), returned=sql.Literal(rows != "nothing"))
    )
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], [view["success"] for view in line["views"]]) == ("failed", [False] * 4)
        assert "no usable row" in fired(daemon, "AnalyticsContractBroken")["description"]
        assert daemon.metric("analytics_refresh_duration_seconds", view=VIEWS[0]) is None
        assert daemon.stop() == 0


@pytest.mark.parametrize("right", ["execute", "usage", "maintain"])
def test_A17_permission_lost(dsn: str, connection: Connection, right: str) -> None:
    """A lost right fails by 42501 at once, names what is denied, is asked for by no other role, and mends itself."""
    what: dict[str, LiteralString] = {
        "execute": "execute on function public.refresh_action_analytics()",
        "usage": "usage on schema public",
        "maintain": "maintain on public.recent_failures",
    }
    denied = {"execute": "function", "usage": "schema", "maintain": "materialized view"}
    # a slot with room for another attempt; and only what waiting cannot mend alerts before so many failed runs
    settings = FAST | {"schedule__interval": "5s", "alerts__failed_after_runs": 100}
    with least_role(connection) as role, Daemon(as_role(dsn, role), **settings) as daemon:
        name = sql.Identifier(role)
        daemon.wait_for("refresh.finished", ok)
        connection.execute(sql.SQL("revoke {} from {}").format(sql.SQL(what[right]), name))
        line = daemon.wait_for("refresh.finished", lambda line: line["sqlstate"] == "42501")
        assert (line["reason"], line["attempts"]) == ("permission", 1)
        alert = fired(daemon, "AnalyticsRefreshFailed", "recent_failures")
        assert f"permission denied for {denied[right]}" in alert["description"]
        users = connection.execute(
            "select distinct usename from pg_stat_activity where datname = current_database()"
            " and application_name like 'analytics-refreshd/%'"
        ).fetchall()
        assert users == [(role,)]
        connection.execute(sql.SQL("grant {} to {}").format(sql.SQL(what[right]), name))
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        assert daemon.stop() == 0
