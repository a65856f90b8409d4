"""Years are frozen in committed steps, a kill at any moment loses nothing, and frozen partitions are left alone."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.adapters import refresher
from tests.support.daemon import command
from tests.support.horizon import ask, connect, create_oracle, horizon, keep_rows, learn, refresh_and_ask
from tests.support.incremental import build_reason
from tests.support.postgres import PROGRAMS, Server
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]

_DAY = 86400.0
_FILL = """
insert into triggers (id, organization_id) values ('one', 'acme'), ('two', null);
insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)
select 'row ' || i, 'job', (array['one', 'two'])[1 + i % 2], (array['rest', 'mcp'])[1 + i % 2],
    (array['success', 'failed', 'retrying'])[1 + i % 3], now() - i * interval '3 hours', i * 7 % 100, i % 4
from generate_series(1, 640) i
"""
_SMALL_STEPS = """
alter function analytics_refresh.rebuild_step(integer) rename to real_step;
create function analytics_refresh.rebuild_step() returns double precision language plpgsql as $step$
begin
    insert into public.steps values (default);
    return analytics_refresh.real_step(100);
end
$step$;
create table public.steps (step bigint generated always as identity, xid xid8 default pg_current_xact_id())
"""


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database in incremental mode with rows of 80 days, of which nothing is frozen, and an oracle."""
    dsn = templates(migrated_template)
    with connect(dsn) as connection:
        connection.execute(_FILL)
        incremental.install(connection, retention=Retention(1000 * _DAY))
        create_oracle(connection)
    return dsn


def _step_until_built(connection: Connection) -> None:
    while connection.execute("select analytics_refresh.rebuild_step()").fetchone() != (1.0,):
        pass


def _transactions(connection: Connection) -> int:
    row = connection.execute("select count(distinct xid) from steps").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.quick
def test_a_first_freeze_is_made_of_committed_steps(connection: Connection) -> None:
    """Each step commits what it froze; after each the rollups are exact, and what waits is lost in none."""
    connection.execute("delete from action_results where id in ('row 400', 'row 500'); update action_results set"
        " duration_ms = 5 where id = 'row 450'")  # fmt: skip
    keep_rows(connection, 41 * 24)
    learn(connection)
    seen = [horizon(connection)]
    while connection.execute("select analytics_refresh.rebuild_step(100)").fetchone() == (0.0,):
        seen.append(horizon(connection))
        assert len(seen) < 4 or verify(connection).ok
    steps = [until for until in seen if until is not None]
    assert len(steps) >= 4
    assert steps == sorted(set(steps))
    connection.execute("select * from refresh_action_analytics()")
    assert not ask(connection)
    assert verify(connection).ok


@pytest.mark.slow
def test_the_daemon_freezes_years_step_by_step(dsn: str, connection: Connection) -> None:
    """A refresh of the daemon takes the steps before its fold, each in a transaction, and says why it takes long."""
    connection.execute(_SMALL_STEPS)
    keep_rows(connection, 41 * 24)
    learn(connection)
    with refresher(dsn) as refresh:
        reason = refresh.rebuild(uuid4(), lambda: None)
        assert reason == "figures of more than a day are to be frozen"
        assert _transactions(connection) >= 4
        assert refresh.rebuild(uuid4(), lambda: None) is None
        reply = refresh.refresh(uuid4(), lambda pid: None)
    assert all(report.success for report in reply.reports)
    assert not ask(connection)


@pytest.mark.slow
def test_functions_that_know_no_steps_end_the_loop(dsn: str, connection: Connection) -> None:
    """Before `migrate` an older program's function has nothing to build: the daemon goes on, and the fold freezes."""
    connection.execute(
        "alter function analytics_refresh.rebuild_step(integer) rename to real_step;"
        " create function analytics_refresh.rebuild_step() returns double precision language sql as 'select 1.0'"
    )
    keep_rows(connection, 41 * 24)
    learn(connection)
    with refresher(dsn) as refresh:
        assert refresh.rebuild(uuid4(), lambda: None) is not None
        assert all(report.success for report in refresh.refresh(uuid4(), lambda pid: None).reports)
    assert not ask(connection)


