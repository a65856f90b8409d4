"""Runs in the database: written once, whatever happens between."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.app.commands.status import NoHistory, past_runs
from analytics_refreshd.config import Config
from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.postgres.state.history import PostgresHistory
from tests.support.adapters import connector, session, status_reader
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]
_DAEMON_TIME = datetime(2020, 1, 1, tzinfo=UTC)
_VIEWS = (
    ViewResult("action_metrics_hourly", True, rows=7, duration_seconds=0.5, reported_seconds=0.4, observed_seconds=0.6),
    ViewResult("recent_failures", False, Reason.LOCK_TIMEOUT, "55P03", "canceling statement", duration_seconds=1.0),
)


def running(**changes: Any) -> Run:
    run = Run(uuid4(), Origin.SCHEDULE, _DAEMON_TIME, scheduled_at=_DAEMON_TIME, lateness_seconds=0.2, replica="a")
    return replace(run, leader_epoch=2**40, **changes)


def finished(run: Run, **changes: Any) -> Run:
    done = replace(run, finished_at=_DAEMON_TIME, outcome=Outcome.PARTIAL, reason=Reason.LOCK_TIMEOUT, views=_VIEWS)
    done = replace(done, sqlstate="55P03", error="recent_failures: canceling", duration_seconds=1.5)
    return replace(done, **changes)


@pytest.fixture
def history(dsn: str) -> Iterator[PostgresHistory]:
    with session(dsn, name="shop") as shared:
        yield PostgresHistory(shared)


@pytest.mark.slow
def test_a_database_without_history_is_no_quiet_one(dsn: str, application_dsn: str) -> None:
    """Where our tables are missing nobody is told to look further back, but how to have a history."""

    def asked(url: str) -> list[Run]:
        config = Config(database={"url": url})  # type: ignore[arg-type]
        return past_runs(config, since=timedelta(hours=1), view=None, outcomes=(), limit=5)

    assert asked(dsn) == []
    with pytest.raises(NoHistory, match="migrate"):
        asked(application_dsn)


@pytest.mark.slow
def test_a_run_and_its_views_come_back(history: PostgresHistory) -> None:
    """A run is read back as it was written, but for its times, which are the server's."""
    run = running()
    history.begin(run)
    (begun,) = history.recent(5)
    assert (begun.run_id, begun.outcome, begun.finished_at) == (run.run_id, None, None)
    assert begun.started_at > _DAEMON_TIME
    history.finish(finished(run))
    (read,) = history.recent(5)
    assert read.started_at == begun.started_at
    assert read.finished_at is not None
    assert read.finished_at >= read.started_at
    expected = finished(run, started_at=read.started_at, isolation="cycle")
    assert read == replace(expected, finished_at=read.finished_at, views=tuple(sorted(_VIEWS, key=lambda v: v.view)))


def test_a_cost_comes_back(history: PostgresHistory) -> None:
    """What a run cost, and what each view's refresh did, are read as they were written; unknown stays unknown."""
    views = (replace(_VIEWS[0], rows_changed=12, cost=Cost(100, 20, None, 0)), _VIEWS[1])
    history.finish(finished(running(), views=views, rows_folded=7, cost=Cost(2**40, 5, 6, 2**64)))
    (read,) = history.recent(5)
    assert (read.rows_folded, read.cost) == (7, Cost(2**40, 5, 6, None))
    assert read.views == tuple(sorted(views, key=lambda view: view.view))


def test_an_older_schema_has_no_cost(history: PostgresHistory, connection: Connection) -> None:
    """Before migration 16 a run is written and read without its cost."""
    for table, column in (("runs", "rows_folded"), ("view_results", "rows_changed")):
        connection.execute(f"alter table analytics_refresh.{table} drop column {column}, drop column wal_bytes")
    history.finish(finished(running(), cost=Cost(1, 2, 3, 4), rows_folded=9))
    (read,) = history.recent(5)
    assert (read.rows_folded, read.cost, len(read.views)) == (None, None, 2)


def test_the_size_is_noted_once_an_hour(history: PostgresHistory, connection: Connection) -> None:
    """A leader notes the database's size with the newest run; others only read, and an older schema has none."""
    assert history.sizes(measure=True) == []
    history.finish(finished(running()))
    assert history.sizes(measure=False) == []
    (size,) = history.sizes(measure=True)
    assert size.database_bytes > 1_000_000
    history.finish(finished(running()))
    assert history.sizes(measure=True) == [size]
    connection.execute("update analytics_refresh.runs set started_at = started_at - interval '56 minutes'")
    history.finish(finished(running()))
    assert len(history.sizes(measure=True)) == 2
    connection.execute("alter table analytics_refresh.runs drop column database_bytes")
    assert history.sizes(measure=True) == []


