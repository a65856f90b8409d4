"""The refresh call over the incremental mode: folds once, rebuilds in committed steps, and says what each cost."""

import threading
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import VIEWS, Reason
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from tests.support.adapters import refresher, status_reader
from tests.support.incremental import differences

Connection = psycopg.Connection[Any]

_SLOW_STEPS = """
alter function analytics_refresh.rebuild_step(integer) rename to real_step;
create function analytics_refresh.rebuild_step() returns double precision language plpgsql as $step$
begin
    if exists (select from analytics_refresh.incremental i where not i.built and i.rows_built > 0)
        and exists (select from public.broken) then
        raise exception using errcode = '53100', message = 'no space left';
    end if;
    perform pg_sleep(0.2);
    return analytics_refresh.real_step(20);
end
$step$
"""


@pytest.fixture
def rolled_up(connection: Connection) -> Connection:
    """A database in incremental mode with rows of many hours; a row in `broken` breaks a rebuild's second step."""
    connection.execute("create table broken ()")
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " select i, 'job', 'rest', 'failed', now() - i * interval '10 minutes', i from generate_series(1, 130) i"
    )
    incremental.install(connection)
    return connection


@pytest.mark.parametrize("isolation", ["cycle", "view"])
@pytest.mark.slow
def test_L12_a_lock_on_the_record_keeps_no_view_from_being_refreshed(
    dsn: str, rolled_up: Connection, isolation: str
) -> None:
    """Also where nothing changed: who cannot see when a view was refreshed refreshes it."""
    with refresher(dsn, isolation=isolation) as refresh:
        refresh.refresh(uuid4(), lambda pid: None)
        with psycopg.connect(dsn, application_name="pg_repack") as holder:
            holder.execute("lock table analytics_refresh.last_refresh in access exclusive mode")
            idle = refresh.refresh(uuid4(), lambda pid: None)
            rolled_up.execute("update action_results set duration_ms = 7 where duration_ms < 40")
            reply = refresh.refresh(uuid4(), lambda pid: None)
    assert [report.success for report in (*idle.reports, *reply.reports)] == [True] * 8
    assert differences(rolled_up) == {}


@pytest.mark.parametrize("isolation", ["cycle", "view"])
@pytest.mark.slow
def test_a_refresh_folds_once_and_says_how_long(dsn: str, rolled_up: Connection, isolation: str) -> None:
    """All views see one fold, its seconds are in the reply, and the views are exact."""
    with refresher(dsn, isolation=isolation) as refresh:
        refresh.refresh(uuid4(), lambda pid: None)
        rolled_up.execute("update action_results set duration_ms = 7 where duration_ms < 40")
        reply = refresh.refresh(uuid4(), lambda pid: None)
    assert [report.success for report in reply.reports] == [True] * 4
    assert reply.fold_seconds is not None
    assert differences(rolled_up) == {}


@pytest.mark.parametrize("isolation", ["cycle", "view"])
@pytest.mark.slow
def test_a_fold_that_had_to_rebuild_says_why(dsn: str, rolled_up: Connection, isolation: str) -> None:
    """A rebuild mark that came after the look for one is answered by the fold itself, and told once."""
    with refresher(dsn, isolation=isolation) as refresh:
        assert refresh.refresh(uuid4(), lambda pid: None).rebuild_reason is None
        rolled_up.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
        assert refresh.refresh(uuid4(), lambda pid: None).rebuild_reason == "a test"
        assert refresh.refresh(uuid4(), lambda pid: None).rebuild_reason is None
    assert differences(rolled_up) == {}


@pytest.mark.parametrize("isolation", ["cycle", "view"])
def test_plain_mode_has_no_fold(dsn: str, isolation: str) -> None:
    """In plain mode nothing is folded, and nothing rebuilt."""
    with refresher(dsn, isolation=isolation) as refresh:
        assert refresh.rebuild(uuid4(), lambda: None) is None
        assert refresh.refresh(uuid4(), lambda pid: None).fold_seconds is None


