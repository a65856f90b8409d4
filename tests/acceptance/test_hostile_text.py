"""Text of others in the database reaches no terminal, document or spreadsheet as a command."""

import ast
import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

import analytics_refreshd.cli
from tests.support import warm
from tests.support.tenants import add_organizations
from tests.unit.test_core_display import acts_on_a_terminal

ATTACK = "=cmd|' /C calc'!A0\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\x7f"
COMMANDS: list[tuple[str, ...]] = [
    ("status",),
    ("status", "--format", "json"),
    ("history",),
    ("history", "--format", "json"),
    ("history", "--format", "csv"),
    ("check",),
    ("check", "--format", "json"),
    ("migrate", "--status"),
    ("query", "slowest-triggers"),
    ("query", "slowest-triggers", "--format", "json"),
    ("query", "slowest-triggers", "--format", "json", "--raw"),
    ("query", "slowest-triggers", "--format", "csv"),
    ("query", "recent-failures", "--raw"),
    ("query", "recent-failures", "--format", "json", "--raw"),
]


@pytest.fixture
def hostile(connection: psycopg.Connection[Any], dsn: str) -> str:
    """A database whose runs, alerts, triggers, messages, pause and owners bear the attack; its URL."""
    add_organizations(connection, {"acme": ATTACK})
    connection.execute("insert into triggers (id, organization_id, name) values ('t1', 'acme', %s)", (ATTACK,))
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms,"
        " error_message, response_data) values ('a1', 'j', 't1', %s, 'failed', now() - interval '1 minute', 2600, %s,"
        " %s)",
        (ATTACK, ATTACK, json.dumps({ATTACK: ATTACK})),
    )
    connection.execute("select refresh_action_analytics()")
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome,"
        " reason, sqlstate, error) values (gen_random_uuid(), 'x', %(text)s, 'schedule', now(), now(), 'failed',"
        " 'other', %(text)s, %(text)s)",
        {"text": ATTACK},
    )
    connection.execute(
        "insert into analytics_refresh.view_results"
        " select run_id, 'recent_failures', false, 'other', %(text)s, %(text)s from analytics_refresh.runs",
        {"text": ATTACK},
    )
    connection.execute(
        "insert into analytics_refresh.alerts (alert, view_name, state, severity, active_at, fired_at, summary)"
        " values ('AnalyticsViewStale', 'recent_failures', 'firing', 'warning', now(), now(), %s)",
        (ATTACK,),
    )
    connection.execute("select analytics_refresh.pause(interval '1 hour', %s)", (ATTACK,))
    return dsn


def environment(dsn: str) -> dict[str, str]:
    """The process's own, with the database."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("ANALYTICS_REFRESHD_")}
    return own | {"ANALYTICS_REFRESHD_DATABASE__URL": dsn, "COLUMNS": "200", "PYTHONUTF8": "1"}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=" ".join(words), marks=[pytest.mark.quick] * (words in COMMANDS[:2]))
        for words in COMMANDS
    ],
)
def test_no_command_prints_what_a_terminal_acts_upon(hostile: str, words: tuple[str, ...]) -> None:
    """Neither on standard output nor on standard error, whatever the format."""
    done = warm.run(words, environment(hostile))
    out, err = done.stdout, done.stderr
    assert "Traceback" not in err
    assert not acts_on_a_terminal(out + err)
    assert out.strip()
    if words[-1] == "json" or "json" in words:
        json.loads(out)


@pytest.mark.parametrize("words", [("history",), ("query", "slowest-triggers")])
def test_csv_begins_no_formula(hostile: str, words: tuple[str, ...]) -> None:
    """The attack comes out as a text, in every column that holds it."""
    command = [sys.executable, "-m", "analytics_refreshd", *words, "--format", "csv"]
    done = subprocess.run(command, env=environment(hostile), check=True, capture_output=True, text=True)
    cells = [cell for row in csv.reader(io.StringIO(done.stdout)) for cell in row]
    assert any("cmd|" in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]


def test_raw_csv_is_as_stored_in_a_pipe_and_safe_on_a_terminal(hostile: str) -> None:
    """Programs get the very text; a terminal gets no escape."""
    command = [sys.executable, "-m", "analytics_refreshd", "query", "slowest-triggers", "--format", "csv", "--raw"]
    piped = subprocess.run(command, env=environment(hostile), check=True, capture_output=True)
    assert ATTACK in piped.stdout.decode()
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment(hostile), stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # the other side is closed
            pass
        assert process.wait() == 0
    os.close(ours)
    assert "cmd|" in shown.decode()
    assert not acts_on_a_terminal(shown.decode().replace("\r\n", "\n"))


STORED = """
import sys
from analytics_refreshd.cli.main import main
main()
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


@pytest.mark.parametrize("words", [("status",), ("history",), ("history", "--format", "json")], ids=" ".join)
def test_stored_texts_of_megabytes_are_cut_by_the_server(
    connection: psycopg.Connection[Any], dsn: str, words: tuple[str, ...]
) -> None:
    """Whoever wrote them: they are not taken over whole."""

    def peak() -> int:
        command = [sys.executable, "-c", STORED, *words]
        done = subprocess.run(command, env=environment(dsn), check=True, capture_output=True, text=True)
        return int(done.stderr.splitlines()[-1])

    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome,"
        " reason, error) values (gen_random_uuid(), 'x', 'r', 'schedule', now(), now(), 'failed', 'other', 'short')"
    )
    connection.execute(
        "insert into analytics_refresh.view_results (run_id, view_name, success, reason, error)"
        " select run_id, 'recent_failures', false, 'other', 'short' from analytics_refresh.runs"
    )
    connection.execute(
        "insert into analytics_refresh.alerts (alert, view_name, state, severity, active_at, fired_at, summary)"
        " values ('AnalyticsViewStale', 'recent_failures', 'firing', 'warning', now(), now(), 'short')"
    )
    connection.execute("select analytics_refresh.pause('1 hour', 'short')")
    before = peak()
    connection.execute("update analytics_refresh.runs set error = repeat('long ', 2500000)")
    connection.execute("update analytics_refresh.view_results set error = repeat('long ', 2500000)")
    connection.execute("update analytics_refresh.alerts set summary = repeat('long ', 2500000)")
    assert peak() - before < 5_000


def test_one_place_writes_to_the_terminal() -> None:
    """Commands print by `cli.common`, which makes text safe; progress bars hold no text of others."""
    found = []
    for path in Path(next(iter(analytics_refreshd.cli.__path__))).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and path.name != "common.py":
                name = ast.unparse(node.func)
                if name in ("typer.echo", "click.echo", "typer.secho", "Console", "sys.stdout.write", "print"):
                    found.append(f"{path.name}: {ast.unparse(node)}")
    assert sorted(found) == [
        "demo.py: Console(stderr=True)",
        "incident.py: Console(stderr=True)",
        "main.py: print(end='', flush=True)",
        "main.py: print(f'analytics-refreshd: {without_controls(text)}', file=sys.stderr)",
        "main.py: print(without_controls(traceback.format_exc()), end='', file=sys.stderr)",
        "main.py: typer.echo(f'analytics-refreshd {__version__}')",
    ]
