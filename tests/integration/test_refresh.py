"""The refresh call against a real server: what comes back, and what each fault becomes."""

import os
import signal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.errors import ConfigError, DatabaseFault, ErrorClass
from analytics_refreshd.core.model import VIEWS, Reason, ViewReport
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.core.schedule import ViewTimes
from analytics_refreshd.postgres.refresh.refresher import PostgresRefresher
from analytics_refreshd.postgres.refresh.settings import RefreshSettings
from tests.support.adapters import Running, address, holding_refresh, refresher, sleeping, through
from tests.support.installs import install_older, make_stretchable, stretch
from tests.support.postgres import Server, free_port
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

TERMINATE = b"X\x00\x00\x00\x04"
Connection = psycopg.Connection[Any]
_STUB = """
create or replace function public.refresh_action_analytics() returns table (
    view_name text, refresh_duration_ms integer, rows_refreshed bigint, success boolean, error_message text)
language plpgsql as $f$ begin {} end $f$
"""


def run(refresh: PostgresRefresher) -> RefreshReply:
    return refresh.refresh(uuid4(), lambda pid: None)


def fault_of(refresh: PostgresRefresher) -> DatabaseFault:
    with pytest.raises(DatabaseFault) as caught:
        run(refresh)
    return caught.value


def by_view(reply: RefreshReply) -> dict[str | None, ViewReport]:
    return {report.view: report for report in reply.reports}


@pytest.mark.slow
def test_every_view_is_reported(dsn: str) -> None:
    """A refresh reports the four views in the function's order, with rows and seconds."""
    with refresher(dsn) as refresh:
        pids: list[int] = []
        reply = refresh.refresh(uuid4(), pids.append)
    assert [report.view for report in reply.reports] == list(VIEWS)
    assert all(report.success and report.rows == 0 and report.error is None for report in reply.reports)
    assert all(report.reported_seconds is not None and report.measured_seconds is None for report in reply.reports)
    assert len(pids) == 1
    assert reply.duration_seconds > 0


def test_a_refresh_is_committed(dsn: str, connection: Connection) -> None:
    """What a refresh did is there afterwards, and its connection is idle, outside any transaction."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status) values ('1', 'j', 'rest', 'failed')"
    )
    with refresher(dsn) as refresh:
        run(refresh)
        row = connection.execute(
            "select state from pg_stat_activity where application_name like '%/refresh'"
        ).fetchone()
    assert connection.execute("select count(*) from recent_failures").fetchone() == (1,)
    assert row == ("idle",)


@pytest.mark.slow
def test_the_run_id_names_the_session(dsn: str, connection: Connection) -> None:
    """While a refresh runs its session bears the daemon's name and the run_id, within 63 bytes."""
    make_stretchable(connection)
    stretch(connection, VIEWS[0], 60)
    with refresher(dsn) as refresh:
        running = Running(refresh)
        assert running.started.wait(10)
        names = connection.execute(
            "select application_name from pg_stat_activity where pid = %s", (running.pids[0],)
        ).fetchone()
        refresh.cancel()
        running.join()
    assert names == (f"analytics-refreshd/test/{running.run_id}",)


@pytest.mark.slow
def test_an_older_install_with_unqualified_names_works(application_dsn: str) -> None:
    """The session's search_path lets an older install's function find the views that it names without a schema."""
    with psycopg.connect(application_dsn, autocommit=True) as admin:
        install_older(admin)
        admin.execute("select * from refresh_action_analytics()")
    with refresher(application_dsn) as refresh:
        reply = run(refresh)
    assert [(report.view, report.success) for report in reply.reports] == [(view, True) for view in VIEWS]


