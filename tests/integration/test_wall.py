"""The second wall: whatever a query's text does, its transaction shows the admitted organizations alone."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import Result, bind, run
from analytics_refreshd.postgres.incremental.install import install, uninstall_to_plain
from analytics_refreshd.postgres.migrate.run import migrate, uninstall
from analytics_refreshd.postgres.tenants.install import note_secret
from analytics_refreshd.postgres.tenants.wall import Wall, WallSecret
from tests.support.catalog import snapshot
from tests.support.daemon import command
from tests.support.faults import value
from tests.support.installs import Connection, install_older
from tests.support.tenants import SCHEMA, SECRET, TENANTS, fill, foreign, walled

CATALOGUE = Catalogue.load()
WALL = Wall(SECRET)
TENANT_QUERIES = [query for query in CATALOGUE if query.organizations]


@dataclass(frozen=True)
class Walled:
    """A database behind the wall: as the API's role, as its owner, and the time that queries ask for."""

    api: Connection
    owner: Connection
    now: datetime


@pytest.fixture(scope="module")
def world(templates: Callable[..., str], migrated_template: str) -> Iterator[Walled]:
    """One for all tests that only read."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as owner:
        now = fill(owner)
        with walled(dsn, owner) as api:
            yield Walled(api, owner, now)


@pytest.fixture(scope="module")
def api(world: Walled) -> Connection:
    """The connection of the API's role."""
    return world.api


@pytest.fixture
def own(dsn: str, connection: Connection) -> Iterator[Walled]:
    """A database of the test's own, to change."""
    now = fill(connection)
    with walled(dsn, connection) as opened:
        yield Walled(opened, connection, now)


def ask(
    api: Connection,
    query: Query,
    now: datetime,
    admitted: Sequence[str] | None,
    limit: Sequence[str] | None,
) -> Result:
    """Run a query behind the wall; `limit` is its own limit, which a sabotaged one has not."""
    bound = bind(query, {}, limit, now, SCHEMA)
    with api.transaction(force_rollback=True):
        WALL.admit(api, admitted)
        return run(api, bound)


def rows(api: Connection, text: str, admitted: Sequence[str] | None = ("acme",)) -> list[Any]:
    """Run any text in an admitted transaction."""
    with api.transaction(force_rollback=True):
        WALL.admit(api, admitted)
        return api.execute(text).fetchall()


def test_every_query_answers_as_without_the_wall(world: Walled) -> None:
    """For a tenant, for two, for none and for all, each query has the answer that it has on the tables."""
    api, connection, now = world.api, world.owner, world.now
    for query in CATALOGUE:
        for limit in [None, ("acme",), TENANTS, ()] if query.organizations else [None]:
            behind = ask(api, query, now, limit, limit)
            before = run(connection, bind(query, {}, limit, now, "public"))
            columns = [at for at, column in enumerate(query.columns) if column.name != "response_data"]
            assert [[row[at] for at in columns] for row in behind.rows] == [
                [row[at] for at in columns] for row in before.rows
            ], (query.name, limit)


@pytest.mark.parametrize("query", TENANT_QUERIES, ids=lambda query: query.name)
def test_P02_a_query_without_its_limit_shows_no_other_tenant(world: Walled, query: Query) -> None:
    """Sabotaged, it shows the admitted tenant's rows or nothing: no other's text, and no figure of all together."""
    result = ask(world.api, query, world.now, ("acme",), None)
    assert [row for row in result.rows if foreign(row, ("acme",))] == []
    limited = ask(world.api, query, world.now, ("acme",), ("acme",))
    for at, column in enumerate(query.columns):
        if column.unit == "count":
            of_tenant, shown = ([int(str(row[at] or 0)) for row in one.rows] for one in (limited, result))
            assert max(shown, default=0) <= max(of_tenant, default=0), column.name