def test_the_server_dates_a_run(history: PostgresHistory, connection: Connection) -> None:
    """Rows carry the service's name, the writing session, and the server's clock."""
    history.begin(running())
    row = connection.execute(
        "select r.database_name, a.application_name, clock, r.started_at between now() - interval '1 min' and now()"
        " from analytics_refresh.runs r join pg_stat_activity a"
        " on a.pid = owner_pid and a.backend_start = owner_started_at"
    ).fetchone()
    assert row == ("shop", "analytics-refreshd/shop/status", "server", True)


def test_finish_is_idempotent(history: PostgresHistory, connection: Connection) -> None:
    """Finishing twice changes nothing but what the second call knows better; the times stay."""
    run = running()
    history.finish(finished(run))
    before = connection.execute("select * from analytics_refresh.runs").fetchall()
    history.finish(finished(run))
    assert connection.execute("select * from analytics_refresh.runs").fetchall() == before
    history.finish(finished(run, attempts=2))
    (read,) = history.recent(5)
    assert read.attempts == 2
    assert len(read.views) == 2


def test_a_run_without_its_beginning(history: PostgresHistory) -> None:
    """A run whose `begin` was lost is dated back from its end by its duration."""
    history.finish(finished(running()))
    (read,) = history.recent(1)
    assert read.finished_at is not None
    assert (read.finished_at - read.started_at).total_seconds() == pytest.approx(1.5, abs=0.1)


def test_a_late_record_keeps_the_daemons_clock(history: PostgresHistory) -> None:
    """A record that waited in memory keeps the daemon's times and says whose clock that was."""
    history.finish(finished(running(), clock="daemon", finished_at=_DAEMON_TIME + timedelta(seconds=2)))
    (read,) = history.recent(1)
    assert (read.clock, read.started_at) == ("daemon", _DAEMON_TIME)
    assert read.finished_at == _DAEMON_TIME + timedelta(seconds=2)


def test_a_skipped_slot_is_a_row(history: PostgresHistory) -> None:
    """A skipped slot is kept with its planned time and no attempt."""
    run = running(outcome=Outcome.SKIPPED, reason=Reason.OVERLAP, attempts=0, finished_at=_DAEMON_TIME)
    history.finish(run)
    (read,) = history.recent(1)
    assert (read.outcome, read.reason, read.attempts, read.views) == (Outcome.SKIPPED, Reason.OVERLAP, 0, ())
    assert read.scheduled_at == _DAEMON_TIME


def test_absurd_figures_are_written_as_unknown(history: PostgresHistory) -> None:
    """Infinities, negative durations and NUL characters do not cost a record."""
    view = ViewResult("v", False, error="a\0b", duration_seconds=float("nan"), rows=2**70)
    history.finish(finished(running(), duration_seconds=-1.0, lateness_seconds=float("inf"), views=(view,)))
    (read,) = history.recent(1)
    assert (read.duration_seconds, read.lateness_seconds) == (0.0, None)
    assert read.views[0] == replace(view, error="ab", duration_seconds=None, rows=None)


@pytest.mark.slow
def test_recent_can_be_narrowed(history: PostgresHistory) -> None:
    """Newest first, up to a limit, since a time, by outcome, and by view with that view's results only."""
    runs = [
        finished(running(), clock="daemon", started_at=_DAEMON_TIME + timedelta(hours=hour), finished_at=None)
        for hour in range(3)
    ]
    runs[1] = replace(runs[1], outcome=Outcome.OK, reason=None, views=(_VIEWS[0],))
    for run in runs:
        history.finish(run)
    ids = [run.run_id for run in reversed(runs)]
    assert [run.run_id for run in history.recent(9)] == ids
    assert [run.run_id for run in history.recent(2)] == ids[:2]
    assert [run.run_id for run in history.recent(9, since=_DAEMON_TIME + timedelta(minutes=1))] == ids[:2]
    assert [run.run_id for run in history.recent(9, outcomes=[Outcome.OK])] == [ids[1]]
    failures = history.recent(9, view="recent_failures")
    assert [run.run_id for run in failures] == [ids[0], ids[2]]
    assert [view.view for run in failures for view in run.views] == ["recent_failures"] * 2


