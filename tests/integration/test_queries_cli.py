"""`query` on the command line: what it prints, in which form, and how it refuses."""

import csv
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.support import warm
from tests.support.installs import temporary_role
from tests.support.tenants import add_organizations

ERROR = "no answer for bob@example.org"


@pytest.fixture
def log(connection: psycopg.Connection[Any], dsn: str) -> str:
    """A database with two organizations, three actions and refreshed views; its URL."""
    add_organizations(connection, {"acme": "Acme"})
    connection.execute("insert into triggers (id, organization_id, name) values ('t1', 'acme', E'Job [red]\\x1b[31m')")
    connection.execute(
        "insert into action_results"
        " (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, error_message)"
        " values ('a1', 'j', 't1', 'rest', 'failed', now() - interval '1 minute', 2600, %s),"
        " ('a2', 'j', 't1', 'rest', 'success', now() - interval '1 minute', 2600, null),"
        " ('a3', 'j', null, 'mcp', 'success', now() - interval '1 minute', 2600, null)",
        (ERROR,),
    )
    connection.execute("select refresh_action_analytics()")
    return dsn


def query(dsn: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command on a database."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_REFRESHD_")}
    return warm.run(["query", *words], own | {"ANALYTICS_REFRESHD_DATABASE__URL": dsn} | environment)


def csv_rows(text: str) -> list[dict[str, str]]:
    """What a csv holds, by column."""
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.slow
def test_json_is_exact_and_says_what_it_is(log: str) -> None:
    """JSON holds the window, the parameters, units and exact numbers."""
    done = query(log, "success-rate", "--days", "2", "--organization", "acme", "--format", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["parameters"] == {"days": 2}
    assert answer["organizations"] == ["acme"]
    assert answer["since"].endswith(":00:00Z")
    assert [row["action_type"] for row in answer["rows"]] == ["rest"]
    assert answer["rows"][0]["success_rate_percent"] == 50
    assert answer["rows"][0]["approx_avg_duration_ms"] == 2600
    assert next(item for item in answer["columns"] if item["name"] == "approx_avg_duration_ms")["approximated"]


def test_csv_is_exact(log: str) -> None:
    """Csv holds exact numbers under the column names, and redacted messages."""
    done = query(log, "recent-failures", "--format=csv", "--limit=5")
    assert done.returncode == 0, done.stderr
    rows = csv_rows(done.stdout)
    assert len(rows) == 1
    assert rows[0]["duration_ms"] == "2600"
    assert rows[0]["error_message"] == "no answer for <email>"
    assert rows[0]["executed_at"].endswith("Z")


@pytest.mark.slow
def test_a_table_is_for_people(log: str) -> None:
    """A table has human units; control characters and markup in names do nothing; raw shows messages as stored."""
    done = query(log, "recent-failures", "--raw")
    assert done.returncode == 0, done.stderr
    assert "2.6 s" in done.stdout
    assert "Job [red][31m" in done.stdout
    assert "\x1b" not in done.stdout
    assert ERROR in done.stdout
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.slow
def test_an_approximation_is_named(log: str) -> None:
    """Under a table stands which columns are approximations, and how they are made."""
    done = query(log, "summary")
    assert "approx_p95_duration_ms is an approximation: " in done.stderr


@pytest.mark.slow
def test_a_flag_needs_no_value(log: str) -> None:
    """A boolean parameter is a flag."""
    done = query(log, "idle-triggers", "--include-disabled", "--days", "1", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"]["include-disabled"] is True


@pytest.mark.slow
def test_explain_and_print_sql(log: str) -> None:
    """--explain shows the plan with times; --print-sql the statement, without a database."""
    assert "actual time" in query(log, "summary", "--explain").stdout
    printed = query("postgresql://127.0.0.1:1/none", "latency", "--print-sql", "--organization", "a'b")
    assert printed.returncode == 0, printed.stderr
    assert "action_results" in printed.stdout
    assert "a''b" in printed.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["success-rat"], "there is no query 'success-rat'; did you mean success-rate?"),
        (["'; drop table x; --"], 'there is no query "\'; drop table x; --"; `query --list` shows them all'),
        (["success-rate", "--days", "0"], "days must be at least 1, not '0'"),
        (["success-rate", "--days", "99999"], "days must be at most 3650, not '99999'"),
        (["success-rate", "--days", "1;select"], "days must be a whole number, not '1;select'"),
        (["success-rate", "--days"], "--days needs a value"),
        (["success-rate", "--days", "1", "--days=2"], "--days is given twice"),
        (["success-rate", "7"], "'7' is not expected; a parameter is given as --name value"),
        (
            ["success-rate", "--weeks", "1"],
            "success-rate has no parameter 'weeks'; it has: days, since, until, timezone",
        ),
        (["success-rate", "--organization", ""], "'' is no organization id"),
        (["refresh-status", "--organization", "acme"], "refresh-status cannot be limited to organizations"),
    ],
)
@pytest.mark.slow
def test_a_bad_parameter_exits_2_with_one_line(words: list[str], sentence: str) -> None:
    """A mistake in a parameter is one clear line and exit code 2, before any connection is made."""
    done = query("postgresql://127.0.0.1:1/none", *words)
    assert (done.returncode, done.stderr) == (2, f"analytics-refreshd: {sentence}\n")
    assert done.stdout == ""