@pytest.mark.fault
def test_A01_backend_terminated_mid_refresh(dsn: str, connection: Connection) -> None:
    """A terminated backend is a lost connection with 57P01, and the next run uses a fresh one."""
    make_stretchable(connection)
    stretch(connection, VIEWS[1], 60)
    with refresher(dsn) as refresh:
        running = Running(refresh)
        assert running.started.wait(10)
        eventually(sleeping(connection, running.pids[0]))
        connection.execute("select pg_terminate_backend(%s)", (running.pids[0],))
        fault = running.join().error
        stretch(connection, VIEWS[1], 0)
        reply = run(refresh)
    assert isinstance(fault, DatabaseFault)
    assert (fault.error_class, fault.sqlstate, fault.committing) == (ErrorClass.CONN_LOST, "57P01", False)
    assert len(reply.reports) == 4


@pytest.mark.slow
@pytest.mark.fault
def test_A02_idle_connection_terminated_between_runs(dsn: str, connection: Connection) -> None:
    """A connection that died while idle is replaced without a word, and counted as a reconnect."""
    reconnects: list[int] = []
    with refresher(dsn) as refresh:
        pids: list[int] = []
        refresh.refresh(uuid4(), pids.append)
        refresh._connector._on_reconnect = lambda: reconnects.append(1)
        connection.execute("select pg_terminate_backend(%s, 5000)", (pids[0],))
        reply = refresh.refresh(uuid4(), pids.append)
    assert len(reply.reports) == 4
    assert pids[0] != pids[1]
    assert reconnects == [1]


@pytest.mark.fault
@pytest.mark.slow
def test_A04_A06_a_server_crash() -> None:
    """A crash of the server is a lost connection without SQLSTATE; until it has recovered it is out of reach."""
    server = Server()
    try:
        server.start()
        with server.connect() as admin:
            admin.execute(
                "create function refresh_action_analytics() returns table (view_name text, refresh_duration_ms int,"
                " rows_refreshed bigint, success boolean, error_message text) language sql"
                " as $$ select 'v', 1, 1, true, null::text from (select pg_sleep(60)) s $$"
            )
        with refresher(server.dsn()) as refresh:
            running = Running(refresh)
            assert running.started.wait(10)
            os.kill(running.pids[0], signal.SIGKILL)
            fault = running.join().error
            assert isinstance(fault, DatabaseFault)
            assert (fault.error_class, fault.sqlstate) == (ErrorClass.CONN_LOST, None)

            def recovered() -> bool:
                again = Running(refresh)
                if not again.started.wait(5):
                    error = again.join().error
                    assert isinstance(error, DatabaseFault)
                    assert error.error_class is ErrorClass.CONNECT
                    return False
                refresh.cancel()
                again.join()
                return True

            eventually(recovered)
    finally:
        server.destroy()


@pytest.mark.slow
@pytest.mark.fault
def test_A07_connection_lost_during_commit(dsn: str) -> None:
    """When the answer to COMMIT is lost, the fault says that the outcome is unknown; before COMMIT it does not."""
    with Proxy(address(dsn)) as proxy, refresher(through(dsn, proxy.port)) as refresh:
        run(refresh)

        def cut_at_commit(data: bytes) -> None:
            if b"commit\0" in data:
                proxy.drop_answers()
                proxy.on_request = lambda data: None
                # the server commits, and its answer goes nowhere
                cutter.append(True)

        cutter: list[bool] = []
        proxy.on_request = cut_at_commit
        running = Running(refresh)
        eventually(lambda: cutter)
        proxy.cut()
        fault = running.join().error
        proxy.pass_answers()

        def cut_at_call(data: bytes) -> None:
            if b"refresh_action_analytics" in data:
                proxy.on_request = lambda data: None
                proxy.cut()

        run(refresh)
        proxy.on_request = cut_at_call
        early = fault_of(refresh)
    assert isinstance(fault, DatabaseFault)
    assert (fault.committing, fault.error_class) == (True, ErrorClass.CONN_LOST)
    assert (early.committing, early.error_class) == (False, ErrorClass.CONN_LOST)


