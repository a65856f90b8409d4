"""What the status reader tells of a database in each of its states."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import VIEWS, Origin, Outcome, Rates, Run, ViewResult
from analytics_refreshd.postgres.state import status as status_module
from analytics_refreshd.postgres.state.history import PostgresHistory
from analytics_refreshd.postgres.state.leader import PostgresLeader
from tests.support.adapters import Running, connector, holding_refresh, refresher, session, sleeping, status_reader
from tests.support.installs import install_older, make_stretchable, stretch
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]
_ROW_TYPE = "view_name text, row_count bigint, size_bytes bigint, last_refresh timestamptz, age_minutes integer"


def _replace_status(connection: Connection, body: str, columns: str = _ROW_TYPE) -> None:
    connection.execute("drop function public.get_analytics_refresh_status()")
    connection.execute(
        f"create function public.get_analytics_refresh_status() returns table ({columns})"
        f" language plpgsql as $f$ #variable_conflict use_column\nbegin {body} end $f$"
    )


def _act(connection: Connection, count: int, status: str, duration_ms: int | None, age: str = "10 minutes") -> None:
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, duration_ms, executed_at)"
        " select gen_random_uuid()::text, 'j', 'rest', %s, %s, now() - %s::interval from generate_series(1, %s)",
        (status, duration_ms, age, count),
    )


def test_a_fresh_install(dsn: str, connection: Connection) -> None:
    """After a refresh each view has rows, size, the function's claim and our own record, on the server's clock."""
    connection.execute("select * from refresh_action_analytics()")
    with status_reader(dsn) as reader:
        found = reader.read()
    assert [view.view for view in found.views] == list(VIEWS)
    for view in found.views:
        assert (view.rows, view.size_bytes is not None) == (0, True)
        assert view.claimed_at == view.recorded_at
        assert view.claimed_at is not None
        assert found.server_now - timedelta(minutes=1) < view.claimed_at <= found.server_now
    assert found.problem is None


def test_a_view_that_is_not_there_is_told_from_one_that_is_not_returned(dsn: str, connection: Connection) -> None:
    """A name that the database does not know is a typing error; a view without a row is the function's affair."""
    connection.execute("create materialized view daily_totals as select 1 as one")
    with status_reader(dsn, views=(*VIEWS, "daily_totals", "daily_total")) as reader:
        found = reader.read()
    assert [view.view for view in found.views if not view.exists] == ["daily_total"]


def test_an_older_install(application_dsn: str) -> None:
    """Without our schema the status is the function's claim beside the VACUUM times it is taken from."""
    with psycopg.connect(application_dsn, autocommit=True) as admin:
        install_older(admin)
        admin.execute("refresh materialized view recent_failures")
        admin.execute("vacuum recent_failures")
        with status_reader(application_dsn) as reader:
            found = eventually(lambda: read if (read := reader.read()).views[2].claimed_at else None)
            assert reader.rates() == Rates(0, None, None)
            assert reader.pause() is None
            assert reader.progress() is None
            assert reader.delta().mode == "plain"
    view = found.views[2]
    assert view.claimed_at in view.vacuumed_at
    assert view.recorded_at is None
    assert found.views[0].claimed_at is None


def test_history_is_a_record_too(dsn: str, connection: Connection) -> None:
    """A success in history counts where the refresh functions' own table knows nothing; the later one wins."""
    finished_at = datetime.now(UTC) - timedelta(hours=1)
    run = Run(uuid4(), Origin.SCHEDULE, finished_at, finished_at=finished_at, outcome=Outcome.PARTIAL, clock="daemon")
    with session(dsn) as shared:
        history = PostgresHistory(shared)
        views = (ViewResult(VIEWS[0], True), ViewResult(VIEWS[1], False), ViewResult(VIEWS[2], True))
        history.finish(Run(**{**_fields(run), "views": views}))
    connection.execute("delete from analytics_refresh.last_refresh")
    connection.execute("insert into analytics_refresh.last_refresh values ('recent_failures', now(), now(), 1, 0)")
    with status_reader(dsn) as reader:
        recorded = {view.view: view.recorded_at for view in reader.read().views}
    assert recorded[VIEWS[0]] == finished_at
    assert recorded[VIEWS[1]] is None
    latest = recorded[VIEWS[2]]
    assert latest is not None
    assert latest > finished_at


