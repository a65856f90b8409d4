"""Switching to the incremental mode and back: what survives, what is skipped, what an interruption leaves."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import VerifyReport, verify
from analytics_refreshd.postgres.migrate.run import migrate, uninstall
from tests.conftest import create_application
from tests.support.incremental import Changes, build_reason, differences, differences_after_refresh, refresh_and_compare
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]

_CATALOG = """
select 'column', c.relname::text, a.attname::text || ' ' || format_type(a.atttypid, a.atttypmod) || ' '
    || coalesce(col_description(c.oid, a.attnum), '') || ' ' || coalesce(a.attacl::text, '')
    || ' ' || a.attcollation || ' ' || coalesce(a.attstattarget::text, '')
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
where c.relkind = 'm'
union all
select 'view', c.relname, concat_ws(' ', pg_get_userbyid(c.relowner), c.relacl, c.reloptions, obj_description(c.oid))
from pg_class c where c.relkind = 'm'
union all
select 'index', c.relname, concat_ws(' ', pg_get_indexdef(c.oid), obj_description(c.oid))
from pg_class c join pg_index i on i.indexrelid = c.oid join pg_class t on t.oid = i.indrelid where t.relkind = 'm'
union all
select 'function', p.proname, concat_ws(' ', pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid),
    pg_get_userbyid(p.proowner), p.proacl, obj_description(p.oid), p.prosecdef)
from pg_proc p where p.pronamespace = 'public'::regnamespace
order by 1, 2, 3
"""


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    """A connection to a migrated database, with rows, still plain."""
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as opened:
        Changes(opened, 2).copy()
        yield opened


@pytest.mark.slow
def test_everything_on_the_views_survives_both_ways(connection: Connection) -> None:
    """Owner, grants on views and columns, comments, storage, statistics, extra indexes and functions stay the same."""
    connection.execute("create role owner_of_views; create role reader_of_views")
    try:
        connection.execute("grant create, usage on schema public to owner_of_views")
        connection.execute("grant select on action_results to owner_of_views")
        connection.execute("grant select on action_metrics_hourly to reader_of_views with grant option")
        connection.execute("grant select (trigger_id) on trigger_performance_summary to reader_of_views")
        connection.execute("comment on materialized view recent_failures is 'Ask Kim''s team {first}'")
        connection.execute("comment on column recent_failures.id is 'ours'")
        connection.execute("alter materialized view recent_failures set (fillfactor = 71)")
        connection.execute("alter materialized view recent_failures alter column error_message set statistics 7")
        connection.execute("create index extra on action_metrics_hourly (lower(action_type)) where execution_count > 1")
        connection.execute("comment on index extra is 'for the dashboard'")
        connection.execute("alter materialized view recent_failures owner to owner_of_views")
        connection.execute("alter materialized view action_metrics_hourly owner to owner_of_views")
        before = connection.execute(_CATALOG).fetchall()
        incremental.install(connection)
        assert connection.execute(_CATALOG).fetchall() == before
        assert not refresh_and_compare(connection)
        incremental.uninstall_to_plain(connection)
        assert connection.execute(_CATALOG).fetchall() == before
        assert not refresh_and_compare(connection)
    finally:
        connection.execute(
            "reassign owned by owner_of_views to postgres; drop owned by owner_of_views, reader_of_views"
        )
        connection.execute("drop role owner_of_views, reader_of_views")


@pytest.mark.slow
def test_going_back_leaves_nothing_behind(connection: Connection) -> None:
    """After the way back the objects are those of a plain installation, and writes are no longer captured."""
    objects = (
        "select c.oid::regclass::text from pg_class c where c.relnamespace = 'analytics_refresh'::regnamespace"
        " union all select oid::regprocedure::text from pg_proc where pronamespace = 'analytics_refresh'::regnamespace"
        " union all select tgname::text from pg_trigger where tgrelid = 'action_results'::regclass and not tgisinternal"
        " union all select indexrelid::regclass::text from pg_index where indrelid = 'action_results'::regclass"
        " order by 1"
    )
    before = connection.execute(objects).fetchall()
    assert incremental.install(connection)
    assert connection.execute(objects).fetchall() != before
    assert incremental.uninstall_to_plain(connection)
    assert connection.execute(objects).fetchall() == before
    assert incremental.uninstall_to_plain(connection) == ()
    assert migrate(connection).steps == ()


@pytest.mark.slow
def test_migrate_keeps_the_incremental_functions(connection: Connection) -> None:
    """A later migrate without options finds nothing to do and leaves the mode alone."""
    incremental.install(connection)
    assert migrate(connection).steps == ()
    assert incremental.install(connection) == ()
    connection.execute("update action_results set duration_ms = 3")
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_unchanged_views_are_not_refreshed(connection: Connection) -> None:
    """A refresh with nothing new leaves the views' files alone, reports success and rows, and moves last_checked_at."""
    incremental.install(connection)
    refresh_and_compare(connection)
    seen = "select view_name, last_success_at, last_checked_at from analytics_refresh.last_refresh order by 1"
    before = connection.execute(seen).fetchall()
    counts = {name: connection.execute(f"select count(*) from {name}").fetchone() for name in VIEWS}
    reply = connection.execute("select view_name, rows_refreshed, success from refresh_action_analytics()").fetchall()
    assert reply == [(name, *(counts[name] or ()), True) for name in VIEWS]
    for (view, success, checked), (other, success_then, checked_then) in zip(
        connection.execute(seen).fetchall(), before, strict=True
    ):
        assert (view, success) == (other, success_then)
        assert checked > checked_then


