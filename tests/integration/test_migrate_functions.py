"""The functions of the application's schema and the pauses: true, isolated, and cheap to trust."""

import threading
from typing import Any

import psycopg
import pytest

from tests.support.installs import make_stretchable, stretch
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]
VIEWS = ["action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution"]
REFRESH = "select * from refresh_action_analytics()"


def columns(connection: Connection, query: str) -> str:
    """The result columns of a query, with types."""
    found = connection.execute(query).description or []
    return ", ".join(f"{one.name} {one.type_display}" for one in found)


def recorded(connection: Connection) -> dict[str, Any]:
    """View to the time of its last recorded refresh."""
    return dict(connection.execute("select view_name, last_success_at from analytics_refresh.last_refresh").fetchall())


@pytest.mark.slow
@pytest.mark.parametrize("query", [REFRESH, "select * from refresh_action_analytics_view('recent_failures')"])
def test_refresh_columns(connection: Connection, query: str) -> None:
    """Both refresh functions return the contract's five columns."""
    expected = "view_name text, refresh_duration_ms int4, rows_refreshed int8, success bool, error_message text"
    assert columns(connection, query) == expected


def test_status_columns(connection: Connection) -> None:
    """The status function returns the contract's five columns."""
    expected = "view_name text, row_count int8, size_bytes int8, last_refresh timestamptz, age_minutes int4"
    assert columns(connection, "select * from get_analytics_refresh_status()") == expected


@pytest.mark.slow
def test_one_row_per_view_in_order(connection: Connection) -> None:
    """A refresh reports each view once, in the contract's order, with the rows it then has."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status) values ('a', 'j', 'rest', 'failed')"
    )
    rows = connection.execute(REFRESH).fetchall()
    assert [(row[0], *row[2:]) for row in rows] == [
        (view, 0 if view == "trigger_performance_summary" else 1, True, None) for view in VIEWS
    ]


def test_failing_view_does_not_stop_the_others(connection: Connection) -> None:
    """A view that fails is a row with SQLSTATE and message; the others are refreshed and recorded."""
    make_stretchable(connection)
    before = recorded(connection)
    stretch(connection, "trigger_performance_summary", message="numeric field overflow", sqlstate="22003")
    rows = {row[0]: row[1:] for row in connection.execute(REFRESH).fetchall()}
    assert rows["trigger_performance_summary"][1:] == (0, False, "22003: numeric field overflow")
    assert [rows[view][2] for view in VIEWS] == [True, False, True, True]
    after = recorded(connection)
    assert [after[view] > before[view] for view in VIEWS] == [True, False, True, True]


@pytest.mark.parametrize(
    ("damage", "view", "start"),
    [
        ("drop materialized view recent_failures", "recent_failures", "42P01: "),
        ("drop index idx_recent_failures_unique", "recent_failures", "55000: "),
        ("refresh materialized view recent_failures with no data", "recent_failures", "0A000: "),
        ("set default_transaction_read_only = on", "recent_failures", "25006: "),
    ],
)
@pytest.mark.slow
def test_sqlstate_of_a_failure(connection: Connection, damage: str, view: str, start: str) -> None:
    """What is wrong with one view stands in its row, SQLSTATE first."""
    connection.execute(damage)
    rows = {row[0]: row for row in connection.execute(REFRESH).fetchall()}
    assert rows[view][2:4] == (0, False)
    assert rows[view][4].startswith(start)


@pytest.mark.slow
def test_error_message_is_cut(connection: Connection) -> None:
    """A message of megabytes is cut at 1,000 characters."""
    make_stretchable(connection)
    stretch(connection, "recent_failures", message="x" * 100_000)
    rows = {row[0]: row for row in connection.execute(REFRESH).fetchall()}
    assert len(rows["recent_failures"][4]) == 1000


def test_failed_assertion_is_a_failed_view(connection: Connection) -> None:
    """An ASSERT in a view's function, which OTHERS does not catch, fails that view only."""
    make_stretchable(connection)
    stretch(connection, "recent_failures", message="no", sqlstate="P0004")
    assert [row[3] for row in connection.execute(REFRESH).fetchall()] == [True, True, False, True]


@pytest.mark.slow
def test_durations_are_true_in_failure_too(connection: Connection) -> None:
    """The milliseconds reported cover the whole time, whether the view was refreshed or failed."""
    make_stretchable(connection)
    stretch(connection, "recent_failures", 0.3)
    stretch(connection, "action_type_distribution", 0.2, message="no")
    rows = {row[0]: row for row in connection.execute(REFRESH).fetchall()}
    assert rows["recent_failures"][1] >= 300
    assert rows["action_type_distribution"][1] >= 200


