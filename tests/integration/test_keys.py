"""API keys on a real database: made, listed, found by the API's role alone, revoked, and taken back."""

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from analytics_refreshd.api.access.keys import KeyGate
from analytics_refreshd.api.access.principal import AccessDenied
from analytics_refreshd.cli.main import main
from analytics_refreshd.core.access import key_digest
from analytics_refreshd.core.errors import DatabaseFault, MigrationError
from analytics_refreshd.postgres.check.run import CheckSettings, run_checks
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.migrate.run import dry_run, migrate, status, uninstall
from analytics_refreshd.postgres.schema.definitions import TENANT_TABLES
from analytics_refreshd.postgres.tenants.install import note_secret
from analytics_refreshd.postgres.tenants.keys import KeyReader
from analytics_refreshd.postgres.tenants.wall import Wall
from tests.integration.test_migrate_roles import psql, psql_text
from tests.support.catalog import snapshot
from tests.support.daemon import command, environment
from tests.support.fakes import FakeClock
from tests.support.faults import as_role, value
from tests.support.installs import Connection, temporary_role
from tests.support.tenants import add_organizations

SCHEMAS = ("public", "analytics_refresh", "analytics_api")


def keys(dsn: str, *words: str) -> Any:
    """What `keys` prints as JSON."""
    done = command(dsn, "keys", *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def tenants(connection: Connection) -> Connection:
    """A migrated database with what the API needs, and two organizations."""
    migrate(connection, tenants=True)
    add_organizations(connection, {"acme": "acme", "bolt": "bolt"})
    return connection


@pytest.fixture
def api_dsn(dsn: str, tenants: Connection) -> Iterator[str]:
    """The database as the role of deploy/sql/api.sql sees it."""
    with temporary_role(tenants) as role:
        psql(dsn, "api.sql", "-v", f"role={role}")
        yield as_role(dsn, role)


@pytest.fixture
def reader(api_dsn: str) -> Iterator[KeyReader]:
    """Keys as the API's role finds them."""
    session = Session(Connector(ConnectionSettings("t", api_dsn)), label="api")
    yield KeyReader(session)
    session.close()


def test_nothing_of_it_is_there_unless_asked(connection: Connection) -> None:
    """`migrate` brings neither schema nor table; asked for, it comes once and is renewed by a plain `migrate`."""
    assert value(connection, "select to_regclass('analytics_refresh.api_keys')") is None
    assert value(connection, "select to_regnamespace('analytics_api')") is None
    assert [step for step in status(connection, tenants=True).steps if "analytics_api" in step]
    assert migrate(connection, tenants=True).changed
    before = snapshot(connection, *SCHEMAS)
    assert not migrate(connection, tenants=True).changed
    assert not migrate(connection).changed
    assert "nothing to do" in dry_run(connection)
    connection.execute("drop function analytics_api.note_use(bytea)")
    connection.execute("comment on schema analytics_api is"
                       " 'What the role of the API of analytics-refreshd may use; made by definitions 0.'")  # fmt: skip
    assert [step for step in migrate(connection).steps if "analytics_api" in step]
    assert snapshot(connection, *SCHEMAS) == before


@pytest.mark.slow
def test_what_is_printed_is_what_is_done(application_dsn: str, dsn: str) -> None:
    """psql runs the SQL of --dry-run unchanged."""
    found = []
    for each in (application_dsn, dsn):
        with psycopg.connect(each, autocommit=True) as connection:
            if each == dsn:
                migrate(connection, tenants=True)
            else:
                psql_text(each, dry_run(connection, tenants=True))
            found.append(snapshot(connection, *SCHEMAS))
            assert not migrate(connection).changed
    assert found[0] == found[1]


def test_all_of_it_goes(connection: Connection) -> None:
    """Uninstalled, the database is as without it; what others hung on it is named first."""
    migrate(connection)
    migrate(connection, tenants=True)
    connection.execute("create view mine as select * from analytics_api.find_key('')")
    with pytest.raises(MigrationError, match=r"analytics_api.*mine"):
        uninstall(connection)
    assert value(connection, "select to_regclass('analytics_refresh.api_keys')") is not None
    connection.execute("drop view mine")
    assert (
        uninstall(connection)[-1] == "schema analytics_api, with the keys of the API and the questions that people kept"
    )
    assert value(connection, "select to_regnamespace('analytics_api')") is None


@pytest.mark.slow
def test_a_schema_of_others_is_left_alone(connection: Connection) -> None:
    """Neither used nor dropped, whoever made it."""
    with temporary_role(connection) as role:
        connection.execute(f"create schema analytics_api authorization {role}")
        with pytest.raises(MigrationError, match=f"analytics_api, which belongs to {role}"):
            migrate(connection, tenants=True)
        assert not migrate(connection).changed
        uninstall(connection)
        assert value(connection, "select to_regnamespace('analytics_api')") is not None


@pytest.mark.slow
def test_a_key_lives(dsn: str, tenants: Connection, reader: KeyReader) -> None:
    """Made by the command, shown once, stored as a hash, admitted by the gate, listed with its use, revoked."""
    made = keys(dsn, "create", "portal", "--organization", "acme", "--plan", "pro", "--expires", "90d")
    secret = made.pop("key")
    row = tenants.execute("select * from analytics_refresh.api_keys").fetchone()
    assert row is not None
    assert secret not in str(row)
    assert key_digest(secret) in row
    lasts = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < lasts <= timedelta(days=90)

    clock = FakeClock(datetime.now(UTC))
    gate = KeyGate(reader, clock)
    admitted = gate.admit({"x-api-key": secret}, None, "", 1).principal
    assert (admitted.key_id, admitted.organizations, admitted.role, admitted.plan) == (
        made["id"],
        ("acme",),
        "viewer",
        "pro",
    )
    (listed,) = keys(dsn, "list")
    assert listed["last_used_at"] is not None
    assert listed | {"last_used_at": None} == made

    revoked = keys(dsn, "revoke", made["id"])
    assert revoked["state"] == "revoked"
    assert keys(dsn, "revoke", made["id"])["revoked_at"] == revoked["revoked_at"]
    clock.pass_by(10)
    with pytest.raises(AccessDenied, match="revoked"):
        gate.admit({"x-api-key": secret}, None, "", 1)


def test_a_use_is_written_once_a_minute(tenants: Connection, reader: KeyReader) -> None:
    """By several processes together, and never behind somebody who holds the row."""
    digest = b"d" * 32
    tenants.execute(
        "insert into analytics_refresh.api_keys (key_id, key_hash, name, role, last_used_at)"
        " values ('k', %s, 'n', 'viewer', now() - interval '59 seconds')",
        (digest,),
    )
    used = "select clock_timestamp() - last_used_at < interval '30 seconds' from analytics_refresh.api_keys"
    reader.note_use(digest)
    assert value(tenants, used) is False
    tenants.execute("update analytics_refresh.api_keys set last_used_at = now() - interval '61 seconds'")
    with tenants.transaction():
        tenants.execute("select from analytics_refresh.api_keys for update")
        reader.note_use(digest)
    assert value(tenants, used) is False
    reader.note_use(digest)
    assert value(tenants, used) is True


def test_the_role_of_the_api_lists_no_keys(api_dsn: str, dsn: str, tenants: Connection) -> None:
    """It finds a key by its hash; tables and other schemas are closed to it. So are keys to the daemon's role."""
    keys(dsn, "create", "portal", "--all-organizations", "--operator")
    with psycopg.connect(api_dsn, autocommit=True) as own:
        assert own.execute("select count(*) from analytics_api.find_key('\\x00')").fetchone() == (0,)
        for text in (
            "select * from analytics_refresh.api_keys",
            "select * from analytics_refresh.runs",
            "select * from public.action_results",
            "select * from public.action_metrics_hourly",
            "create table analytics_api.mine ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(text)
    with temporary_role(tenants) as role:
        psql(dsn, "grants.sql", "-v", f"role={role}")
        with psycopg.connect(as_role(dsn, role), autocommit=True) as own:
            own.execute("select * from analytics_refresh.runs")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute("select * from analytics_refresh.api_keys")


def test_keys_of_others_are_not_believed(tenants: Connection, reader: KeyReader) -> None:
    """Who may create schemas cannot admit anybody by one that bears the name of ours."""
    tenants.execute("drop schema analytics_api cascade")
    with temporary_role(tenants) as role:
        tenants.execute(f"create schema analytics_api authorization {role}")
        with pytest.raises(DatabaseFault, match="analytics_api belongs to a role that is not trusted"):
            reader.find(b"d" * 32)


@pytest.mark.slow
def test_what_the_command_refuses(
    dsn: str, tenants: Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each mistake in a sentence: 64 for the command line, 2 for a key that cannot be, 75 without a database."""

    def called(url: str, *words: str) -> int:
        monkeypatch.setattr(os, "environ", environment(url))
        monkeypatch.setattr(sys, "argv", ["analytics-refreshd", "keys", *words])
        return main()

    for words, code, said in (
        (("create", "x"), 64, "--all-organizations"),
        (("create", "x", "--organization", "acme", "--all-organizations"), 64, "--all-organizations"),
        (("create",), 64, "name"),
        (("list", "x"), 64, "neither"),
        (("list", "--operator"), 64, "no option"),
        (("create", " ", "--all-organizations"), 2, "needs a name"),
        (("create", "x" * 201, "--all-organizations"), 2, "needs a name"),
        (("create", "x", "--organization", "acme", "--organization", "none"), 2, "no organization none"),
        (("create", "x", "--all-organizations", "--expires", "2020-01-01T00:00:00Z"), 2, "past"),
        (("create", "x", "--all-organizations", "--expires", "soon"), 64, "soon"),
        (("revoke", "key_0"), 2, "no key key_0"),
    ):
        assert called(dsn, *words) == code, words
        written = capsys.readouterr()
        assert (said in written.err, written.out) == (True, ""), (words, written.err)
    assert value(tenants, "select count(*) from analytics_refresh.api_keys") == 0
    assert called("postgresql://postgres@127.0.0.1:1/app", "list") == 75
    with temporary_role(tenants) as role:
        assert called(as_role(dsn, role), "list") == 1
        assert "migrate --tenants" in capsys.readouterr().err


@pytest.mark.slow
def test_a_database_without_keys_says_what_adds_them(dsn: str) -> None:
    """Before `migrate --tenants` there is nothing to list."""
    done = command(dsn, "keys", "list")
    assert (done.returncode, "migrate --tenants" in done.stderr) == (1, True)


@pytest.mark.slow
def test_a_table_for_people(dsn: str, tenants: Connection) -> None:
    """The key itself is on standard output alone, so that a script takes it; the list never has it."""
    done = command(dsn, "keys", "create", "portal", "--organization", "acme")
    assert done.returncode == 0
    assert key_digest(done.stdout.strip()) is not None
    assert "shown once" in done.stderr
    shown = command(dsn, "keys", "list").stdout
    assert ("portal" in shown, "acme" in shown, done.stdout.strip() in shown) == (True, True, False)


@pytest.mark.slow
def test_a_key_without_a_plan_has_its_organizations(dsn: str, tenants: Connection, reader: KeyReader) -> None:
    """The plan of its one organization; of several it has none."""
    tenants.execute("update organizations set plan = 'enterprise' where id = 'acme'")
    for words, plan in (
        (("--organization", "acme"), "enterprise"),
        (("--organization", "acme", "--plan", "starter"), "starter"),
        (("--organization", "acme", "--organization", "bolt"), None),
        (("--all-organizations",), None),
    ):
        digest = key_digest(keys(dsn, "create", "portal", *words)["key"])
        assert digest is not None
        found = reader.find(digest)
        assert found is not None
        assert found.plan == plan


@pytest.mark.slow
@pytest.mark.parametrize("by", ["a superuser", "the owner"])
def test_all_of_it_belongs_to_the_owner_of_the_tables(application_dsn: str, by: str) -> None:
    """Who migrates gives nobody more rights than the tables' owner has: views and functions act as that role."""
    with psycopg.connect(application_dsn, autocommit=True) as connection, temporary_role(connection) as owner:
        database = value(connection, "select current_database()")
        connection.execute(f'grant create on database "{database}" to {owner}')
        connection.execute(f"grant usage, create on schema public to {owner}")
        for table in ("action_results", "triggers", "organizations", "users"):
            connection.execute(f"alter table {table} owner to {owner}")
        with psycopg.connect(as_role(application_dsn, owner), autocommit=True) as own:
            migrating = connection if by == "a superuser" else own
            migrate(migrating, tenants=True)
            assert note_secret(migrating, "public", b"s" * 32)
            assert not note_secret(own, "public", b"s" * 32)
            assert not migrate(connection).changed
            assert not migrate(own, tenants=True).changed
            others = connection.execute(
                "select c.relname::text from pg_class c where c.relnamespace in"
                " ('analytics_api'::regnamespace, 'analytics_refresh'::regnamespace)"
                " and pg_get_userbyid(c.relowner) <> %(owner)s union all"
                " select p.proname from pg_proc p where p.pronamespace = 'analytics_api'::regnamespace"
                " and pg_get_userbyid(p.proowner) <> %(owner)s",
                {"owner": owner},
            ).fetchall()
            assert others == []
            with temporary_role(connection) as role:
                psql(as_role(application_dsn, owner), "api.sql", "-v", f"role={role}")
                with psycopg.connect(as_role(application_dsn, role), autocommit=True) as api:
                    Wall(b"s" * 32).admit(api, None)
                    assert api.execute("select * from analytics_api.triggers").fetchall() == []
            uninstall(own)
        assert value(connection, "select to_regnamespace('analytics_api')") is None


@pytest.mark.slow
def test_who_may_create_no_schema_is_told(connection: Connection, dsn: str) -> None:
    """In one sentence, before anything is changed."""
    with temporary_role(connection) as owner:
        connection.execute(f"alter table action_results owner to {owner}")
        connection.execute(f"grant usage, create on schema public to {owner}")
        # what a superuser installed goes to the tables' owner
        migrate(connection)
        with psycopg.connect(as_role(dsn, owner), autocommit=True) as own:
            with pytest.raises(MigrationError, match="may not create schemas here"):
                migrate(own, tenants=True)


@pytest.mark.slow
def test_check_looks_at_it(dsn: str, tenants: Connection) -> None:
    """Whole or not, of this program or of another, and whether the daemon's role reads what it should not."""

    def found(url: str) -> list[tuple[str, str]]:
        findings = run_checks(Connector(ConnectionSettings("t", url)), CheckSettings(), lambda: datetime.now(UTC))
        return [(str(one.level), one.text) for one in findings if one.name == "api"]

    assert found(dsn) == [("ok", "schema analytics_api is as this program makes it")]
    with temporary_role(tenants) as role:
        psql(dsn, "grants.sql", "-v", f"role={role}")
        own = as_role(dsn, role)
        assert [level for level, _ in found(own)] == ["ok"]
        tenants.execute(f"revoke insert on analytics_refresh.operator_request_steps from {role}")
        ((level, text),) = found(own)[1:]
        assert (level, "what operators ask for over the API expires" in text) == ("warning", True)
        tenants.execute(f"grant insert on analytics_refresh.operator_request_steps to {role}")
        tenants.execute(f"grant select on all tables in schema analytics_refresh to {role}")
        assert found(own)[1][0] == "warning"
        names = ", ".join(f"analytics_refresh.{table}" for table in sorted(TENANT_TABLES))
        assert names in found(own)[1][1]
    tenants.execute(
        "comment on schema analytics_api is 'What the role of the API of analytics-refreshd may use; of old'"
    )
    assert found(dsn) == [("warning", "schema analytics_api is not as this program makes it")]
    tenants.execute("drop view analytics_api.triggers")
    assert found(dsn) == [("error", "schema analytics_api lacks triggers")]
    tenants.execute("comment on schema analytics_api is null")
    assert "not ours" in found(dsn)[0][1]