@pytest.mark.slow
def test_turning_it_on_freezes_in_steps(connection: Connection) -> None:
    """`migrate --incremental` commits each step, and goes on after an end in the middle."""
    connection.execute(_SMALL_STEPS)
    # the next one is created again by every installation, so it is told here where it must stop
    connection.execute(
        "create function stop() returns trigger language plpgsql as $$ begin"
        " if new.frozen_until > now() - interval '60 days' and old.frozen_until < new.frozen_until then"
        " raise exception 'stopped'; end if; return new; end $$;"
        " create trigger stop before update on analytics_refresh.incremental for each row execute function stop()"
    )
    keep_rows(connection, 41 * 24)
    learn(connection)
    with pytest.raises(psycopg.errors.RaiseException):
        _step_until_built(connection)
    stopped = horizon(connection)
    assert stopped is not None
    connection.execute("drop trigger stop on analytics_refresh.incremental")
    connection.execute(
        "drop function analytics_refresh.rebuild_step();"
        " alter function analytics_refresh.real_step(integer) rename to rebuild_step"
    )
    incremental.install(connection, retention=Retention(41 * _DAY))
    after = horizon(connection)
    assert after is not None
    assert after > stopped
    connection.execute("select * from refresh_action_analytics()")
    assert not ask(connection)
    assert verify(connection).ok


@pytest.mark.slow
def test_a_build_under_way_begins_again_over_what_is_frozen(connection: Connection) -> None:
    """Steps that freeze rows which a build has counted already make it begin again: nothing counts twice."""
    connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
    for _ in range(3):
        connection.execute("select analytics_refresh.rebuild_step(200)")
    keep_rows(connection, 41 * 24)
    learn(connection)
    steps = 0
    while connection.execute("select analytics_refresh.rebuild_step(200)").fetchone() != (1.0,):
        steps += 1
    assert steps >= 3
    connection.execute("select * from refresh_action_analytics()")
    assert not ask(connection)
    assert verify(connection).ok


@pytest.mark.slow
def test_a_verification_waits_for_no_late_row(connection: Connection) -> None:
    """Rows before the horizon that wait to be applied are no difference."""
    keep_rows(connection, 41 * 24)
    assert not refresh_and_ask(connection)
    connection.execute("update analytics_refresh.incremental set late_rows = 'apply'")
    connection.execute("insert into action_results (id, job_id, action_type, status, executed_at, duration_ms) values"
        " ('late', 'job', 'fax', 'failed', now() - interval '50 days', 7)")  # fmt: skip
    learn(connection)
    assert verify(connection).ok
    connection.execute("select * from refresh_action_analytics()")
    assert not ask(connection)


@pytest.mark.slow
def test_keeping_nothing_is_said_aloud(dsn: str) -> None:
    """`check` warns where figures go with their rows."""
    for keep, told in (("nothing", True), ("rollups", False)):
        found = command(dsn, "check", RETENTION__ROWS="90d", RETENTION__KEEP=keep).stdout
        assert ("figures of deleted rows go with them" in found) == told


@pytest.fixture
def months(databases: Callable[..., str], migrated_template: str) -> Iterator[Connection]:
    """Actions in months, some of them wholly before the horizon, all with capture; the oracle beside them."""
    first = (datetime.now(UTC) - timedelta(days=190)).date().replace(day=1)
    bounds = [first]
    while len(bounds) < 9:
        bounds.append((bounds[-1] + timedelta(days=32)).replace(day=1))
    with connect(databases(migrated_template)) as connection:
        connection.execute(
            "alter table action_results rename to old; create table action_results (like old including defaults)"
            " partition by range (executed_at)"
        )
        for start, end in pairwise(bounds):
            connection.execute(
                f"create table month_{start:%Y_%m} partition of action_results for values from ('{start}') to ('{end}')"
            )
        connection.execute(
            "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
            " select 'row ' || i, 'job', 'busy', 'rest', 'success', now() - i * interval '6 hours', i % 50"
            " from generate_series(1, 640) i"
        )
        migrate(connection, recreate_views=True)
        incremental.install(connection, replace=True, retention=Retention(70 * _DAY))
        create_oracle(connection)
        yield connection


def _month(days: float) -> str:
    return f"month_{datetime.now(UTC) - timedelta(days=days):%Y_%m}"


@pytest.mark.slow
def test_what_becomes_of_a_frozen_month_asks_for_no_rebuild(months: Connection) -> None:
    """Its triggers, its index, and another old month that is attached are nothing that a refresh waits for."""
    assert not refresh_and_ask(months)
    built = months.execute("select built_at from analytics_refresh.incremental").fetchone()
    month = _month(155)
    months.execute(f"alter table {month} disable trigger all")
    months.execute(f"drop trigger analytics_refresh_delete on {month}")
    (index,) = months.execute(
        "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = %s::regclass and"
        " c.relname like 'analytics_refresh_failures_%%'", [month]
    ).fetchall()  # fmt: skip
    months.execute(sql.SQL("drop index {}").format(sql.Identifier(index[0])))
    months.execute(
        "create table month_long_ago partition of action_results for values from ('2001-01-01') to ('2001-02-01')"
    )
    months.execute("insert into month_long_ago (id, job_id, action_type, status, executed_at) values"
        " ('old', 'job', 'rest', 'success', '2001-01-05')")  # fmt: skip
    assert not refresh_and_ask(months)
    state = incremental.state(months)
    assert (state.rebuild_reason, state.uncaptured) == (None, ())
    done = incremental.install(months)
    assert not [step for step in done if "index the failures" in step]
    assert not refresh_and_ask(months)
    assert months.execute("select built_at from analytics_refresh.incremental").fetchone() == built
    assert verify(months).ok


