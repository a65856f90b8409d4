"""`migrate` on an older install: told what it is, upgraded in place, nothing dropped without being told."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.migrate.run import dry_run, migrate, status
from tests.support.catalog import snapshot
from tests.support.installs import install_older, temporary_role

Connection = psycopg.Connection[Any]
VIEWS = ["action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution"]
REFRESH = "select * from public.refresh_action_analytics()"


@pytest.fixture
def older(application_dsn: str) -> Iterator[Connection]:
    """A database with an older install."""
    with psycopg.connect(application_dsn, autocommit=True) as opened:
        install_older(opened)
        yield opened


def one(connection: Connection, query: str) -> Any:
    """The single value of a query."""
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def role(older: Connection) -> Iterator[str]:
    """A role of the test's own."""
    with temporary_role(older) as name:
        yield name


def oids(connection: Connection) -> dict[str, int]:
    """Identity of each view."""
    return dict(connection.execute("select relname, oid from pg_class where relkind = 'm'").fetchall())


def test_older_install_has_its_faults(older: Connection) -> None:
    """The stage for these tests is what older installs are: it works, and is wrong in the known ways."""
    assert [row[3] for row in older.execute(REFRESH).fetchall()] == [True] * 4
    assert [row[3:] for row in older.execute("select * from get_analytics_refresh_status()").fetchall()] == [
        (None, None)
    ] * 4
    older.execute("set search_path = pg_catalog")
    rows = older.execute(REFRESH).fetchall()
    assert [row[2:4] for row in rows] == [(0, False)] * 4
    older.execute("set search_path = public")
    older.execute("insert into action_results (id, job_id, action_type, status, duration_ms)"
                  " values ('a', 'j', 'rest', 'success', 100000000)")  # fmt: skip
    assert [row[3] for row in older.execute(REFRESH).fetchall()] == [False, True, True, False]


@pytest.mark.slow
def test_adoption_keeps_views_and_upgrades_functions(older: Connection) -> None:
    """The views stay, with a warning for what is wrong with them; the functions become ours in place."""
    before = oids(older)
    functions = one(
        older, "select array_agg(oid order by proname) from pg_proc where pronamespace = 'public'::regnamespace"
    )
    report = migrate(older)
    assert report.found == "older install"
    assert [step for step in report.steps if " function " in step] == [
        "create function public.refresh_action_analytics_view",
        "replace function public.refresh_action_analytics",
        "replace function public.get_analytics_refresh_status",
    ]
    assert oids(older) == before
    kept = one(older, "select array_agg(oid order by proname) from pg_proc where pronamespace = 'public'::regnamespace"
                      " and proname <> 'refresh_action_analytics_view'")  # fmt: skip
    assert kept == functions
    text = "\n".join(report.warnings)
    assert "avg_duration_ms is numeric(10,2) instead of numeric(12,2)" in text
    assert "a duration of 100,000,000 ms fails its refresh" in text
    assert "index idx_recent_failures_error_message differs" in text
    older.execute("set search_path = pg_catalog")
    assert [row[3] for row in older.execute(REFRESH).fetchall()] == [True] * 4
    assert one(older, "select count(last_refresh) from public.get_analytics_refresh_status()") == 4


def test_adoption_is_idempotent(older: Connection) -> None:
    """A second run keeps warning about the views and changes nothing."""
    first = migrate(older)
    before = snapshot(older, "public", "analytics_refresh")
    second = migrate(older)
    assert (second.found, second.changed) == ("ours", False)
    assert second.warnings == tuple(warning for warning in first.warnings if "PUBLIC" not in warning)
    assert snapshot(older, "public", "analytics_refresh") == before


@pytest.mark.slow
def test_recreating_views(
    older: Connection, role: str, databases: Callable[..., str], application_template: str
) -> None:
    """Told to, it builds the differing views anew: as on a fresh database, but for owner, grants and extra indexes."""
    older.execute(f"grant all on schema public to {role}")
    older.execute(f"alter materialized view recent_failures owner to {role}")
    older.execute(f"grant select on action_results to {role}")
    older.execute("grant select on recent_failures to public")
    older.execute(f"grant select (hour) on action_metrics_hourly to {role} with grant option")
    older.execute("create index extra on action_metrics_hourly (execution_count) where failure_count > 0")
    older.execute("insert into action_results (id, job_id, action_type, status, duration_ms)"
                  " values ('a', 'j', 'rest', 'failed', 100000000)")  # fmt: skip
    report = migrate(older, recreate_views=True)
    assert [step for step in report.steps if step.startswith("put")] == [
        f"put the new view public.{view} in place" for view in VIEWS
    ]
    assert [row[2:4] for row in older.execute(REFRESH).fetchall()] == [(1, True), (0, True), (1, True), (1, True)]
    assert not migrate(older, recreate_views=True).changed
    facts = older.execute(
        "select c.relname, pg_get_userbyid(c.relowner), c.relacl::text, a.attacl::text from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum = 1"
        " where c.relname in ('action_metrics_hourly', 'recent_failures') order by 1"
    ).fetchall()
    assert facts[0][3] == f"{{{role}=r*/postgres}}"
    assert facts[1][1] == role
    assert f"=r/{role}" in facts[1][2]
    assert one(older, "select pg_get_indexdef('extra'::regclass)").endswith(
        "ON public.action_metrics_hourly USING btree (execution_count) WHERE (failure_count > 0)"
    )
    with psycopg.connect(databases(application_template), autocommit=True) as other:
        migrate(other)
        ours, fresh = (
            {
                key: text
                for key, text in snapshot(each, "public").items()
                if key[0] in ("relation", "column")
                and key[1] not in ("extra", "action_results", "recent_failures", "action_metrics_hourly.1")
                and not key[1].startswith("idx_recent_failures")
            }
            for each in (older, other)
        )
    assert ours == fresh


