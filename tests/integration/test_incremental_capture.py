"""What is captured, for whom, and what happens where something was not."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from tests.support.incremental import Changes, build_reason, differences, refresh_and_compare

Connection = psycopg.Connection[Any]

_PARTITIONED = """
drop table action_results;
create table action_results (
    id text not null, job_id text not null, trigger_id text references triggers (id) on delete set null, event_id text,
    action_type text not null, status text not null, executed_at timestamptz default now(), duration_ms integer,
    error_message text, response_data jsonb, retry_count integer default 0) partition by range (executed_at);
create table results_old partition of action_results for values from ('2000-01-01') to ('2020-01-01');
create table results_new partition of action_results for values from ('2020-01-01') to ('2100-01-01');
create index on action_results (executed_at desc);
create index on action_results (trigger_id);
"""
_ROW = (
    "insert into {} (id, job_id, action_type, status, executed_at, duration_ms)"
    " values (%s, 'j', 'rest', 'failed', %s, 7)"
)


@pytest.fixture(scope="module")
def rolled_up_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A migrated database in incremental mode, with some rows."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        Changes(connection, 1).copy()
        incremental.install(connection)
    return dsn


@pytest.fixture
def connection(databases: Callable[..., str], rolled_up_template: str) -> Iterator[Connection]:
    """A connection to a fresh copy of it; `dsn` is one without the incremental mode."""
    with psycopg.connect(databases(rolled_up_template), autocommit=True, options="-c timezone=UTC") as opened:
        yield opened


@pytest.fixture
def partitioned(application_dsn: str) -> Iterator[Connection]:
    """A connection to a database in incremental mode whose action_results is partitioned."""
    with psycopg.connect(application_dsn, autocommit=True, options="-c timezone=UTC") as opened:
        opened.execute(_PARTITIONED)
        migrate(opened)
        incremental.install(opened)
        yield opened


def insert(connection: Connection, table: str, name: str, executed_at: str = "2026-01-01") -> None:
    """Insert one failed row into `table`."""
    connection.execute(sql.SQL(_ROW).format(sql.Identifier(table)), [name, executed_at])


@pytest.mark.slow
def test_role_without_any_right_of_ours_can_write(connection: Connection) -> None:
    """An application role that knows nothing of our schema inserts, updates, deletes and truncates as before."""
    connection.execute("create role writer_of_results")
    try:
        connection.execute("grant select, insert, update, delete, truncate on action_results to writer_of_results")
        connection.execute("create schema trap; create table trap.deltas (sign int)")
        connection.execute("grant usage on schema trap to writer_of_results")
        connection.execute("set role writer_of_results")
        connection.execute("set search_path = trap, public")
        insert(connection, "action_results", "a")
        connection.execute("update public.action_results set status = 'success' where id = 'a'")
        connection.execute("delete from public.action_results where id = 'a'")
        insert(connection, "action_results", "b")
        connection.execute("reset role")
        connection.execute("reset search_path")
        assert not refresh_and_compare(connection)
        connection.execute("set role writer_of_results")
        connection.execute("truncate public.action_results")
        connection.execute("reset role")
        assert not refresh_and_compare(connection)
    finally:
        connection.execute("reset role")
        connection.execute("drop owned by writer_of_results; drop role writer_of_results")


def test_truncate_leaves_a_mark_and_the_next_refresh_rebuilds(connection: Connection) -> None:
    """TRUNCATE, alone or with rows inserted in the same transaction, is shown as a mark and then rebuilt from."""
    with connection.transaction():
        insert(connection, "action_results", "before")
        connection.execute("truncate action_results")
        insert(connection, "action_results", "after")
    assert incremental.state(connection).rebuild_reason == "truncate of action_results"
    assert not refresh_and_compare(connection)
    found = incremental.state(connection)
    assert (found.rebuild_reason, build_reason(connection)) == (None, "truncate of action_results")
    assert connection.execute("select sum(execution_count) from action_metrics_hourly").fetchone() == (1,)


@pytest.mark.slow
def test_session_replication_role_is_captured(connection: Connection) -> None:
    """A session in session_replication_role = replica skips ordinary triggers, not the capture."""
    connection.execute("set session_replication_role = replica")
    insert(connection, "action_results", "replica")
    connection.execute("update action_results set duration_ms = 8 where id = 'replica'")
    connection.execute("reset session_replication_role")
    assert incremental.state(connection).delta_rows == 3
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_disabled_capture_is_noticed_even_when_enabled_again(connection: Connection) -> None:
    """DISABLE TRIGGER ALL, changes, ENABLE TRIGGER ALL, as a restore does it: the next refresh rebuilds."""
    connection.execute("alter table action_results disable trigger all")
    insert(connection, "action_results", "unseen")
    connection.execute("alter table action_results enable trigger all")
    assert incremental.state(connection).delta_rows == 0
    assert "capture triggers" in str(incremental.state(connection).rebuild_reason)
    assert not refresh_and_compare(connection)
    assert incremental.state(connection).rebuild_reason is None
    # as they are enabled now, a session in session_replication_role = replica would be missed
    assert incremental.state(connection).uncaptured == ("public.action_results",)
    insert(connection, "action_results", "seen")
    assert not refresh_and_compare(connection)


@pytest.mark.parametrize(
    "change",
    [
        "alter table action_results disable trigger all",
        "alter table action_results enable replica trigger analytics_refresh_update",
        "drop trigger analytics_refresh_delete on action_results",
    ],
)
@pytest.mark.slow
def test_missing_capture_is_named(connection: Connection, change: str) -> None:
    """While triggers are disabled or missing, what reads rollups fails and says why; installing again mends it."""
    connection.execute(change)
    for _ in range(2):
        insert(connection, "action_results", str(uuid4()))
        rows = connection.execute("select view_name, success, error_message from refresh_action_analytics()").fetchall()
        assert {name for name, success, _ in rows if success} == {"recent_failures"}
        assert {text for _, success, text in rows if not success} == {
            "55000: changes of action_results are not captured: run analytics-refreshd migrate --incremental"
        }
    assert incremental.state(connection).uncaptured == ("public.action_results",)
    incremental.install(connection)
    assert incremental.state(connection).uncaptured == ()
    insert(connection, "action_results", "seen")
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_rows_written_straight_into_a_partition_are_captured(partitioned: Connection) -> None:
    """Inserts, updates, deletes and moves through the parent and straight into partitions all count once."""
    insert(partitioned, "action_results", "through the parent")
    insert(partitioned, "results_new", "straight")
    insert(partitioned, "results_old", "straight and old", "2010-01-01")
    assert not refresh_and_compare(partitioned)
    partitioned.execute("update action_results set executed_at = '2011-11-11' where id = 'straight'")
    partitioned.execute("update results_old set duration_ms = 9")
    assert not refresh_and_compare(partitioned)
    partitioned.execute("delete from results_old where id = 'straight'")
    partitioned.execute("truncate results_new")
    assert not refresh_and_compare(partitioned)
    assert partitioned.execute("select sum(execution_count) from action_metrics_hourly").fetchone() == (1,)


@pytest.mark.slow
def test_partitions_that_come_and_go_cause_a_rebuild(partitioned: Connection) -> None:
    """ATTACH, DETACH and DROP of a partition change rows that no trigger sees: the next refresh rebuilds."""
    insert(partitioned, "action_results", "kept")
    insert(partitioned, "action_results", "old", "2010-01-01")
    refresh_and_compare(partitioned)
    partitioned.execute("alter table action_results detach partition results_old")
    assert incremental.state(partitioned).rebuild_reason
    assert not refresh_and_compare(partitioned)
    partitioned.execute("create table results_future (like action_results)")
    insert(partitioned, "results_future", "attached", "2150-01-01")
    partitioned.execute(
        "alter table action_results attach partition results_future for values from ('2100-01-01') to ('2200-01-01')"
    )
    assert not refresh_and_compare(partitioned)
    assert incremental.state(partitioned).uncaptured == ("public.results_future",)
    incremental.install(partitioned)
    insert(partitioned, "results_future", "straight", "2150-01-01")
    assert not refresh_and_compare(partitioned)
    partitioned.execute("drop table results_future")
    assert not refresh_and_compare(partitioned)
    assert verify(partitioned).ok


@pytest.mark.slow
def test_a_detached_partition_counts_no_more(partitioned: Connection) -> None:
    """It keeps its triggers, which then count nothing, and going back to plain takes them off."""
    insert(partitioned, "action_results", "old", "2010-01-01")
    partitioned.execute("alter table action_results detach partition results_old")
    assert not refresh_and_compare(partitioned)
    insert(partitioned, "results_old", "archived", "2010-01-01")
    partitioned.execute("update results_old set duration_ms = 1; truncate results_old")
    assert incremental.state(partitioned).delta_rows == 0
    assert incremental.state(partitioned).rebuild_reason is None
    assert not refresh_and_compare(partitioned)
    incremental.uninstall_to_plain(partitioned)
    triggers = "select tgrelid::regclass::text from pg_trigger where tgname like 'analytics\\_refresh\\_%'"
    assert partitioned.execute(triggers).fetchall() == []
    insert(partitioned, "results_old", "free", "2010-01-01")


@pytest.mark.slow
def test_a_table_in_place_of_another_is_noticed(connection: Connection) -> None:
    """A table that takes over the name has no capture: that is told, not folded; installing again mends it."""
    insert(connection, "action_results", "kept")
    refresh_and_compare(connection)
    with connection.transaction():
        connection.execute("alter table action_results rename to action_results_old")
        connection.execute("create table action_results (like action_results_old including all)")
        connection.execute("insert into action_results select * from action_results_old")
    insert(connection, "action_results", "new")
    insert(connection, "action_results_old", "no longer counted")
    assert incremental.state(connection).delta_rows == 0
    assert incremental.state(connection).uncaptured == ("public.action_results",)
    failed = "select error_message from refresh_action_analytics() where view_name = 'action_metrics_hourly'"
    assert "are not captured" in str(connection.execute(failed).fetchone())
    incremental.install(connection)
    assert incremental.state(connection).uncaptured == ()
    insert(connection, "action_results", "newest")
    assert not refresh_and_compare(connection)
    insert(connection, "action_results_old", "free")
    assert incremental.state(connection).delta_rows == 0


def test_what_is_no_table_is_never_read(connection: Connection) -> None:
    """Who owns the name could put a view there, whose functions would run with the rights of who folds."""
    connection.execute(
        "create table ran (by name); create function evil() returns text volatile language plpgsql as"
        " $$begin insert into ran select current_user; return 'rest'; end$$"
    )
    connection.execute(
        "alter table action_results rename to hidden_results;"
        "create view action_results as select id, job_id, trigger_id, event_id, evil() as action_type, status,"
        " executed_at, duration_ms, error_message, response_data, retry_count from hidden_results"
    )
    for call in ("select analytics_refresh.fold()", "select analytics_refresh.rebuild_step()"):
        with pytest.raises(psycopg.errors.WrongObjectType, match="is not a table"):
            connection.execute(call)
    assert connection.execute("select count(*) from ran").fetchone() == (0,)


@pytest.mark.slow
def test_inheritance_children_are_captured(connection: Connection) -> None:
    """A child table's rows are part of action_results, whichever of the two a statement names."""
    connection.execute("create table child_results () inherits (action_results)")
    incremental.install(connection)
    insert(connection, "child_results", "child")
    connection.execute("update action_results set duration_ms = 12 where id = 'child'")
    assert not refresh_and_compare(connection)
    assert build_reason(connection) == "the tables or capture triggers of action_results changed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("alter table action_results set unlogged", "not logged"),
        (
            "create subscription apply connection 'dbname=none' publication p with (connect = false);"
            "insert into pg_subscription_rel select oid, 'action_results'::regclass, 'r' from pg_subscription",
            "logical replication",
        ),
        ("create view on_hourly as select * from action_metrics_hourly", "on_hourly"),
        ("alter table action_results alter status drop not null", "status may be null"),
        ("drop materialized view recent_failures", "no materialized view public.recent_failures"),
        (
            "drop materialized view recent_failures, trigger_performance_summary, action_metrics_hourly,"
            " action_type_distribution; alter table action_results alter duration_ms type numeric",
            "duration_ms is numeric",
        ),
    ],
)
@pytest.mark.slow
def test_refuses_where_rows_would_be_missed(dsn: str, change: str, reason: str) -> None:
    """Installing names what stands in the way and leaves nothing of itself behind."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        try:
            connection.execute("set allow_system_table_mods = on")
            for each in change.split(";"):
                connection.execute(each)
            with pytest.raises(MigrationError, match=reason):
                incremental.install(connection)
            assert incremental.state(connection) == incremental.IncrementalState("plain")
        finally:
            if "subscription" in change:
                connection.execute("alter subscription apply disable")
                connection.execute("alter subscription apply set (slot_name = none)")
                connection.execute("drop subscription apply")


def test_foreign_partition_is_refused(application_dsn: str) -> None:
    """Rows behind a foreign table change without any trigger here."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        connection.execute(_PARTITIONED.replace(" references triggers (id) on delete set null", ""))
        connection.execute("create foreign data wrapper elsewhere; create server far foreign data wrapper elsewhere")
        migrate(connection)
        connection.execute(
            "create foreign table results_far partition of action_results"
            " for values from ('2100-01-01') to ('2200-01-01') server far"
        )
        with pytest.raises(MigrationError, match=r"public\.results_far is not a local table"):
            incremental.install(connection)


def test_role_that_owns_nothing_is_refused(dsn: str, databases: Callable[..., str]) -> None:
    """A role that cannot add triggers or replace views is told which role can."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create role intruder_of_views")
        try:
            connection.execute("grant usage on schema analytics_refresh to intruder_of_views")
            connection.execute("grant select on all tables in schema analytics_refresh to intruder_of_views")
            connection.execute("set role intruder_of_views")
            with pytest.raises(MigrationError, match="does not own schema analytics_refresh: run this as postgres"):
                incremental.install(connection)
        finally:
            connection.execute("reset role")
            connection.execute("drop owned by intruder_of_views; drop role intruder_of_views")


def test_half_done_update_of_many_rows_is_exact(connection: Connection) -> None:
    """A statement that fails after changing rows leaves no deltas."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("update action_results set duration_ms = 1 / (case when id = 'row 1' then 0 else 1 end)")
    assert incremental.state(connection).delta_rows == 0
    refresh_and_compare(connection)
    assert not differences(connection)
