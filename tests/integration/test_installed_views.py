"""What readers read: installed views that are not ours are told, and replaced without loss."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.check.findings import Level
from analytics_refreshd.postgres.check.run import CheckSettings, run_checks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.schema.installation import record_views
from tests.support.adapters import connector, status_reader
from tests.support.daemon import command
from tests.support.incremental import Changes, refresh_and_compare
from tests.support.installs import install_older
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]

# another condition than ours, by the same columns
BY_HAND = """
drop materialized view recent_failures cascade;
create materialized view recent_failures as
select id, job_id, trigger_id, event_id, action_type, error_message, retry_count, executed_at, duration_ms,
    response_data
from action_results where status = 'failed' and executed_at >= now() - interval '1 hour';
create unique index idx_recent_failures_unique on recent_failures (id);
"""
# as a change to partitions, or a blue-green migration of the application, does it
RENAMED = """
alter table action_results rename to action_results_old;
create table action_results (like action_results_old including all);
"""


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    """A connection to a migrated database, with rows."""
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as opened:
        Changes(opened, 3).copy()
        yield opened


def to_mode(connection: Connection, mode: str) -> None:
    """Switch to the incremental mode where asked."""
    if mode == "incremental":
        incremental.install(connection)
    connection.execute("select * from refresh_action_analytics()")


def told(dsn: str) -> list[str]:
    """What the evaluation finds, which must be what `check` finds as errors, too."""
    with status_reader(dsn) as reader:
        problems = list(reader.installation_problems())
    found = run_checks(connector(dsn), CheckSettings(), lambda: datetime.now(UTC))
    errors = [each.text for each in found if each.name == "installation" and each.level is Level.ERROR]
    assert errors == [problem.partition(": ")[0] for problem in problems]
    return problems


@pytest.mark.fault
@pytest.mark.quick
@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.slow
def test_L03_a_table_that_was_renamed_and_replaced_is_told_and_followed(
    dsn: str, connection: Connection, mode: str
) -> None:
    """Views that go on reading the old table are named by evaluation, check, verify and migrate; --replace ends it."""
    to_mode(connection, mode)
    assert told(dsn) == []
    connection.execute(RENAMED)
    views = VIEWS if mode == "plain" else ("recent_failures",)
    found = told(dsn)
    assert [text.split(" ")[0] for text in found] == [f"public.{view}" for view in views]
    assert all("reads public.action_results_old, and not what is called public.action_results now" in t for t in found)
    if mode == "incremental":
        incremental.install(connection)
    report = verify(connection)
    assert not report.ok
    assert any("FROM public.action_results_old" in problem for problem in report.problems)
    kept = migrate(connection)
    assert any("public.recent_failures is kept as it is" in warning for warning in kept.warnings)
    assert told(dsn) == found
    migrate(connection, recreate_views=True)
    assert told(dsn) == []
    Changes(connection, 4).insert_many()
    connection.execute("update action_results set status = 'failed', executed_at = now()")
    assert not refresh_and_compare(connection)
    assert connection.execute("select count(*) from recent_failures").fetchone() == (20,)
    assert verify(connection).ok


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.slow
def test_L03_a_view_created_again_by_hand_is_told(dsn: str, connection: Connection, mode: str) -> None:
    """Another WHERE in a view of the same columns is a broken contract, and stays one through further migrations."""
    to_mode(connection, mode)
    connection.execute(BY_HAND)
    (found,) = told(dsn)
    assert found.startswith("public.recent_failures has another query than the one that migrate gave it: ")
    (problem,) = verify(connection).problems
    assert "01:00:00" in problem
    assert "24:00:00" in problem
    report = migrate(connection)
    assert "'01:00:00'::interval" in "\n".join(report.warnings)
    assert told(dsn) == [found]
    assert migrate(connection).steps == ()
    migrate(connection, recreate_views=True)
    assert told(dsn) == []
    assert verify(connection).ok
    assert not refresh_and_compare(connection)


@pytest.mark.fault
@pytest.mark.slow
def test_L03_a_view_of_an_older_install_is_kept_and_a_change_of_it_is_told(dsn: str, application_dsn: str) -> None:
    """What migrate found and kept is a warning of check alone; created again by hand after that, it is an error."""
    with psycopg.connect(application_dsn, autocommit=True) as older:
        install_older(older)
        assert told(application_dsn) == []
        migrate(older)
        assert told(application_dsn) == []
        found = run_checks(connector(application_dsn), CheckSettings(), lambda: datetime.now(UTC))
        assert len([each for each in found if each.name == "installation" and each.level is Level.WARNING]) == 4
        older.execute(BY_HAND)
        assert len(told(application_dsn)) == 1
        older.execute(RENAMED)
        assert len(told(application_dsn)) == 4


@pytest.mark.fault
@pytest.mark.parametrize("definition", ["select * from action_results", "select id from action_results where id = 'a'"])
def test_L03_a_plain_view_in_between_is_looked_through(dsn: str, connection: Connection, definition: str) -> None:
    """A view over a plain view over the table reads the table, and so does one whose table bears another name now."""
    connection.execute(f"create view between_them as {definition}")
    connection.execute("drop materialized view recent_failures")
    connection.execute("create materialized view recent_failures as select id from between_them")
    assert ["reads" in text.split(":")[0] for text in told(dsn)] == [False]
    connection.execute(
        "alter table action_results rename to actions; create view action_results as select * from actions"
    )
    assert ["reads" in text.split(":")[0] for text in told(dsn)] == [False]


@pytest.mark.fault
@pytest.mark.parametrize("noted", [False, True], ids=["before notes were taken", "noted"])
@pytest.mark.slow
def test_L03_a_view_of_an_earlier_version_is_renewed(dsn: str, connection: Connection, noted: bool) -> None:
    """Over rollups, a view that is as an earlier version made it becomes this version's, with nothing to ask for."""
    to_mode(connection, "incremental")
    connection.execute(BY_HAND)
    connection.execute(record_views("public") if noted else "update analytics_refresh.installation set views = null")
    assert told(dsn) == []
    assert "put the new view public.recent_failures in place" in migrate(connection).steps
    assert verify(connection).ok
    assert told(dsn) == []