@pytest.mark.slow
@pytest.mark.fault
def test_A08_statement_timeout_in_one_view(dsn: str, connection: Connection) -> None:
    """A statement timeout in the third view ends the call with 57014, and no view is refreshed."""
    make_stretchable(connection)
    stretch(connection, VIEWS[2], 60)
    connection.execute(
        "insert into action_results (id, job_id, action_type, status) values ('1', 'j', 'rest', 'failed')"
    )
    with refresher(dsn, statement_timeout_seconds=0.5) as refresh:
        fault = fault_of(refresh)
        assert connection.execute("select count(*) from action_metrics_hourly").fetchone() == (0,)
        stretch(connection, VIEWS[2], 0)
        refresh.settings = RefreshSettings()
        assert len(run(refresh).reports) == 4
    assert (fault.error_class, fault.reason, fault.sqlstate) == (ErrorClass.CANCELLED, Reason.TIMEOUT, "57014")


@pytest.mark.slow
@pytest.mark.fault
def test_A09_lock_contention_on_one_view(dsn: str) -> None:
    """A view that is locked elsewhere is a failed report with 55P03; the others are refreshed."""
    with holding_refresh(dsn, VIEWS[1]), refresher(dsn, lock_timeout_seconds=0.3) as refresh:
        reports = by_view(run(refresh))
    failed = reports.pop(VIEWS[1])
    assert (failed.success, failed.sqlstate, failed.reason) == (False, "55P03", Reason.LOCK_TIMEOUT)
    assert failed.error == "canceling statement due to lock timeout"
    assert all(report.success for report in reports.values())


@pytest.mark.fault
def test_A10_no_view_may_be_refreshed(dsn: str, connection: Connection) -> None:
    """A call that returns with every row unsuccessful is four failures of reason permission."""
    if connection.info.server_version < 170000:
        pytest.skip("before PostgreSQL 17 the function acts with the views' owner's rights")
    role = f"poor_{uuid4().hex[:8]}"
    name = sql.Identifier(role)
    connection.execute(sql.SQL("create role {} login").format(name))
    connection.execute(sql.SQL("grant execute on all functions in schema public to {}").format(name))
    try:
        with refresher(psycopg.conninfo.make_conninfo(dsn, user=role)) as refresh:
            reports = run(refresh).reports
    finally:
        connection.execute(sql.SQL("drop owned by {}").format(name))
        connection.execute(sql.SQL("drop role {}").format(name))
    assert {(report.success, report.sqlstate, report.reason) for report in reports} == {
        (False, "42501", Reason.PERMISSION)
    }


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("isolation", ["cycle", "view"])
def test_A11_one_view_dropped(dsn: str, connection: Connection, isolation: str) -> None:
    """A view that is gone is one failure with 42P01; the others are refreshed."""
    connection.execute("drop materialized view action_type_distribution")
    with refresher(dsn, isolation=isolation) as refresh:
        reports = by_view(run(refresh))
    failed = reports.pop("action_type_distribution")
    assert (failed.success, failed.sqlstate, failed.reason) == (False, "42P01", Reason.UNDEFINED)
    assert all(report.success for report in reports.values())


@pytest.mark.fault
def test_A12_unique_index_missing(dsn: str, connection: Connection) -> None:
    """A view without its unique index is a permanent failure that says so; nothing blocks readers instead."""
    connection.execute("drop index idx_recent_failures_unique")
    # a refresh without CONCURRENTLY, which locks out readers, gives the view new storage
    storage = connection.execute("select pg_relation_filenode('recent_failures')").fetchone()
    with refresher(dsn) as refresh:
        report = by_view(run(refresh))["recent_failures"]
    assert connection.execute("select pg_relation_filenode('recent_failures')").fetchone() == storage
    assert (report.success, report.sqlstate, report.reason) == (False, "55000", Reason.NO_UNIQUE_INDEX)
    assert report.error is not None
    assert "concurrently" in report.error