def test_over_a_minute_does_not_wrap(connection: Connection) -> None:
    """The figure is all seconds, not the part below a minute."""
    row = connection.execute("select prosrc from pg_proc where proname = 'refresh_action_analytics_view'").fetchone()
    assert row is not None
    assert "epoch" in row[0]
    assert "milliseconds" not in row[0]


@pytest.mark.parametrize("limit", ["statement_timeout = '300ms'"])
def test_cancel_ends_the_call(connection: Connection, limit: str) -> None:
    """A statement timeout is not swallowed as one view's failure: the call ends, and nothing is recorded."""
    make_stretchable(connection)
    before = recorded(connection)
    stretch(connection, "recent_failures", 30)
    connection.execute(f"set {limit}")
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(REFRESH)
    assert recorded(connection) == before


def test_lock_timeout_is_one_views_failure(connection: Connection, dsn: str) -> None:
    """A view that another session holds is 55P03 in its row, and the others are refreshed."""
    with psycopg.connect(dsn) as other:
        other.execute("refresh materialized view concurrently trigger_performance_summary")
        connection.execute("set lock_timeout = '200ms'")
        rows = connection.execute(REFRESH).fetchall()
    assert [row[3] for row in rows] == [True, False, True, True]
    assert rows[1][4].startswith("55P03: ")
    assert connection.execute("show lock_timeout").fetchone() == ("200ms",)


@pytest.mark.parametrize("name", ["pg_class", "action_metrics_hourly; drop table action_results", "", None])
@pytest.mark.slow
def test_unknown_view_is_a_failed_row(connection: Connection, name: str | None) -> None:
    """Only the four views can be refreshed; anything else is a row that says so."""
    row = connection.execute("select * from refresh_action_analytics_view(%s)", (name,)).fetchone()
    assert row == (name, 0, 0, False, "42704: not one of the four analytics views")


def test_bookkeeping_without_its_table(connection: Connection) -> None:
    """Without the table of last refreshes a refresh succeeds, silently, and the status has no times."""
    connection.execute("drop table analytics_refresh.last_refresh")
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    assert [row[3] for row in connection.execute(REFRESH).fetchall()] == [True] * 4
    assert notices == []
    rows = connection.execute("select last_refresh, age_minutes from get_analytics_refresh_status()").fetchall()
    assert rows == [(None, None)] * 4


def test_bookkeeping_with_a_broken_table(connection: Connection) -> None:
    """A table that refuses the record costs a warning, never the refresh."""
    connection.execute("alter table analytics_refresh.last_refresh add check (rows_refreshed > 5) not valid")
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    assert [row[3] for row in connection.execute(REFRESH).fetchall()] == [True] * 4
    assert len([notice for notice in notices if notice.startswith("cannot record the refresh of")]) == 4


@pytest.mark.slow
def test_bookkeeping_with_a_locked_table(connection: Connection, dsn: str) -> None:
    """A locked table is waited for half a second per view, the refresh stands, and the session's limit is kept."""
    connection.execute("set lock_timeout = '1min'")
    with psycopg.connect(dsn) as other:
        other.execute("lock table analytics_refresh.last_refresh")
        assert [row[3] for row in connection.execute(REFRESH).fetchall()] == [True] * 4
    assert connection.execute("show lock_timeout").fetchone() == ("1min",)


def test_bookkeeping_keeps_the_callers_lock_timeout(connection: Connection) -> None:
    """The limit that bounds the record does not outlive it in the caller's transaction."""
    connection.execute("set lock_timeout = '1min'")
    with connection.transaction():
        connection.execute(REFRESH)
        assert connection.execute("show lock_timeout").fetchone() == ("1min",)


@pytest.mark.slow
def test_bookkeeping_rolls_back_with_the_refresh(connection: Connection) -> None:
    """A refresh that is rolled back is not recorded."""
    before = recorded(connection)
    with connection.transaction(force_rollback=True):
        connection.execute(REFRESH)
        assert recorded(connection) != before
    assert recorded(connection) == before


