"""One database serves one application schema: for a second one every command and the daemon end with 78."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.daemon import Daemon, Settings, command
from tests.support.installs import install_older

Connection = psycopg.Connection[Any]
OTHER: Settings = {"database__schema": "tenant_b"}

pytestmark = pytest.mark.fault


@pytest.fixture
def second(dsn: str, connection: Connection) -> Connection:
    """A database that is installed for public, and has an older install in a second schema."""
    create_application(dsn, "tenant_b")
    install_older(connection, "tenant_b")
    return connection


@pytest.fixture
def tenant(connection: Connection) -> Iterator[str]:
    """A role that may log in, and may read nothing of ours."""
    name = f"tenant_{uuid4().hex[:8]}"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("create role {} login").format(role))
    yield name
    connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(role))


@pytest.mark.slow
def test_L09_every_command_refuses_a_second_schema(dsn: str, second: Connection) -> None:
    """Each ends with 78 and names the schema that the database is installed for; --uninstall does not."""
    asked = [
        ("refresh",), ("status",), ("history",), ("query", "refresh-status"), ("pause", "--for", "1h", "--reason", "x"),
        ("migrate",), ("migrate", "--dry-run"), ("migrate", "--incremental"),
    ]  # fmt: skip
    for words in asked:
        refused = command(dsn, *words, **OTHER)
        assert refused.returncode == 78, (words, refused.stderr)
        assert "served for schema public, and [database] schema is tenant_b" in refused.stderr
    told = command(dsn, "check", "--format", "json", **OTHER)
    assert told.returncode == 78
    found = {finding["name"]: finding for finding in json.loads(told.stdout) if finding["level"] == "error"}
    assert list(found) == ["configuration"]
    assert "set [database] schema to public" in found["configuration"]["remedy"]
    assert command(dsn, "status").returncode in (0, 1)
    assert command(dsn, "migrate", "--uninstall", **OTHER).returncode == 0


@pytest.mark.quick
def test_L09_the_daemon_of_a_second_schema_ends_with_78(dsn: str, second: Connection) -> None:
    """It names the schema found, and refreshes nothing; the first schema's daemon goes on."""
    with Daemon(dsn, schedule__interval="2s") as first:
        first.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        with Daemon(dsn, schedule__interval="2s", **OTHER) as other:
            other.process.wait(60)
            assert other.process.returncode == 78
            assert "served for schema public" in other.wait_for("daemon.stopping")["reason"]
            assert other.events("refresh.finished") == []
        first.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=3)


@pytest.mark.quick
def test_L09_a_role_without_rights_on_our_schema_is_refused_too(dsn: str, second: Connection, tenant: str) -> None:
    """Where it may not read what is installed, the functions that write there tell."""
    poor = make_conninfo(dsn, user=tenant)
    refused = command(poor, "status", **OTHER)
    assert refused.returncode == 78
    assert "served for schema public" in refused.stderr
    assert command(poor, "check").returncode == 1


@pytest.mark.slow
def test_L09_without_our_schema_the_leader_tells_which_one_it_refreshes(application_dsn: str) -> None:
    """Two older installs in one database: the second daemon would wait for the first for ever, and ends with 78."""
    create_application(application_dsn, "tenant_b")
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        install_older(connection)
        install_older(connection, "tenant_b")
        with Daemon(application_dsn, schedule__interval="2s") as first:
            first.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
            with Daemon(application_dsn, schedule__interval="2s", **OTHER) as other:
                other.process.wait(60)
                assert other.process.returncode == 78
                assert "served for schema public" in other.wait_for("daemon.stopping")["reason"]
            with Daemon(application_dsn, schedule__interval="2s") as standby:
                standby.until(lambda: standby.get("/readyz")[0] == 200)
                assert standby.metric("analytics_leader") == 0
        # and where nothing but the views is in the way, either schema can be migrated
        migrate(connection, "tenant_b")
    assert command(application_dsn, "status", **OTHER).returncode in (0, 1)