@pytest.mark.slow
@pytest.mark.fault
def test_A13_duplicate_rows_do_not_leak(dsn: str, connection: Connection) -> None:
    """Duplicate rows fail the view by 21000 without a value of the rows in the text."""
    for statement in (
        "drop materialized view recent_failures",
        "create materialized view recent_failures as"
        " select 'a@b.example'::text as id from generate_series(1, 1) union all select 'x' where false",
        "create unique index on recent_failures (id)",
        "create table doubled (id text)",
        "drop materialized view recent_failures",
        "create materialized view recent_failures as select id from doubled",
        "create unique index on recent_failures (id)",
        # no pattern of a secret or an address covers it
        "insert into doubled values ('Person-Kim'), ('Person-Kim')",
    ):
        connection.execute(statement)
    with refresher(dsn) as refresh:
        report = by_view(run(refresh))["recent_failures"]
    assert (report.sqlstate, report.reason) == ("21000", Reason.DUPLICATE_ROWS)
    assert "Person" not in str(report)


@pytest.mark.fault
def test_A14_view_never_populated(dsn: str, connection: Connection) -> None:
    """A view without data cannot be refreshed concurrently, and says so."""
    connection.execute("refresh materialized view recent_failures with no data")
    with refresher(dsn) as refresh:
        report = by_view(run(refresh))["recent_failures"]
    assert (report.success, report.reason) == (False, Reason.NOT_POPULATED)


@pytest.mark.slow
@pytest.mark.fault
def test_A21_temporary_space_exhausted(dsn: str, connection: Connection) -> None:
    """A view whose refresh needs more temporary space than there is fails alone, by reason disk full."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at)"
        " select i::text, repeat('j', 100), 'rest', 'failed', now() from generate_series(1, 20000) i"
    )
    database = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    for setting in ("temp_file_limit = '64kB'", "work_mem = '64kB'", "maintenance_work_mem = '1MB'"):
        connection.execute(f"alter database {database} set {setting}")
    with refresher(dsn) as refresh:
        report = by_view(run(refresh))["recent_failures"]
    assert (report.success, report.sqlstate, report.reason) == (False, "53400", Reason.DISK_FULL)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("select 1", Reason.UNDEFINED),
        ("create function public.refresh_action_analytics() returns table (view_name text, success boolean)"
         " language sql as $$ select 'a'::text, true $$", Reason.CONTRACT),
        ("create function public.refresh_action_analytics() returns setof record"
         " language sql as $$ select 'a'::text, true $$", Reason.CONTRACT),
        ("create procedure public.refresh_action_analytics() language sql as $$ select 1 $$", Reason.CONTRACT),
    ],
    ids=["missing", "a column short", "bare records", "a procedure"],
)  # fmt: skip
@pytest.mark.slow
def test_A15_function_missing_or_of_another_shape(
    dsn: str, connection: Connection, statement: str, reason: Reason
) -> None:
    """A function that is missing or lacks a column is a permanent fault before anything is refreshed."""
    connection.execute("drop function public.refresh_action_analytics()")
    connection.execute(statement)
    with refresher(dsn) as refresh:
        fault = fault_of(refresh)
        again = fault_of(refresh)
    assert (fault.error_class, fault.reason) == (ErrorClass.PERMANENT, reason)
    assert again.reason is reason
    assert "refresh_action_analytics" in fault.message


@pytest.mark.fault
def test_A16_absurd_rows_are_tolerated(dsn: str, connection: Connection) -> None:
    """NULLs, negative figures, unknown views and columns beside the contract's come through without a crash."""
    connection.execute("drop function public.refresh_action_analytics()")
    connection.execute(
        "create function public.refresh_action_analytics() returns table (extra text, view_name text,"
        " refresh_duration_ms double precision, rows_refreshed numeric, success boolean, error_message text)"
        " language sql as $$ values ('x', null, null, null, null, null), ('x', 'nobody', 'NaN'::float8, -5, true, ''),"
        " ('x', 'recent_failures', -7, 1e30, true, null), ('x', 'recent_failures', 1500, 3, false, '42P01: gone') $$"
    )
    with refresher(dsn) as refresh:
        reports = run(refresh).reports
    assert reports[0] == ViewReport(None, None, None, None)
    assert reports[1] == ViewReport("nobody", None, None, True)
    untrue = "the function reports success, but did not refresh the view"
    assert reports[2] == ViewReport("recent_failures", None, None, False, untrue, None, Reason.CONTRACT)
    assert reports[3] == ViewReport("recent_failures", 1.5, 3, False, "gone", "42P01", Reason.UNDEFINED)