@pytest.mark.slow
def test_R10_a_truncate_decides_nothing_about_a_lost_month(months: Connection) -> None:
    """A month that went before it was frozen is missed, whatever else asks for a rebuild, until somebody decides."""
    assert not refresh_and_ask(months)
    months.execute(f"drop table {_month(45)}")
    months.execute("truncate month_" + f"{datetime.now(UTC):%Y_%m}")
    failed = months.execute("select error_message from refresh_action_analytics() where not success").fetchall()
    assert len(failed) == 3
    assert "is gone whose rows were not frozen yet" in failed[0][0]
    months.execute("call analytics_refresh.rebuild()")
    assert not months.execute("select * from refresh_action_analytics() where not success").fetchall()


_INSTRUMENTED = ("freeze", "apply_late", "rebuild_start", "rebuild_step", "fold")
_KEY = 7001
_PAUSE = f"perform pg_advisory_xact_lock_shared({_KEY}, {{number}});"
_FULL = """
if current_setting('test.full_at', true) = '{number}' then
    raise exception using errcode = '53100', message = 'could not extend file: No space left on device';
end if;
"""


def _after_each_statement(connection: Connection, added: str) -> int:
    """Add something to each statement of what freezes, with its number; return how many there are."""
    number = 0
    for name in _INSTRUMENTED:
        ((source,),) = connection.execute(
            "select pg_get_functiondef(p.oid) from pg_proc p"
            " where p.pronamespace = 'analytics_refresh'::regnamespace and p.proname = %s", [name]
        ).fetchall()  # fmt: skip
        head, begin, body = source.partition("\nbegin\n")
        lines = []
        for line in body.splitlines():
            lines.append(line)
            # a statement ends where a line ends with a semicolon; one of two words is a declaration, or ends a block
            if line.endswith(";") and not re.match(r"\s*(return|exit|\w+ [\w.]+(\[\])?;$)", line):
                lines.append(added.format(number=number))
                number += 1
        connection.execute(head + begin + "\n".join(lines))
    return number