def test_recreating_a_view_keeps_what_depends_on_it(older: Connection) -> None:
    """Without being told to replace it, migrate names what depends on a view; told to, it keeps that."""
    older.execute("create view top_errors as select error_message from recent_failures")
    older.execute(
        "create function first_failure() returns recent_failures language sql as 'select null::recent_failures'"
    )
    assert any("first_failure(), view" in text or "top_errors, function" in text for text in migrate(older).warnings)
    assert migrate(older, recreate_views=True).changed
    assert older.execute("select count(*) from top_errors, first_failure()").fetchone() == (0,)


@pytest.mark.slow
def test_function_with_other_columns_is_replaced(older: Connection, role: str) -> None:
    """A function with other result columns is dropped and created, with its grants."""
    older.execute("drop function get_analytics_refresh_status()")
    older.execute("create function get_analytics_refresh_status() returns table (view_name text, age integer)"
                  " language sql as $$ select 'x', 1 $$")  # fmt: skip
    older.execute("revoke all on function get_analytics_refresh_status() from public")
    older.execute(f"grant execute on function get_analytics_refresh_status() to {role}")
    assert migrate(older).changed
    assert one(older, "select proacl::text from pg_proc where proname = 'get_analytics_refresh_status'") == (
        f"{{postgres=X/postgres,{role}=X/postgres}}"
    )
    assert one(older, "select count(*) from get_analytics_refresh_status()") == 4


def test_function_with_other_columns_that_others_use_is_refused(older: Connection) -> None:
    """Such a function is left alone where a view depends on it, and the view is named."""
    older.execute("drop function get_analytics_refresh_status()")
    older.execute("create function get_analytics_refresh_status() returns table (view_name text, age integer)"
                  " language sql as $$ select 'x', 1 $$")  # fmt: skip
    older.execute("create view ages as select * from get_analytics_refresh_status()")
    with pytest.raises(MigrationError, match=r"other result columns .*view (public\.)?ages"):
        migrate(older)
    assert one(older, "select count(*) from ages") == 1


def test_missing_and_invalid_indexes_are_created(older: Connection) -> None:
    """An index of the contract that is missing or invalid is created; readers are not disturbed."""
    older.execute("drop index idx_action_metrics_hourly_unique")
    older.execute("update pg_index set indisvalid = false where indexrelid = 'idx_recent_failures_unique'::regclass")
    report = migrate(older)
    assert "create index public.idx_action_metrics_hourly_unique" in report.steps
    assert "create the invalid index public.idx_recent_failures_unique again" in report.steps
    assert [row[3] for row in older.execute(REFRESH).fetchall()] == [True] * 4


def test_unpopulated_view_is_populated(older: Connection) -> None:
    """A view that holds no data is filled, since a concurrent refresh cannot."""
    older.execute("refresh materialized view recent_failures with no data")
    assert "populate public.recent_failures" in migrate(older).steps
    assert one(older, "select count(*) from recent_failures") == 0


@pytest.mark.slow
def test_view_with_other_columns_is_reported(older: Connection) -> None:
    """A view whose columns are not the contract's is kept and named."""
    older.execute("drop materialized view recent_failures")
    older.execute("create materialized view recent_failures as select id from action_results")
    older.execute("create unique index idx_recent_failures_unique on recent_failures (id)")
    assert any("columns are not those of the contract" in warning for warning in migrate(older).warnings)
    assert (
        one(older, "select count(*) from pg_attribute where attrelid = 'recent_failures'::regclass and attnum > 0") == 1
    )
    assert migrate(older, recreate_views=True).changed
    assert status(older).warnings == ()


def test_overloads_are_reported(older: Connection) -> None:
    """A second function of the same name may make a call ambiguous: it is named."""
    older.execute("create function refresh_action_analytics(one_view text) returns void language sql as ''")
    assert any("refresh_action_analytics(text) has the name" in warning for warning in migrate(older).warnings)


def test_dry_run_names_what_it_keeps(older: Connection) -> None:
    """The printed SQL starts with what was found and what stays as it is."""
    script = dry_run(older)
    assert script.startswith("-- found: older install, version 0\n-- note: public.action_metrics_hourly is kept")
    # but for what is our own schema's
    assert "drop " not in script.lower().replace("drop table", "").replace("drop constraint", "")


def test_waits_for_the_daemon_before_touching_views(older: Connection, application_dsn: str) -> None:
    """The steps that lock existing views come after the key that a refresh cycle holds."""
    steps = status(older).steps
    assert steps.index("wait for a running refresh") < steps.index("comment on view public.recent_failures")
    assert steps.index("wait for a running refresh") > steps.index("replace function public.refresh_action_analytics")
