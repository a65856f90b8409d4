"""The leader's own session: a session-level advisory lock, its heartbeat, and the watch over a refresh's locks."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.leadership import LockReading
from analytics_refreshd.core.model import LeaderInfo, LockSample, Reason
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.errors import contract_fault, translating
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.state.sessions import blocker_of, leader_of

_ANSWER_SECONDS = 3.0
_YOUNG_SECONDS = 2.0
_PROFILE = Profile(
    statement_timeout_seconds=_ANSWER_SECONDS,
    lock_timeout_seconds=_ANSWER_SECONDS,
    # a process that is suspended, or gone without a word, must not lead on
    idle_session_seconds=15.0,
)
_POOLER = (
    "a pooler in transaction mode stands between this daemon and PostgreSQL, so a lock would belong to nobody: "
    "set [database] to a direct connection, or to a pool in session mode"
)


class PostgresLeader:
    """`core.ports.Leader` on a connection of its own, which no pooler may share.

    The lock is only ever tried on a session made for it: its backend_start is then the time of the election, and the
    leader's epoch (backend_start in milliseconds) grows from one leader to the next.
    """

    def __init__(self, connector: Connector, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._connector = connector
        self._monotonic = monotonic
        self._connection: BoundedConnection | None = None
        self._lost = False
        self._connected_at = 0.0
        self._pid = 0
        self._oids: dict[int, str] = {}

    def acquire(self) -> LockReading:
        """As `core.ports.Leader.acquire`. Raises DatabaseFault, with reason contract behind a transaction pooler."""
        self._drop_if_closed()
        if self._connection is None:
            self._connect()
        reading, holder = self._read()
        if reading.held or reading.in_recovery or holder is not None:
            return reading
        if self._monotonic() - self._connected_at > _YOUNG_SECONDS:
            self._drop()
            self._connect()
        self._ask("try_lock")
        # read in another transaction: a pooler would answer from another session
        return self._read()[0]

    def verify(self) -> None:
        """Connect without taking the lock. Raises DatabaseFault, with reason contract behind a transaction pooler."""
        self._connect()

    def heartbeat(self) -> LockReading:
        """As `core.ports.Leader.heartbeat`; reads only, since trying the lock again would count it twice."""
        return self._read()[0]

    def watch(self, pids: Sequence[int], views: Sequence[str], at_seconds: float) -> LockSample:
        """As `core.ports.Leader.watch`. Connects where there is no session yet: who only watches is not elected."""
        if self._pid == 0:
            self._connect()
        if set(views) - set(self._oids.values()):
            schema = self._connector.settings.app_schema
            found = self._ask("view_oids", {"schema": schema, "views": list(views)})
            self._oids = {int(oid): str(name) for name, oid in found}
        oids = [oid for oid, name in self._oids.items() if name in views]
        locks = self._ask("watch", {"pids": list(pids), "oids": oids})
        held = frozenset(self._oids[oid] for oid, granted in locks if granted and oid in self._oids)
        waiting = frozenset(self._oids[oid] for oid, granted in locks if not granted and oid in self._oids)
        blocked = any(not granted for _, granted in locks)
        blocker = blocker_of(self._ask("blocker", {"pids": list(pids)})) if blocked else None
        return LockSample(at_seconds, held, waiting, blocker)

    def other_holder(self) -> LeaderInfo | None:
        """As `core.ports.Leader.other_holder`."""
        rows = self._ask("other_holder")
        return leader_of(rows[0]) if rows else None

    def release(self) -> None:
        """As `core.ports.Leader.release`; never raises."""
        with suppress(DatabaseFault):
            if self._connection is not None and not self._connection.closed:
                self._ask("unlock")
        self._drop()

    def _connect(self) -> None:
        self._connection = self._connector.connect("leader", _PROFILE, instead_of_lost=self._lost)
        self._lost = False
        self._connected_at = self._monotonic()
        self._oids = {}
        self._pid = self._ask("pid")[0][0]
        if self._pid != self._connection.info.backend_pid:
            self._refuse_transaction_pooler()

    def _refuse_transaction_pooler(self) -> None:
        """Behind a pooler the protocol's pid is not the backend's. In session mode the backend stays the same, in
        transaction mode a second client gets it while this one is idle, or this one gets another."""
        probe = self._connector.connect("leader", _PROFILE)
        try:
            with translating(probe), probe.within(_ANSWER_SECONDS), probe.transaction():
                row = probe.execute(blocks("state/leader.sql")["pid"]).fetchone()
                during = self._ask("pid")[0][0]
        finally:
            probe.close()
        after = [self._ask("pid")[0][0] for _ in range(2)]
        if (row and row[0] == self._pid) or any(pid != self._pid for pid in (during, *after)):
            self._drop()
            raise contract_fault(_POOLER)

    def _read(self) -> tuple[LockReading, int | None]:
        asked_at = self._monotonic()
        pid, in_recovery, epoch, holder = self._ask("reading")[0]
        if pid != self._pid:
            self._drop()
            raise contract_fault(_POOLER)
        held = holder == pid
        return LockReading(asked_at, held, bool(in_recovery), int(epoch) if held else None), holder

    def _ask(self, name: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        connection = self._connection
        if connection is None or connection.closed:
            self._drop_if_closed()
            raise DatabaseFault(
                "the leader's session is closed",
                error_class=ErrorClass.CONN_LOST,
                reason=Reason.CONN_LOST,
            )
        try:
            with translating(connection), connection.within(_ANSWER_SECONDS):
                return connection.execute(blocks("state/leader.sql")[name], parameters).fetchall()
        finally:
            self._drop_if_closed()

    def _drop_if_closed(self) -> None:
        if self._connection is not None and self._connection.closed:
            self._lost = True
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()
