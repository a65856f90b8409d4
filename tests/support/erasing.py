"""A log with somebody's data in every text field, and where any of it is left."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.support import warm
from tests.support.daemon import command, environment
from tests.support.faults import Connection, value

CANARY = "canary7391"
"""In every text field of the person's rows, and in our own texts."""

# slots are far apart, so that no portion has to wait for one
SETTINGS: dict[str, Any] = {"schedule__interval": "6h"}

_PEOPLE = """
insert into triggers (id, user_id, organization_id) values
    ('alone', 'person', null), ('shared', 'person', 'o1'), ('other', 'somebody', null), ('nobody', null, null);
"""
_ROWS = """
insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms,
    error_message, response_data, retry_count)
select trigger || i, {word} || 'job' || i % 3, trigger, {word} || 'event', (array['rest', 'mcp'])[1 + i % 2],
    (array['failed', 'success'])[1 + i % 2], now() - i * {step}, i * 7 % 100, {word} || 'message',
    jsonb_build_object({word} || 'key', {word} || 'value'), i % 2
from unnest({triggers}::text[]) trigger, generate_series(1, {rows}) i;
"""
_OURS = """
insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, error)
    values ('00000000-0000-0000-0000-000000000001', 'd', 'r', 'command', now(), {word});
insert into analytics_refresh.view_results (run_id, view_name, success, error)
    values ('00000000-0000-0000-0000-000000000001', 'recent_failures', false, {word});
insert into analytics_refresh.alerts (alert, state, severity, active_at, summary, description)
    values ('AnalyticsRefreshFailed', 'resolved', 'warning', now(), {word}, {word});
insert into analytics_refresh.retention_runs (run_id, bound, keep_figures, reason)
    values (gen_random_uuid(), now(), true, {word});
"""
# its samples are taken away by the commands that the receipt names
_SAMPLES = ("pg_statistic", "pg_stats")


def fill(connection: Connection, rows: int = 6, step: str = "1 hour", *, ours: bool = True) -> None:
    """Let two triggers of one person, one of them an organization's, and two of others act so often."""
    connection.execute(_PEOPLE)
    act(connection, ["alone", "shared"], CANARY, rows, step)
    act(connection, ["other", "nobody"], "harmless", rows, step)
    if ours:
        connection.execute(sql.SQL(_OURS).format(word=sql.Literal(CANARY)))


def act(connection: Connection, triggers: list[str], word: str, rows: int, step: str = "1 hour") -> None:
    """Insert rows of these triggers, the newest a step ago, with `word` in every text."""
    names = {"word": word, "triggers": triggers, "rows": rows, "step": step}
    literals = {name: sql.Literal(given) for name, given in names.items()}
    literals["step"] = sql.SQL("{}::interval").format(literals["step"])  # type: ignore[assignment]
    connection.execute(sql.SQL(_ROWS).format(**literals))


def found_by_sql(connection: Connection, word: str = CANARY, *, samples: bool = True) -> list[str]:
    """Every table and view of the database in which some row holds the word."""
    relations = connection.execute(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        # which not every machine can answer, and which holds no text of ours
        " where c.relkind in ('r', 'p', 'v', 'm') and c.relname <> 'pg_shmem_allocations_numa' order by 1, 2"
    ).fetchall()
    found = []
    for schema, name in relations:
        if name in _SAMPLES and not samples:
            continue
        query = sql.SQL("select exists (select from {} t where position(%s in t::text) > 0)")
        if value(connection, query.format(sql.Identifier(schema, name)), word):  # type: ignore[arg-type]
            found.append(f"{schema}.{name}")
    return found


def found_in_files(data: Path, word: str = CANARY) -> list[str]:
    """Every file of the server that holds the word, the write-ahead log apart."""
    return [
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file() and "pg_wal" not in path.parts and word.encode() in path.read_bytes()
    ]


def erase(dsn: str, key: Path, *words: str, **settings: Any) -> "subprocess.CompletedProcess[str]":
    """Look with --dry-run, then erase what was shown."""
    given = SETTINGS | {"retention__erasure_key_file": key} | settings
    shown = command(dsn, "erase", *words, "--dry-run", "--format", "json", **given)
    assert shown.returncode == 0, shown.stderr
    return command(dsn, "erase", *words, "--confirm", json.loads(shown.stdout)["token"], "--format", "json", **given)


def receipt_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """The one receipt of an erasure that did all it should."""
    assert done.returncode == 0, done.stderr + done.stdout
    (receipt,) = json.loads(done.stdout)["receipts"]
    assert isinstance(receipt, dict)
    return receipt


@contextmanager
def started(dsn: str, key: Path, *words: str, **settings: Any) -> Iterator[warm.Started]:
    """`erase` in a process of its own, killed at the end."""
    given = SETTINGS | {"retention__erasure_key_file": key} | settings
    shown = command(dsn, "erase", *words, "--dry-run", "--format", "json", **given)
    assert shown.returncode == 0, shown.stderr
    token = json.loads(shown.stdout)["token"]
    with warm.killed(warm.start(["erase", *words, "--confirm", token], environment(dsn, **given))) as process:
        yield process


def make_key(folder: Path) -> Path:
    """A key's file, as the guide makes it."""
    path = folder / "erasure.key"
    path.write_text(os.urandom(32).hex() + "\n")
    path.chmod(0o600)
    return path


def copy_of(dsn: str, admin: str) -> str:
    """This database, free of sessions, to be copied as a restore would."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [name])
    return dsn
