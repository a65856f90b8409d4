"""What a backlog of changes costs: about what its rows are, by a plan that knew of none of them."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.settings import Outbox
from tests.support.horizon import connect, keep_rows

Connection = psycopg.Connection[Any]

_TRIGGERS = 600
_ROWS = """
insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)
select %(kind)s || i, 'job', 'trigger ' || (i * 7) %% %(triggers)s, (array['rest', 'mcp', 'telegram'])[1 + i %% 3],
    (array['success', 'success', 'failed', 'retrying'])[1 + i %% 4],
    date_trunc('hour', now(), 'UTC') - %(until)s::interval - (i * 37 %% %(minutes)s) * interval '1 minute',
    i * 11 %% 5000, i %% 5
from generate_series(1, %(count)s) i
"""
_BACKLOG = 3000
_DAYS_BEFORE = 50
_VARIABLES = {
    "changes_at_freeze": {"horizon_next": "timestamptz", "horizon": "timestamptz"},
    "changes_from_deltas": {
        "whole_hours_from": "timestamptz",
        "window_from": "timestamptz",
        "horizon": "timestamptz",
        "applies": "boolean",
    },
    "changes_from_late": {"horizon": "timestamptz", "hours": "timestamptz[]"},
}
_FUNCTIONS = {
    "changes_at_freeze": "freeze",
    "changes_from_deltas": "fold",
    "changes_from_late": "apply_late",
}


def _prepare(connection: Connection, name: str) -> None:
    """Prepare the statement that adds up, as it is installed, with the variables of its function as parameters."""
    rows = connection.execute("select prosrc from pg_proc where proname = %s", [_FUNCTIONS[name]]).fetchall()
    (statement,) = re.findall(r"\bwith\s+(?:--[^\n]*\s+)*gone as \(.*?\ninto result\n.*?;", rows[0][0], re.DOTALL)
    statement = statement.replace("\ninto result\n", "\n").rstrip(";")
    for number, variable in enumerate(_VARIABLES[name], 1):
        # a part of the statement is called hours, too
        found = r"(?<=any \()hours(?=\))" if variable == "hours" else rf"(?<![.\w]){variable}\b(?!\.)"
        statement = re.sub(found, f"${number}", statement)
    types = ", ".join(_VARIABLES[name].values())
    connection.execute(f"prepare {name} ({types}) as {statement}")


def _call(name: str, values: Mapping[str, object]) -> sql.Composed:
    given = [values.get(variable) for variable in _VARIABLES[name]]
    return sql.SQL("execute {} ({})").format(sql.Identifier(name), sql.SQL(", ").join(map(sql.Literal, given)))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for part in node.get("Plans", []):
        yield from _nodes(part)


def _compared(plan: dict[str, Any]) -> int:
    """How many pairs of rows the joins of a plan looked at, of which few belong together."""
    pairs = 0.0
    for node in _nodes(plan):
        pairs += node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"]
        if node["Node Type"] == "Nested Loop":
            inner = next(part for part in node["Plans"] if part["Parent Relationship"] == "Inner")
            pairs += inner["Actual Rows"] * inner["Actual Loops"]
    return round(pairs)


@pytest.fixture
def folded(databases: Callable[..., str], migrated_template: str) -> Iterator[Connection]:
    """A database that has folded and frozen what it had, and knows from its statistics that nothing waits."""
    with connect(databases(migrated_template)) as connection:
        connection.execute(
            "insert into triggers (id, organization_id)"
            " select 'trigger ' || i, case when i %% 4 > 0 then 'org ' || i %% 4 end from generate_series(0, %s) i",
            [_TRIGGERS - 1],
        )
        incremental.install(connection, retention=Retention(1000 * 86400.0), outbox=Outbox(True))
        connection.execute("select analytics_refresh.outbox_start()")
        minutes = _DAYS_BEFORE * 1440
        values = {"kind": "before ", "triggers": _TRIGGERS, "until": "1 hour", "minutes": minutes, "count": 6000}
        connection.execute(_ROWS, values)
        connection.execute("select analytics_refresh.fold()")
        keep_rows(connection, (_DAYS_BEFORE - 9) * 24)
        connection.execute("select analytics_refresh.fold()")
        connection.execute("vacuum analyze")
        connection.execute("set jit = off; set max_parallel_workers_per_gather = 0; set timezone = 'UTC'")
        connection.execute(
            "set datestyle = 'ISO, YMD'; set work_mem = '64MB'; set plan_cache_mode = force_generic_plan"
        )
        yield connection


@pytest.mark.parametrize("name", sorted(_VARIABLES))
def test_a_backlog_is_compared_with_itself_by_no_nested_loop(folded: Connection, name: str) -> None:
    """A plan from when nothing waited looks at few pairs of rows for each change that waits now."""
    _prepare(folded, name)
    frozen_until = folded.execute("select frozen_until from analytics_refresh.incremental").fetchall()[0][0]
    values: dict[str, object] = {"horizon": frozen_until, "applies": False, "hours": []}
    folded.execute(sql.SQL("explain {}").format(_call(name, values)))  # it is planned here
    folded.execute("update action_results set duration_ms = duration_ms + 1 where hashtext(id) % 5 = 0")
    folded.execute("delete from action_results where hashtext(id) % 7 = 0")
    late = name == "changes_from_late"
    days = (_DAYS_BEFORE - 11, 8) if late else (0, _DAYS_BEFORE - 12)
    rows = {"kind": "late ", "triggers": _TRIGGERS, "until": f"{days[0]} days", "minutes": days[1] * 1440}
    folded.execute(_ROWS, rows | {"count": _BACKLOG})
    hours = folded.execute(
        "select array_agg(distinct date_trunc('hour', executed_at, 'UTC')) from analytics_refresh.deltas"
    ).fetchall()
    times = folded.execute("select now() - interval '720 hours', now() - interval '5 days'").fetchall()[0]
    values |= {
        "hours": hours[0][0],
        "window_from": times[0],
        "whole_hours_from": times[0],
        "horizon_next": times[1],
    }
    with folded.transaction(force_rollback=True):
        explain = sql.SQL("explain (analyze, timing off, format json) {}").format(_call(name, values))
        plan = folded.execute(explain).fetchall()[0][0][0]["Plan"]
    changed = next(node for node in _nodes(plan) if node.get("Subplan Name") == "CTE net")["Actual Rows"]
    assert changed >= _BACKLOG * 0.8
    assert _compared(plan) < 20 * changed