@pytest.mark.fault
def test_H06_H07_floods_are_bounded(dsn: str, connection: Connection) -> None:
    """Thousands of rows and megabytes of text are cut before anything else sees them."""
    connection.execute(
        _STUB.format(
            "return query select 'v' || i, 1, 1::bigint, false, repeat('x', case i when 1 then 5000000 else 1 end)"
            " from generate_series(1, 10000) i;"
        )
    )
    with refresher(dsn) as refresh:
        reports = run(refresh).reports
    assert len(reports) == 1000
    assert len(reports[0].error or "") <= 1024


@pytest.mark.fault
def test_A17_permission_lost(dsn: str, connection: Connection, admin_dsn: str) -> None:
    """A role without EXECUTE gets a permanent fault of reason permission."""
    role = f"poor_{uuid4().hex[:8]}"
    connection.execute(f"create role {role} login")
    connection.execute("revoke execute on function public.refresh_action_analytics() from public")
    try:
        with refresher(psycopg.conninfo.make_conninfo(dsn, user=role)) as refresh:
            fault = fault_of(refresh)
    finally:
        connection.execute(f"drop role {role}")
    assert (fault.error_class, fault.reason) == (ErrorClass.PERMANENT, Reason.PERMISSION)


@pytest.mark.slow
@pytest.mark.fault
def test_A18_read_only_session(dsn: str, connection: Connection) -> None:
    """A server that became read-only is not the primary any more; nothing is called there, and the connection goes."""
    with refresher(dsn) as refresh:
        pids: list[int] = []
        refresh.refresh(uuid4(), pids.append)
        kept = refresh._connections[0]
        opened = kept._connection
        assert opened is not None
        opened.execute("set default_transaction_read_only = on")
        with pytest.raises(DatabaseFault) as caught:
            refresh.refresh(uuid4(), pids.append)
        assert kept._connection is None
        refresh.refresh(uuid4(), pids.append)
    assert (caught.value.error_class, caught.value.reason) == (ErrorClass.NOT_PRIMARY, Reason.NOT_PRIMARY)
    assert len(pids) == 2


@pytest.mark.fault
def test_A18_a_read_only_session_gives_back_the_fence_before_it_ends(dsn: str, connection: Connection) -> None:
    """A server ends a session when it has heard of its end: until then the next attempt would meet the last one."""
    with Proxy(address(dsn)) as proxy, refresher(through(dsn, proxy.port)) as refresh:
        refresh.refresh(uuid4(), lambda pid: None)
        opened = refresh._connections[0]._connection
        assert opened is not None
        opened.execute("set default_transaction_read_only = on")

        def hold_goodbye(data: bytes) -> None:
            if TERMINATE in data:
                proxy.freeze()

        proxy.on_request = hold_goodbye
        with pytest.raises(DatabaseFault) as caught:
            refresh.refresh(uuid4(), lambda pid: None)
        assert caught.value.reason is Reason.NOT_PRIMARY
        held = (
            "select count(*) from pg_locks where locktype = 'advisory' and granted"
            " and database = (select oid from pg_database where datname = current_database())"
        )
        assert connection.execute(held).fetchone() == (0,)
        proxy.thaw()


@pytest.mark.fault
def test_A26_notice_flood(dsn: str, connection: Connection) -> None:
    """Ten thousand notices are counted, and ten of them kept, redacted."""
    connection.execute(_STUB.format("for i in 1..10000 loop raise notice 'person% a@b.example', i; end loop; return;"))
    with refresher(dsn) as refresh:
        reply = run(refresh)
    assert reply.notice_count == 10000
    assert len(reply.notices) == 10
    assert "a@b.example" not in "".join(reply.notices)


