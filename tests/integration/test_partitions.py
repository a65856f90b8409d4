"""`partitions`: a live table becomes months without a copy, and months are made ahead."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.errors import MigrationError, UsageError
from analytics_refreshd.core.partitions import Choice, Month, wanted
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.partitions import run
from tests.conftest import create_application
from tests.integration.test_migrate_roles import psql
from tests.support.adapters import status_reader
from tests.support.daemon import command
from tests.support.faults import as_role, value
from tests.support.incremental import Changes, refresh_and_compare
from tests.support.installs import install_older, temporary_role
from tests.support.months import Later, traffic
from tests.support.postgres import PROGRAMS, Server

Connection = psycopg.Connection[Any]
MODES = ("plain", "incremental")
AT_NIGHT = (pytest.param("plain", marks=pytest.mark.nightly), "incremental")
"""Where the mode makes little difference."""
NOW = datetime.now(UTC)
NEXT = [str(month) for month in wanted(NOW)[1:]]


def open_(dsn: str) -> Connection:
    """A connection as the program's own."""
    return psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")


def fill(connection: Connection, mode: str, *, rows: int = 400) -> None:
    """Put rows of the past into the log, and switch to the mode."""
    connection.execute("insert into triggers (id) values ('busy') on conflict do nothing")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
        " select 'past ' || n, 'j', 'busy', 'rest', case n %% 5 when 0 then 'failed' else 'success' end,"
        " now() - n * interval '2 hours', n from generate_series(1, %s::int) n",
        [rows],
    )
    if mode == "incremental":
        incremental.install(connection)
    connection.execute("select * from refresh_action_analytics()")


def ignore(_: str) -> None:
    """Tell nobody."""


def convert(connection: Connection, told: Callable[[str], None] = ignore) -> tuple[str, ...]:
    """Do what the plan says, confirmed."""
    return run.apply(connection, "public", confirm=run.plan(connection, "public").token, told=told)


def partitions(connection: Connection) -> dict[str, str]:
    """The partitions' names and bounds."""
    query = (
        "select c.relname, pg_get_expr(c.relpartbound, c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'action_results'::regclass order by 1"
    )
    return dict(connection.execute(query).fetchall())


def built_at(connection: Connection, mode: str) -> Any:
    """When the rollups were built last."""
    return value(connection, "select built_at from analytics_refresh.incremental") if mode == "incremental" else None


def content(connection: Connection, mode: str, before: Any) -> None:
    """Assert that nothing is left to do, nothing was built again, and every figure is right."""
    assert refresh_and_compare(connection) == {}
    assert built_at(connection, mode) == before
    if mode == "incremental":
        found = incremental.state(connection)
        assert (found.uncaptured, found.rebuild_reason, found.obstacles) == ((), None, ())
        assert verify(connection).ok


def test_the_plan_says_what_it_would_do_and_changes_nothing(connection: Connection) -> None:
    """It has the SQL, the locks, what PostgreSQL forbids afterwards, and the token that a conversion asks for."""
    fill(connection, "plain", rows=5)
    planned = run.plan(connection, "public")
    assert planned.obstacles == ()
    assert [str(each.month) for each in planned.decisions if each.choice is Choice.MAKE] == NEXT
    assert "action_results_pkey" in planned.said[0]
    assert any("ON CONFLICT" in text for text in planned.said)
    assert any("DETACH CONCURRENTLY" in text for text in planned.said)
    swap = planned.steps[0]
    assert any("partition by range (executed_at)" in text for text in swap.commands)
    assert [str(lock) for lock in swap.locks] == [
        "SHARE ROW EXCLUSIVE on public.triggers, about 30 ms",
        'ACCESS EXCLUSIVE on "public"."action_results", about 30 ms',
    ]
    with pytest.raises(UsageError, match="partitions --plan"):
        run.apply(connection, "public", confirm=None, told=ignore)
    with pytest.raises(UsageError, match="not the token"):
        run.apply(connection, "public", confirm="0" * 12, told=ignore)
    assert partitions(connection) == {}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_live_table_becomes_months(dsn: str, connection: Connection, mode: str) -> None:
    """A writer of rows of every time never fails, a reader misses none, nothing is rebuilt, no problem is told."""
    fill(connection, mode)
    before = built_at(connection, mode)
    problems: list[str] = []

    def look(_: str) -> None:
        with status_reader(dsn) as reader:
            problems.extend(reader.installation_problems())
        with open_(dsn) as other:
            if mode == "incremental":
                found = incremental.state(other)
                problems.extend([*found.uncaptured, *found.obstacles, *([found.rebuild_reason or ""])][:-1])

    with traffic(dsn) as seen:
        seen.wait_for(20)
        done = convert(connection, look)
        written = seen.written
        seen.wait_for(written + 20)
    assert problems == []
    assert len([step for step in done if step.startswith("make")]) == 2
    assert list(partitions(connection)) == sorted(
        ["action_results_default", *(f"action_results_{text.replace('-', '_')}" for text in NEXT)]
    )
    content(connection, mode, before)
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
        " values ('ahead', 'j', 'busy', 'rest', 'success', %s, 5)",
        [wanted(NOW)[1].start],
    )
    assert value(connection, f"select count(*) from action_results_{NEXT[0].replace('-', '_')}") == 1
    content(connection, mode, before)
    assert convert(connection) == ()
    assert run.plan(connection, "public").steps == ()