@pytest.mark.parametrize(
    "view",
    ["action_results", "triggers", "organizations", "recent_failures", "trigger_performance_summary",
     "action_metrics_hourly", "action_type_distribution"],
)  # fmt: skip
def test_a_view_shows_what_is_admitted(api: Connection, view: str) -> None:
    """Its own to each tenant, all to who sees all, nothing to a transaction that nobody admitted."""
    text = f"select r::text from analytics_api.{view} r"
    everything = rows(api, text, None)
    assert {name for name in (*TENANTS, "nobody") if foreign(everything, ()) and name in str(everything)} == (
        set() if view in ("action_metrics_hourly", "action_type_distribution") else {*TENANTS, "nobody"}
        if view != "organizations" else set(TENANTS)
    )  # fmt: skip
    assert everything
    for seen in (("acme",), ("bolt",), TENANTS, ("none",), ()):
        found = rows(api, text, seen)
        assert [row for row in found if foreign(row, seen)] == []
        whole = view in ("action_metrics_hourly", "action_type_distribution")
        assert bool(found) is (set(seen) <= set(TENANTS) and bool(seen) and not whole)
    assert api.execute(text).fetchall() == []


def test_P02_a_text_cannot_widen_what_it_sees(api: Connection) -> None:
    """It may set another token, in any way that it finds: none is good, and then it sees nothing."""
    count = "select count(*), count(*) filter (where organization_id = 'bolt') from analytics_api.triggers"
    (right, _), *_ = rows(api, count)
    assert right == 4
    api.execute("create or replace function pg_temp.run(text) returns void language plpgsql as 'begin execute $1; end'")
    forged = [
        '{"organizations": null}',
        f"{WallSecret.of(SECRET).secret_id} {'0' * 64} {{\"organizations\": null}}",
        f"{WallSecret.of(SECRET).secret_id}  {{\"organizations\": null}}",
        WallSecret.of(b"x" * 32).token("1 1", {"organizations": None}),
        "", " ", "a b", "\\x00",
    ]  # fmt: skip
    for token in forged:
        for text in (
            f"with t as materialized (select set_config('analytics_api.token', $${token}$$, true))"
            f" select c.* from t, lateral ({count}) c",
            f"select pg_temp.run($q$select set_config('analytics_api.token', $${token}$$, false)$q$)",
        ):
            with api.transaction(force_rollback=True):
                WALL.admit(api, ("acme",))
                api.execute(text)
                found = api.execute(count).fetchall()
            assert found == [(0, 0)], text
    assert rows(api, count) == [(4, 0)]


def test_a_token_is_good_for_its_transaction_alone(api: Connection) -> None:
    """Whoever reads one, as in a text that returns it, cannot use it in another, nor after its end."""
    ((token,),) = rows(api, "select current_setting('analytics_api.token')", None)
    seen = "select count(*) from analytics_api.triggers"
    assert api.execute(seen).fetchone() == (0,)
    for local in (True, False):
        with api.transaction(force_rollback=True):
            api.execute("select set_config('analytics_api.token', %s, %s)", (token, local))
            assert api.execute(seen).fetchone() == (0,)
    with api.transaction(force_rollback=True):
        Wall(b"another" * 8).admit(api, None)
        assert api.execute(seen).fetchone() == (0,)


