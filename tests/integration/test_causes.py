"""Why a view failed, where the server or the function says too little: who cancelled, and which error it was."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.evaluation import evaluate_fault, evaluate_reports
from analytics_refreshd.core.model import VIEWS, Outcome, Reason
from analytics_refreshd.postgres.refresh.messages import sqlstate_of
from tests.support.adapters import Running, holding_refresh, refresher, sleeping
from tests.support.installs import install_older, make_stretchable, stretch
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault

Connection = psycopg.Connection[Any]


def _cancel(connection: Connection, running: Running) -> None:
    """Cancel the refresh as a person would, once it sleeps in a view."""
    assert running.started.wait(30)
    pid = next(iter(running.pids))
    eventually(sleeping(connection, pid))
    connection.execute("select pg_cancel_backend(%s)", (pid,))


@pytest.mark.parametrize("install", [pytest.param("ours", marks=pytest.mark.quick), "older"])
def test_L17_a_cancel_by_a_person_is_a_cancelled_run(request: pytest.FixtureRequest, install: str) -> None:
    """Of one transaction nothing is visible: the run was cancelled, by nobody of ours, and is no timeout."""
    dsn = request.getfixturevalue("application_dsn" if install == "older" else "dsn")
    with psycopg.connect(dsn, autocommit=True) as connection:
        if install == "older":
            install_older(connection)
        make_stretchable(connection)
        stretch(connection, VIEWS[1], 60)
        with refresher(dsn) as refresh:
            running = Running(refresh)
            _cancel(connection, running)
            fault = running.join().error
    assert isinstance(fault, DatabaseFault)
    found = evaluate_fault(VIEWS, fault, cancelled=False)
    assert (found.outcome, found.reason, found.sqlstate) == (Outcome.CANCELLED, Reason.CANCELLED, "57014")


def test_L17_a_cancel_of_one_view_leaves_the_others(dsn: str, connection: Connection) -> None:
    """With a transaction per view the view alone was cancelled, and the run is partial."""
    make_stretchable(connection)
    stretch(connection, VIEWS[1], 60)
    with refresher(dsn, isolation="view", parallel=1) as refresh:
        running = Running(refresh)
        _cancel(connection, running)
        reply = running.join().reply
    assert reply is not None
    found = evaluate_reports(VIEWS, reply.reports, (), reply.duration_seconds)
    assert (found.outcome, found.reason) == (Outcome.PARTIAL, Reason.CANCELLED)
    assert [view.reason for view in found.views if not view.success] == [Reason.CANCELLED]


@pytest.mark.parametrize("isolation", ["cycle", "view"])
@pytest.mark.slow
def test_L17_a_time_limit_stays_one(dsn: str, connection: Connection, isolation: str) -> None:
    """The same SQLSTATE after the whole limit is a timeout."""
    make_stretchable(connection)
    stretch(connection, VIEWS[1], 60)
    with refresher(dsn, isolation=isolation, parallel=1, statement_timeout_seconds=1.0) as refresh:
        running = Running(refresh).join(60)
    if isolation == "cycle":
        assert isinstance(running.error, DatabaseFault)
        assert evaluate_fault(VIEWS, running.error, cancelled=False).outcome is Outcome.TIMEOUT
    else:
        assert running.reply is not None
        assert [report.reason for report in running.reply.reports if not report.success] == [Reason.TIMEOUT]


def _no_index(connection: Connection) -> None:
    connection.execute("drop index idx_recent_failures_unique")


def _unfilled(connection: Connection) -> None:
    connection.execute("refresh materialized view recent_failures with no data")


def _gone(connection: Connection) -> None:
    connection.execute("drop materialized view recent_failures cascade")


def _raising(sqlstate: str) -> Callable[[Connection], None]:
    """A view whose query fails with the server's own error of that state."""
    failing = {
        "22012": "1 / (random() * 0)::integer",
        "22003": "(2147483647 + (random() * 0 + 1)::integer)",
        "22P02": "('x' || (random() * 0)::text)::integer",
        "21000": "(select g from generate_series(1, (2 + random() * 0)::integer) g)",
    }

    def arrange(connection: Connection) -> None:
        connection.execute("drop materialized view recent_failures")
        connection.execute(
            f"create materialized view recent_failures as select id, {failing[sqlstate]} as n from action_results"
            " with no data"
        )
        connection.execute("create unique index idx_recent_failures_unique on recent_failures (id)")
        # filled while there is no row, so that only its query can fail
        connection.execute("refresh materialized view recent_failures")
        connection.execute(
            "insert into action_results (id, job_id, action_type, status) values ('a', 'j', 'rest', 'ok')"
        )

    return arrange


@pytest.mark.parametrize(
    ("arrange", "sqlstate", "reason"),
    [
        (_no_index, "55000", Reason.NO_UNIQUE_INDEX),
        (_unfilled, "0A000", Reason.NOT_POPULATED),
        (_gone, "42P01", Reason.UNDEFINED),
        (_raising("22012"), "22012", Reason.DATA),
        (_raising("22003"), "22003", Reason.DATA),
        (_raising("22P02"), "22P02", Reason.DATA),
        (_raising("21000"), "21000", Reason.DUPLICATE_ROWS),
    ],
    ids=["no index", "not populated", "gone", "division", "overflow", "syntax", "cardinality"],
)
@pytest.mark.slow
def test_L17_a_failure_inside_an_older_function_has_its_reason(
    application_dsn: str, arrange: Callable[[Connection], None], sqlstate: str, reason: Reason
) -> None:
    """Such a function reports the message alone: the server's own words tell which error it was."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        install_older(connection)
        arrange(connection)
        with refresher(application_dsn) as refresh:
            reply = Running(refresh).join().reply
    assert reply is not None
    (failed,) = [report for report in reply.reports if not report.success]
    assert (failed.view, failed.sqlstate, failed.reason) == ("recent_failures", sqlstate, reason)


def test_L17_a_lock_that_an_older_function_did_not_get(application_dsn: str) -> None:
    """A lock timeout is contention, not an unknown error."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        install_older(connection)
        with holding_refresh(application_dsn, "recent_failures"):
            with refresher(application_dsn, lock_timeout_seconds=0.3) as refresh:
                reply = Running(refresh).join().reply
    assert reply is not None
    (failed,) = [report for report in reply.reports if not report.success]
    assert (failed.sqlstate, failed.reason) == ("55P03", Reason.LOCK_TIMEOUT)


@pytest.mark.parametrize(
    ("message", "sqlstate"),
    [
        ('could not extend file "base/5/16384": No space left on device', "53100"),
        ('could not write to file "base/pgsql_tmp/x": No space left on device', "53100"),
        ("temporary file size exceeds temp_file_limit (1024kB)", "53400"),
        ("out of memory", "53200"),
        ("deadlock detected", "40P01"),
        ("could not serialize access due to concurrent update", "40001"),
        ("permission denied for materialized view recent_failures", "42501"),
        ("must be owner of materialized view recent_failures", "42501"),
        ("cannot execute REFRESH MATERIALIZED VIEW in a read-only transaction", "25006"),
        ('new data for materialized view "x" contains duplicate rows without any null columns', "21000"),
        ("canceling statement due to statement timeout", "57014"),
        ("numeric field overflow", "22003"),
        ("a partner's system said: deadlock detected", None),
        ("Numerischer Feldüberlauf", None),
        ("", None),
    ],
)
def test_L17_the_servers_own_words_have_a_state(message: str, sqlstate: str | None) -> None:
    """Whole sentences of the server, from their beginning; what somebody else wrote stays unknown."""
    assert sqlstate_of(message) == sqlstate