@pytest.mark.fault
def test_D06_abandoned_rows_are_closed(dsn: str, history: PostgresHistory, connection: Connection) -> None:
    """A running row whose session is gone becomes unknown, abandoned; a live one's, and one still fenced, do not."""
    alive, lost, fenced = running(), running(), running()
    history.begin(alive)
    with session(dsn) as other:
        PostgresHistory(other).begin(lost)
        PostgresHistory(other).begin(fenced)
    eventually(
        lambda: (
            connection.execute(
                "select count(*) from pg_stat_activity where application_name = 'analytics-refreshd/test/status'"
            ).fetchone()
            == (0,)
        )
    )
    with psycopg.connect(dsn, application_name=f"analytics-refreshd/x/{fenced.run_id}") as holder:
        holder.execute("select pg_advisory_xact_lock(2583, 2)")
        assert history.close_abandoned() == 1
    outcomes = {run.run_id: (run.outcome, run.reason) for run in history.recent(9)}
    assert outcomes[lost.run_id] == (Outcome.UNKNOWN, Reason.ABANDONED)
    assert outcomes[alive.run_id] == outcomes[fenced.run_id] == (None, None)
    assert history.close_abandoned() == 1
    history.finish(finished(lost))
    assert {run.run_id: run.outcome for run in history.recent(9)}[lost.run_id] is Outcome.PARTIAL


@pytest.mark.fault
@pytest.mark.parametrize(
    ("breakage", "mending"),
    [
        ("lock table analytics_refresh.runs in access exclusive mode", None),
        ("alter table analytics_refresh.runs rename to hidden", "alter table analytics_refresh.hidden rename to runs"),
        ("alter table analytics_refresh.view_results rename to hidden",
         "alter table analytics_refresh.hidden rename to view_results"),
    ],
    ids=["locked", "runs missing", "views missing"],
)  # fmt: skip
@pytest.mark.slow
def test_A23_history_not_writable(dsn: str, breakage: str, mending: str | None) -> None:
    """A history that is locked or half gone fails within its time limit, and works again when it is back."""
    with session(dsn) as shared, psycopg.connect(dsn) as other:
        history = PostgresHistory(shared, seconds=2.0)
        history.begin(running())
        other.execute(breakage)
        if mending:
            other.commit()
        run = running()
        with pytest.raises(DatabaseFault) as caught:
            history.finish(finished(run))
        if mending:
            with pytest.raises(DatabaseFault):
                history.finish(finished(run))
        assert caught.value.error_class in (ErrorClass.CONTENTION, ErrorClass.CANCELLED, ErrorClass.PERMANENT)
        if mending:
            other.execute(mending)
            other.commit()
        other.rollback()
        history.finish(finished(run))
        assert run.run_id in {found.run_id for found in history.recent(5)}


@pytest.mark.slow
@pytest.mark.fault
def test_A24_pruning_in_batches(history: PostgresHistory, connection: Connection) -> None:
    """Old runs go in batches of the asked size with their views; young ones stay."""
    for days in (100, 101, 102, 1):
        started_at = datetime.now(UTC) - timedelta(days=days)
        history.finish(finished(running(), clock="daemon", started_at=started_at, finished_at=started_at))
    counts = [history.prune(timedelta(days=90), 2) for _ in range(3)]
    assert counts == [2, 1, 0]
    assert connection.execute("select count(*) from analytics_refresh.view_results").fetchone() == (2,)


def _available(history: PostgresHistory) -> bool:
    """Read anew each time, which a type checker does not expect of a property."""
    return history.available


@pytest.mark.slow
def test_without_our_schema_nothing_is_stored(application_dsn: str) -> None:
    """Without our schema every call succeeds and stores nothing, until `migrate` brings it."""
    from analytics_refreshd.postgres.migrate.run import migrate

    with session(application_dsn) as shared:
        history = PostgresHistory(shared)
        assert _available(history)
        history.begin(running())
        assert not _available(history)
        history.finish(finished(running()))
        assert (history.recent(5), history.close_abandoned(), history.prune(timedelta(days=1), 5)) == ([], 0, 0)
        with psycopg.connect(application_dsn, autocommit=True) as admin:
            migrate(admin)
        history.finish(finished(running()))
        assert _available(history)
        assert len(history.recent(5)) == 1


