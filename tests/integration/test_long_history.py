"""A long history costs no more than a short one: what is read is counted, by the server itself."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.core.model import Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.state.history import PostgresHistory
from tests.support.adapters import session, status_reader
from tests.support.long_history import add_failed_runs

Connection = psycopg.Connection[Any]
_HISTORY = blocks("state/history.sql")
_FAILING = "recent_failures"
_MOST_BUFFERS = 600
"""A row that is read by its key costs four; of a thousand runs the newest are read, and of thirty the views."""

STATEMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "the last success of a view without one": (
        blocks("state/status.sql")["last_success"].format(newest=_HISTORY["newest"]),
        {"views": [_FAILING]},
    ),
    "the last success of a view unheard of": (
        blocks("state/status.sql")["last_success"].format(newest=_HISTORY["newest"]),
        {"views": ["unheard_of"]},
    ),
    "the last result of a view unheard of": (
        blocks("check/check.sql")["last_results"].format(newest=_HISTORY["newest"]),
        {"views": ["unheard_of"]},
    ),
    "the runs of a view": (
        _HISTORY["recent_runs"].format(of_view=_HISTORY["of_view"], cost_columns=""),
        {"since": None, "outcomes": [], "view": _FAILING, "limit": 20},
    ),
    "the runs of a view unheard of": (
        _HISTORY["recent_runs"].format(of_view=_HISTORY["of_view"], cost_columns=""),
        {"since": None, "outcomes": [], "view": "unheard_of", "limit": 20},
    ),
    "the replica of a leader without a run": (blocks("state/status.sql")["leader_replica"], {"epoch": 1 << 41}),
}


@pytest.fixture(scope="module")
def long_history(templates: Any, migrated_template: str) -> Iterator[Connection]:
    """Thirty thousand runs in which one of four views never succeeded, as of a day with a run every three seconds."""
    with psycopg.connect(templates(migrated_template), autocommit=True) as connection:
        add_failed_runs(connection, 30_000, failing=[_FAILING])
        yield connection


def buffers(connection: Connection, statement: str, parameters: dict[str, Any]) -> int:
    """How many pages a statement reads."""
    explained = connection.execute(
        "explain (analyze, buffers, timing off, format json) " + statement, parameters
    ).fetchall()
    top = explained[0][0][0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


@pytest.mark.slow
@pytest.mark.parametrize("asked", STATEMENTS)
def test_what_is_not_there_is_not_looked_for_in_all_of_history(long_history: Connection, asked: str) -> None:
    """A view that never succeeded, or that nobody knows, costs no look at every run."""
    statement, parameters = STATEMENTS[asked]
    assert buffers(long_history, statement, parameters) < _MOST_BUFFERS


@pytest.fixture
def history(dsn: str) -> Iterator[PostgresHistory]:
    """The history of a database without runs."""
    with session(dsn, name="shop") as shared:
        yield PostgresHistory(shared)


def record(history: PostgresHistory, *views: ViewResult) -> None:
    """Write a run of a second that ends now."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    run = Run(uuid4(), Origin.COMMAND, began, replica="a", clock="daemon")
    history.begin(run)
    ended = replace(run, finished_at=began + timedelta(seconds=1), duration_seconds=1.0, outcome=Outcome.OK)
    history.finish(replace(ended, views=views))


@pytest.mark.slow
def test_a_success_stays_known_however_many_failures_follow(
    dsn: str, connection: Connection, history: PostgresHistory
) -> None:
    """Of a view whose function records nothing, the daemon keeps the last success beside its history."""
    record(history, ViewResult("own_view", True, rows=3, duration_seconds=0.5))
    add_failed_runs(connection, 150, failing=["own_view"])
    with status_reader(dsn, views=("own_view", "recent_failures")) as reader:
        own, ours = reader.read().views
    noted = "select last_success_at from analytics_refresh.last_refresh where view_name = 'own_view'"
    assert connection.execute(noted).fetchall() == [(own.recorded_at,)]
    assert ours.recorded_at is not None


@pytest.mark.slow
def test_what_a_function_recorded_is_left_to_it(connection: Connection, history: PostgresHistory) -> None:
    """Its own record is of this run: rows, milliseconds and times are its own."""
    connection.execute("select * from public.refresh_action_analytics()")
    asked = "select * from analytics_refresh.last_refresh order by 1"
    before = connection.execute(asked).fetchall()
    record(history, ViewResult("recent_failures", True, rows=77, duration_seconds=0.1))
    assert connection.execute(asked).fetchall() == before


@pytest.mark.slow
@pytest.mark.parametrize("obstacle", ["a lock", "a refusal"])
def test_a_record_beside_history_delays_no_run(
    dsn: str, connection: Connection, history: PostgresHistory, obstacle: str
) -> None:
    """Where it cannot be written the run is, and its success is found there."""
    with psycopg.connect(dsn) as other:
        if obstacle == "a lock":
            other.execute("lock table analytics_refresh.last_refresh in exclusive mode")
        else:
            connection.execute(
                "create or replace function public.refuse() returns trigger language plpgsql as"
                " $$ begin raise insufficient_privilege; end $$;"
                " create trigger refuse before insert on analytics_refresh.last_refresh execute function refuse()"
            )
        record(history, ViewResult("own_view", True, rows=3), ViewResult("other", False, Reason.DATA))
        other.rollback()
    noted = "select count(*) from analytics_refresh.last_refresh where view_name = 'own_view'"
    assert connection.execute(noted).fetchone() == (0,)
    with status_reader(dsn, views=("own_view",)) as reader:
        assert reader.read().views[0].recorded_at is not None