class _Worker:
    """A session that freezes step by step and folds, on a thread of its own."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn)
        self.pid = self._connection.info.backend_pid
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            with self._connection as own:
                while own.execute("select analytics_refresh.rebuild_step(40)").fetchone() != (1.0,):
                    pass
                own.execute("select analytics_refresh.fold()")
        except psycopg.OperationalError:
            pass

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(60)
        assert self.over


def _kill_at(server: Server, database: str, number: int) -> bool:
    """Kill what freezes at its statement `number`, where it comes by there; the server restarts. Then finish."""
    dsn = server.dsn(database)
    with connect(dsn) as blocker:
        blocker.execute("select pg_advisory_lock(%s, %s)", [_KEY, number])
        worker = _Worker(dsn)
        waiting = "select from pg_locks where pid = %s and locktype = 'advisory' and not granted"
        eventually(lambda: worker.over or blocker.execute(waiting, [worker.pid]).fetchone() is not None)
        reached = not worker.over
        if reached:
            os.kill(worker.pid, signal.SIGKILL)
            # the server ends every session before it starts again
            eventually(lambda: not _answers(blocker))
        worker.join()
    eventually(lambda: _answers(None, dsn))
    with connect(dsn) as connection:
        while connection.execute("select analytics_refresh.rebuild_step(40)").fetchone() != (1.0,):
            pass
        assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()
        assert build_reason(connection) != "an hour that was frozen differed from its rows"
        assert not ask(connection), number
        assert verify(connection).ok, number
    return reached


def _answers(connection: Connection | None, dsn: str = "") -> bool:
    try:
        if connection is not None:
            return connection.execute("select true").fetchone() == (True,)
        with connect(dsn) as opened:
            return opened.execute("select true").fetchone() == (True,)
    except psycopg.OperationalError:
        return False


def _prepared(server: Server) -> int:
    """Make database `prepared`, which waits at each statement."""
    with server.connect() as admin:
        admin.execute("create database prepared")
    dsn = server.dsn("prepared")
    create_application(dsn)
    with connect(dsn) as connection:
        migrate(connection)
        _freeze_half(connection)
        return _after_each_statement(connection, _PAUSE)


def _freeze_half(connection: Connection) -> None:
    """Freeze half of it; the rest is due, with changes of every kind that wait."""
    connection.execute(_FILL)
    incremental.install(connection, retention=Retention(62 * _DAY, "apply"))
    create_oracle(connection)
    connection.execute(
        "update action_results set duration_ms = 5 where id in ('row 440', 'row 441');"
        " update action_results set executed_at = now() where id = 'row 442';"
        " delete from action_results where executed_at < now() - interval '52 days';"
        " update triggers set organization_id = 'blue';"
        " insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
        " values ('late', 'job', 'one', 'rest', 'success', now() - interval '70 days', 9)"
    )
    keep_rows(connection, 41 * 24)
    learn(connection)


@pytest.mark.nightly
def test_R01_a_kill_at_any_statement_of_a_freeze_loses_nothing() -> None:
    """kill -9 at each statement of freezing, building and folding: the next run ends where it would have ended."""
    # a server that is killed must keep what was committed just before
    server = Server(settings={"synchronous_commit": "on"}).start()
    try:
        points = _prepared(server)
        reached = 0
        for number in range(points):
            with server.connect() as admin:
                admin.execute(f"create database run_{number} template prepared")
            reached += _kill_at(server, f"run_{number}", number)
        assert reached > 20
    finally:
        server.destroy()


@pytest.mark.slow
def test_R01_a_kill_in_a_freeze_loses_nothing() -> None:
    """kill -9 within a step of the freeze, after others were committed."""
    # a server that is killed must keep what was committed just before
    server = Server(settings={"synchronous_commit": "on"}).start()
    try:
        _prepared(server)
        assert _kill_at(server, "prepared", 4)
    finally:
        server.destroy()


@pytest.mark.parametrize("every", [pytest.param(9, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.nightly)])
def test_R08_a_full_disk_while_freezing_loses_nothing(
    databases: Callable[..., str], migrated_template: str, every: int
) -> None:
    """Whichever statement finds no room: what was committed stays, and with room again it ends where it should."""
    with connect(databases(migrated_template)) as connection:
        _freeze_half(connection)
        points = _after_each_statement(connection, _FULL)
        reached = 0
        for number in range(0, points, every):
            with connection.transaction(force_rollback=True):
                connection.execute(f"set local test.full_at = {number}")
                reached += _finds_no_room(connection)
                connection.execute("set local test.full_at = ''")
                _finish(connection)
                assert not ask(connection), number
                assert build_reason(connection) != "an hour that was frozen differed from its rows"
        assert reached > 20 / every


def _finish(connection: Connection) -> None:
    """Freeze, build and fold what is due, as a refresh of the daemon does."""
    while connection.execute("select analytics_refresh.rebuild_step(40)").fetchone() != (1.0,):
        pass
    assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()


def _finds_no_room(connection: Connection) -> bool:
    """Freeze step by step, each of which stays, then fold; return whether one of them found no room."""
    share = 0.0
    try:
        while share < 1:
            with connection.transaction():
                ((share,),) = connection.execute("select analytics_refresh.rebuild_step(40)").fetchall()
        with connection.transaction():
            connection.execute("select analytics_refresh.fold()")
    except psycopg.errors.DiskFull:
        return True
    return False


@pytest.mark.slow
def test_R11_a_dump_of_before_the_freeze_freezes_again(
    dsn: str, connection: Connection, databases: Callable[..., str], tmp_path: Path
) -> None:
    """Restored with the rows of then it is as this database was; what is frozen there is what was frozen here."""
    file, target = tmp_path / "dump", databases()
    programs = PROGRAMS[connection.info.server_version // 10000]
    subprocess.run([programs / "pg_dump", "--format=custom", "--file", file, "--dbname", dsn], check=True)
    for each in (connection, target):
        if each is target:
            subprocess.run([programs / "pg_restore", "--dbname", target, file], check=True)
        with connection if each is connection else connect(target) as database:
            keep_rows(database, 41 * 24)
            _finish(database)
            database.execute("delete from action_results where executed_at < now() - interval '42 days'")
            assert not refresh_and_ask(database)
            assert verify(database).ok
            frozen = database.execute("select sum(n)::bigint from analytics_refresh.frozen_triggers").fetchone()
            assert frozen is not None
            assert frozen[0] > 200
