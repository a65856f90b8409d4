"""Query files that want more than to read: one statement, read-only, rolled back, in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.catalogue.definition import QueryFileError
from analytics_refreshd.postgres.catalogue.files import parse
from analytics_refreshd.postgres.catalogue.run import bind, explain, run
from tests.integration.test_queries_run import OWN, now_of

Connection = psycopg.Connection[Any]
MEMORY_BYTES = 150_000_000
"""The program itself takes about 60 MB; what is read here is 130 MB."""

LEAVING = [
    "select 1 as answer; commit; create table gone (a int)",
    "select 1 as answer; rollback; create table gone (a int); select 1 as answer",
    "select 1 as answer;; end; create table gone (a int)",
    "select set_config('transaction_read_only', 'off', false) as answer; create table gone (a int)",
]
NO_SELECT = [
    "commit",
    "/* a comment */ commit; create table gone (a int)",
    "/* a /* nested */ select */ commit",
    "do $$ begin create table gone (a int); end $$",
    "copy (select 1) to program 'true'",
    "set session authorization default",
    "analyze create table gone as select 1",
]


def big(rows: int) -> str:
    """A query's file: so many rows of text, 130 MB in all."""
    size = 130_000_000 // rows
    body = f"select rpad(n::text || ' ', {size}, 'x') as answer from generate_series(1, {rows}) as n"
    return OWN.replace("{body}", body).replace("answer number", "answer text")


def own(body: str) -> Any:
    """A user's own query."""
    return parse(OWN.replace("{body}", body), "own.sql")


@pytest.mark.quick
@pytest.mark.parametrize("how", [run, explain])
@pytest.mark.parametrize("body", LEAVING)
def test_a_query_file_cannot_leave_the_transaction(connection: Connection, body: str, how: Any) -> None:
    """Nothing after the first statement runs, the file is named, and the connection stays usable."""
    with pytest.raises(QueryFileError, match=r"own\.sql:1: the server cannot read its SQL, which must be one SELECT"):
        how(connection, bind(own(body), {}, None, now_of(connection), "public"))
    assert connection.execute("select to_regclass('gone')").fetchone() == (None,)
    assert run(connection, bind(own("select 1 as answer"), {}, None, now_of(connection), "public")).rows == ((1,),)


@pytest.mark.parametrize("body", NO_SELECT)
def test_what_is_no_select_is_no_query(body: str) -> None:
    """It is refused when the file is read, before any connection."""
    with pytest.raises(QueryFileError, match=r"own\.sql:7: the SQL must be one SELECT; it begins with"):
        own(body)


@pytest.mark.parametrize(
    "body",
    [
        "(select 1 as answer)",
        "/* why */ -- again\nselect 1 as answer",
        "/* a * b / c */ values (1)",
        "With x as (select 1) table x",
    ],
)
def test_every_form_of_a_select_is_a_query(body: str) -> None:
    """Comments and parentheses before it do not matter."""
    assert own(body).body == body


@pytest.mark.parametrize(
    "body",
    [
        "select count(*) as answer from (select set_config('statement_timeout', '0', false)) as changed",
        "select count(*) as answer from (select set_config('search_path', 'hostile', false)) as changed",
    ],
)
def test_a_query_leaves_no_setting_behind(connection: Connection, body: str) -> None:
    """The daemon's other work shares the session with probes."""
    connection.execute("set statement_timeout to '7s'")
    connection.execute("set search_path to pg_catalog")
    run(connection, bind(own(body.replace("count(*)", "count(changed)")), {}, None, now_of(connection), "public"))
    assert connection.execute("show statement_timeout").fetchone() == ("7s",)
    assert connection.execute("show search_path").fetchone() == ("pg_catalog",)


def measured(code: str, *words: str, **environment: str) -> tuple[subprocess.CompletedProcess[bytes], int]:
    """Run Python in a process of its own; returns the peak of its memory in bytes, its last line of stderr.

    Not from getrusage, which counts the process that forked it. What it writes is not decoded: it is much.
    """
    tail = "\nimport sys\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)\n"
    own_environment = {key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_REFRESHD_")}
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *words],
        env=own_environment | environment,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done, int(done.stderr.splitlines()[-1]) * 1024


PROBE = """
import sys, time
from datetime import UTC, datetime
import psycopg
from analytics_refreshd.postgres.catalogue.files import parse
from analytics_refreshd.postgres.catalogue.probes import probe
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    query = parse(sys.argv[2], "own.sql")
    (result,) = probe(connection, [query], 60.0, time.monotonic, now=datetime.now(UTC), app_schema="public")
assert result.error is None, result
"""
QUERY = """
import sys
from analytics_refreshd.cli.main import main
assert main() == 0
"""


def test_a_probe_keeps_no_rows(dsn: str) -> None:
    """50,000 rows of 2.6 kB are timed in the memory that one row takes."""
    _, memory = measured(PROBE, dsn, big(50_000))
    print(f"{memory / 1e6:.0f} MB")
    assert memory < MEMORY_BYTES


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("output", "rows"), [("table", 200_000), ("json", 200_000), ("csv", 50_000)])
def test_a_query_of_many_rows_takes_little_memory(dsn: str, tmp_path: Path, output: str, rows: int) -> None:
    """csv has every row; a table and JSON are cut, and say so."""
    (tmp_path / "own.sql").write_text(big(rows))
    done, memory = measured(
        QUERY,
        *("query", "own", "--format", output, "--timeout", "3m"),
        ANALYTICS_REFRESHD_DATABASE__URL=dsn,
        ANALYTICS_REFRESHD_QUERIES__DIRECTORY=str(tmp_path),
    )
    said = b"only the first 10,000 rows are shown; --format csv writes all of them"
    if output == "csv":
        assert done.stdout.count(b"\n") == rows + 1
        assert said not in done.stderr
    else:
        assert said in done.stderr
    if output == "json":
        assert b'"complete": false' in done.stdout
    print(f"{memory / 1e6:.0f} MB")
    assert memory < MEMORY_BYTES


def test_few_rows_of_much_text_are_cut_too(dsn: str, tmp_path: Path) -> None:
    """The limit counts bytes besides rows."""
    body = "select repeat('x', 1000000) as answer from generate_series(1, 200) as n"
    (tmp_path / "own.sql").write_text(OWN.replace("{body}", body).replace("answer number", "answer text"))
    done, memory = measured(
        QUERY,
        *("query", "own", "--format", "json"),
        ANALYTICS_REFRESHD_DATABASE__URL=dsn,
        ANALYTICS_REFRESHD_QUERIES__DIRECTORY=str(tmp_path),
    )
    assert b"only the first 16 rows are shown" in done.stderr
    print(f"{memory / 1e6:.0f} MB")
    assert memory < MEMORY_BYTES
