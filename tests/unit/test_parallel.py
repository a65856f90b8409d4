"""Views refreshed at the same time: who gets which connection, in which order reports come back, what ends a run."""

import threading
from collections.abc import Callable

import pytest

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason, ViewReport
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.refresh.parallel import ParallelRun, StartedOnce
from analytics_refreshd.postgres.refresh.transaction import RefreshConnection, RunState

VIEWS = ("a", "b", "c", "d")


def parallel(
    count: int, refresh_view: Callable[[RefreshConnection, str], list[ViewReport]], *, cancelled: bool = False
) -> ParallelRun:
    """A run over `count` connections, which are never opened."""
    connector = Connector(ConnectionSettings("test"))
    run = RunState(60.0, 1.0)
    if cancelled:
        run.cancelled.set()
    return ParallelRun(run, [RefreshConnection(connector) for _ in range(count)], refresh_view)


def ok(view: str) -> ViewReport:
    return ViewReport(view, None, 1, True)


def fault(error_class: ErrorClass, reason: Reason) -> DatabaseFault:
    return DatabaseFault("it failed", error_class=error_class, reason=reason)


def test_reports_come_in_the_order_of_the_views() -> None:
    """Also where the first view takes longest."""
    ended = threading.Event()

    def refresh_view(connection: RefreshConnection, view: str) -> list[ViewReport]:
        if view == "a":
            assert ended.wait(30)
        if view == "d":
            ended.set()
        return [ok(view)]

    assert [report.view for report in parallel(2, refresh_view).refresh(VIEWS)] == list(VIEWS)


def test_each_thread_has_a_connection_of_its_own() -> None:
    """Two connections serve two views at once, and never one connection two views."""
    both = threading.Barrier(2)
    lock = threading.Lock()
    busy: set[int] = set()
    shared: list[str] = []

    def refresh_view(connection: RefreshConnection, view: str) -> list[ViewReport]:
        with lock:
            if id(connection) in busy:
                shared.append(view)
            busy.add(id(connection))
        both.wait(30)
        with lock:
            busy.discard(id(connection))
        return [ok(view)]

    parallel(2, refresh_view).refresh(VIEWS)
    assert shared == []


def test_an_unreachable_database_is_tried_once() -> None:
    """A view fails for itself; after an unreachable server no further view begins."""
    begun: list[str] = []

    def refresh_view(connection: RefreshConnection, view: str) -> list[ViewReport]:
        begun.append(view)
        if view == "a":
            return [ok(view)]
        raise fault(ErrorClass.CONNECT, Reason.CONNECT)

    reports = parallel(1, refresh_view).refresh(VIEWS)
    assert begun == ["a", "b"]
    assert [(report.success, report.reason) for report in reports] == [(True, None), *[(False, Reason.CONNECT)] * 3]
    assert [report.measured_seconds is None for report in reports] == [True, False, True, True]


@pytest.mark.parametrize(
    ("error_class", "reasons", "raised"),
    [
        (ErrorClass.CONN_LOST, [Reason.CONN_LOST], True),
        (ErrorClass.CONTENTION, [Reason.OVERLAP], True),
        (ErrorClass.CONTENTION, [Reason.LOCK_TIMEOUT], False),
        (ErrorClass.PERMANENT, [Reason.UNDEFINED], False),
        (ErrorClass.CONN_LOST, [Reason.CONN_LOST, Reason.TIMEOUT], False),
    ],
)
def test_one_reason_that_no_view_caused_is_the_runs(
    error_class: ErrorClass, reasons: list[Reason], raised: bool
) -> None:
    """All views lost with their connection is one fault; four lock timeouts are four reports."""

    def refresh_view(connection: RefreshConnection, view: str) -> list[ViewReport]:
        raise fault(error_class, reasons[VIEWS.index(view) % len(reasons)])

    run = parallel(1, refresh_view)
    if raised:
        with pytest.raises(DatabaseFault) as caught:
            run.refresh(VIEWS)
        assert caught.value.reason is reasons[0]
    else:
        assert [report.success for report in run.refresh(VIEWS)] == [False] * 4


def test_a_cancelled_statement_is_no_timeout() -> None:
    """The server says 57014 for both; who cancelled knows which it was."""

    def refresh_view(connection: RefreshConnection, view: str) -> list[ViewReport]:
        raise fault(ErrorClass.CANCELLED, Reason.TIMEOUT)

    with pytest.raises(DatabaseFault) as caught:
        parallel(2, refresh_view, cancelled=True).refresh(VIEWS)
    assert caught.value.reason is Reason.SHUTDOWN
    assert [report.reason for report in parallel(2, refresh_view).refresh(VIEWS)] == [Reason.TIMEOUT] * 4


def test_a_defect_is_raised_once_the_other_views_ended() -> None:
    """No thread of the run outlives it."""
    reached = threading.Event()
    ended: list[str] = []

    def refresh_view(connection: RefreshConnection, view: str) -> list[ViewReport]:
        if view == "a":
            assert reached.wait(30)
            raise RuntimeError("a defect")
        reached.set()
        ended.append(view)
        return [ok(view)]

    with pytest.raises(RuntimeError, match="a defect"):
        parallel(2, refresh_view).refresh(VIEWS)
    assert "b" in ended
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("refresh-view")]


def test_a_backend_is_told_of_once() -> None:
    """A connection refreshes several views; its backend begins once."""
    told: list[int] = []
    started = StartedOnce(told.append)
    for pid in (1, 2, 1):
        started(pid)
    assert told == [1, 2]
