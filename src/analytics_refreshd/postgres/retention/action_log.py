"""The action log, and the transactions that change it in portions."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.retention import Standbys
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import refuse_untrusted

COUNT_SECONDS = 600.0
RECORD_SECONDS = 10.0
_PORTION_SECONDS = 1.0
"""A refresh finds its key taken for as long as this at most."""
_LOCK_SECONDS = 0.05
_BUSY = frozenset({Reason.LOCK_TIMEOUT, Reason.DEADLOCK, Reason.SERIALIZATION})


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table that holds rows of the action log itself: the log, or a partition of it."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        """The name for a statement."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class FoundLeaf:
    """A leaf as the catalog shows it.

    `rows` is the planner's estimate, negative where there is none. `hidden` is whether row security may hide rows.
    """

    leaf: Leaf
    foreign: bool
    rows: float
    hidden: bool
    indexed_by_time: bool

    @property
    def name(self) -> str:
        """The name for a person."""
        return f"{self.leaf.schema}.{self.leaf.name}"


@dataclass(frozen=True, slots=True)
class Portion:
    """What came of one try.

    `rows` is None if a refresh holds the key, or if locked rows or the server took too long. `until` is where it ended.
    """

    rows: int | None
    until: str
    seconds: float
    commit_seconds: float
    timed_out: bool = False


class ActionLog:
    """The table action_results over one session.

    One run at a time has the claim of its command; it goes with the connection. Every method raises DatabaseFault.
    """

    def __init__(self, session: Session, file: str, claim: int) -> None:
        self._session = session
        self._sql = {**blocks("retention/action_log.sql"), **blocks(file)}
        self._claim = claim
        self._claimed_in: int | None = None

    def database(self) -> tuple[datetime, str]:
        """Return the server's time and the database's name."""

        def work(connection: BoundedConnection) -> tuple[datetime, str]:
            refuse_untrusted(connection, self._session.app_schema)
            ((now, name),) = connection.execute(self._sql["database"]).fetchall()
            return now.astimezone(UTC), str(name)

        return self._session.run(work)

    def standbys(self) -> Standbys:
        """Read how far the standbys are behind."""

        def work(connection: BoundedConnection) -> Standbys:
            ((seconds, wal, hidden),) = connection.execute(self._sql["standbys"]).fetchall()
            return Standbys(seconds, wal, int(hidden))

        return self._session.run(work)

    def renew(self) -> None:
        """Use a new connection from now on. The claim to be the only run goes with the old one."""
        self._session.renew()

    @property
    def table(self) -> sql.Identifier:
        """The log's name for a statement."""
        return sql.Identifier(self._session.app_schema, "action_results")

    def _leaves(self, connection: BoundedConnection) -> list[FoundLeaf]:
        found = connection.execute(self._sql["leaves"], {"table": self.table.as_string(None)}).fetchall()
        return [FoundLeaf(Leaf(schema, name), *rest) for schema, name, *rest in found]

    def _may_claim(self, connection: BoundedConnection) -> bool:
        ((claimed,),) = connection.execute(self._sql["claim"], {"claim": self._claim}).fetchall()
        if claimed:
            self._claimed_in = self._session.generation
        return bool(claimed)

    def _refuse_lost_claim(self) -> None:
        if self._session.generation != self._claimed_in:
            raise DatabaseFault(
                "the connection was lost, and with it the right to be the only run: the next run goes on",
                error_class=ErrorClass.CONN_LOST,
                reason=Reason.CONN_LOST,
            )

    def _portion(self, work: Callable[[BoundedConnection], tuple[int, str]], since: str = "") -> Portion:
        """Do `work` with the key of a refresh, in one transaction of a second at most."""
        ended = 0.0

        def timed(connection: BoundedConnection) -> tuple[int | None, str]:
            nonlocal ended
            self._refuse_lost_claim()
            ((free,),) = connection.execute(self._sql["take_key"]).fetchall()
            if not free:
                return None, since
            done = work(connection)
            ended = time.monotonic()
            return done

        begun = time.monotonic()
        try:
            rows, until = self._session.run(timed, seconds=_PORTION_SECONDS, lock_seconds=_LOCK_SECONDS)
        except DatabaseFault as fault:
            timed_out = fault.reason is Reason.TIMEOUT and fault.error_class is ErrorClass.CANCELLED
            if not timed_out and fault.reason not in _BUSY:
                raise
            return Portion(None, since, time.monotonic() - begun, 0.0, timed_out=True)
        over = time.monotonic()
        return Portion(rows, until, over - begun, over - ended if ended else 0.0)

    def _filled(self, name: str, **names: sql.Composable) -> sql.Composed:
        return sql.SQL(self._sql[name]).format(**names)
