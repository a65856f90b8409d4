"""Section H of the fault matrix at the running daemon: what it must never show, and whom it must not trust.

H02, H08 to H11, H14 to H16 and H18 are where the adapters are tested, H12 in test_least_privilege.py.
"""

import json
import os
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import VIEWS
from tests.support import warm
from tests.support.daemon import Daemon, command
from tests.support.faults import FAST, Connection, value
from tests.support.postgres import free_port

pytestmark = pytest.mark.fault
CANARY = "CANARY-7f3a"
PERSON = "jane.doe@example.org"
# no pattern finds it: what carries it must be left out as a whole
NAME = "Jane Roe"
PATHS = ("/metrics", "/status.json", "/", "/livez", "/readyz", "/leader")


def shown(daemon: Daemon) -> str:
    """Everything that a running daemon shows: its log, its HTTP paths, its command line."""
    command_line = Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
    return "\n".join([*daemon.raw, *(daemon.get(path)[1] for path in PATHS), command_line])


def stored(connection: Connection) -> str:
    """Everything that our schema holds, and the names of our sessions."""
    tables = ("runs", "view_results", "alerts", "deliveries", "pauses", "last_refresh")
    parts = [
        str(connection.execute(f"select json_agg(t) from analytics_refresh.{table} t").fetchone()) for table in tables
    ]
    return "\n".join([*parts, str(connection.execute("select application_name from pg_stat_activity").fetchall())])


def failing_with(connection: Connection, body: str) -> None:
    """Make each refresh of every view fail as the PL/pgSQL `body` does."""
    connection.execute(
        f"create or replace function held(held_view text) returns boolean language plpgsql volatile as"
        f" $held$ begin {body} return true; end $held$"
    )


def returning(connection: Connection, query: str, first: str = "") -> None:
    """Put a function in place of the refresh function that does `first` and returns the rows of `query`."""
    connection.execute("drop function refresh_action_analytics()")
    connection.execute(
        "create function refresh_action_analytics() returns table (view_name text, refresh_duration_ms integer,"
        " rows_refreshed bigint, success boolean, error_message text) language plpgsql as"
        f" $body$ begin {first} return query {query}; end $body$"
    )


