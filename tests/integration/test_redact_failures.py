"""`migrate --redact-failures`: recent_failures stores redacted messages and no answers, through every later change."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate, uninstall
from tests.conftest import create_application
from tests.integration.test_migrate_roles import psql, psql_text
from tests.support.daemon import command
from tests.support.faults import value
from tests.support.installs import temporary_role
from tests.support.postgres import PROGRAMS, Server

Connection = psycopg.Connection[Any]
GUIDE = Path(__file__).parents[2] / "deploy" / "guides" / "erasure.md"
_FAILURES = """
insert into action_results (id, job_id, action_type, status, executed_at, error_message, response_data)
select 'f' || i, 'j', 'rest', 'failed', now() - i * interval '1 minute',
    'mail to ann@example.com failed, password=hunter2', '{"answer": "ann"}'
from generate_series(1, 50) i
"""
_TEXTS = "select distinct error_message, response_data::text from recent_failures"
STORED = [("mail to ann@example.com failed, password=hunter2", '{"answer": "ann"}')]
REDACTED = [("mail to <email> failed, password=***", None)]


def texts(connection: Connection) -> list[Any]:
    """The texts that readers of the view find, after a refresh."""
    failed = connection.execute("select error_message from refresh_action_analytics() where not success").fetchall()
    assert failed == []
    return connection.execute(_TEXTS).fetchall()


@contextmanager
def reader(dsn: str) -> Iterator[list[Any]]:
    """Count the view's rows again and again; what it found is asserted at the end."""
    found: list[Any] = []
    errors: list[BaseException] = []
    stop, begun = threading.Event(), threading.Event()

    def read() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                while not stop.is_set():
                    found.append(value(connection, "select count(*) from recent_failures"))
                    begun.set()
        except BaseException as error:  # told by the test
            errors.append(error)
            begun.set()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert begun.wait(60)
        yield found
    finally:
        stop.set()
        thread.join(60)
    assert errors == []
    assert set(found) == {50}


def hangings(connection: Connection) -> list[Any]:
    """What hangs on the view: grants, indexes, a view over it, statistics."""
    return connection.execute(
        "select c.relacl::text, (select array_agg(i.indexrelid::regclass::text order by i.indexrelid::regclass::text)"
        " from pg_index i where i.indrelid = c.oid), to_regclass('over_failures')::text, pg_get_userbyid(c.relowner)"
        " from pg_class c where c.oid = 'recent_failures'::regclass"
    ).fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["plain", "incremental"])
def test_texts_are_redacted_until_asked_otherwise(dsn: str, connection: Connection, mode: str) -> None:
    """Readers always find the rows; a refresh, both switches of the mode, a check and a removal keep it so."""
    connection.execute(_FAILURES)
    with temporary_role(connection) as other:
        connection.execute(f"grant select on recent_failures to {other}")
        connection.execute("create view over_failures as select id, error_message from recent_failures")
        if mode == "incremental":
            incremental.install(connection, replace=True)
        assert texts(connection) == STORED
        before = hangings(connection)
        with reader(dsn):
            steps = migrate(connection, redact=True).steps
        assert "build view public.recent_failures again" in steps
        assert connection.execute(_TEXTS).fetchall() == REDACTED
        assert hangings(connection) == before
        assert migrate(connection, redact=True).steps == ()
        assert migrate(connection).steps == ()
        assert texts(connection) == REDACTED
        assert verify(connection).ok
        found = command(dsn, "check", "--format", "json")
        assert "stores error messages redacted" in found.stdout
        assert "another query than" not in found.stdout
        for _ in range(2):
            mode = "plain" if mode == "incremental" else "incremental"
            switch = incremental.uninstall_to_plain if mode == "plain" else incremental.install
            switch(connection, replace=True)
            assert texts(connection) == REDACTED
            assert verify(connection).ok
        assert migrate(connection, recreate_views=True).steps == ()
        with reader(dsn):
            migrate(connection, redact=False)
        assert connection.execute(_TEXTS).fetchall() == STORED
        assert hangings(connection) == before
        assert migrate(connection).steps == ()
        connection.execute("drop view over_failures")


