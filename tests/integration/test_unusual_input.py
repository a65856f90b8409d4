"""Times that Python cannot hold, organizations that do not exist, odd environments: an answer, or one sentence."""

import csv
import io
import json
import re
import signal
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.support.daemon import Daemon, command, environment
from tests.support.installs import temporary_role
from tests.support.ordinary import Call, commands
from tests.support.tenants import add_organizations

pytestmark = pytest.mark.fault

Connection = psycopg.Connection[Any]
ODD = ("infinity", "-infinity", "20000-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC")


@pytest.fixture
def odd_times(connection: Connection, dsn: str) -> str:
    """A database whose log holds every kind of time that Python has not; its URL."""
    add_organizations(connection, {"acme": "Acme"})
    for number, at in enumerate(ODD):
        connection.execute(
            "insert into triggers (id, organization_id, name, created_at) values (%s, 'acme', 'T', %s)",
            (f"t{number}", at),
        )
        connection.execute(
            "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
            " values (%s, 'j', %s, 'rest', 'failed', %s, 5)",
            (f"a{number}", f"t{number}", at),
        )
    for result in connection.execute("select view_name, success, error_message from refresh_action_analytics()"):
        assert result[1], result
    return dsn


@pytest.mark.quick
@pytest.mark.slow
def test_L25_every_query_answers_whatever_time_is_stored(odd_times: str) -> None:
    """Infinite times, years beyond 9999 and before Christ are shown as the server writes them, in every format."""
    url = {"ANALYTICS_REFRESHD_DATABASE__URL": odd_times}
    calls = []
    for query in Catalogue.load():
        calls += [Call(["query", query.name, "--format", form], url) for form in ("json", "csv", "table")]
        if query.organizations:
            calls.append(Call(["query", query.name, "--organization", "acme"], url))
    shown: dict[str, str] = {}
    for call, done in zip(calls, commands(*calls), strict=True):
        assert done.returncode == 0, (call, done.stderr)
        shown[f"{call.words[1]} {call.words[3]}"] = done.stdout
    rows = json.loads(shown["slowest-triggers json"])["rows"]
    assert {row["last_execution_at"] for row in rows} >= {"20000-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC"}
    idle = list(csv.DictReader(io.StringIO(shown["idle-triggers csv"])))
    assert {row["trigger_id"]: row["idle_days"] for row in idle}["t1"] == ""


@pytest.mark.parametrize("mode", ["plain", "incremental"])
def test_L25_an_infinite_time_stops_no_view(odd_times: str, connection: Connection, mode: str) -> None:
    """The hours between two times are unknown where one is infinite; all other figures stand."""
    if mode == "incremental":
        assert command(odd_times, "migrate", "--incremental").returncode == 0
        assert {row[0] for row in connection.execute("select success from refresh_action_analytics()")} == {True}
    hours = connection.execute(
        "select trigger_id, total_executions, hours_active from trigger_performance_summary order by trigger_id"
    )
    assert list(hours) == [("t0", 1, None), ("t1", 1, None), ("t2", 1, 0), ("t3", 1, 0)]
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at)"
        " values ('later', 'j', 't1', 'rest', 'failed', '2020-01-01')"
    )
    assert {row[0] for row in connection.execute("select success from refresh_action_analytics()")} == {True}
    both = "select total_executions, hours_active from trigger_performance_summary where trigger_id = 't1'"
    assert connection.execute(both).fetchone() == (2, None)
    verified = command(odd_times, "migrate", "--verify")
    assert mode == "plain" or verified.returncode == 0, verified.stderr


def test_L25_check_tells_of_infinite_times(odd_times: str, connection: Connection) -> None:
    """A warning where the view holds them, an error and the way out where an earlier definition does not."""

    def finding() -> Any:
        found = json.loads(command(odd_times, "check", "--format", "json").stdout)
        (one,) = [item for item in found if item["name"] == "times"]
        assert "2 rows of public.action_results are dated infinity or -infinity" in one["text"]
        return one

    assert finding()["level"] == "warning"
    row = connection.execute("select pg_get_viewdef('trigger_performance_summary'::regclass)").fetchone()
    assert row is not None
    earlier = re.sub(
        r"CASE\s+WHEN \(isfinite.*?THEN (.*?)\s+ELSE NULL::numeric\s+END AS",
        r"\1 AS",
        row[0].rstrip(";"),
        flags=re.DOTALL,
    )
    assert earlier != row[0].rstrip(";")
    connection.execute("drop materialized view trigger_performance_summary")
    connection.execute(f"create materialized view trigger_performance_summary as {earlier} with no data")
    told = finding()
    assert (told["level"], "SQLSTATE 22008" in told["text"]) == ("error", True)
    assert command(odd_times, "migrate", "--replace").returncode == 0
    assert finding()["level"] == "warning"