@pytest.mark.slow
def test_overlap_is_refused(dsn: str, connection: Connection) -> None:
    """While another session holds the fence a refresh is refused at once, in either isolation."""
    with psycopg.connect(dsn) as other:
        other.execute("select pg_advisory_xact_lock(2583, 2)")
        for isolation in ("cycle", "view"):
            with refresher(dsn, isolation=isolation) as refresh:
                fault = fault_of(refresh)
            assert (fault.error_class, fault.reason) == (ErrorClass.CONTENTION, Reason.OVERLAP)


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["cycle", "view"])
def test_cancel_ends_the_statement_on_the_server(dsn: str, connection: Connection, isolation: str) -> None:
    """A cancel ends the run with nothing left running on the server; while nothing runs it does nothing."""
    make_stretchable(connection)
    for view in VIEWS:
        stretch(connection, view, 60)
    with refresher(dsn, isolation=isolation) as refresh:
        refresh.cancel()
        running = Running(refresh)
        assert running.started.wait(10)
        refresh.cancel()
        fault = running.join(10).error
        assert isinstance(fault, DatabaseFault)
        assert fault.error_class is ErrorClass.CANCELLED
        active = connection.execute(
            "select count(*) from pg_stat_activity where state = 'active' and datname = current_database()"
            " and pid <> pg_backend_pid()"
        ).fetchone()
        assert active == (0,)
        for view in VIEWS:
            stretch(connection, view, 0)
        refresh.cancel()
        assert len(run(refresh).reports) == 4


@pytest.mark.parametrize("isolation", ["cycle", "view"])
@pytest.mark.slow
def test_a_cancel_that_came_too_early_is_asked_for(dsn: str, connection: Connection, isolation: str) -> None:
    """Who was cancelled before `cancel` found this run is heard all the same: no view is touched."""
    connection.execute("delete from analytics_refresh.last_refresh")
    with refresher(dsn, isolation=isolation) as refresh:

        def cancelled() -> bool:
            refresh.cancel()
            return True

        for call in (refresh.refresh, refresh.rebuild):
            with pytest.raises(DatabaseFault) as caught:
                call(uuid4(), lambda *given: None, cancelled)
            assert (caught.value.error_class, caught.value.reason) == (ErrorClass.CANCELLED, Reason.SHUTDOWN)
        assert connection.execute("select count(*) from analytics_refresh.last_refresh").fetchone() == (0,)
        assert len(run(refresh).reports) == 4


@pytest.mark.fault
@pytest.mark.slow
def test_B01_half_open_connection(dsn: str, connection: Connection) -> None:
    """When the network dies in mid-refresh, keepalives end the wait; the fence then keeps the next run out."""
    make_stretchable(connection)
    stretch(connection, VIEWS[0], 30)
    quick = "&keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=2000"
    with Proxy(address(dsn)) as proxy:
        database = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}?sslmode=disable{quick}"
        with refresher(url) as refresh, refresher(dsn, lock_timeout_seconds=1) as next_run:
            running = Running(refresh)
            assert running.started.wait(10)
            eventually(sleeping(connection, running.pids[0]))
            proxy.black_hole()
            fault = running.join(20).error
            assert fault_of(next_run).reason is Reason.OVERLAP
    assert isinstance(fault, DatabaseFault)
    assert (fault.error_class, fault.sqlstate, fault.committing) == (ErrorClass.CONN_LOST, None, False)