def test_a_half_finished_install_is_plain(dsn: str, connection: Connection) -> None:
    """While the rollups are being built for the first time, the daemon neither builds with them nor folds."""

    def interrupt(progress: incremental.InstallProgress) -> None:
        if progress.doing == "build the rollups":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        incremental.install(connection, progress=interrupt)
    with refresher(dsn, isolation="view") as refresh:
        assert refresh.rebuild(uuid4(), lambda: None) is None
        reply = refresh.refresh(uuid4(), lambda pid: None)
    assert reply.fold_seconds is None
    assert all(report.success for report in reply.reports)
    with status_reader(dsn) as reader:
        assert reader.delta().mode == "plain"


@pytest.mark.slow
def test_a_rebuild_outlasts_every_time_limit(dsn: str, rolled_up: Connection) -> None:
    """A rebuild goes on past statement_timeout and deadline, step by step; the refresh after it has its own."""
    rolled_up.execute(_SLOW_STEPS)
    rolled_up.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
    told: list[str] = []
    with refresher(dsn, statement_timeout_seconds=0.1, deadline_seconds=0.15) as refresh:
        assert refresh.rebuild(uuid4(), lambda: told.append("started")) == "a test"
        assert refresh.rebuild(uuid4(), lambda: told.append("again")) is None
    assert told == ["started"]
    assert verify(rolled_up).ok


@pytest.mark.slow
def test_a_rebuild_that_breaks_keeps_its_steps(dsn: str, rolled_up: Connection) -> None:
    """What was built before a failure is committed: the next rebuild goes on there, and knows why it rebuilds."""
    rolled_up.execute(_SLOW_STEPS)
    rolled_up.execute("insert into broken default values")
    rolled_up.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
    built = "select rows_built from analytics_refresh.incremental where not built"
    with refresher(dsn) as refresh:
        with pytest.raises(DatabaseFault) as caught:
            refresh.rebuild(uuid4(), lambda: None)
        assert caught.value.reason is Reason.DISK_FULL
        (before,) = rolled_up.execute(built).fetchone() or (0,)
        assert 0 < before < 130
        with status_reader(dsn) as reader:
            delta = reader.delta()
        assert (delta.rebuild_reason, delta.built) == ("a test", False)
        rolled_up.execute("delete from broken")
        assert refresh.rebuild(uuid4(), lambda: None) == "a test"
        assert all(report.success for report in refresh.refresh(uuid4(), lambda pid: None).reports)
    assert differences(rolled_up) == {}


def test_a_failing_fold_fails_the_views_that_need_it(dsn: str, rolled_up: Connection) -> None:
    """Each of the three views names the fold's own error; recent_failures needs none."""
    rolled_up.execute(
        "create or replace function analytics_refresh.fold(out rows_folded bigint, out seconds double precision)"
        " returns record language plpgsql"
        " as $f$ begin raise exception using errcode = '53100', message = 'full'; end $f$"
    )
    with refresher(dsn, isolation="view") as refresh:
        reply = refresh.refresh(uuid4(), lambda pid: None)
    found = {report.view: (report.success, report.sqlstate, report.error, report.reason) for report in reply.reports}
    assert found.pop("recent_failures")[0] is True
    assert found == {view: (False, "53100", "full", Reason.DISK_FULL) for view in VIEWS if view != "recent_failures"}
    assert reply.fold_seconds is None


def test_a_stop_ends_a_rebuild(dsn: str, rolled_up: Connection) -> None:
    """After `cancel` no further step begins, and the one under way is cancelled on the server."""
    rolled_up.execute(_SLOW_STEPS)
    rolled_up.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
    with refresher(dsn) as refresh:
        stop = threading.Thread(target=refresh.cancel)
        with pytest.raises(DatabaseFault) as caught:
            refresh.rebuild(uuid4(), stop.start)
        stop.join()
    assert caught.value.error_class is ErrorClass.CANCELLED
    assert incremental.state(rolled_up).rebuild_reason == "a test"