@pytest.mark.slow
@pytest.mark.fault
def test_D18_a_schema_one_version_newer(history: PostgresHistory, connection: Connection) -> None:
    """Columns and words that only a newer version knows disturb nobody."""
    connection.execute("alter table analytics_refresh.runs add column mood text not null default 'x'")
    connection.execute("alter table analytics_refresh.view_results add column mood text not null default 'x'")
    connection.execute("alter table analytics_refresh.runs drop constraint runs_outcome_check")
    history.finish(finished(running()))
    connection.execute("update analytics_refresh.runs set outcome = 'postponed', reason = 'mood'")
    (read,) = history.recent(1)
    assert (read.outcome, read.reason) == (Outcome.UNKNOWN, Reason.OTHER)


def test_a_dead_session_is_replaced(dsn: str, connection: Connection) -> None:
    """A status session that died while idle is replaced once, counted, and the write is done."""
    reconnects: list[int] = []
    with session(dsn) as shared:
        shared._connector._on_reconnect = lambda: reconnects.append(1)
        history = PostgresHistory(shared)
        history.begin(running())
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name = 'analytics-refreshd/test/status'"
        )
        history.finish(finished(running()))
        assert len(history.recent(5)) == 2
    assert reconnects == [1]


def test_a_stopped_connector_ends_the_session(dsn: str) -> None:
    """After `stop` nobody waits for a new connection."""
    made = connector(dsn)
    made.stop()
    from analytics_refreshd.postgres.connection.session import Session

    with pytest.raises(DatabaseFault, match="stopping"):
        PostgresHistory(Session(made)).recent(1)


def _record(connection: Connection, finished_at: str | None, duration: float | None) -> None:
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome)"
        " values ('00000000-0000-4000-8000-000000000001', 'd', 'r', 'schedule', '2026-05-04 12:00+00',"
        " '2026-05-04 12:01+00', 'ok')"
    )
    connection.execute(
        "insert into analytics_refresh.view_results (run_id, view_name, success, finished_at, duration_seconds)"
        " values ('00000000-0000-4000-8000-000000000001', 'recent_failures', true, %s, %s)",
        (finished_at, duration),
    )


@pytest.mark.fault
@pytest.mark.parametrize("column", ["present", "absent"])
@pytest.mark.parametrize(
    ("finished_at", "duration", "expected"),
    [("2026-05-04 12:00:20+00", 3.0, 20), (None, 3.0, 3), (None, None, 0), (None, 300.0, 60)],
    ids=["own end", "older record", "no duration", "absurd duration"],
)
@pytest.mark.slow
def test_L08_history_dates_a_view_by_its_own_end(
    dsn: str, connection: Connection, column: str, finished_at: str | None, duration: float | None, expected: int
) -> None:
    """A record without the view's own end has it at the earliest; a schema without the column is read as well."""
    _record(connection, finished_at, duration)
    if column == "absent":
        connection.execute("alter table analytics_refresh.view_results drop column finished_at")
        expected = min(60, int(duration or 0.0))
    connection.execute("delete from analytics_refresh.last_refresh")
    with status_reader(dsn) as reader:
        recorded = {view.view: view.recorded_at for view in reader.read().views}
    assert recorded["recent_failures"] == datetime(2026, 5, 4, 12, tzinfo=UTC) + timedelta(seconds=expected)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("column", ["present", "absent"])
def test_L08_a_view_keeps_as_long_before_the_runs_end_as_it_ended(
    history: PostgresHistory, connection: Connection, column: str
) -> None:
    """The server dates the run, and each view by as much earlier; a schema without the column takes the run as well."""
    if column == "absent":
        connection.execute("alter table analytics_refresh.view_results drop column finished_at")
    ended = replace(_VIEWS[0], finished_at=_DAEMON_TIME - timedelta(seconds=35))
    run = finished(running(), views=(ended, _VIEWS[1]), duration_seconds=60.0)
    history.finish(run)
    history.finish(run)
    rows = connection.execute(
        "select to_jsonb(v) ->> 'finished_at' is not null,"
        " (to_jsonb(v) ->> 'finished_at')::timestamptz"
        " between r.finished_at - interval '95 s' and r.finished_at - interval '35 s'"
        " from analytics_refresh.view_results v join analytics_refresh.runs r using (run_id) order by view_name"
    ).fetchall()
    assert rows == ([(True, True), (False, None)] if column == "present" else [(False, None)] * 2)