@pytest.mark.parametrize(
    ("mode", "places"),
    [
        pytest.param("incremental", (2, 5, 6), marks=pytest.mark.slow),
        pytest.param("incremental", range(1, 100), marks=pytest.mark.nightly),
        pytest.param("plain", range(1, 100), marks=pytest.mark.nightly),
    ],
    ids=["incremental", "incremental everywhere", "plain everywhere"],
)
def test_R01_a_run_that_is_killed_goes_on(
    databases: Callable[..., str], migrated_template: str, mode: str, places: Sequence[int]
) -> None:
    """Wherever the connection ends, no row is lost, none counts twice, and the same command does the rest."""
    source = databases(migrated_template)
    with open_(source) as connection:
        fill(connection, mode, rows=50)
    for place in places:
        target = databases(source)
        with open_(target) as connection:
            before = built_at(connection, mode)
            left = [place]
            working = open_(target)

            def die(_: str, left: list[int] = left, working: Connection = working) -> None:
                left[0] -= 1
                if left[0] == 0:
                    working.close()

            with traffic(target) as seen:
                seen.wait_for(5)
                try:
                    convert(working, die)
                    over = True
                except (MigrationError, psycopg.Error):
                    over = False
                working.close()
            assert refresh_and_compare(connection) == {}
            with traffic(target, "again"):
                convert(connection)
            assert len(partitions(connection)) == 3
            checks = "select count(*) from pg_constraint where conname ~ '^analytics_refresh_[0-9]'"
            assert value(connection, checks) == 0
            content(connection, mode, before)
        if over:
            assert place > 6
            return
    assert isinstance(places, tuple), "it never came to its end"


OBSTACLES = """
create view reports as select id from action_results;
create function counted() returns bigint language sql begin atomic select count(*) from public.action_results; end;
create function rows_of() returns setof action_results language plpgsql as 'begin return; end';
create table notes (result text references action_results (id), owner text);
create policy of_results on notes using (exists (select from action_results r where r.id = owner));
create function noop() returns trigger language plpgsql as 'begin return new; end';
create trigger stamp before insert on action_results for each row execute function noop();
create publication sent for table action_results;
create publication all_of_it for all tables;
create function upsert() returns void language plpgsql as
    'begin insert into public.action_results (id) values (1) on conflict (id) do nothing; end';
alter table action_results add constraint short check (length(id) < 100) not valid;
alter table action_results add constraint mine check (id <> '') no inherit;
create table action_results_default ();
create statistics wide on status, action_type from action_results;
"""


@pytest.mark.slow
def test_every_obstacle_is_named_and_nothing_changes(connection: Connection) -> None:
    """What would go on reading the old table, or cannot be, is named with what to do; the others are said."""
    connection.execute(OBSTACLES)
    planned = run.plan(connection, "public")
    for name in (
        "view public.reports would go on reading", "function public.counted() would go on reading",
        "function public.rows_of() would go on reading", "policy of_results on table public.notes would go on",
        "notes_result_fkey on table public.notes refers to it", "trigger stamp on table public.action_results would",
        "publication sent sends it", "publication all_of_it would send each month", "function public.upsert() says ON",
        "constraint short on table public.action_results is not valid", "constraint mine on table", "NO INHERIT",
        "table public.action_results_default has a name that is needed",
    ):  # fmt: skip
        assert any(name in text for text in planned.obstacles), (name, planned.obstacles)
    assert any("statistics object public.wide stays" in text for text in planned.said)
    assert (planned.steps, planned.token) == ((), None)
    with pytest.raises(MigrationError, match="reports would go on"):
        run.apply(connection, "public", confirm=None, told=ignore)
    connection.execute(
        "drop view reports; drop function counted(), rows_of(), upsert(); drop table notes, action_results_default;"
        " drop trigger stamp on action_results; drop publication sent; drop publication all_of_it;"
        " alter table action_results validate constraint short, drop constraint mine"
    )
    assert convert(connection)
    assert value(connection, "select count(*) from pg_constraint where conname = 'short'") == 4


