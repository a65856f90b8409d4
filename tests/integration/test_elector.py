"""The leader's session: one lock, one holder, and what it sees of a refresh."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import VIEWS, Reason
from analytics_refreshd.postgres.state.leader import PostgresLeader
from tests.support.adapters import Running, address, connector, holding_refresh, refresher, sleeping, through
from tests.support.installs import make_stretchable, stretch
from tests.support.pooler import pooler
from tests.support.postgres import Server
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]


@contextmanager
def electing(dsn: str, **settings: Any) -> Iterator[PostgresLeader]:
    leader = PostgresLeader(connector(dsn, **settings))
    try:
        yield leader
    finally:
        leader.release()


def pid_of(leader: PostgresLeader) -> int:
    return leader._pid


def test_one_leader_at_a_time(dsn: str) -> None:
    """One of two holds the lock; when it lets go the other gets it, with a later epoch."""
    with electing(dsn) as first, electing(dsn) as second:
        mine = first.acquire()
        assert mine.held
        assert not second.acquire().held
        assert second.acquire().epoch is None
        assert not second.heartbeat().held
        first.release()
        taken = second.acquire()
        assert taken.held
        assert mine.epoch is not None
        assert taken.epoch is not None
        assert taken.epoch > mine.epoch


@pytest.mark.fault
def test_D16_the_lock_is_counted_once(dsn: str, connection: Connection) -> None:
    """However often it is acquired and proved, one unlock frees the lock."""
    with electing(dsn) as leader:
        epochs = {leader.acquire().epoch for _ in range(3)} | {leader.heartbeat().epoch for _ in range(3)}
        assert len(epochs) == 1
        assert leader._connection is not None
        leader._connection.execute("select pg_advisory_unlock(2583, 1)")
        assert not leader.heartbeat().held
        assert connection.execute("select pg_try_advisory_lock(2583, 1)").fetchone() == (True,)


def test_a_standby_session_that_is_old_is_made_anew(dsn: str) -> None:
    """A long-waiting standby takes the lock on a new session, so that its epoch is the time of its election."""
    now, reconnects = [100.0], []
    with electing(dsn) as first:
        made = connector(dsn)
        made._on_reconnect = lambda: reconnects.append(1)
        second = PostgresLeader(made, monotonic=lambda: now[0])
        try:
            first.acquire()
            second.acquire()
            waiting = pid_of(second)
            now[0] += 60
            second.acquire()
            assert pid_of(second) == waiting
            first.release()
            assert second.acquire().held
            assert pid_of(second) != waiting
            # given up on purpose: nothing was lost
            assert reconnects == []
        finally:
            second.release()


def test_the_reading_is_dated_before_the_question(dsn: str) -> None:
    """A reading carries the monotonic time at which it was asked for."""
    with electing(dsn) as leader:
        leader._monotonic = lambda: 42.0
        assert leader.acquire().asked_at == 42.0


@pytest.mark.slow
@pytest.mark.fault
def test_D14_the_lock_session_is_lost(dsn: str, connection: Connection) -> None:
    """A terminated session is a lost connection at the next heartbeat, and the next acquire starts anew."""
    with electing(dsn) as leader:
        leader.acquire()
        connection.execute("select pg_terminate_backend(%s, 5000)", (pid_of(leader),))
        with pytest.raises(DatabaseFault) as caught:
            leader.heartbeat()
        with pytest.raises(DatabaseFault):
            leader.heartbeat()
        assert leader.acquire().held
    assert caught.value.error_class is ErrorClass.CONN_LOST


@pytest.mark.fault
def test_D15_a_stranger_holds_the_lock(dsn: str, connection: Connection) -> None:
    """A holder that is not one of our daemons is named; another daemon is known as ours; nobody is nobody."""
    role = f"stranger_{uuid4().hex[:8]}"
    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
    try:
        with electing(dsn) as leader:
            with psycopg.connect(make_conninfo(dsn, user=role, application_name="cron"), autocommit=True) as other:
                other.execute("select pg_advisory_lock(2583, 1)")
                assert not leader.acquire().held
                stranger = leader.other_holder()
                assert stranger is not None
                assert (stranger.pid, stranger.ours) == (other.info.backend_pid, False)
                assert stranger.replica == f"cron (role {role})"
            eventually(lambda: leader.acquire().held)
            assert leader.other_holder() is None
            with electing(dsn, name="shop") as second:
                second.acquire()
                holder = second.other_holder()
                assert holder is not None
                assert holder.ours
    finally:
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.mark.fault
@pytest.mark.slow
def test_B03_heartbeat_does_not_wait_for_a_silent_server(dsn: str) -> None:
    """A server that acknowledges and never answers costs the heartbeat its own few seconds."""
    with Proxy(address(dsn)) as proxy, electing(through(dsn, proxy.port)) as leader, ThreadPoolExecutor(1) as thread:
        leader.acquire()
        proxy.freeze()
        try:
            fault = thread.submit(leader.heartbeat).exception(timeout=20)
        finally:
            proxy.thaw()
        assert isinstance(fault, DatabaseFault)
        assert fault.reason is Reason.TIMEOUT
        assert leader._connection is None


@pytest.mark.fault
def test_C06_a_suspended_leader_loses_its_session(dsn: str, connection: Connection) -> None:
    """The server ends a leader's session that says nothing for 15 seconds, and its lock with it."""
    with electing(dsn) as leader:
        leader.acquire()
        assert leader._connection is not None
        assert leader._connection.execute("show idle_session_timeout").fetchone() == ("15s",)
        leader._connection.execute("set idle_session_timeout = '100ms'")
        eventually(lambda: connection.execute("select pg_try_advisory_lock(2583, 1)").fetchone() == (True,))
        with pytest.raises(DatabaseFault) as caught:
            leader.heartbeat()
    assert caught.value.sqlstate == "57P05"