@pytest.mark.slow
def test_wrong_usage_exits_64() -> None:
    """No query at all, or an unknown format, is wrong usage; an unreachable database is 75."""
    nowhere = "postgresql://127.0.0.1:1/none"
    assert query(nowhere).returncode == 64
    assert query(nowhere, "summary", "--format", "xml").returncode == 64
    assert query(nowhere, "summary").returncode == 75


def test_who_may_not_read_failures_is_told_who_may(log: str, connection: psycopg.Connection[Any]) -> None:
    """A role without a right on what a query reads is told what grants it, and where a reader finds the answer."""
    with temporary_role(connection) as name:
        refused = query(psycopg.conninfo.make_conninfo(log, user=name), "top-errors")
    assert refused.returncode == 1
    assert "permission denied" in refused.stderr
    assert "deploy/sql/grants.sql -v probes=1" in refused.stderr
    assert "deploy/sql/reader.sql" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_list_follows_the_format() -> None:
    """The catalogue, and what a query takes and gives, are printed as JSON or csv where that is asked for."""
    listed = json.loads(query("", "--list", "--format", "json").stdout)
    assert [each["query"] for each in listed] == list(Catalogue.load().queries)
    in_csv = [each | {name: "yes" if each[name] else "no" for name in ("span", "warehouse")} for each in listed]
    assert csv_rows(query("", "--list", "--format", "csv").stdout) == in_csv
    one = json.loads(query("", "top-errors", "--list", "--format", "json").stdout)
    assert (one["name"], one["organizations"]) == ("top-errors", True)
    assert one["parameters"][0]["maximum"] == 1000
    rows = csv_rows(query("", "top-errors", "--list", "--format", "csv").stdout)
    assert [row["name"] for row in rows if row["kind"] == "parameter"] == [
        "--limit",
        "--hours",
        "--since",
        "--until",
        "--timezone",
    ]
    assert [row["name"] for row in rows if row["kind"] == "column"] == [item["name"] for item in one["columns"]]


@pytest.mark.slow
def test_own_queries_are_listed_and_run(log: str, tmp_path: Path) -> None:
    """A file in [queries] directory is a query like the others; one with a mistake is a configuration error."""
    header = "-- name: mine\n-- section: our own\n-- endpoint: own/mine\n-- purpose: One?\n-- organizations: no\n"
    (tmp_path / "mine.sql").write_text(f"{header}-- column: one number; One\nselect 1 as one\n")
    own = {"ANALYTICS_REFRESHD_QUERIES__DIRECTORY": str(tmp_path)}
    assert "own/mine" in query(log, "--list", "mine", **own).stdout
    assert json.loads(query(log, "mine", "--format", "json", **own).stdout)["rows"] == [{"one": 1}]
    (tmp_path / "mine.sql").write_text(header)
    done = query(log, "mine", **own)
    assert done.returncode == 78
    assert "mine.sql:5: there is no SQL after the header" in done.stderr


@pytest.mark.slow
def test_L28_a_span_of_the_past_is_counted_exactly(log: str, connection: psycopg.Connection[Any]) -> None:
    """`--since` and `--until` show what lies between them, by rows and by views, to every format."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms) values"
        " ('b1', 'j', 'rest', 'success', '2026-03-01 08:59:59Z', 100),"
        " ('b2', 'j', 'rest', 'success', '2026-03-01 09:00Z', 200),"
        " ('b3', 'j', 'rest', 'failed', '2026-03-01 10:59:59Z', 300),"
        " ('b4', 'j', 'rest', 'success', '2026-03-01 11:00Z', 400)"
    )
    connection.execute("select refresh_action_analytics()")
    words = ("--since", "2026-03-01T09:00:00Z", "--until=2026-03-01T12:00:00+01:00", "--format")
    (row,) = csv_rows(query(log, "latency", *words, "csv").stdout)
    assert (row["executions"], row["min_duration_ms"], row["max_duration_ms"]) == ("2", "200", "300")
    by_view = json.loads(query(log, "throughput", *words, "json").stdout)
    assert [(row["hour"], row["executions"]) for row in by_view["rows"]] == [
        ("2026-03-01T09:00:00Z", 1),
        ("2026-03-01T10:00:00Z", 1),
    ]
    assert (by_view["since"], by_view["until"]) == ("2026-03-01T09:00:00Z", "2026-03-01T11:00:00Z")
    assert by_view["parameters"] == {"hours": 2}


@pytest.mark.slow
def test_L28_a_wrong_span_exits_2_with_what_is_right(dsn: str) -> None:
    """What is typed wrong is told in one line; `--list` shows what a query takes."""
    for words, said in (
        (("latency", "--since", "yesterday"), "neither a duration"),
        (("latency", "--since"), "needs a value"),
        (("top-organizations", "--since", "1d"), "covers no span of time"),
        (("latency", "--since", "2d", "--hours", "3"), "not both"),
    ):
        refused = query(dsn, *words)
        assert (refused.returncode, said in refused.stderr, refused.stderr.count("\n")) == (2, True, 1), refused.stderr
    assert "--since" in query(dsn, "latency", "--list").stdout
    assert "--since" not in query(dsn, "top-organizations", "--list").stdout