@pytest.mark.slow
def test_a_rebuild_after_a_difference_keeps_the_texts_redacted(dsn: str, connection: Connection) -> None:
    """The comparison knows how texts are stored: it finds the cell that is wrong and nothing else, and builds again."""
    connection.execute(_FAILURES)
    incremental.install(connection)
    migrate(connection, redact=True)
    connection.execute("update analytics_refresh.hour_cells set n = n + 1")
    found = verify(connection)
    assert found.problems == ()
    assert [view.view_name for view in found.views if view.missing or view.extra] == [
        "action_metrics_hourly",
        "action_type_distribution",
    ]
    done = command(dsn, "migrate", "--verify", "--rebuild")
    assert done.returncode == 0, done.stdout + done.stderr
    assert verify(connection).ok
    assert texts(connection) == REDACTED
    # also of a view that was changed by hand: it is told, and --replace brings the redacted one
    connection.execute("drop materialized view recent_failures")
    connection.execute(
        "create materialized view recent_failures as select id, job_id, trigger_id, event_id, action_type,"
        " error_message, retry_count, executed_at, duration_ms, response_data from action_results"
    )
    incremental.rebuild(connection, "public", reason="a test")
    (problem,) = verify(connection).problems
    assert problem.startswith("public.recent_failures is not ours")
    migrate(connection, recreate_views=True)
    assert verify(connection).ok
    assert texts(connection) == REDACTED


@pytest.mark.slow
def test_the_view_outlives_our_schema(connection: Connection) -> None:
    """What is redacted stays so without our schema, and is found so when that comes back."""
    connection.execute(_FAILURES)
    migrate(connection, redact=True)
    uninstall(connection)
    assert texts(connection) == REDACTED
    assert migrate(connection, recreate_views=True).warnings == ()
    assert texts(connection) == REDACTED
    assert value(connection, "select failures_redacted from analytics_refresh.installation") is True
    connection.execute("drop materialized view recent_failures")
    migrate(connection)
    assert texts(connection) == REDACTED


def test_a_view_of_somebody_elses_is_replaced_when_asked_alone(connection: Connection) -> None:
    """It is refused, and nothing is noted; with --replace ours takes its place."""
    connection.execute(_FAILURES)
    connection.execute(
        "drop materialized view recent_failures; create materialized view recent_failures as"
        " select id, job_id, trigger_id, event_id, action_type, error_message, retry_count, executed_at, duration_ms,"
        " response_data from action_results where status = 'failed'"
    )
    with pytest.raises(MigrationError, match=r"recent_failures is not ours: .* --replace puts ours in place"):
        migrate(connection, redact=True)
    assert value(connection, "select failures_redacted from analytics_refresh.installation") is False
    migrate(connection, redact=True, recreate_views=True)
    assert texts(connection) == REDACTED


@pytest.mark.slow
def test_the_command_shows_prints_and_does_it(dsn: str, connection: Connection) -> None:
    """--status and --dry-run change nothing; what is printed does what the command would."""
    connection.execute(_FAILURES)
    shown = command(dsn, "migrate", "--redact-failures", "--status")
    assert "to do: note that public.recent_failures stores redacted texts" in shown.stdout
    assert texts(connection) == STORED
    refused = command(dsn, "migrate", "--redact-failures", "--incremental")
    assert (refused.returncode, "--[no-]redact-failures goes with none of" in refused.stderr) == (64, True)
    printed = command(dsn, "migrate", "--redact-failures", "--dry-run").stdout
    psql_text(dsn, printed)
    assert texts(connection) == REDACTED
    assert command(dsn, "migrate", "--no-redact-failures").returncode == 0
    assert texts(connection) == STORED


@pytest.mark.nightly
@pytest.mark.skipif(not PROGRAMS[15].exists(), reason="PostgreSQL 15 is not installed")
def test_it_works_on_the_oldest_version() -> None:
    """In both modes."""
    server = Server(programs=PROGRAMS[15]).start()
    try:
        create_application(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            migrate(connection, redact=True)
            connection.execute(_FAILURES)
            assert texts(connection) == REDACTED
            incremental.install(connection)
            assert texts(connection) == REDACTED
            assert migrate(connection).steps == ()
            assert verify(connection).ok
            migrate(connection, redact=False)
            assert texts(connection) == STORED
    finally:
        server.destroy()


@pytest.mark.slow
def test_the_guides_trigger_redacts_what_is_written(dsn: str, connection: Connection) -> None:
    """The guide's trigger for the writer redacts failures alone, inserted or changed."""
    with temporary_role(connection) as role:
        psql(dsn, "reader.sql", "-v", f"role={role}")
    (trigger,) = re.findall(r"```sql\n(create function public\.redact_failure.*?)```", GUIDE.read_text(), re.S)
    connection.execute(trigger)
    connection.execute(_FAILURES)
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, response_data)"
        " values ('s', 'j', 'rest', 'success', '1')"
    )
    failures = "select distinct error_message, response_data::text from action_results where status = 'failed'"
    assert connection.execute(failures).fetchall() == REDACTED
    assert value(connection, "select response_data::text from action_results where id = 's'") == "1"
    connection.execute("update action_results set status = 'failed' where id = 's'")
    assert value(connection, "select response_data::text from action_results where id = 's'") is None