@pytest.mark.slow
def test_watch_sees_the_views_in_turn(dsn: str, connection: Connection) -> None:
    """The watch sees which views a refreshing backend holds; before and after it sees none."""
    make_stretchable(connection)
    stretch(connection, VIEWS[2], 60)
    with electing(dsn) as leader, refresher(dsn) as refresh:
        leader.acquire()
        running = Running(refresh)
        assert running.started.wait(10)
        eventually(sleeping(connection, running.pids[0]))
        sample = leader.watch(running.pids[:1], VIEWS, 1.5)
        refresh.cancel()
        running.join()
        after = leader.watch(running.pids[:1], VIEWS, 2.5)
    assert (sample.at_seconds, sample.held) == (1.5, frozenset(VIEWS[:3]))
    assert (sample.waiting, sample.blocker) == (frozenset(), None)
    assert after.held == frozenset()


@pytest.mark.slow
def test_watch_names_the_blocker(dsn: str) -> None:
    """A view that waits for its lock is told with the session that holds it; the watch needs no election."""
    with holding_refresh(dsn, VIEWS[1]) as holder, electing(dsn) as leader, refresher(dsn) as refresh:
        running = Running(refresh)
        assert running.started.wait(10)
        sample = eventually(lambda: seen if (seen := leader.watch(running.pids, VIEWS, 0.0)).blocker else None)
        refresh.cancel()
        running.join()
        pid = holder.info.backend_pid
    assert (sample.held, sample.waiting) == (frozenset([VIEWS[0]]), frozenset([VIEWS[1]]))
    blocker = sample.blocker
    assert blocker is not None
    assert (blocker.pid, blocker.user, blocker.application) == (pid, "postgres", "nightly-etl")
    assert (blocker.state, blocker.visible) == ("idle in transaction", True)
    assert blocker.transaction_started_at is not None
    assert blocker.query_started_at is not None


def test_watch_sees_a_wait_that_is_not_for_a_view(dsn: str, connection: Connection) -> None:
    """A refresh that waits for the table behind its view has a blocker too."""
    with psycopg.connect(dsn) as other, electing(dsn) as leader, refresher(dsn) as refresh:
        other.execute("lock table action_results in access exclusive mode")
        running = Running(refresh)
        assert running.started.wait(10)
        sample = eventually(lambda: seen if (seen := leader.watch(running.pids[:1], VIEWS, 0.0)).blocker else None)
        refresh.cancel()
        running.join()
        assert sample.blocker is not None
        assert sample.blocker.pid == other.info.backend_pid
    assert sample.waiting == frozenset()