@pytest.mark.parametrize(
    ("age", "minutes"), [("10 min 59 s", 11), ("10 min 20 s", 10), ("-3 min", 0), ("2 days", 2880)]
)
@pytest.mark.slow
def test_age_is_rounded_not_cut(connection: Connection, age: str, minutes: int) -> None:
    """10 min 59 s reads as 11 minutes, and a clock set back reads as 0."""
    connection.execute(
        "update analytics_refresh.last_refresh set (last_success_at, last_checked_at) = (select t, t from"
        " (select clock_timestamp() - %s::interval as t) a)",
        (age,),
    )
    rows = connection.execute("select age_minutes from get_analytics_refresh_status()").fetchall()
    assert rows == [(minutes,)] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["drop materialized view recent_failures", "refresh materialized view recent_failures with no data"]
)
def test_status_of_a_view_without_data(connection: Connection, damage: str) -> None:
    """A view that is missing or empty of data keeps its row, without a time, so that it reads as stale."""
    connection.execute(damage)
    rows = connection.execute(
        "select view_name, row_count, last_refresh from get_analytics_refresh_status()"
    ).fetchall()
    assert [row[0] for row in rows] == VIEWS
    assert rows[2][1:] == (None, None)


@pytest.mark.slow
def test_hostile_search_path(connection: Connection) -> None:
    """Shadowing functions and tables in the caller's path change nothing."""
    connection.execute("create schema evil")
    connection.execute("create function evil.left(text, integer) returns text language sql as $$ select 'evil' $$")
    connection.execute(
        "create function evil.clock_timestamp() returns timestamptz language sql as $$ select null::timestamptz $$"
    )
    connection.execute("create table evil.action_metrics_hourly ()")
    connection.execute("set search_path = evil, pg_catalog")
    rows = connection.execute("select * from public.refresh_action_analytics()").fetchall()
    assert [(row[2], row[3]) for row in rows] == [(0, True)] * 4
    row = connection.execute(
        "select bool_and(coalesce(proconfig, '{}') @> array['search_path=pg_catalog, pg_temp']) from pg_proc"
        " where pronamespace = any(array['public', 'analytics_refresh']::regnamespace[])"
    ).fetchone()
    assert row == (True,)


def test_two_refreshes_at_once(connection: Connection, dsn: str) -> None:
    """Two callers at once both succeed, one after the other."""
    results: list[list[bool]] = []

    def run() -> None:
        with psycopg.connect(dsn, autocommit=True) as own:
            results.append([bool(row[3]) for row in own.execute(REFRESH).fetchall()])

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[True] * 4] * 2


@pytest.mark.slow
def test_each_view_is_dated_by_its_lock(connection: Connection, dsn: str) -> None:
    """While a view is refreshed, another session sees the EXCLUSIVE locks of the views begun so far."""
    make_stretchable(connection)
    stretch(connection, "recent_failures", 30)
    seen = (
        "select array_agg(c.relname::text order by c.relname) from pg_locks l join pg_class c on c.oid = l.relation"
        " where l.mode = 'ExclusiveLock' and c.relkind = 'm' and l.pid = %s"
    )
    with psycopg.connect(dsn, autocommit=True) as own:
        pid = own.info.backend_pid

        def run() -> None:
            with pytest.raises(psycopg.errors.QueryCanceled):
                own.execute(REFRESH)

        thread = threading.Thread(target=run)
        thread.start()
        eventually(lambda: connection.execute(seen, (pid,)).fetchone() == (sorted(VIEWS[:3]),))
        own.cancel_safe()
        thread.join()


def paused_until(connection: Connection) -> Any:
    """When refreshes start again; None when they are not paused."""
    row = connection.execute(
        "select max(ends_at) from analytics_refresh.pauses"
        " where ended_at is null and starts_at <= clock_timestamp() and ends_at > clock_timestamp()"
    ).fetchone()
    return row and row[0]


def test_overlapping_pauses(connection: Connection) -> None:
    """Pauses add up: the answer is when the last one ends, and resume ends them all."""
    (long,) = connection.execute("select analytics_refresh.pause('2 hours', 'index rebuild')").fetchone() or (None,)
    assert connection.execute("select analytics_refresh.pause('1 minute', 'look')").fetchone() == (long,)
    assert paused_until(connection) == long
    assert connection.execute("select analytics_refresh.resume()").fetchone() == (2,)
    assert paused_until(connection) is None
    assert connection.execute("select analytics_refresh.resume()").fetchone() == (0,)


@pytest.mark.parametrize(
    ("duration", "reason"),
    [
        ("8 days", "x"),
        ("0", "x"),
        ("-1 hour", "x"),
        (None, "x"),
        ("1 hour", " "),
        ("1 hour", None),
        ("1000000 years", "x"),
    ],
)
@pytest.mark.slow
def test_impossible_pauses(connection: Connection, duration: str | None, reason: str | None) -> None:
    """A pause has an end within 7 days and a reason."""
    with pytest.raises((psycopg.errors.InvalidParameterValue, psycopg.errors.DatetimeFieldOverflow)):
        connection.execute("select analytics_refresh.pause(%s::interval, %s)", (duration, reason))
    assert paused_until(connection) is None