@pytest.mark.slow
def test_the_new_table_and_its_months_are_as_the_old_one(connection: Connection) -> None:
    """Grants, row security, comments, keys, indexes, foreign keys and storage are those of the table."""
    with temporary_role(connection) as role:
        connection.execute(
            f"grant select, insert on action_results to {role} with grant option; grant update (status, id) on"
            f" action_results to {role}; create policy own on action_results for select to {role}"
            " using (status <> 'x');"
            " alter table action_results enable row level security; comment on table action_results is 'the log';"
            " comment on column action_results.id is 'a UUID'; create index partly on action_results (job_id) where"
            " status = 'failed'; alter table action_results set (autovacuum_vacuum_scale_factor = 0.05),"
            " replica identity full"
        )
        rights = "select relacl::text, relrowsecurity from pg_class where oid = %s::regclass"
        before = connection.execute(rights, ["action_results"]).fetchone()
        convert(connection)
        month = f"action_results_{NEXT[0].replace('-', '_')}"
        for name in ("action_results", month):
            assert connection.execute(rights, [name]).fetchone() == before
            assert value(connection, "select count(*) from pg_policy where polrelid = %s::regclass", name) == 1
            assert value(connection, "select attacl is not null from pg_attribute where attrelid = %s::regclass"
                " and attname = 'status'", name)  # fmt: skip
            assert value(connection, "select col_description(%s::regclass, 1)", name) == "a UUID"
        assert value(connection, "select obj_description('action_results'::regclass)") == "the log"
        assert value(
            connection, "select reloptions::text || relreplident::text from pg_class where relname = %s", month
        ) == ("{autovacuum_vacuum_scale_factor=0.05}f")
        indexes = "select count(*) from pg_index where indrelid = %s::regclass and indisvalid"
        assert value(connection, indexes, month) == value(connection, indexes, "action_results_default") == 7
        assert value(connection, indexes, "action_results") == 6
        keys = "select count(*) from pg_constraint where conrelid = %s::regclass and contype = %s"
        assert [value(connection, keys, month, kind) for kind in "pf"] == [1, 1]
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(
                "insert into action_results (id, job_id, action_type, status, executed_at)"
                " select 'same', 'j', 'rest', 'success', %s from generate_series(1, 2)",
                [wanted(NOW)[1].start],
            )


@pytest.mark.slow
@pytest.mark.parametrize("mode", AT_NIGHT)
def test_a_month_of_which_the_default_holds_rows_is_left_out(connection: Connection, mode: str) -> None:
    """It is said, and the next one is made; once those rows are gone, it is made as well."""
    fill(connection, mode)
    before = built_at(connection, mode)
    first, second = wanted(NOW)[1:]
    insert = (
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at) values (%s, 'j', 'busy',"
        " 'rest', 'failed', %s)"
    )
    connection.execute(insert, ["early", first.start])
    told: list[str] = []
    convert(connection, told.append)
    assert any(text.startswith(f"{first} is not made") for text in told)
    assert set(partitions(connection)) == {"action_results_default", second.table}
    content(connection, mode, before)
    connection.execute("delete from action_results where id = 'early'")
    assert run.apply(connection, "public", confirm=None, told=ignore) == (
        f'make "public"."{first.table}" and attach it',
    )
    content(connection, mode, before)


