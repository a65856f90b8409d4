"""`check --indexes`: what an index would gain is measured on a copy, and nothing of the application is touched."""

import json

import psycopg
import pytest

from tests.support.daemon import command
from tests.support.faults import as_role, least_role, value
from tests.support.installs import Connection

# an autovacuum may hold its own
_LOCKS = (
    "select count(*) from pg_locks join pg_stat_activity using (pid)"
    " where relation = 'action_results'::regclass and mode <> 'AccessShareLock' and backend_type = 'client backend'"
)


def fill(connection: Connection, rows: int) -> None:
    """Insert rows as an application does: in order of time, with long texts."""
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms,"
        " response_data) select i, 'j', null, (array['rest', 'mcp'])[1 + i %% 2], 'success',"
        " now() - (%s - i) * interval '1 second', i %% 100, to_jsonb(repeat(md5(i::text), 20))"
        " from generate_series(1, %s) i",
        (rows, rows),
    )
    connection.execute("analyze action_results")


def test_too_few_rows_say_nothing(dsn: str, connection: Connection) -> None:
    """A table that fits into a few blocks is no evidence."""
    fill(connection, 20)
    shown = command(dsn, "check", "--indexes")
    assert (shown.returncode, "too few" in shown.stdout) == (0, True), shown.stderr


@pytest.mark.slow
def test_the_gain_is_measured_and_nothing_is_left(dsn: str, connection: Connection) -> None:
    """Fewer blocks with it for each query that reads rows; writers are not locked out, and no object stays."""
    fill(connection, 5_000)
    before = value(connection, "select count(*) from pg_class where relpersistence <> 't'")
    with psycopg.connect(dsn) as writer:
        # a writer that is under way holds nobody up, nor does the measuring hold it up
        writer.execute("update action_results set retry_count = 1 where id = '1'")
        shown = command(dsn, "check", "--indexes", "--format", "json")
        writer.rollback()
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert {gain["query"] for gain in found["gains"]} >= {"latency", "most-active"}
    for gain in found["gains"]:
        assert 0 < gain["blocks_with"] < gain["blocks_before"] / 3, gain
    assert (found["rows"], found["rows_copied"], found["present"]) == (5_000, 5_000, None)
    assert found["insert_us_with"] > 0
    assert value(connection, "select count(*) from pg_class where relpersistence <> 't'") == before
    # what it prints works, is of the size that it said, and is found then
    (create,) = found["commands"]
    connection.execute(create)
    name = "select max(indexrelid)::regclass::text from pg_index where indrelid = 'action_results'::regclass"
    index = value(connection, name)
    real = value(connection, "select pg_relation_size(%s::regclass)", index)
    assert real / 2 < found["size_bytes"] < real * 2
    shown = command(dsn, "check", "--indexes")
    assert f"{index} covers" in shown.stdout
    assert value(connection, _LOCKS) == 0


@pytest.mark.slow
def test_partitions_get_theirs_first(application_dsn: str) -> None:
    """PostgreSQL builds none concurrently on a parent: what it prints works in its order."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        connection.execute("drop table action_results cascade")
        connection.execute(
            "create table action_results (id text, job_id text, trigger_id text, event_id text,"
            " action_type text not null, status text not null, executed_at timestamptz, duration_ms integer,"
            " error_message text, response_data jsonb, retry_count integer) partition by range (executed_at);"
            ' create table "The rest" partition of action_results default;'
            " create table old partition of action_results for values from ('2000-01-01') to ('2001-01-01')"
        )
        fill(connection, 2_000)
        shown = command(application_dsn, "check", "--indexes", "--format", "json")
        assert shown.returncode == 0, shown.stderr
        found = json.loads(shown.stdout)
        assert (found["rows_copied"], len(found["commands"])) == (2_000, 3)
        for create in found["commands"]:
            connection.execute(create)
        assert value(connection, "select count(*) from pg_index where not indisvalid") == 0
        assert value(connection, "select count(*) from pg_index x join pg_class c on c.oid = x.indrelid"
            " where c.relname in ('action_results', 'The rest', 'old')") == 3  # fmt: skip


@pytest.mark.slow
def test_a_role_without_rights_is_told(dsn: str, connection: Connection) -> None:
    """The daemon's role reads less than the queries do, unless it was given that."""
    fill(connection, 20)
    with least_role(connection) as role:
        refused = command(as_role(dsn, role), "check", "--indexes")
        assert (refused.returncode, "probes=1" in refused.stderr) == (1, True)