@pytest.mark.fault
@pytest.mark.slow
def test_B03_deadline_frees_the_thread_from_a_silent_server(dsn: str, connection: Connection) -> None:
    """When the server acknowledges but never answers, the run ends soon after its deadline, as a timeout."""
    make_stretchable(connection)
    stretch(connection, VIEWS[0], 30)
    with (
        Proxy(address(dsn)) as proxy,
        refresher(through(dsn, proxy.port), deadline_seconds=1.0, cancel_seconds=0.5) as refresh,
    ):
        running = Running(refresh)
        assert running.started.wait(10)
        proxy.freeze()
        fault = running.join(25).error
        assert isinstance(fault, DatabaseFault)
        assert (fault.error_class, fault.reason) == (ErrorClass.CANCELLED, Reason.TIMEOUT)
        assert refresh._connections[0]._connection is None


@pytest.mark.slow
def test_the_deadline_cancels_on_the_server(dsn: str, connection: Connection) -> None:
    """At the client's deadline the statement is cancelled on the server, whatever statement_timeout says."""
    make_stretchable(connection)
    stretch(connection, VIEWS[0], 60)
    with refresher(dsn, deadline_seconds=0.5, statement_timeout_seconds=0) as refresh:
        fault = fault_of(refresh)
        assert refresh._connections[0]._connection is not None
    assert (fault.reason, fault.sqlstate) == (Reason.TIMEOUT, "57014")


@pytest.mark.slow
@pytest.mark.fault
def test_B04_close_frees_the_thread_without_the_server(dsn: str, connection: Connection) -> None:
    """Where even the cancel request gets no answer, close still frees the waiting thread."""
    make_stretchable(connection)
    stretch(connection, VIEWS[0], 30)
    with Proxy(address(dsn)) as proxy, refresher(through(dsn, proxy.port)) as refresh:
        running = Running(refresh)
        assert running.started.wait(10)
        proxy.freeze()
        refresh.close()
        fault = running.join(5).error
        assert isinstance(fault, DatabaseFault)
        assert fault.error_class is ErrorClass.CANCELLED


@pytest.mark.fault
def test_B09_connection_reset_mid_result(dsn: str, connection: Connection) -> None:
    """A reset connection is a lost one, and no partial result is returned."""
    make_stretchable(connection)
    stretch(connection, VIEWS[3], 30)
    with Proxy(address(dsn)) as proxy, refresher(through(dsn, proxy.port)) as refresh:
        running = Running(refresh)
        assert running.started.wait(10)
        eventually(sleeping(connection, running.pids[0]))
        proxy.reset()
        fault = running.join().error
    assert isinstance(fault, DatabaseFault)
    assert (fault.error_class, fault.committing) == (ErrorClass.CONN_LOST, False)


@pytest.mark.slow
def test_each_view_in_its_own_transaction(dsn: str, connection: Connection) -> None:
    """With per-view isolation one view's timeout leaves the others refreshed, and each is timed by the daemon."""
    make_stretchable(connection)
    stretch(connection, VIEWS[1], 60)
    with refresher(dsn, isolation="view", parallel=2, statement_timeout_seconds=0.7) as refresh:
        pids: list[int] = []
        reply = refresh.refresh(uuid4(), pids.append)
        reports = by_view(reply)
    assert [report.view for report in reply.reports] == list(VIEWS)
    failed = reports.pop(VIEWS[1])
    assert (failed.success, failed.reason, failed.sqlstate) == (False, Reason.TIMEOUT, "57014")
    assert all(report.success and report.measured_seconds is not None for report in reports.values())
    assert len(pids) == len(set(pids)) == 2
    refreshed = connection.execute("select view_name from analytics_refresh.last_refresh").fetchall()
    assert {row[0] for row in refreshed} >= set(reports)


@pytest.mark.slow
def test_views_run_in_parallel(dsn: str, connection: Connection) -> None:
    """Up to `parallel` views are refreshed at the same time."""
    make_stretchable(connection)
    for view in VIEWS:
        stretch(connection, view, 60)
    with refresher(dsn, isolation="view", parallel=3) as refresh:
        running = Running(refresh)
        eventually(lambda: len(running.pids) == 3)
        for pid in running.pids:
            eventually(sleeping(connection, pid))
        refresh.cancel()
        assert isinstance(running.join().error, DatabaseFault)


