"""A warehouse of databases that are not as usual: their encoding, their owner, the name of their schema."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Outbox
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.warehouse.client import Client
from tests.conftest import create_application
from tests.support.clickhouse import ClickHouse, needs_chdb
from tests.support.postgres import Server
from tests.support.warehouse import Fed, settings

pytestmark = [needs_chdb, pytest.mark.slow]
_UNLIMITED = Profile(statement_timeout_seconds=0.0, lock_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
_ROWS: LiteralString = """
insert into {app}.action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, error_message,
    retry_count)
select {key} || i, 'job', {trigger} || i % 9, {kind}, (array['success', 'failed'])[1 + i % 2],
    now() - i * interval '3 hours', i % 40, {text}, i % 3
from generate_series(1, 300) i
"""


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server for databases of any kind."""
    server = Server().start()
    yield server
    server.destroy()


def write(connection: psycopg.Connection[Any], key: str, schema: str, text: str) -> None:
    """Insert rows whose trigger, type and message hold `text`, an expression, then change some, and fold that."""
    app, value = sql.Identifier(schema), sql.SQL(text)
    names = {"app": app, "key": sql.Literal(key), "trigger": value, "kind": value, "text": value}
    triggers = "insert into {app}.triggers (id, name) select {trigger} || i, {text} from generate_series(0, 8) i"
    connection.execute(sql.SQL(triggers + " on conflict do nothing").format(**names))
    connection.execute(sql.SQL(_ROWS).format(**names))
    changed = "update {app}.action_results set duration_ms = 7 where hashtext(id) % 5 = 0"
    connection.execute(sql.SQL(changed).format(app=app))
    refresh = "select error_message from {app}.refresh_action_analytics() where not success"
    assert not connection.execute(sql.SQL(refresh).format(app=app)).fetchall()


def fed_exactly(dsn: str, fed: Fed, schema: str, text: str) -> None:
    """Hold that an export in many parts and the batches after it leave no cell different, small tables included."""
    with Connector(ConnectionSettings("migrate", url=dsn, app_schema=schema)).connect("migrate", _UNLIMITED) as ours:
        migrate(ours, schema)
        write(ours, "a", schema, text)
        incremental.install(ours, schema, outbox=Outbox(True))
        ours.execute("select analytics_refresh.outbox_start(40)")
        sent = fed.sender.send()
        assert sent is not None
        assert sent.ranges > 9
        for key in ("b", "c"):
            write(ours, key, schema, text)
            sent = fed.sender.send()
            assert sent is not None
            assert (sent.batches, sent.restarted) == (1, None)
        report = fed.verify()
        assert report.differences == 0, report
        there = "select count() from analytics.triggers where database = {name:String} and name is not null"
        assert fed.client.one(there, int, name=fed.client.settings.name) == [9]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        pytest.param("LATIN1", "'caf' || chr(233)", marks=pytest.mark.nightly),
        pytest.param("KOI8R", "convert_from('\\xd1c1'::bytea, 'KOI8R')", marks=pytest.mark.nightly),
        ("EUC_JP", "convert_from('\\xc6fccbdc'::bytea, 'EUC_JP')"),
        ("SQL_ASCII", "convert_from('\\x636166e9', 'SQL_ASCII')"),
    ],
)
def test_W14_databases_of_other_encodings(
    own_server: Server, clickhouse: ClickHouse, tmp_path: Path, encoding: str, text: str
) -> None:
    """Every cell is there, also where the bytes are of no encoding, or have another order than UTF-8's."""
    name = f"in_{encoding.lower()}"
    with own_server.connect() as admin:
        created = "create database {} template template0 encoding {} locale 'C'"
        admin.execute(sql.SQL(created).format(sql.Identifier(name), sql.Literal(encoding)))
    dsn = own_server.dsn(name)
    create_application(dsn)
    fed = Fed(dsn, Client(settings(clickhouse.url, name, tmp_path)))
    try:
        fed_exactly(dsn, fed, "public", text)
    finally:
        fed.close()


def test_W14_another_owner_and_a_schema_with_quotes(
    databases: Callable[..., str], clickhouse: ClickHouse, tmp_path: Path
) -> None:
    """A role that is no superuser and owns a schema with quotes, braces and percent in its name."""
    owner, schema = 'odd "owner" {x}', 'it\'s "odd" {app} %s'
    dsn = databases()
    database = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(owner)))
        admin.execute(sql.SQL("create role {} login").format(sql.Identifier(owner)))
        try:
            granted = sql.SQL("grant create on database {} to {}")
            admin.execute(granted.format(sql.Identifier(database), sql.Identifier(owner)))
            owned = psycopg.conninfo.make_conninfo(dsn, user=owner)
            create_application(owned, schema)
            fed = Fed(owned, Client(settings(clickhouse.url, database, tmp_path)), schema)
            try:
                fed_exactly(owned, fed, schema, "'it''s {} %s \\ \" ' || chr(9)")
            finally:
                fed.close()
        finally:
            admin.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(owner)))
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(owner)))