@pytest.mark.slow
def test_unchanged_view_is_as_fresh_as_its_last_check(connection: Connection) -> None:
    """The status function dates a view that a refresh left alone by that refresh."""
    incremental.install(connection)
    refresh_and_compare(connection)
    connection.execute(
        "update analytics_refresh.last_refresh set last_checked_at = now() - interval '1 day',"
        " last_success_at = now() - interval '1 day'"
    )
    ages = "select age_minutes from get_analytics_refresh_status()"
    assert connection.execute(ages).fetchall() == [(1440,)] * 4
    refresh_and_compare(connection)
    assert connection.execute(ages).fetchall() == [(0,)] * 4


def test_uninstall_names_the_way_out_of_a_half_finished_install(connection: Connection) -> None:
    """Objects of an interrupted switch are not called foreign: --plain removes them, then --uninstall works."""

    def interrupt(progress: incremental.InstallProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        incremental.install(connection, progress=interrupt)
    assert incremental.state(connection).mode == "plain"
    with pytest.raises(MigrationError, match="migrate --plain first"):
        uninstall(connection)
    incremental.uninstall_to_plain(connection)
    assert uninstall(connection)


@pytest.mark.slow
def test_unchanged_view_that_is_gone_or_empty_is_a_failure(connection: Connection) -> None:
    """A view that was emptied or dropped is not passed over as unchanged: its error is in its row."""
    incremental.install(connection)
    refresh_and_compare(connection)
    states = "select view_name, left(error_message, 5) from refresh_action_analytics()"
    connection.execute("refresh materialized view recent_failures with no data")
    connection.execute("drop materialized view trigger_performance_summary")
    reply = connection.execute(states).fetchall()
    assert reply == [(VIEWS[0], None), (VIEWS[1], "42P01"), (VIEWS[2], "0A000"), (VIEWS[3], None)]
    connection.execute("drop materialized view recent_failures")
    assert connection.execute(states).fetchall()[2] == (VIEWS[2], "42P01")


@pytest.mark.slow
def test_only_what_changed_is_refreshed(connection: Connection) -> None:
    """An old row's duration moves the two all-history views, not the ones that look at recent rows."""
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
        " values ('old', 'j', 'trigger 1', 'rest', 'success', now() - interval '100 days', 5)"
    )
    incremental.install(connection)
    refresh_and_compare(connection)
    connection.execute("update action_results set duration_ms = 6 where id = 'old'")
    seen = "select view_name from analytics_refresh.last_refresh where last_success_at >= %s order by 1"
    (started,) = connection.execute("select clock_timestamp()").fetchone() or (None,)
    assert not refresh_and_compare(connection)
    assert connection.execute(seen, [started]).fetchall() == [
        ("action_metrics_hourly",),
        ("trigger_performance_summary",),
    ]


@pytest.mark.slow
def test_views_that_time_alone_changes_are_refreshed(connection: Connection) -> None:
    """A failure that grows older than 24 hours and a row that leaves the 30 days disappear without any change."""
    connection.execute("delete from action_results")
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at)"
        " values ('a', 'j', 'rest', 'failed', now() - interval '24 hours' + interval '700 ms'),"
        " ('b', 'j', 'fax', 'success', now() - interval '720 hours' + interval '700 ms')"
    )
    incremental.install(connection)
    refresh_and_compare(connection)

    def gone() -> bool:
        assert not refresh_and_compare(connection)
        rows = "select (select count(*) from recent_failures), (select count(*) from action_type_distribution)"
        return connection.execute(rows).fetchone() == (0, 1)

    eventually(gone)