@pytest.mark.fault
def test_L03_a_restore_alarms_nobody(dsn: str, connection: Connection) -> None:
    """Under new numbers, as after a restore, old notes hold no more; migrate notes anew."""
    connection.execute(
        "update analytics_refresh.installation set views = jsonb_set(views, '{anchor}', '\"elsewhere\"')"
    )
    connection.execute(BY_HAND)
    assert told(dsn) == []
    assert migrate(connection).steps[-1] == "note the definitions of the views"
    assert migrate(connection).steps == ()


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.slow
def test_L03_replacing_keeps_dependents_comments_and_grants(dsn: str, connection: Connection, mode: str) -> None:
    """Views, materialized views and functions that hang on a view, directly or not, are as before."""
    to_mode(connection, mode)
    keeper, reader = (f"{kind}_{uuid4().hex[:8]}" for kind in ("keeper", "reader"))

    def run(text: str) -> None:
        connection.execute(text.replace("keeper_of_views", keeper).replace("reader_of_views", reader))

    run("create role keeper_of_views; create role reader_of_views")
    try:
        run("grant create, usage on schema public to keeper_of_views")
        run("grant select on all tables in schema public to keeper_of_views")
        run(
            """
            create schema reports;
            create view reports.top with (security_barrier) as select id, error_message from recent_failures;
            comment on view reports.top is 'for the board'; comment on column reports.top.id is 'which';
            grant select on reports.top to reader_of_views with grant option;
            grant select (id) on reports.top to public;
            create view reports.upper as select upper(id) as id from reports.top order by 1;
            alter view reports.upper owner to keeper_of_views;
            create materialized view reports.daily as select count(*) as n from reports.top;
            create unique index daily_n on reports.daily (n);
            create function first_failure() returns setof recent_failures language sql stable
                as 'select * from public.recent_failures limit 1';
            revoke execute on function first_failure() from public;
            grant execute on function first_failure() to reader_of_views;
            comment on materialized view recent_failures is 'ask Kim';
            comment on column recent_failures.id is 'ours';
            grant select on recent_failures to reader_of_views;
            create statistics failing on action_type, trigger_id from recent_failures;
            create index extra on recent_failures (job_id); comment on index extra is 'for the board';
            alter materialized view recent_failures set (fillfactor = 71);
            """
        )
        facts = """
            select pg_describe_object('pg_class'::regclass, c.oid, 0), pg_get_userbyid(c.relowner),
                array(select x::text from unnest(coalesce(c.relacl, acldefault('r', c.relowner))) x order by 1),
                c.reloptions, obj_description(c.oid, 'pg_class'), pg_get_viewdef(c.oid), c.relispopulated,
                array(select pg_get_indexdef(i.indexrelid) || coalesce(obj_description(i.indexrelid), '')
                    from pg_index i where i.indrelid = c.oid order by 1),
                array(select a.attname || coalesce(a.attacl::text, '') || coalesce(col_description(c.oid, a.attnum), '')
                    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 order by a.attnum),
                array(select pg_get_statisticsobjdef(s.oid) from pg_statistic_ext s where s.stxrelid = c.oid)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname in ('public', 'reports') and c.relkind in ('v', 'm')
            union all
            select pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
                array(select x::text from unnest(p.proacl) x order by 1), null, null, null, null, null,
                null, null from pg_proc p where p.proname = 'first_failure'
            order by 1"""
        before = connection.execute(facts).fetchall()
        # what is created from now on would be open to more than what is there
        run("alter default privileges grant select on tables to public, reader_of_views")
        run("alter default privileges grant execute on functions to keeper_of_views")
        with pytest.raises(MigrationError, match=r"on the views depend .*reports\.top.*--replace"):
            (incremental.install if mode == "plain" else incremental.uninstall_to_plain)(connection)
        (incremental.install if mode == "plain" else incremental.uninstall_to_plain)(connection, replace=True)
        (incremental.uninstall_to_plain if mode == "plain" else incremental.install)(connection, replace=True)
        assert connection.execute(facts).fetchall() == before
    finally:
        run("drop schema reports cascade; drop function first_failure()")
        run("drop owned by keeper_of_views, reader_of_views; drop role keeper_of_views, reader_of_views")