@pytest.mark.parametrize(
    "text",
    [
        "select * from analytics_refresh.api_secrets",
        "select * from analytics_refresh.api_keys",
        "select * from public.action_results",
        "select * from public.triggers",
        "select * from public.action_metrics_hourly",
        "select * from public.get_analytics_refresh_status()",
        "select analytics_api.admitted()",
        "create function pg_temp.f() returns int language sql as 'select 1'; set role postgres",
        "set local role postgres",
        "set session authorization postgres",
        "create view analytics_api.mine as select 1",
        "create or replace function analytics_api.sees_all() returns boolean language sql as 'select true'",
        "alter view analytics_api.triggers set (security_barrier = false)",
        "select pg_read_file('/etc/passwd')",
        "copy (select 1) to program 'true'",
    ],
)
def test_what_the_role_may_not_do(api: Connection, text: str) -> None:
    """It has the views, and nothing beside them; there is no role to go back to."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(api, text, None)


def test_a_function_of_the_text_sees_no_hidden_row(api: Connection) -> None:
    """A condition that tells what it is called with is called for the rows that are shown only."""
    api.execute(
        "create function pg_temp.leak(text) returns boolean cost 0.0000001 language plpgsql as"
        " $$ begin raise notice '%', $1; return true; end $$"
    )
    told: list[str] = []
    api.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    for view, column in (("triggers", "name"), ("action_results", "id"), ("recent_failures", "id"),
                         ("trigger_performance_summary", "trigger_id"), ("organizations", "name")):  # fmt: skip
        rows(api, f"select * from analytics_api.{view} where pg_temp.leak({column})")
    assert told
    assert [text for text in told if foreign(text, ("acme",))] == []


def test_tenants_learn_how_fresh_the_views_are_and_no_size(api: Connection) -> None:
    """Who sees all reads sizes too; who is not admitted reads nothing."""
    text = "select view_name, row_count, size_bytes, last_refresh is not null from {app}.get_analytics_refresh_status()"
    text = text.format(app=SCHEMA)
    assert {row[1:] for row in rows(api, text)} == {(None, None, True)}
    assert all(row[1] is not None and row[2] > 0 for row in rows(api, text, None))
    assert api.execute(text).fetchall() == []


def test_secrets_rotate(own: Walled) -> None:
    """The newest two are good, so that processes may change one after the other."""
    api, connection = own.api, own.owner
    seen = "select count(*) from analytics_api.triggers"
    secrets = [SECRET, b"second" * 8, b"third" * 8]
    assert not note_secret(connection, "public", SECRET)
    for number, secret in enumerate(secrets[1:], 1):
        assert note_secret(connection, "public", secret)
        for at, each in enumerate(secrets):
            with api.transaction(force_rollback=True):
                Wall(each).admit(api, ("acme",))
                assert api.execute(seen).fetchone() == (4 if number - 1 <= at <= number else 0,)


def test_windows_are_read_by_index(api: Connection) -> None:
    """The barrier lets a condition on the time through to the table's index."""
    with api.transaction(force_rollback=True):
        api.execute("set local enable_seqscan = off")
        WALL.admit(api, ("acme",))
        window = "executed_at >= now() - interval '1 hour'"
        lines = api.execute(f"explain select count(*) from analytics_api.action_results where {window}").fetchall()
    plan = "\n".join(str(row[0]) for row in lines)
    assert "Index Cond: (executed_at >=" in plan, plan


@pytest.mark.slow
def test_a_switch_of_the_mode_keeps_the_wall(own: Walled) -> None:
    """Both ways without --replace: the views are created again over the new ones, with their grants."""
    api, connection = own.api, own.owner
    before = snapshot(connection, SCHEMA)
    text = "select s::text from analytics_api.trigger_performance_summary s order by 1"
    shown = rows(api, text)
    for switch in (install, uninstall_to_plain):
        switch(connection)
        assert snapshot(connection, SCHEMA) == before
        assert rows(api, text) == shown
        assert not migrate(connection).changed


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["plain", pytest.param("incremental", marks=pytest.mark.nightly)])
def test_P10_views_that_are_replaced_keep_the_wall(own: Walled, dsn: str, mode: str) -> None:
    """Ours take the place of others', with the API's views over them; what was renamed is read no more."""
    api, connection = own.api, own.owner
    if mode == "incremental":
        install(connection)
    before = snapshot(connection, SCHEMA)
    texts = [f"select v::text from {SCHEMA}.{name} v order by 1" for name in ("recent_failures", "action_results")]
    shown = [rows(api, text) for text in texts]
    connection.execute("alter materialized view recent_failures rename to former_failures")
    indexes = "select indexrelid::regclass::text from pg_index where indrelid = 'former_failures'::regclass"
    for (name,) in connection.execute(indexes).fetchall():
        connection.execute(f"alter index {name} rename to former_{name}")
    connection.execute("create materialized view recent_failures as select * from former_failures limit 1")
    found = command(dsn, "check")
    assert "recent_failures of schema analytics_api read what was renamed" in found.stdout
    switch = ("--incremental",) if mode == "incremental" else ()
    done = command(dsn, "migrate", *switch, "--replace")
    assert done.returncode == 0, done.stderr
    connection.execute("drop materialized view former_failures")
    assert [rows(api, text) for text in texts] == shown
    assert snapshot(connection, SCHEMA) == before
    # another table takes the place of the log
    connection.execute("alter table action_results rename to former")
    connection.execute("create table action_results (like former including all)")
    done = command(dsn, "migrate", *switch, "--replace")
    assert done.returncode == 0, done.stderr
    connection.execute("drop table former")
    assert [rows(api, text) for text in texts] == [[], []]
    assert snapshot(connection, SCHEMA) == before
    assert "nothing to do" in command(dsn, "migrate").stdout
    fill(connection, again=True)
    assert len(rows(api, texts[1])) == len(shown[1])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["plain", pytest.param("incremental", marks=pytest.mark.nightly)])
