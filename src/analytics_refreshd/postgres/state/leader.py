"""The leader's own session: advisory lock, heartbeat, and watch over a refresh's locks."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.rows import dict_row

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass, WrongSchemaFault, not_writable
from analytics_refreshd.core.leadership import LockReading
from analytics_refreshd.core.model import LeaderInfo, LockSample, Reason
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.errors import contract_fault, translating
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.state.sessions import blocker_of, leader_of

_ANSWER_SECONDS = 3.0
_YOUNG_SECONDS = 2.0
_POOLER_ROUNDS = 5
_PROFILE = Profile(
    statement_timeout_seconds=_ANSWER_SECONDS,
    lock_timeout_seconds=_ANSWER_SECONDS,
    # the server then ends the session of a process that is suspended or lost
    idle_session_seconds=15.0,
)
_POOLER = (
    "a pooler in transaction mode stands between this daemon and PostgreSQL, so a lock would belong to nobody: "
    "set [database] to a direct connection, or to a pool in session mode"
)


class PostgresLeader:
    """`core.ports.Leader` on a connection that no pooler may share.

    The lock is tried only on a session made for it. Its backend_start is then the time of the election, so the leader's
    epoch (backend_start in milliseconds) grows from one leader to the next. `on_request` is called by the heartbeat
    after an operator asked for something.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        on_request: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connector = connector
        self._on_request = on_request
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
        if holder is not None and not reading.held:
            self._refuse_other_schema(holder)
        if reading.held or holder is not None:
            return reading
        if self._monotonic() - self._connected_at > _YOUNG_SECONDS:
            self._drop()
            self._connect()
        self._ask("try_lock")
        self._listen()
        self._ask("mark_schema", {"schema": self._connector.settings.app_schema})
        # read it in another transaction, where a pooler would answer from another session
        return self._read()[0]

    def _refuse_other_schema(self, holder: int) -> None:
        """Raise WrongSchemaFault where the leader says that it refreshes another application schema."""
        schema = self._connector.settings.app_schema
        rows = self._ask("other_schema", {"holder": holder, "schema": schema})
        if rows:
            raise WrongSchemaFault(printable(rows[0]["other_schema"]), schema)

    def verify(self) -> None:
        """Connect without taking the lock. Raises DatabaseFault, with reason contract behind a transaction pooler."""
        self._connect()

    def heartbeat(self) -> LockReading:
        """As `core.ports.Leader.heartbeat`; reads only: each further try would count the lock once more."""
        return self._read()[0]

    def watch(self, pids: Sequence[int], views: Sequence[str], at_seconds: float) -> LockSample:
        """As `core.ports.Leader.watch`; connects first where a command watches without the lock."""
        if self._pid == 0:
            self._connect()
        if set(views) - set(self._oids.values()):
            schema = self._connector.settings.app_schema
            found = self._ask("view_oids", {"schema": schema, "views": list(views)})
            self._oids = {int(row["oid"]): str(row["relname"]) for row in found}
        oids = [oid for oid, name in self._oids.items() if name in views]
        locks = self._ask("watch", {"pids": list(pids), "oids": oids})
        views_by_state: dict[bool, set[str]] = {True: set(), False: set()}
        for row in locks:
            if row["oid"] in self._oids:
                views_by_state[row["granted"]].add(self._oids[row["oid"]])
        blocked = any(not row["granted"] for row in locks)
        blocker = blocker_of(self._ask("blocker", {"pids": list(pids)})) if blocked else None
        return LockSample(at_seconds, frozenset(views_by_state[True]), frozenset(views_by_state[False]), blocker)

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
        try:
            self._pid = self._ask("pid")[0]["pid"]
            if self._pid != self._connection.info.backend_pid:
                self._refuse_transaction_pooler()
        except BaseException:
            # not looked at to the end: the next attempt would take it for a session of its own
            self._drop()
            raise

    def _listen(self) -> None:
        """Learn with the next heartbeat that an operator asked for something."""
        if self._connection is not None:
            self._connection.add_notify_handler(lambda notify: self._on_request())
        self._ask("listen")

    def _refuse_transaction_pooler(self) -> None:
        """Raise DatabaseFault where the pooler in between changes backends.

        Behind a pooler the protocol's pid is not the backend's. In session mode the backend stays the same. In
        transaction mode a second client gets it while this one is idle, or this one gets another. A third client that
        holds it for a moment hides that, hence several rounds.
        """
        probe = self._connector.connect("leader", _PROFILE)
        try:
            shared = any(self._shares_backend(probe) for _ in range(_POOLER_ROUNDS))
        finally:
            probe.close()
        if shared:
            raise contract_fault(_POOLER)

    def _shares_backend(self, probe: BoundedConnection) -> bool:
        """Return whether `probe` was given this session's backend, or this session another."""
        with translating(probe), probe.within(_ANSWER_SECONDS), probe.transaction():
            row = probe.execute(blocks("state/leader.sql")["pid"]).fetchone()
            during = self._ask("pid")[0]["pid"]
        # asked last, so that a pooler that hands out the backend used last gives this one to the next round's probe
        after = self._ask("pid")[0]["pid"]
        given = row[0] if row is not None else None
        return given == self._pid or any(pid != self._pid for pid in (during, after))

    def _read(self) -> tuple[LockReading, int | None]:
        asked_at = self._monotonic()
        row = self._ask("reading")[0]
        pid, holder = row["pid"], row["holder"]
        if pid != self._pid:
            self._drop()
            raise contract_fault(_POOLER)
        if not row["writable"]:
            # another connection may find the primary; this one would go on answering
            self._lost = True
            self._drop()
            raise not_writable()
        held = holder == pid
        return LockReading(asked_at, held, int(row["epoch"]) if held else None), holder

    def _ask(self, name: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
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
                cursor = connection.cursor(row_factory=dict_row)
                cursor.execute(blocks("state/leader.sql")[name], parameters)
                return cursor.fetchall() if cursor.description else []
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