@pytest.mark.fault
def test_L03_what_cannot_be_kept_is_named(dsn: str, connection: Connection) -> None:
    """A column of a view's row type cannot be created again with its data: nothing is changed."""
    connection.execute(BY_HAND)
    connection.execute("create table kept (failure recent_failures)")
    with pytest.raises(MigrationError, match=r"cannot all be created again as it is .*kept"):
        migrate(connection, recreate_views=True)
    connection.execute("drop table kept")
    assert migrate(connection, recreate_views=True).changed


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.slow
def test_L03_readers_meet_no_missing_and_no_empty_view(dsn: str, connection: Connection, mode: str) -> None:
    """Readers of the view and of one over it poll throughout replacements and switches of the mode."""
    connection.execute("update action_results set status = 'failed', executed_at = now()")
    to_mode(connection, mode)
    connection.execute("create view top as select id from recent_failures")
    count = connection.execute("select count(*) from recent_failures").fetchone()
    stop, errors, rounds = threading.Event(), [], [0, 0]

    def read(number: int, relation: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as own:
            # without a pause two readers would take both processors
            while not stop.wait(0.002):
                try:
                    found = own.execute(f"select count(*) from {relation}").fetchone()
                except psycopg.Error as error:
                    errors.append(str(error))
                    return
                if found != count:
                    errors.append(f"{relation}: {found}")
                rounds[number] += 1

    readers = [threading.Thread(target=read, args=each) for each in enumerate(("recent_failures", "top"))]
    for reader in readers:
        reader.start()
    try:
        for _ in range(3):
            seen = sum(rounds)
            eventually(lambda seen=seen: (min(rounds) > 5 and sum(rounds) > seen + 20) or errors)  # type: ignore[misc]
            incremental.uninstall_to_plain(connection, replace=True)
            incremental.install(connection, replace=True)
            connection.execute("drop index idx_recent_failures_action_type")
            connection.execute("create index idx_recent_failures_action_type on recent_failures (event_id)")
            assert "put the new view public.recent_failures in place" in migrate(connection, recreate_views=True).steps
    finally:
        stop.set()
        for reader in readers:
            reader.join(60)
    assert errors == []


@pytest.mark.fault
def test_L03_an_index_of_failures_under_an_old_number_is_kept_and_goes(dsn: str, connection: Connection) -> None:
    """After a restore the index bears the old table's number: it is used, no second one is made, and none is left."""
    indexes = "select count(*) from pg_class where relname like 'analytics_refresh_failures_%'"
    incremental.install(connection)
    connection.execute(
        "do $$ begin execute format('alter index analytics_refresh_failures_%s rename to analytics_refresh_failures_7',"
        " 'action_results'::regclass::oid); end $$"
    )
    incremental.install(connection)
    assert connection.execute(indexes).fetchone() == (1,)
    connection.execute(
        "create index analytics_refresh_failures_8 on action_results (executed_at) where status = 'failed'"
    )
    incremental.install(connection)
    assert connection.execute(indexes).fetchone() == (1,)
    incremental.uninstall_to_plain(connection)
    assert connection.execute(indexes).fetchone() == (0,)


@pytest.mark.fault
@pytest.mark.slow
def test_L03_the_commands_show_the_difference_and_replace(dsn: str, connection: Connection) -> None:
    """--status and migrate show difference and dependents, --verify exits 1, and --replace ends it."""
    connection.execute(BY_HAND)
    connection.execute("create view top as select id from recent_failures")
    for words in (("migrate", "--status"), ("migrate",)):
        shown = command(dsn, *words)
        assert shown.returncode == 0
        assert "its query differs: it has" in shown.stderr
        assert "on it depend, and are kept by --replace: view public.top" in shown.stderr
    verified = command(dsn, "migrate", "--verify")
    assert verified.returncode == 1
    assert "public.recent_failures is not ours" in verified.stdout
    assert command(dsn, "check").returncode == 1
    assert command(dsn, "migrate", "--replace").returncode == 0
    assert command(dsn, "migrate", "--verify").returncode == 0
    assert connection.execute("select count(*) from top").fetchone() is not None