def test_fold_that_fails_is_reported_in_the_rows(dsn: str, connection: Connection) -> None:
    """While another session folds, a caller with a lock_timeout gets rows with 55P03; recent_failures is refreshed."""
    incremental.install(connection)
    connection.execute("update action_results set status = 'failed'")
    with psycopg.connect(dsn) as other:
        other.execute("select analytics_refresh.fold()")
        connection.execute("set lock_timeout = '100ms'")
        reply = connection.execute(
            "select view_name, success, error_message from refresh_action_analytics()"
        ).fetchall()
    assert [(view, success) for view, success, _ in reply] == [(view, view == "recent_failures") for view in VIEWS]
    assert all(error is None or error.startswith("55P03: ") for _, _, error in reply)
    connection.execute("reset lock_timeout")
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_whoever_could_refresh_still_can(connection: Connection) -> None:
    """A role with MAINTAIN on the views, or EXECUTE on functions that act as the owner, refreshes as before."""
    connection.execute("create role refresher_of_views")
    try:
        if connection.info.server_version >= 170000:
            connection.execute(f"grant maintain, select on {', '.join(VIEWS)} to refresher_of_views")
        else:
            connection.execute("grant execute on function refresh_action_analytics() to refresher_of_views")
        incremental.install(connection)
        connection.execute("update action_results set status = 'failed'")
        connection.execute("set role refresher_of_views")
        failed = connection.execute("select * from refresh_action_analytics() where not success").fetchall()
        connection.execute("reset role")
        assert not failed
        with connection.transaction():
            assert refresh_and_compare(connection) == {}
    finally:
        connection.execute("reset role")
        connection.execute("drop owned by refresher_of_views; drop role refresher_of_views")


@pytest.mark.slow
def test_verification_needs_to_read_only(connection: Connection) -> None:
    """A role that reads table and rollups, and may record the result, verifies; with less it is told what lacks."""
    connection.execute("create role auditor_of_views")
    try:
        incremental.install(connection)
        connection.execute("grant usage on schema analytics_refresh to auditor_of_views")
        connection.execute("grant select on all tables in schema analytics_refresh to auditor_of_views")
        connection.execute(
            "grant update (verified_at, verified_ok, verified_differences) on analytics_refresh.incremental"
            " to auditor_of_views"
        )
        connection.execute(
            "grant execute on function analytics_refresh.fold(), analytics_refresh.capture_now() to auditor_of_views"
        )
        connection.execute("set role auditor_of_views")
        with pytest.raises(MigrationError, match="permission denied for table action_results"):
            verify(connection)
        connection.execute("reset role; grant select on action_results to auditor_of_views; set role auditor_of_views")
        assert verify(connection).ok
        connection.execute("reset role")
        assert incremental.state(connection).verified_ok
    finally:
        connection.execute("reset role")
        connection.execute("drop owned by auditor_of_views; drop role auditor_of_views")


@pytest.mark.slow
def test_installing_again_leaves_views_with_dependents_alone(connection: Connection) -> None:
    """Renewing the capture does not replace views, so what depends on one does not stand in the way."""
    incremental.install(connection)
    connection.execute("create view dashboard as select * from action_metrics_hourly")
    assert incremental.install(connection) == ()


def test_installing_again_renews_an_older_layout(connection: Connection) -> None:
    """Without a percentile's place and with a table of buckets, as it was: renewed, exact, and nothing of it left."""
    incremental.install(connection)
    connection.execute(
        """
        alter table analytics_refresh.duration_stats drop column p50_at, drop column p95_at, drop column p99_at,
            drop column p50_below, drop column p95_below, drop column p99_below;
        create table analytics_refresh.duration_buckets (cell integer, bucket integer, n integer);
        create function analytics_refresh.recount(touched integer[]) returns void language sql begin atomic end;
        create function analytics_refresh.drop_empty(boolean, boolean, boolean, integer[], integer[], integer[],
            integer[], integer[], integer[]) returns void language sql begin atomic end;
        """
    )
    changes = Changes(connection, 23)
    changes.rows = 1_000
    for _ in range(3):
        changes.update()
    incremental.install(connection)
    for _ in range(6):
        changes.any()
    assert not differences_after_refresh(connection)
    # every cell has changed by now, so that every place is known
    connection.execute("update action_results set duration_ms = 9000 - duration_ms % 9000")
    assert not refresh_and_compare(connection)
    left = connection.execute(
        "select to_regclass('analytics_refresh.duration_buckets'), array_agg(pronargs order by pronargs) from pg_proc"
        " where pronamespace = 'analytics_refresh'::regnamespace and proname in ('recount', 'drop_empty')"
    ).fetchone()
    assert left == (None, [4])


