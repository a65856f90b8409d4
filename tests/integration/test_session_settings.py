"""Sessions do not depend on settings of the server, the database or the role, nor on the server's encoding."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.model import VIEWS, Delta, Origin, Outcome, Pause, Rates, Run
from analytics_refreshd.postgres.connection.connector import Profile
from analytics_refreshd.postgres.connection.text import codec_of, storable
from analytics_refreshd.postgres.incremental.install import install
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import dry_run, migrate
from analytics_refreshd.postgres.state.alerts import PostgresAlertStore
from analytics_refreshd.postgres.state.history import PostgresHistory
from analytics_refreshd.postgres.state.status import PostgresStatusReader
from tests.conftest import create_application
from tests.support.adapters import connector, refresher, session
from tests.support.postgres import Server

Connection = psycopg.Connection[Any]
_NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
HOSTILE = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kolkata",
    "array_nulls": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "client_min_messages": "error",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "exit_on_error": "on",
    "extra_float_digits": "-15",
    "gin_fuzzy_search_limit": "1",
    "idle_in_transaction_session_timeout": "100",
    "idle_session_timeout": "100",
    "lock_timeout": "100",
    "plpgsql.extra_errors": "all",
    "quote_all_identifiers": "on",
    "restrict_nonsystem_relation_kind": "view",
    "row_security": "off",
    "search_path": "hostile",
    "standard_conforming_strings": "off",
    "statement_timeout": "1000",
    "transaction_timeout": "1000",
    "transform_null_equals": "on",
}
"""A value of each setting that would change what is read, or cut the session."""


def lasting(dsn: str) -> dict[str, str]:
    """Every setting of `HOSTILE` that the server knows, as a session of ours has it."""
    with connector(dsn).connect("status", Profile()) as opened:
        rows = opened.execute(
            "select name, current_setting(name) from unnest(%s::text[]) as n (name)"
            " where current_setting(name, true) is not null",
            (list(HOSTILE),),
        )
        return {"plpgsql.extra_errors": "none"} | {str(name): str(value) for name, value in rows}


@dataclass(frozen=True)
class Exercised:
    """What came of a refresh, a reading and what was stored; without times, so that two can be compared."""

    reports: list[tuple[str | None, bool | None, str | None]]
    problem: str | None
    views: list[tuple[str, int | None, bool]]
    stored: tuple[object, ...]
    told: str
    rates: Rates
    pause: Pause | None
    delta: Delta


def exercise(dsn: str, text: str = "it ended…") -> Exercised:
    """Refresh, read, and store as the daemon does; return what came of it, without times."""
    record = AlertRecord(Alert.VIEW_STALE, VIEWS[0], AlertState.FIRING, Severity.CRITICAL, _NOW, summary=text)
    run = Run(uuid4(), Origin.SCHEDULE, _NOW, duration_seconds=0.1 + 0.2, replica="a")
    done = replace(run, finished_at=_NOW, outcome=Outcome.FAILED, error=text)
    with refresher(dsn) as refreshing:
        reply = refreshing.refresh(run.run_id, lambda pid: None, lambda: False)
    with session(dsn) as shared:
        status = PostgresStatusReader(shared, "get_analytics_refresh_status", VIEWS)
        seen = status.read()
        history, alerts = PostgresHistory(shared), PostgresAlertStore(shared)
        history.begin(run)
        history.finish(done)
        (stored,) = (each for each in history.recent(5, since=seen.server_now - timedelta(hours=1)) if each.error)
        alerts.save([record], [])
        (kept,) = alerts.load()
        rates, pause, delta = status.rates(), status.pause(), status.delta()
        history.prune(timedelta(days=0), 10)
    ages = [(view.view, view.recorded_at is not None and seen.server_now - view.recorded_at) for view in seen.views]
    assert all(isinstance(age, timedelta) and abs(age) < timedelta(minutes=5) for _, age in ages), ages
    return Exercised(
        reports=[(report.view, report.success, report.error) for report in reply.reports],
        problem=seen.problem,
        views=[(view.view, view.rows, view.exists) for view in seen.views],
        stored=(stored.error, stored.duration_seconds, kept.active_at),
        told=kept.summary,
        rates=rates,
        pause=pause,
        delta=delta,
    )


@pytest.fixture
def actions(dsn: str, connection: Connection) -> str:
    """A migrated database with some actions, whose error text has characters of its own."""
    add_actions(connection)
    return dsn


def add_actions(connection: Connection) -> None:
    connection.execute(
        "insert into public.action_results (id, job_id, action_type, status, executed_at, duration_ms, error_message)"
        " select 'a' || n, 'j', 'rest', case when n %% 7 = 0 then 'failed' else 'success' end,"
        " now() - n * interval '1 minute', n * 3, 'caf' || %s from generate_series(1, 50) n",
        ("\u00e9",),
    )


def set_everywhere(connection: Connection, target: sql.Composable, settings: dict[str, str]) -> None:
    """Set each setting that this server knows for a database or role."""
    known = {name.lower() for (name,) in connection.execute("select name from pg_settings")} | {"plpgsql.extra_errors"}
    for name, value in settings.items():
        if name.lower() in known:
            parts = sql.Identifier(*name.split("."))
            connection.execute(sql.SQL("alter {} set {} = {}").format(target, parts, sql.Literal(value)))


@pytest.mark.fault
def test_L10_settings_of_the_database_and_the_role_do_not_count(actions: str, connection: Connection) -> None:
    """What a session reads, and what cuts it, is the same whatever the database and the role set."""
    expected, settings = exercise(actions), lasting(actions)
    role = f"hostile_{uuid4().hex[:8]}"
    connection.execute(sql.SQL("create role {} login superuser").format(sql.Identifier(role)))
    try:
        set_everywhere(connection, sql.SQL("role {}").format(sql.Identifier(role)), HOSTILE)
        theirs = psycopg.conninfo.make_conninfo(actions, user=role)
        assert lasting(theirs) == settings
        assert exercise(theirs) == expected
        database = sql.SQL("database {}").format(sql.Identifier(connection.info.dbname))
        set_everywhere(connection, database, HOSTILE)
        assert lasting(actions) == settings
        assert exercise(actions) == expected
    finally:
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.mark.fault
@pytest.mark.slow
def test_L10_migrations_and_verification_do_not_depend_on_settings(
    databases: Callable[..., str], application_template: str
) -> None:
    """A migration under other settings finds the definitions that it made, and so does a verification."""
    dsn = databases(application_template)
    hostile = {name: value for name, value in HOSTILE.items() if name != "client_encoding"}
    with psycopg.connect(dsn, autocommit=True) as plain:
        set_everywhere(plain, sql.SQL("database {}").format(sql.Identifier(plain.info.dbname)), hostile)
    unlimited = Profile(statement_timeout_seconds=0.0, lock_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
    with connector(dsn).connect("migrate", unlimited) as ours:
        assert migrate(ours).found == "fresh"
        assert (migrate(ours).changed, migrate(ours).warnings) == (False, ())
        assert "nothing to do" in dry_run(ours)
        add_actions(ours)
        install(ours)
        assert verify(ours).ok
    # psql runs what --dry-run prints under the settings of whoever types it
    with psycopg.connect(dsn, autocommit=True) as theirs:
        assert "nothing to do" in dry_run(theirs)
    exercise(dsn)


@pytest.fixture(scope="module")
def hostile_server() -> Iterator[Server]:
    """A server whose postgresql.conf has every hostile setting that may stand there."""
    server = Server()
    server.initdb()
    names = {name: value for name, value in HOSTILE.items() if name not in ("search_path", "exit_on_error")}
    lines = [f"{name} = '{value}'" for name, value in names.items()]
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write("\n".join(["", *lines, ""]))
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.mark.fault
@pytest.mark.slow
def test_L10_settings_of_the_server_do_not_count(hostile_server: Server) -> None:
    """The same with all of them in postgresql.conf."""
    dsn = hostile_server.dsn()
    create_application(dsn)
    unlimited = Profile(statement_timeout_seconds=0.0, lock_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
    with connector(dsn).connect("migrate", unlimited) as ours:
        migrate(ours)
        add_actions(ours)
    found = exercise(dsn)
    assert all(success and error is None for _, success, error in found.reports)
    assert found.problem is None
    assert [exists for _, _, exists in found.views] == [True] * 4
    assert (found.stored[0], found.told) == ("it ended…", "it ended…")


@pytest.fixture(scope="module")
def encodings() -> Iterator[Callable[[str], str]]:
    """`encodings(name)` makes a database of that encoding and returns its URL."""
    server = Server().start()

    def create(encoding: str) -> str:
        name = f"in_{encoding.lower()}"
        with server.connect() as admin:
            admin.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(name)))
            admin.execute(
                sql.SQL("create database {} template template0 encoding {} locale 'C'").format(
                    sql.Identifier(name), sql.Literal(encoding)
                )
            )
        return server.dsn(name)

    yield create
    server.destroy()


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "stored"),
    [("LATIN1", "caf\u00e9... ???"), ("SQL_ASCII", "caf\u00e9… \u65e5\u672c\u8a9e"), ("EUC_JP", None), ("KOI8R", None)],
)
def test_L10_databases_of_other_encodings(encodings: Callable[[str], str], encoding: str, stored: str | None) -> None:
    """Views are refreshed, and our texts stored, in a database that is not UTF8; what it lacks is replaced."""
    dsn = encodings(encoding)
    create_application(dsn)
    unlimited = Profile(statement_timeout_seconds=0.0, lock_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
    with connector(dsn).connect("migrate", unlimited) as ours:
        migrate(ours)
        add_actions(ours)
    found = exercise(dsn, "caf\u00e9… \u65e5\u672c\u8a9e")
    assert [success for _, success, _ in found.reports] == [True] * 4
    assert found.problem is None
    assert found.stored[0] == found.told
    assert stored is None or found.told == stored


@pytest.mark.fault
@pytest.mark.slow
def test_L10_a_database_without_an_encoding_may_hold_anything(encodings: Callable[[str], str]) -> None:
    """In SQL_ASCII the bytes of another encoding, in data and in an error, are read instead of ending the refresh."""
    dsn = encodings("SQL_ASCII")
    create_application(dsn)
    with connector(dsn).connect("migrate", Profile()) as ours:
        ours.execute(
            "create function public.odd() returns text language sql return convert_from('\\x636166e9', 'SQL_ASCII')"
        )
        assert ours.execute("select public.odd(), array[public.odd()], public.odd()::name").fetchone() == (
            "caf\u00e9",
            ["caf\u00e9"],
            "caf\u00e9",
        )
        with pytest.raises(psycopg.Error) as caught:
            ours.execute("select public.odd()::int")
        assert "caf" in str(caught.value)


@pytest.mark.fault
@pytest.mark.slow
def test_L10_every_character_can_be_sent_to_every_server(connection: Connection) -> None:
    """No text of ours is one that a server of any encoding refuses; the server's own conversions say so."""
    names = connection.execute("select pg_encoding_to_char(n) from generate_series(0, 34) n").fetchall()
    # the last of these has no conversion from UTF8 at all
    wanted = [str(name) for (name,) in names if name not in ("", "UTF8", "SQL_ASCII", "MULE_INTERNAL")]
    every = "".join(chr(code) for code in range(1, 0x10000) if not 0xD800 <= code <= 0xDFFF)
    assert len(wanted) > 30
    for encoding in wanted:
        # of the others the first 4,096 characters show all that they have
        text = storable(every if encoding.startswith("EUC") else every[:0x1000], codec_of(encoding))
        connection.execute("select length(convert(%s, 'UTF8', %s))", (text.encode(), encoding))


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("it ended…", "UTF8", "it ended…"),
        ("it ended… caf\u00e9", "LATIN1", "it ended... caf\u00e9"),
        ("caf\u00e9", "KOI8R", "cafe"),
        ("\u65e5\u672c", "WIN1252", "??"),
        ("\u65e5\u672c", "EUC_JP", "\u65e5\u672c"),
        ("caf\u00e9", "MULE_INTERNAL", "cafe"),
        ("lone \ud800", "UTF8", "lone ?"),
    ],
)
def test_texts_are_made_storable(text: str, encoding: str, expected: str) -> None:
    """A character that the server's encoding lacks becomes the nearest that it has."""
    assert storable(text, codec_of(encoding)) == expected