@pytest.mark.quick
@pytest.mark.slow
def test_L25_an_organization_that_does_not_exist_is_an_error(odd_times: str, connection: Connection) -> None:
    """No rows would be read as no actions. One that has triggers and no row of its own exists."""
    for words in (["--format", "json"], ["--format", "csv"], ["--explain"]):
        done = command(odd_times, "query", "summary", "--organization", "acme", "--organization", "nosuch", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "analytics-refreshd: there is no organization nosuch\n"
    assert command(odd_times, "query", "summary", "--organization", "acme").returncode == 0
    connection.execute("insert into triggers (id, organization_id, name) values ('o', 'orphan', 'T')")
    assert command(odd_times, "query", "summary", "--organization", "orphan").returncode == 0


@pytest.mark.slow
def test_L25_organizations_are_not_looked_for_where_they_may_not_be_read(
    odd_times: str, connection: Connection
) -> None:
    """The refusal is then the query's own, which says what grants it."""
    with temporary_role(connection) as role:
        connection.execute(f"grant usage on schema public to {role}")
        done = command(psycopg.conninfo.make_conninfo(odd_times, user=role), "query", "summary", "--organization", "x")
        assert done.returncode == 1
        assert "permission denied" in done.stderr
        assert "deploy/sql/grants.sql -v probes=1" in done.stderr


@pytest.mark.quick
def test_L25_pause_and_resume_speak_json(dsn: str) -> None:
    """A script learns until when, and how many pauses ended."""
    paused = json.loads(command(dsn, "pause", "--for", "1h", "--reason", " import ", "--format", "json").stdout)
    assert (paused["paused"], paused["reason"]) == (True, "import")
    assert paused["ends_at"].endswith("Z")
    ended = [json.loads(command(dsn, "resume", "--format", "json").stdout) for _ in range(2)]
    assert ended == [{"paused": False, "pauses_ended": 1}, {"paused": False, "pauses_ended": 0}]


@pytest.mark.quick
@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"PYTHONIOENCODING": "latin-1"}, marks=pytest.mark.nightly),
        pytest.param({"PYTHONIOENCODING": "ascii"}, marks=pytest.mark.nightly),
        # what a container without a locale has
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        pytest.param({"HOME": ""}, marks=pytest.mark.nightly),
        pytest.param({"HOME": "/nonexistent", "TERM": "dumb"}, marks=pytest.mark.nightly),
        pytest.param({"COLUMNS": "20"}, marks=pytest.mark.nightly),
    ],
    ids=lambda odd: " ".join(odd),
)
@pytest.mark.slow
def test_L25_an_odd_environment_changes_no_exit_code(dsn: str, connection: Connection, odd: dict[str, str]) -> None:
    """Without HOME, with an encoding that lacks a character: nothing exits 70, and JSON stays JSON."""
    connection.execute("select analytics_refresh.pause('1 hour', 'Größe … 北京')")
    given = {name: value for name, value in environment(dsn).items() if name not in ("HOME", "LANG", "LC_ALL")} | odd
    given = {name: value for name, value in given.items() if value}
    for words in (["check"], ["check", "--format", "json"], ["status"], ["status", "--format", "json"]):
        done = subprocess.run(
            [sys.executable, "-m", "analytics_refreshd", *words], env=given, capture_output=True, check=False
        )
        assert done.returncode in (0, 1), (words, done.stderr)
        assert b"Traceback" not in done.stderr
        if "json" in words:
            assert "Größe … 北京" in json.dumps(json.loads(done.stdout.decode("latin-1")), ensure_ascii=False) or (
                odd.keys() & {"HOME", "COLUMNS"}
            )


@pytest.mark.slow
def test_L25_check_works_for_a_user_without_a_name(dsn: str) -> None:
    """As a container runs it: a uid that no list of users knows, and no HOME."""
    (done,) = commands(Call(["check"], {"HOME": "", "ANALYTICS_REFRESHD_DATABASE__URL": dsn}), user=65432)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert "connection" in done.stdout


@pytest.mark.slow
def test_L25_user_signals_end_nothing(dsn: str) -> None:
    """SIGUSR1 and SIGUSR2, which log rotation may send to every daemon, are ignored until the end."""
    with Daemon(dsn, schedule__interval="1s") as daemon:
        daemon.wait_for("refresh.finished")
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            daemon.process.send_signal(number)
        seen = len(daemon.events("refresh.finished"))
        daemon.wait_for("refresh.finished", count=seen + 2)
        daemon.process.send_signal(signal.SIGUSR1)
        assert daemon.stop() == 0