@pytest.mark.slow
def test_cancelled_refresh_loses_nothing(connection: Connection) -> None:
    """A refresh that is rolled back gives its deltas back."""
    incremental.install(connection)
    connection.execute("update action_results set duration_ms = 11")
    with connection.transaction(force_rollback=True):
        connection.execute("select * from refresh_action_analytics()")
        assert incremental.state(connection).delta_rows == 0
    assert incremental.state(connection).delta_rows
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_install_waits_for_writers_and_does_not_hold_them(dsn: str, connection: Connection) -> None:
    """With a writer's transaction open the triggers are tried again until it ends, and others write meanwhile."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as own:
                incremental.install(own)
        except BaseException as error:
            failed.append(error)

    waiting = "select count(*) from pg_locks where relation = 'action_results'::regclass and not granted"
    with psycopg.connect(dsn) as writer:
        writer.execute("update action_results set duration_ms = 21")
        thread = threading.Thread(target=work)
        thread.start()
        eventually(lambda: (connection.execute(waiting).fetchone() or (0,))[0] == 1)
        connection.execute("set lock_timeout = '10s'")
        connection.execute(
            "insert into action_results (id, job_id, action_type, status) values ('n', 'j', 'rest', 'failed')"
        )
    thread.join(60)
    assert not failed
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_dependents_are_named_on_the_way_back(connection: Connection) -> None:
    """What depends on a view keeps it from being replaced, and is named."""
    incremental.install(connection)
    connection.execute("create view dashboard as select * from action_metrics_hourly")
    with pytest.raises(MigrationError, match=r"view public\.dashboard"):
        incremental.uninstall_to_plain(connection)
    assert incremental.state(connection).mode == "incremental"
    connection.execute("drop view dashboard")
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_existing_rows_are_built_in_steps(connection: Connection) -> None:
    """A build in many small steps, with changes between them, is exact."""
    changes = Changes(connection, 8)
    changes.rows = 50_000
    for _ in range(12):
        changes.copy()
        changes.update()
    incremental.install(connection)
    connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
    shares = [0.0]
    while shares[-1] < 1:
        (share,) = connection.execute("select analytics_refresh.rebuild_step(20)").fetchone() or (1.0,)
        shares.append(share)
        changes.any()
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert not refresh_and_compare(connection)
    assert verify(connection).ok


def test_rebuild_procedure_commits_between_steps(connection: Connection) -> None:
    """`call analytics_refresh.rebuild()` builds everything anew for whoever has only psql."""
    incremental.install(connection)
    connection.execute("update analytics_refresh.duration_counts set n = 77")
    connection.execute("call analytics_refresh.rebuild('by hand')")
    assert build_reason(connection) == "by hand"
    assert not refresh_and_compare(connection)
    assert not differences(connection)


@pytest.mark.slow
def test_state_of_a_plain_installation(connection: Connection, application_dsn: str) -> None:
    """Without the incremental mode, or without anything of ours, the state is plain and says no more."""
    assert incremental.state(connection) == incremental.IncrementalState("plain")
    with psycopg.connect(application_dsn, autocommit=True) as bare:
        assert incremental.state(bare) == incremental.IncrementalState("plain")
        with pytest.raises(MigrationError, match="run migrate first"):
            incremental.install(bare)
    assert verify(connection) == VerifyReport(())
    with pytest.raises(MigrationError, match="nothing to rebuild"):
        incremental.rebuild(connection)


@pytest.mark.slow
def test_schema_with_an_awkward_name(application_dsn: str) -> None:
    """The application's schema may need quotes, braces and percent signs included."""
    schema = 'The "app" {0} 100%'
    create_application(application_dsn, schema)
    with psycopg.connect(application_dsn, autocommit=True, options="-c timezone=Asia/Kolkata") as connection:
        connection.execute(sql.SQL("set search_path = {}").format(sql.Identifier(schema)))
        migrate(connection, schema)
        changes = Changes(connection, 9)
        changes.copy()
        incremental.install(connection, schema)
        for _ in range(3):
            changes.any()
            assert not refresh_and_compare(connection, schema)
        assert verify(connection, schema).ok
        connection.execute("truncate action_results")
        assert not refresh_and_compare(connection, schema)
        incremental.uninstall_to_plain(connection, schema)
        assert not refresh_and_compare(connection, schema)