@pytest.mark.slow
def test_a_row_that_comes_after_the_look_is_found_by_the_check(dsn: str, connection: Connection) -> None:
    """The month is not made, nothing stays behind that refuses rows, and the run goes on."""
    fill(connection, "plain", rows=5)
    first, second = wanted(NOW)[1:]
    told: list[str] = []

    def insert(text: str) -> None:
        told.append(text)
        if text == f"refuse rows of {first} in the DEFAULT":
            with open_(dsn) as other:
                other.execute(
                    "insert into action_results (id, job_id, action_type, status, executed_at)"
                    " values ('early', 'j', 'rest', 'success', %s)",
                    [first.start],
                )

    convert(connection, insert)
    assert f"{first} is not made: a row of it came into the DEFAULT meanwhile" in told
    assert set(partitions(connection)) == {"action_results_default", second.table}
    connection.execute("update action_results set id = 'later' where id = 'early'")
    found = run.plan(connection, "public").layout
    assert (first in found.held, found.leftovers) == (True, ())


@pytest.mark.slow
@pytest.mark.parametrize("mode", AT_NIGHT)
def test_R10_partitions_made_by_hand_are_completed(application_dsn: str, mode: str) -> None:
    """A month that they hold is left alone, one that they hold in part is said, the others are made."""
    this, first, second = wanted(NOW)
    with open_(application_dsn) as connection:
        connection.execute(
            "alter table action_results rename to old; create table action_results (like old including all excluding"
            " indexes) partition by range (executed_at);"
            f" create table by_hand partition of action_results for values from ('2020-01-01') to ('{this.start}');"
            f" create table half partition of action_results for values from ('{this.start}')"
            f" to ('{this.start + timedelta(days=10)}');"
            f" create table rest partition of action_results for values from ('{this.start + timedelta(days=10)}')"
            f" to ('{this.end}');"
            f" create table part partition of action_results for values from ('{first.start}')"
            f" to ('{first.start + timedelta(days=10)}')"
        )
        migrate(connection)
        fill(connection, mode)
        before = built_at(connection, mode)
        told: list[str] = []
        assert run.apply(connection, "public", confirm=None, told=told.append) == (
            f'make "public"."{second.table}" and attach it',
        )
        assert [text for text in told if "not made" in text] == [
            f"{first} is not made: public.part holds a part of it: make the rest of it by hand"
        ]
        content(connection, mode, before)
        connection.execute(f"drop table {second.table}; create table {second.table} ()")
        connection.execute("select * from refresh_action_analytics()")
        taken = run.plan(connection, "public").decisions[-1]
        assert (taken.choice, f"public.{second.table}" in taken.why) == (Choice.TAKEN, True)
        connection.execute(
            "drop table action_results cascade; create table action_results (like old) partition by list (status)"
        )
        assert "is partitioned by LIST (status)" in run.plan(connection, "public").obstacles[0]


@pytest.mark.slow
def test_views_of_an_older_install_keep_their_own_queries(application_dsn: str) -> None:
    """They are built over the whole by their own definition, and stay noted as not ours."""
    with open_(application_dsn) as connection:
        install_older(connection)
        migrate(connection)
        fill(connection, "plain")
        query = "select pg_get_viewdef('action_metrics_hourly'::regclass)"
        before = value(connection, query)
        convert(connection)
        assert value(connection, query) == before
        with status_reader(application_dsn) as reader:
            assert list(reader.installation_problems()) == []
        connection.execute(
            "insert into action_results (id, job_id, action_type, status, executed_at)"
            " values ('a', 'j', 'rest', 'failed', %s)",
            [wanted(NOW)[1].start],
        )
        connection.execute("select * from refresh_action_analytics()")
        assert value(connection, "select sum(execution_count) from action_metrics_hourly") == 401


@pytest.mark.slow
def test_the_role_of_its_sql_file_can_do_all_of_it(dsn: str, connection: Connection) -> None:
    """A member of the owner, and no superuser, converts and makes months, by the commands that are printed."""
    fill(connection, "incremental")
    before = built_at(connection, "incremental")
    with temporary_role(connection) as owner, temporary_role(connection) as member:
        connection.execute(f"grant create on schema public to {owner}")
        with pytest.raises(AssertionError, match="belongs to a superuser"):
            psql(dsn, "partitions.sql", "-v", f"role={member}")
        connection.execute(f"alter table action_results owner to {owner}; alter table triggers owner to {owner}")
        migrate(connection)
        incremental.install(connection)
        before = built_at(connection, "incremental")
        psql(dsn, "partitions.sql", "-v", f"role={member}")
        as_member = as_role(dsn, member)
        shown = command(as_member, "partitions", "--plan")
        assert shown.returncode == 0, shown.stderr
        assert "begin;" in shown.stdout
        token = shown.stderr.rpartition("--confirm ")[2].strip()
        done = command(as_member, "partitions", "--apply", "--confirm", token)
        assert done.returncode == 0, done.stderr
        status = command(as_member, "partitions", "--status", "--format", "json")
        found = json.loads(status.stdout)
        assert (status.returncode, found["problems"], len(found["partitions"])) == (0, [], 3)
        content(connection, "incremental", before)
        connection.execute("drop table action_results cascade")