def _fields(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__slots__}


@pytest.mark.fault
@pytest.mark.slow
def test_A25_status_function_slow(dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status function that does not answer costs its time limit and no more: our own records are still read."""
    connection.execute("select * from refresh_action_analytics()")
    _replace_status(connection, "perform pg_sleep(60); return;")
    monkeypatch.setattr(status_module, "_TIMEOUT_SECONDS", 2.0)
    with status_reader(dsn) as reader:
        found = reader.read()
    assert found.problem == "get_analytics_refresh_status() did not answer within 2 s"
    assert all(view.recorded_at is not None for view in found.views)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize(
    ("body", "columns"),
    [
        ("raise exception 'no'; return;", _ROW_TYPE),
        ("return;", "view_name text, row_count bigint"),
        (None, ""),
    ],
    ids=["raising", "columns missing", "missing"],
)
def test_A25_status_function_failing(dsn: str, connection: Connection, body: str | None, columns: str) -> None:
    """A status function that fails or is gone is a problem in words, and our own records still stand."""
    connection.execute("select * from refresh_action_analytics()")
    if body is None:
        connection.execute("drop function public.get_analytics_refresh_status()")
    else:
        _replace_status(connection, body, columns)
    with status_reader(dsn) as reader:
        found = reader.read()
        assert reader.rates().executions == 0
    assert found.problem is not None
    assert found.problem.startswith("get_analytics_refresh_status() failed: ")
    assert all(view.recorded_at is not None and view.rows is None for view in found.views)


@pytest.mark.fault
def test_A16_absurd_status_rows(dsn: str, connection: Connection) -> None:
    """NULLs, infinite times, strangers and views without a row do not break the reading."""
    _replace_status(
        connection,
        "return query values (null::text, null::bigint, null::bigint, null::timestamptz, null::integer),"
        " ('recent_failures', -1, -1, 'infinity', -5),"
        " ('action_metrics_hourly', null, null, '0044-03-15 BC', 5), (E'nob\\nody', 1, 1, now(), 1);",
    )
    with status_reader(dsn) as reader:
        found = reader.read()
    claims = {view.view: view.claimed_at for view in found.views}
    assert set(claims) == set(VIEWS)
    assert set(claims.values()) == {None}


def test_rates_of_a_day(dsn: str, connection: Connection) -> None:
    """Success is success over all, retrying included; the p95 is that of the rows with a duration."""
    _act(connection, 6, "success", 100)
    _act(connection, 2, "failed", 500)
    _act(connection, 2, "retrying", None)
    _act(connection, 50, "failed", 9000, age="30 hours")
    connection.execute("select * from refresh_action_analytics()")
    with status_reader(dsn) as reader:
        rates = reader.rates()
    assert (rates.executions, rates.success_rate_percent, rates.latency_executions) == (10, 60.0, 8)
    assert rates.latency_p95_seconds == pytest.approx(0.5)


@pytest.mark.fault
def test_A14_view_never_populated(dsn: str, connection: Connection) -> None:
    """The rates of a view that was never populated are those of a day on which nothing ran."""
    connection.execute("refresh materialized view action_metrics_hourly with no data")
    with status_reader(dsn) as reader:
        assert reader.rates() == Rates(0, None, None)


def test_rates_of_neither_rows_nor_view_are_a_fault(dsn: str, connection: Connection) -> None:
    """Where the rows cannot be read and the view is gone nothing is known, which is no day on which nothing ran."""
    connection.execute("drop materialized view action_metrics_hourly")
    with status_reader(dsn) as reader:
        assert reader.rates() == Rates(0, None, None)
        connection.execute("alter table action_results rename to old_results")
        with pytest.raises(DatabaseFault) as caught:
            reader.rates()
    assert caught.value.error_class is ErrorClass.PERMANENT


def test_the_pause_in_force(dsn: str, connection: Connection) -> None:
    """Of several pauses the one that ends last is told; an ended or expired one is not."""
    with status_reader(dsn) as reader:
        assert reader.pause() is None
        connection.execute("select analytics_refresh.pause('1 hour', 'index rebuild')")
        connection.execute("select analytics_refresh.pause('2 hours', 'long one')")
        pause = reader.pause()
        assert pause is not None
        assert (pause.reason, pause.created_by) == ("long one", "postgres")
        assert pause.ends_at - pause.starts_at == timedelta(hours=2)
        connection.execute("select analytics_refresh.resume()")
        assert reader.pause() is None


def test_the_leader_by_its_runs(dsn: str) -> None:
    """The holder of the leader lock is told by its session at first, and by its replica once it has run."""
    leader = PostgresLeader(connector(dsn, name="shop"))
    reading = leader.acquire()
    try:
        with status_reader(dsn) as reader:
            found = reader.leader()
            assert found is not None
            assert (found.replica, found.ours) == ("analytics-refreshd/shop/leader", True)
            with session(dsn) as shared:
                run = Run(uuid4(), Origin.SCHEDULE, datetime.now(UTC), replica="pod-2", leader_epoch=reading.epoch)
                PostgresHistory(shared).begin(run)
            again = reader.leader()
            assert again is not None
            assert (again.replica, again.pid, again.since) == ("pod-2", found.pid, found.since)
            assert again.since is not None
    finally:
        leader.release()


def test_nobody_leads(dsn: str) -> None:
    """Without a holder of the lock there is no leader."""
    with status_reader(dsn) as reader:
        assert reader.leader() is None


@pytest.mark.slow
def test_progress_of_a_refresh(dsn: str, connection: Connection) -> None:
    """While a refresh runs anywhere, its run_id and the view it works on are seen from any session."""
    make_stretchable(connection)
    stretch(connection, VIEWS[1], 60)
    with status_reader(dsn) as reader, refresher(dsn) as refresh:
        assert reader.progress() is None
        running = Running(refresh)
        assert running.started.wait(10)
        eventually(sleeping(connection, running.pids[0]))
        progress = reader.progress()
        refresh.cancel()
        running.join()
        assert reader.progress() is None
    assert progress is not None
    assert (progress.run_id, progress.view, progress.blocker) == (running.run_id, VIEWS[1], None)
    assert progress.elapsed_seconds >= 0


def test_progress_names_the_blocker(dsn: str) -> None:
    """A refresh that waits tells for which view, since when, and for whom."""
    with holding_refresh(dsn, VIEWS[2]) as holder, status_reader(dsn) as reader, refresher(dsn) as refresh:
        running = Running(refresh)
        progress = eventually(lambda: seen if (seen := reader.progress()) and seen.blocker else None)
        refresh.cancel()
        running.join()
        pid = holder.info.backend_pid
    assert progress.view == VIEWS[2]
    assert progress.blocker is not None
    assert (progress.blocker.pid, progress.blocker.application) == (pid, "nightly-etl")
    assert (progress.blocker.state, progress.blocker.visible) == ("idle in transaction", True)
    assert progress.waiting_seconds is not None


def test_a_refresh_by_a_stranger_is_no_progress(dsn: str) -> None:
    """A holder of the fence whose session carries no run_id has no run to show."""
    with psycopg.connect(dsn) as other, status_reader(dsn) as reader:
        other.execute("select pg_advisory_xact_lock(2583, 2)")
        assert reader.progress() is None


def test_another_status_function_and_views(dsn: str, connection: Connection) -> None:
    """Function and views can be replaced while running, with a schema where wanted."""
    connection.execute("create schema elsewhere")
    connection.execute(
        "create function elsewhere.mine() returns table (view_name text, row_count int, size_bytes int,"
        " last_refresh timestamp) language sql as $$ select 'recent_failures', 5, 6, timestamp '2026-01-01 00:00' $$"
    )
    with status_reader(dsn) as reader:
        reader.configure("elsewhere.mine", ["recent_failures"])
        (view,) = reader.read().views
    assert (view.rows, view.size_bytes, view.claimed_at) == (5, 6, datetime(2026, 1, 1, tzinfo=UTC))