@pytest.mark.parametrize("fault", ["none", "refused", "no such database", "no such host", "no TLS"])
def test_H01_secret_in_what_is_shown(dsn: str, connection: Connection, fault: str) -> None:
    """A password in the URL is in no line, metric, page, alert, history row, process list or session name."""
    faults: dict[str, dict[str, str | int]] = {
        "none": {},
        "refused": {"port": free_port()},
        "no such database": {"dbname": "no_such_database"},
        "no such host": {"host": "no-such-host.invalid"},
        "no TLS": {"sslmode": "require"},
    }
    given = make_conninfo(dsn, password=CANARY, **faults[fault])
    with Daemon(given, cold=True, **FAST, alerts__database_unavailable_for="1s") as daemon:
        daemon.wait_for("refresh.finished" if fault == "none" else "alert.firing")
        assert CANARY not in shown(daemon) + stored(connection)
        assert daemon.stop() == 0
    assert CANARY not in "\n".join(daemon.raw)
    for word in ("status", "check", "refresh") if fault == "refused" else ("check",):
        done = command(given, word)
        assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [pytest.param(["--dsn"], marks=pytest.mark.quick), ["run", "--dsn"], ["status", "--url"], ["--database-url"]],
)
def test_H03_secret_on_the_command_line(words: list[str]) -> None:
    """No option takes a connection string; a try is refused without repeating it."""
    done = warm.run([*words, f"postgresql://u:{CANARY}@h/db"], os.environ)
    assert done.returncode == 64
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "body",
    [
        f"perform '{PERSON}'::integer;",
        f"raise exception 'refused' using detail = 'Key (mail, name)=({PERSON}, {NAME})', hint = 'ask {NAME}';",
        f"execute 'select 1/0 -- {PERSON} {NAME}';",
        f"raise exception 'no account for {PERSON}';",
    ],
    ids=["bad cast", "detail and hint", "context", "message"],
)
def test_H04_personal_data_in_error_text(dsn: str, stretched: Connection, body: str) -> None:
    """A value of a row that an error carries is in no log, metric, page, alert or history."""
    failing_with(stretched, body)
    with Daemon(dsn, cold=True, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert line["outcome"] == "failed"
        daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        everything = shown(daemon) + stored(stretched)
        assert PERSON not in everything
        assert "jane" not in everything.lower()
        assert line["views"][0]["sqlstate"] in everything
        assert daemon.stop() == 0


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_H05_log_forging(dsn: str, stretched: Connection, log_format: str) -> None:
    """An error text with a line break, a record of its own and a terminal's escape stays inside its line, encoded."""
    failing_with(stretched, r"""raise exception E'line1\n{"event":"forged","level":"info"}\x1b[31mred\u202e\u2028x';""")
    with Daemon(dsn, **FAST, log__format=log_format) as daemon:
        if log_format == "json":
            daemon.wait_for("refresh.finished", count=2)
        else:
            daemon.until(lambda: sum("refresh.finished" in line for line in daemon.raw) >= 2)
        assert daemon.stop() == 0
    known = {event.value for event in Event}
    for raw in daemon.raw:
        assert not set("\x1b\u202e\u2028") & set(raw)
        assert not raw.lstrip().startswith('{"event":"forged"')
        if log_format == "json":
            assert json.loads(raw)["event"] in known
    error = value(stretched, "select error from analytics_refresh.view_results limit 1")
    assert "line1" in error
    assert not set("\n\x1b\u202e") & set(error)


@pytest.mark.parametrize("of", ["view", "call"])
def test_H06_huge_error_text(dsn: str, stretched: Connection, of: str) -> None:
    """Five megabytes of error text, of a view or of the call, are about a kilobyte wherever they are kept or shown."""
    huge = "raise exception '%', repeat('x', 5000000);"
    if of == "view":
        failing_with(stretched, huge)
    else:
        returning(stretched, "select null::text, 1, 1::bigint, true, null::text", huge)
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        assert max(len(raw) for raw in daemon.raw) < 16_384
        assert all(len(daemon.get(path)[1]) < 1_000_000 for path in PATHS)
        assert daemon.stop() == 0
    longest = "select greatest(max(length(error)), 0) from analytics_refresh."
    assert value(stretched, longest + "view_results") <= 1100
    assert value(stretched, longest + "runs") <= 1200
    assert value(stretched, "select max(length(description)) from analytics_refresh.alerts") <= 4000


def test_H07_label_explosion(dsn: str, connection: Connection) -> None:
    """Ten thousand view names from the function make no series, no line and no row each."""
    returning(connection, "select 'v' || n, 5, 1::bigint, n % 2 = 0, 'E' || n from generate_series(1, 10000) n")
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", count=2)
        text = daemon.get("/metrics")[1]
        assert len(text.splitlines()) < 1500
        assert 'view="v77' not in text
        assert len(daemon.get("/status.json")[1]) < 500_000
        assert max(len(raw) for raw in daemon.raw) < 16_384
        assert daemon.stop() == 0
    assert value(connection, "select count(distinct view_name) from analytics_refresh.view_results") == len(VIEWS)


@pytest.mark.parametrize("definer", [False, True])
def test_H13_security_definer_without_search_path(dsn: str, stretched: Connection, definer: bool) -> None:
    """A function that finds its helpers by the caller's path gets ours, not the role's hostile one; `check` warns."""
    stretched.execute(
        "create schema attacker; create table public.abused (by text);"
        " create function public.helper() returns void language sql as $$ select $$;"
        " create function attacker.helper() returns void language sql as"
        " $$ insert into public.abused values (current_user) $$"
    )
    rows = "select v, 5, 1::bigint, true, null::text from unnest(array['" + "','".join(VIEWS) + "']) v"
    refreshes = [f"refresh materialized view concurrently public.{view};" for view in VIEWS]
    returning(stretched, rows, "perform helper(); " + " ".join(refreshes))
    if definer:
        stretched.execute("alter function refresh_action_analytics() security definer")
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    stretched.execute(f'alter database "{name}" set search_path = attacker, public')
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", lambda line: bool(line["outcome"] == "ok"), count=2)
        assert daemon.stop() == 0
    assert value(stretched, "select count(*) from public.abused") == 0
    assert ("with its owner's rights and its caller's search_path" in command(dsn, "check").stdout) is definer