def test_a_blocker_of_another_role_is_hidden(dsn: str, connection: Connection) -> None:
    """Without pg_read_all_stats the blocker's pid, role and application are known, the rest said to be hidden."""
    if connection.info.server_version < 170000:
        pytest.skip("before PostgreSQL 17 only an owner can refresh a view")
    role = f"daemon_{uuid4().hex[:8]}"
    name = sql.Identifier(role)
    connection.execute(sql.SQL("create role {} login").format(name))
    try:
        connection.execute(sql.SQL("grant usage on schema public, analytics_refresh to {}").format(name))
        connection.execute(sql.SQL("grant select, maintain on all tables in schema public to {}").format(name))
        connection.execute(sql.SQL("grant execute on all functions in schema public to {}").format(name))
        poor = make_conninfo(dsn, user=role)
        with holding_refresh(dsn, VIEWS[0]) as holder, electing(poor) as leader, refresher(poor) as refresh:
            running = Running(refresh)
            assert running.started.wait(10)
            sample = eventually(lambda: seen if (seen := leader.watch(running.pids[:1], VIEWS, 0.0)).blocker else None)
            refresh.cancel()
            running.join()
            assert sample.blocker is not None
            assert sample.blocker.pid == holder.info.backend_pid
        assert (sample.blocker.visible, sample.blocker.state) == (False, None)
        assert sample.blocker.application == "nightly-etl"
    finally:
        connection.execute(sql.SQL("drop owned by {}").format(name))
        connection.execute(sql.SQL("drop role {}").format(name))


@pytest.mark.fault
@pytest.mark.slow
def test_A18_A19_a_standby_grants_nothing_until_it_is_promoted() -> None:
    """A hot standby is refused at connect; a session that was there before sees the promotion by its heartbeat."""
    primary = Server(settings={"wal_level": "replica", "max_wal_senders": "4"})
    standby: Server | None = None
    try:
        primary.start()
        standby = primary.standby()
        standby.start()
        with electing(standby.dsn()) as leader:
            with pytest.raises(DatabaseFault) as caught:
                leader.acquire()
            assert caught.value.error_class is ErrorClass.CONNECT
        both = f"postgresql://postgres@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres"
        with electing(both) as leader:
            assert leader.acquire().held
            assert leader._connection is not None
            assert leader._connection.info.port == primary.port
            standby.promote()
            assert leader.heartbeat().held
        with electing(standby.dsn()) as leader:
            assert leader.acquire().held
    finally:
        if standby:
            standby.destroy()
        primary.destroy()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("extra", ["", "server_round_robin = 1"], ids=["last used", "round robin"])
def test_B11_a_transaction_pooler_is_refused(dsn: str, extra: str) -> None:
    """Behind a pooler in transaction mode nobody leads, and the fault names the fix."""
    with pooler(dsn, "transaction", extra) as url, psycopg.connect(url) as another:
        another.execute("select 1")
        another.rollback()
        with electing(url) as leader, pytest.raises(DatabaseFault, match="direct connection") as caught:
            leader.acquire()
    assert (caught.value.error_class, caught.value.reason) == (ErrorClass.PERMANENT, Reason.CONTRACT)


@pytest.mark.slow
@pytest.mark.fault
def test_B11_a_transaction_pooler_is_refused_beside_busy_clients(dsn: str) -> None:
    """A client that takes the backend for a moment does not hide that it is shared."""
    over = threading.Event()

    def busy(url: str) -> None:
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as client:
            while not over.wait(random.uniform(0, 0.01)):
                client.execute("select pg_sleep(%s)", (random.uniform(0, 0.003),))

    with pooler(dsn, "transaction") as url, ThreadPoolExecutor(1) as pool:
        client = pool.submit(busy, url)
        try:
            # looked at once, a session passed here in 1 of 120 tries
            for _ in range(200):
                with electing(url) as leader, pytest.raises(DatabaseFault, match="direct connection"):
                    leader.verify()
        finally:
            over.set()
        client.result()


@pytest.mark.fault
def test_B11_a_session_that_could_not_be_looked_at_does_not_lead(dsn: str) -> None:
    """Where the pooler lets no second client in, nothing tells whether the backend is shared, at each attempt."""
    with pooler(dsn, "transaction", "max_client_conn = 1") as url, electing(url) as leader:
        for _ in range(3):
            with pytest.raises(DatabaseFault):
                leader.acquire()


def test_a_session_pooler_is_accepted(dsn: str) -> None:
    """Behind a pooler in session mode the lock is held as on a direct connection."""
    with pooler(dsn, "session") as url, electing(url) as leader:
        assert leader.acquire().held
        assert leader.heartbeat().held