@pytest.mark.slow
def test_one_lost_backend_costs_one_view(dsn: str, connection: Connection) -> None:
    """With per-view isolation a terminated backend fails its own view only."""
    make_stretchable(connection)
    stretch(connection, VIEWS[0], 60)
    with refresher(dsn, isolation="view", parallel=2) as refresh:
        running = Running(refresh)
        pid = eventually(
            lambda: connection.execute(
                "select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
            ).fetchone()
        )
        connection.execute("select pg_terminate_backend(%s)", pid)
        reply = running.join().reply
    assert reply is not None
    assert [report.success for report in reply.reports] == [False, True, True, True]
    assert reply.reports[0].reason is Reason.CONN_LOST


def test_a_run_keeps_its_settings(dsn: str) -> None:
    """Settings replaced after a run began, as while it rebuilds, hold from the next run on."""
    run_id = uuid4()
    with refresher(dsn, isolation="view") as refresh:
        refresh.rebuild(run_id, lambda: None)
        refresh.settings = RefreshSettings(isolation="view", views=VIEWS[:1])
        assert len(refresh.refresh(run_id, lambda pid: None).reports) == 4
        assert len(run(refresh).reports) == 1


def test_a_run_of_some_views_has_their_times(dsn: str, connection: Connection) -> None:
    """It refreshes them in the given order, and a view with an interval of its own ends by the timeout of that."""
    make_stretchable(connection)
    stretch(connection, VIEWS[2], 60)
    own = {VIEWS[2]: ViewTimes(0.1, 0.2, 5.0)}
    with refresher(dsn, isolation="view", own=own) as refresh:
        reply = refresh.refresh(uuid4(), lambda pid: None, views=[VIEWS[2], VIEWS[0]])
    assert [(report.view, report.success) for report in reply.reports] == [(VIEWS[2], False), (VIEWS[0], True)]
    assert reply.reports[0].reason is Reason.TIMEOUT


def test_isolation_without_our_function(application_dsn: str) -> None:
    """Where an older install lacks the function for one view, each is refreshed by a statement of its own."""
    with psycopg.connect(application_dsn, autocommit=True) as admin:
        install_older(admin)
        admin.execute(
            "insert into action_results (id, job_id, action_type, status) values ('1', 'j', 'rest', 'failed')"
        )
    with refresher(application_dsn, isolation="view") as refresh:
        reply = run(refresh)
    assert [(report.view, report.success) for report in reply.reports] == [(view, True) for view in VIEWS]
    assert by_view(reply)["recent_failures"].rows == 1


def test_a_view_refreshed_elsewhere_is_an_overlap(dsn: str) -> None:
    """Two refreshes with per-view isolation share the database but never a view."""
    with psycopg.connect(dsn) as other:
        other.execute("select pg_advisory_xact_lock_shared(2583, 2), pg_advisory_xact_lock(2583, 102)")
        with refresher(dsn, isolation="view") as refresh:
            reports = by_view(run(refresh))
        assert (reports[VIEWS[2]].success, reports[VIEWS[2]].reason) == (False, Reason.OVERLAP)
        with refresher(dsn) as refresh:
            assert fault_of(refresh).reason is Reason.OVERLAP


def test_a_database_out_of_reach_is_one_fault() -> None:
    """With per-view isolation, too, a server that is not there is one connection fault and not four failed views."""
    with refresher(f"postgresql://postgres@127.0.0.1:{free_port()}/none", isolation="view") as refresh:
        assert fault_of(refresh).error_class is ErrorClass.CONNECT


@pytest.mark.fault
@pytest.mark.parametrize("name", ["x(); drop table y;--", "a.b.c", 'x"y', "", "1x"])
def test_E07_hostile_names_are_refused(name: str) -> None:
    """A function name that is not one or two plain parts is refused before it meets the database."""
    with pytest.raises(ConfigError), refresher("", function=name):
        pass