def test_what_was_dropped_is_built_again(own: Walled, dsn: str, mode: str) -> None:
    """What went with a view comes back with it, and with its grants; `check` says what to type."""
    api, connection = own.api, own.owner
    if mode == "incremental":
        install(connection)
    before = snapshot(connection, SCHEMA)
    texts = [f"select v::text from {SCHEMA}.{view} v order by 1" for view in VIEWS]
    shown = [rows(api, text, None) for text in texts]
    for number, view in enumerate(VIEWS):
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            connection.execute(f"drop materialized view {view}")
        connection.execute(f"drop materialized view {view} cascade")
        found = command(dsn, "check")
        assert found.returncode == 1
        assert re.search(rf"schema analytics_api lacks .*{view}", found.stdout), found.stdout
        # both do: what is there is kept as it should be
        words = ("migrate", "--tenants") if number % 2 else ("migrate",)
        assert f"analytics-refreshd {' '.join(words)}" in found.stdout
        done = command(dsn, *words)
        assert done.returncode == 0, done.stderr
        assert snapshot(connection, SCHEMA) == before
        assert "nothing to do" in command(dsn, *words).stdout
    assert [rows(api, text, None) for text in texts] == shown


@pytest.mark.slow
def test_over_an_older_install(application_dsn: str) -> None:
    """Its views stay as they are, and the wall stands before them."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        install_older(connection)
        fill(connection)
        with walled(application_dsn, connection) as own:
            assert [row for row in rows(own, "select t::text from analytics_api.recent_failures t")]
            for view in ("triggers", "recent_failures", "trigger_performance_summary"):
                found = rows(own, f"select t::text from analytics_api.{view} t")
                assert [row for row in found if foreign(row, ("acme",))] == []


@pytest.mark.slow
def test_it_is_taken_down_whole(own: Walled) -> None:
    """Uninstalled, nothing of it is left; what others hung on a view is named first."""
    connection = own.owner
    connection.execute("create view mine as select * from analytics_api.triggers")
    with pytest.raises(MigrationError, match="mine"):
        uninstall(connection)
    connection.execute("drop view mine")
    uninstall(connection)
    assert value(connection, "select to_regnamespace('analytics_api')") is None


@pytest.mark.slow
def test_the_command_notes_the_secret(dsn: str, connection: Connection, tmp_path: Any) -> None:
    """`migrate --tenants` reads [api] secret_file, and says if there is none. The secret is printed nowhere."""
    file = tmp_path / "secret"
    file.write_text("too short\n")
    without = command(dsn, "migrate", "--tenants")
    assert (without.returncode, "[api] secret_file" in without.stderr) == (0, True)
    short = command(dsn, "migrate", "--tenants", api__secret_file=file)
    assert (short.returncode, "openssl rand -hex 32" in short.stderr) == (78, True)
    file.write_text(SECRET.decode() + "\n")
    script = command(dsn, "migrate", "--tenants", "--dry-run", api__secret_file=file)
    done = command(dsn, "migrate", "--tenants", api__secret_file=file)
    assert "note the secret of the API" in done.stdout
    assert SECRET.decode() not in script.stdout + done.stdout + done.stderr
    assert "nothing to do" in command(dsn, "migrate", "--tenants", api__secret_file=file).stdout
    # a repair of the schema needs no secret
    again = command(dsn, "migrate", "--tenants")
    assert (again.returncode, "secret" in again.stdout + again.stderr) == (0, False)
    keys = WallSecret.of(SECRET)
    assert connection.execute("select secret_id, inner_key from analytics_refresh.api_secrets").fetchall() == [
        (keys.secret_id, keys.inner_key)
    ]


LIVE = (
    "select coalesce(sum(w.executions), 0)::int, coalesce(sum(w.failures), 0)::int,"
    " (select coalesce(sum(f.executions), 0)::int from analytics_api.folded_hours('-infinity', 'infinity') f),"
    " (select count(*)::int from analytics_api.firing_alerts()),"
    " (select array_agg(r.outcome order by r.started_at) from analytics_api.last_runs() r),"
    " (select c.wal_bytes::int from analytics_api.last_cost() c)"
    " from analytics_api.waiting_hours('-infinity', 'infinity') w"
)


@pytest.mark.slow
def test_what_the_stream_reads_is_what_is_admitted(own: Walled) -> None:
    """Changes that wait are those of the admitted organizations; alerts, and how runs ended, are for who sees all."""
    api, connection = own.api, own.owner
    nothing = [(0, 0, 0, 0, None, None)]
    assert [rows(api, LIVE, seen) for seen in (("acme",), None)] == [nothing, nothing]
    assert rows(api, "select analytics_api.fold_marker()") == [(None,)]
    install(connection)
    connection.execute("select * from refresh_action_analytics()")
    for tenant, count, status in (("acme", 3, "failed"), ("bolt", 5, "success"), ("nobody", 7, "failed")):
        connection.execute(
            "insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at)"
            " select 'w' || %(t)s || n, 'j', %(t)s || '-trigger-1', 'e', 'rest', %(s)s, now()"
            " from generate_series(1, %(n)s) n",
            {"t": tenant, "n": count, "s": status},
        )
    connection.execute(
        "insert into analytics_refresh.alerts (alert, state, severity, active_at, fired_at)"
        " values ('A', 'firing', 'critical', now(), now()), ('B', 'pending', 'critical', now(), null)"
    )
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, outcome, wal_bytes)"
        " values (gen_random_uuid(), 'd', 'r', 'schedule', now() - interval '1 hour', 'failed', 7),"
        " (gen_random_uuid(), 'd', 'r', 'schedule', now(), null, null)"
    )
    whole = value(connection, "select sum(n)::int from analytics_refresh.hour_cells")
    for seen, figures in (
        (("acme",), (3, 3, 0, 0, [None], None)),
        (("bolt",), (5, 0, 0, 0, [None], None)),
        (TENANTS, (8, 3, 0, 0, [None], None)),
        ((), (0, 0, 0, 0, [None], None)),
        (None, (15, 10, whole, 1, ["failed", None], 7)),
    ):
        assert rows(api, LIVE, seen) == [figures], seen
    assert api.execute(LIVE).fetchall() == nothing
    marker = rows(api, "select analytics_api.fold_marker()")
    assert marker != [(None,)]
    connection.execute("select * from refresh_action_analytics()")
    assert rows(api, "select analytics_api.fold_marker()") not in (marker, [(None,)])
    connection.execute("alter table action_results disable trigger analytics_refresh_insert")
    assert rows(api, "select analytics_api.fold_marker()") == [(None,)]


@pytest.mark.slow
def test_how_long_refreshes_take_is_for_who_sees_all(own: Walled) -> None:
    """Days of runs and sizes of the database tell of every tenant."""
    own.owner.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome,"
        " duration_seconds, database_bytes) select gen_random_uuid(), 'd', 'r', 'schedule',"
        " date_bin('5 minutes', now(), 'epoch') - i * interval '1 day' + half * interval '30 seconds', now(), 'ok',"
        # what thinning would remove does not count, and no other test says so of this function
        " case half when 0 then i else 1000 end, case half when 0 then 1000 end"
        " from generate_series(1, 3) i, generate_series(0, 1) half"
    )
    asked = (
        "select (select count(*)::int from analytics_api.run_days('-infinity')),"
        " (select max(refresh_seconds) from analytics_api.run_days('-infinity')),"
        " (select count(*)::int from analytics_api.database_sizes())"
    )
    nothing = (0, None, 0)
    for seen, told in ((("acme",), nothing), (TENANTS, nothing), ((), nothing), (None, (3, 3.0, 3))):
        assert rows(own.api, asked, seen) == [told], seen
    assert own.api.execute(asked).fetchall() == [nothing]
