"""Rows of the demo in a real database: made up, from a log, and live."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest

from analytics_refreshd.demo import DemoError, loading
from analytics_refreshd.demo.actions import Generator, make_bursts
from analytics_refreshd.demo.csvlog import COLUMNS, read_log
from analytics_refreshd.demo.live import Live
from analytics_refreshd.demo.world import make_world
from tests.support.faults import value
from tests.support.waiting import eventually

NOW = datetime(2026, 3, 18, 15, 20, 7, 123456, tzinfo=UTC)


@pytest.fixture
def live(application_dsn: str) -> Iterator[Callable[..., Live]]:
    """`live(per_second=…)` starts a stream into the database; it is stopped at the end."""
    streams: list[Live] = []
    world = make_world(1)
    with psycopg.connect(application_dsn) as connection:
        loading.load_world(connection, world, NOW)

    def begin(per_second: float) -> Live:
        streams.append(Live(application_dsn, world, 1, per_second=per_second))
        streams[-1].start()
        return streams[-1]

    yield begin
    for stream in streams:
        stream.stop()


def _load(dsn: str, rows: int) -> list[int]:
    world = make_world(1)
    seen: list[int] = []
    actions = Generator(world, Random(1), make_bursts(1, NOW)).history(rows, NOW)
    with psycopg.connect(dsn) as connection:
        loading.load_world(connection, world, NOW)
        loading.load_actions(connection, actions, seen.append)
    return seen


def test_made_up_actions_arrive_as_drawn(application_dsn: str) -> None:
    """What is in the table is what the generator drew, with progress up to the last row."""
    assert _load(application_dsn, 2345) == [1000, 2000, 2345]
    world = make_world(1)
    drawn = list(Generator(world, Random(1), make_bursts(1, NOW)).history(2345, NOW))
    with psycopg.connect(application_dsn) as connection:
        rows = connection.execute(
            "select id, trigger_id, status, executed_at, duration_ms, error_message, retry_count from action_results"
        ).fetchall()
    assert sorted(rows, key=str) == sorted(
        (
            (one.id, one.trigger_id, one.status, one.executed_at, one.duration_ms, one.error_message, one.retry_count)
            for one in drawn
        ),
        key=str,
    )


def test_kept_actions_tell_a_made_up_log_from_a_real_one(application_dsn: str, databases: Callable[..., str]) -> None:
    """No table, a real log, or a made-up one: what a second start with the same data needs to know."""
    with psycopg.connect(databases()) as connection:
        assert loading.kept_actions(connection) is None
    _load(application_dsn, 10)
    with psycopg.connect(application_dsn) as connection:
        assert loading.kept_actions(connection) == loading.Kept(10, are_generated=True)


def test_a_real_log_brings_its_triggers_and_organizations(application_dsn: str, tmp_path: Path) -> None:
    """Every trigger exists before its actions, with the organization that the log names."""
    path = tmp_path / "log.csv"
    path.write_text(
        ",".join(COLUMNS)
        + '\na,j,t1,,rest,success,2024-10-30T00:00:00Z,5,,"{""code"": 200}",0,acme'
        + "\nb,j,t2,,rest,failed,2024-10-30T01:00:00Z,,oops,,1,\n"
    )
    log = read_log(path)
    with psycopg.connect(application_dsn) as connection:
        loading.load_references(connection, log, NOW)
        loading.load_actions(connection, log.actions(NOW), lambda done: None)
        triggers = connection.execute("select id, organization_id from triggers order by 1").fetchall()
        times = connection.execute("select executed_at from action_results order by 1").fetchall()
        code = connection.execute("select response_data ->> 'code' from action_results where id = 'a'").fetchone()
        assert loading.kept_actions(connection) == loading.Kept(2, are_generated=False)
    assert triggers == [("t1", "acme"), ("t2", None)]
    assert times == [(NOW - timedelta(hours=1),), (NOW,)]
    assert code == ("200",)


def test_what_postgresql_alone_refuses_is_one_sentence(application_dsn: str, tmp_path: Path) -> None:
    """JSON that Python takes and PostgreSQL does not: the message gives PostgreSQL's reason and the row."""
    path = tmp_path / "log.csv"
    path.write_text(",".join(COLUMNS) + "\na,j,,,rest,success,,,,1e999999,0,\n")
    with psycopg.connect(application_dsn) as connection, pytest.raises(DemoError) as caught:
        loading.load_actions(connection, read_log(path).actions(NOW), lambda done: None)
    assert str(caught.value).startswith("PostgreSQL refuses an action: ")
    assert "line 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_live_actions_keep_coming_and_settle(
    application_dsn: str, live: Callable[..., Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    """New rows appear with the time they are inserted, and retrying ones become success or failed."""
    monkeypatch.setattr("analytics_refreshd.demo.live._RETRY_AFTER_SECONDS", (0.2, 0.3))
    seen: set[str] = set()
    with psycopg.connect(application_dsn, autocommit=True) as connection:

        def settled() -> set[str]:
            rows = connection.execute("select id, status from action_results").fetchall()
            seen.update(identity for identity, status in rows if status == "retrying")
            return {status for identity, status in rows if identity in seen and status != "retrying"}

        stream = live(per_second=500)
        eventually(lambda: settled() == {"success", "failed"})
        stream.stop()
        count = connection.execute("select count(*) from action_results").fetchone()
        assert connection.execute("select count(*) from action_results").fetchone() == count
        recent = connection.execute(
            "select bool_and(executed_at between now() - interval '1 minute' and now()) from action_results"
        ).fetchone()
        assert recent == (True,)


def test_live_actions_survive_a_lost_connection(application_dsn: str, live: Callable[..., Live]) -> None:
    """The session is terminated; the stream comes back on a new one."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        live(per_second=500)

        def session() -> int | None:
            row = connection.execute(
                "select pid from pg_stat_activity where application_name = 'analytics-refreshd-demo'"
                " and datname = current_database()"
            ).fetchone()
            return row[0] if row else None

        first = eventually(session)
        connection.execute("select pg_terminate_backend(%s)", [first])
        assert eventually(lambda: session() not in (None, first))
        before = value(connection, "select count(*) from action_results")
        eventually(lambda: value(connection, "select count(*) from action_results") > before)


def test_stopping_is_prompt(application_dsn: str, live: Callable[..., Live]) -> None:
    """A stream that waits for its next action ends at once, and one that never began can be stopped."""
    Live(application_dsn, make_world(1), 1).stop()
    live(per_second=0.0001).stop()
    assert "demo-live" not in {thread.name for thread in threading.enumerate()}