@pytest.mark.slow
def test_where_pg_partman_is_installed_its_configuration_is_printed(dsn: str, connection: Connection) -> None:
    """Two programs that make months get in each other's way."""
    with connection.transaction():
        connection.execute("set local allow_system_table_mods = on")
        connection.execute(
            "insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
            " values (99999, 'pg_partman', 10, 'public'::regnamespace, false, '5.2.4')"
        )
    shown = command(dsn, "partitions", "--plan", retention__rows="90d")
    assert (shown.returncode, '"public".create_parent(p_parent_table' in shown.stdout) == (0, True), shown.stderr
    with pytest.raises(MigrationError, match="pg_partman is installed"):
        run.apply(connection, "public", confirm=None, told=ignore)


def test_the_apis_view_follows(dsn: str, connection: Connection) -> None:
    """With `migrate --tenants` the conversion goes on, and the API reads every month, behind the same wall."""
    fill(connection, "plain", rows=5)
    migrate(connection, tenants=True)
    view = "'analytics_api.action_results'::regclass"
    kept = f"select c.reloptions, c.relacl from pg_class c where c.oid = {view}"
    before = connection.execute(kept).fetchone()
    convert(connection)
    assert "_default" not in str(value(connection, f"select pg_get_viewdef({view})"))
    assert (
        connection.execute(f"select c.reloptions, c.relacl from pg_class c where c.oid = {view}").fetchone() == before
    )
    read = (
        "select d.refobjid::regclass::text from pg_rewrite w join pg_depend d on d.objid = w.oid"
        f" where w.ev_class = {view} and d.refobjid in ('action_results'::regclass, 'action_results_default'::regclass)"
    )
    assert {name for (name,) in connection.execute(read)} == {"action_results"}
    assert "nothing to do" in command(dsn, "migrate", "--tenants").stdout


@pytest.mark.slow
def test_R02_two_at_once_are_one(dsn: str, connection: Connection) -> None:
    """At each step of the first a second is refused, and the first ends as if it were alone."""
    fill(connection, "plain", rows=5)
    refused = []

    def told(text: str) -> None:
        with open_(dsn) as another, pytest.raises(MigrationError, match="another migration is running"):
            convert(another)
        refused.append(text)

    convert(connection, told)
    assert len(refused) > 3
    assert len(partitions(connection)) == 3


@pytest.mark.slow
def test_R03_a_long_reader_delays_a_conversion_and_no_writer(dsn: str, connection: Connection) -> None:
    """It waits 50 ms at a time, so that writers go on; once the reader is over, it is done."""
    fill(connection, "plain", rows=5)
    with psycopg.connect(dsn) as reader, traffic(dsn) as seen:
        reader.execute("select count(*) from action_results")
        tried = []

        def told(text: str) -> None:
            tried.append(text)
            if text.startswith("put a partitioned"):
                written = seen.written
                seen.wait_for(written + 20)
                release.start()

        release = Later(reader, seen)
        convert(connection, told)
        release.join(60)
    assert len(partitions(connection)) == 3


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAMS[15].exists(), reason="PostgreSQL 15 is not installed")
@pytest.mark.parametrize("mode", AT_NIGHT)
def test_it_works_on_the_oldest_version(mode: str) -> None:
    """From a table to months on PostgreSQL 15, beside a writer and a reader."""
    made = Server(programs=PROGRAMS[15]).start()
    try:
        create_application(made.dsn())
        with open_(made.dsn()) as connection:
            migrate(connection)
            Changes(connection, 15).copy()
            fill(connection, mode)
            before = built_at(connection, mode)
            with traffic(made.dsn()) as seen:
                seen.wait_for(20)
                convert(connection)
            content(connection, mode, before)
            assert len(partitions(connection)) == 3
    finally:
        made.destroy()


def test_a_month_is_read_and_written() -> None:
    """`2026-12` and its neighbours."""
    month = Month.parse("2026-12")
    assert month is not None
    assert (str(month.next), month.table, Month.parse("2026-13")) == ("2027-01", "action_results_2026_12", None)
