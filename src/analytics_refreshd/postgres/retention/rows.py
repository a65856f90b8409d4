"""Deletes rows older than a bound, in portions.

Each portion is a transaction of its own.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.retention import End, Pace, Standbys, Survey
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import refuse_untrusted

_PORTION_SECONDS = 1.0
"""A refresh finds its key taken for as long as this at most."""
_LOCK_SECONDS = 0.05
_COUNT_SECONDS = 600.0
_RECORD_SECONDS = 10.0
_BUSY = frozenset({Reason.LOCK_TIMEOUT, Reason.DEADLOCK, Reason.SERIALIZATION})
_START = "-infinity"


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
class Portion:
    """What came of one try.

    `rows` is None if a refresh holds the key, or if locked rows or the server took too long. `until` is where it ended.
    """

    rows: int | None
    until: str
    seconds: float
    commit_seconds: float
    timed_out: bool = False


class RowRetention:
    """Looks at old rows and deletes them, over one session.

    Every method raises DatabaseFault.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sql = blocks("retention/rows.sql")
        self._claimed_in: int | None = None

    def database(self) -> tuple[datetime, str]:
        """Return the server's time and the database's name."""

        def work(connection: BoundedConnection) -> tuple[datetime, str]:
            refuse_untrusted(connection, self._session.app_schema)
            ((now, name),) = connection.execute(self._sql["database"]).fetchall()
            return now.astimezone(UTC), str(name)

        return self._session.run(work)

    def survey(self, bound: datetime) -> tuple[Survey, list[Leaf]]:
        """Count the rows older than `bound`, and find where they lie. Reads an index, or every row without one."""

        def work(connection: BoundedConnection) -> tuple[Survey, list[Leaf]]:
            ((now, _),) = connection.execute(self._sql["database"]).fetchall()
            found = connection.execute(self._sql["leaves"], {"table": self._table.as_string(None)}).fetchall()
            ((to_go, timeless, oldest),) = connection.execute(
                self._filled("survey", table=self._table), {"bound": bound}
            ).fetchall()
            rows = sum(row[3] for row in found)
            if any(row[3] < 0 for row in found) or rows < to_go:
                ((rows,),) = connection.execute(self._filled("count_rows", table=self._table)).fetchall()
            ((incremental,),) = connection.execute(self._sql["incremental"]).fetchall()
            frozen = connection.execute(self._sql["frozen"]).fetchone() if incremental else None
            names = [f"{schema}.{name}" for schema, name, *_ in found]
            survey = Survey(
                now=now.astimezone(UTC),
                rows_to_go=to_go,
                rows=int(rows),
                oldest_at=oldest and oldest.astimezone(UTC),
                timeless=timeless,
                incremental=bool(incremental),
                frozen_until=_moment(frozen[0] if frozen else None),
                unindexed=tuple(name for name, row in zip(names, found, strict=True) if not row[2] and not row[5]),
                foreign=tuple(name for name, row in zip(names, found, strict=True) if row[2]),
                hidden=tuple(name for name, row in zip(names, found, strict=True) if row[4]),
            )
            return survey, [Leaf(schema, name) for schema, name, *_ in found]

        return self._session.run(work, seconds=_COUNT_SECONDS)

    def begin(self, run_id: UUID, bound: datetime, *, keep_figures: bool) -> bool:
        """Record the run; False if another one is under way."""

        def work(connection: BoundedConnection) -> bool:
            ((claimed,),) = connection.execute(self._sql["claim"]).fetchall()
            if claimed:
                self._claimed_in = self._session.generation
                connection.execute(self._sql["abandon_earlier"])
                values = {"run_id": run_id, "bound": bound, "keep_figures": keep_figures}
                connection.execute(self._sql["begin_run"], values)
            return bool(claimed)

        return self._session.run(work)

    def delete(self, run_id: UUID, leaf: Leaf, since: str, bound: datetime, pace: Pace) -> Portion:
        """Delete the next rows of a table, and count them.

        That is one transaction, of a second at most.
        """
        ended = 0.0

        def work(connection: BoundedConnection) -> tuple[int | None, str]:
            nonlocal ended
            if self._session.generation != self._claimed_in:
                raise DatabaseFault(
                    "the connection was lost, and with it the right to be the only run: the next run goes on",
                    error_class=ErrorClass.CONN_LOST,
                    reason=Reason.CONN_LOST,
                )
            ((free,),) = connection.execute(self._sql["take_key"]).fetchall()
            if not free:
                return None, since
            values = {"since": since, "bound": bound, "rows": pace.rows}
            statement = self._filled("delete_rows", leaf=leaf.identifier)
            ((rows, until),) = connection.execute(statement, values).fetchall()
            if rows:
                connection.execute(self._sql["note_rows"], {"run_id": run_id, "rows": rows})
            ended = time.monotonic()
            return int(rows), until or since

        begun = time.monotonic()
        try:
            rows, until = self._session.run(work, seconds=_PORTION_SECONDS, lock_seconds=_LOCK_SECONDS)
        except DatabaseFault as fault:
            timed_out = fault.reason is Reason.TIMEOUT and fault.error_class is ErrorClass.CANCELLED
            if not timed_out and fault.reason not in _BUSY:
                raise
            return Portion(None, since, time.monotonic() - begun, 0.0, timed_out=True)
        over = time.monotonic()
        return Portion(rows, until, over - begun, over - ended if ended else 0.0)

    def after_next(self, leaf: Leaf, since: str, bound: datetime, rows: int) -> str | None:
        """Return where the rows after the next few begin.

        None if there are none.
        """
        statement = self._filled("after_next_rows", leaf=leaf.identifier)
        values = {"since": since, "bound": bound, "rows": rows}
        ((until,),) = self._session.run(lambda connection: connection.execute(statement, values).fetchall())
        return until if until is None else str(until)

    def renew(self) -> None:
        """Use a new connection from now on. The claim to be the only run goes with the old one."""
        self._session.renew()

    def standbys(self) -> Standbys:
        """Read how far the standbys are behind."""

        def work(connection: BoundedConnection) -> Standbys:
            ((seconds, wal, hidden),) = connection.execute(self._sql["standbys"]).fetchall()
            return Standbys(seconds, wal, int(hidden))

        return self._session.run(work)

    def rows_left(self, bound: datetime) -> int:
        """Count the rows older than `bound` that are there."""
        statement = self._filled("rows_left", table=self._table)
        ((left,),) = self._session.run(
            lambda connection: connection.execute(statement, {"bound": bound}).fetchall(), seconds=_COUNT_SECONDS
        )
        return int(left)

    def finish(self, run_id: UUID, end: End, reason: str | None, rows_left: int | None) -> tuple[int, int]:
        """Record the end of the run.

        Returns how many rows it deleted, and in how many portions.
        """

        def work(connection: BoundedConnection) -> tuple[int, int]:
            values = {"run_id": run_id, "outcome": str(end), "reason": reason, "rows_left": rows_left}
            connection.execute(self._sql["finish_run"], values)
            ((deleted, portions),) = connection.execute(self._sql["deleted"], {"run_id": run_id}).fetchall()
            return int(deleted), int(portions)

        return self._session.run(work, seconds=_RECORD_SECONDS)

    @property
    def _table(self) -> sql.Identifier:
        return sql.Identifier(self._session.app_schema, "action_results")

    def _filled(self, name: str, **names: sql.Identifier) -> sql.Composed:
        return sql.SQL(self._sql[name]).format(**names)


def _moment(text: str | None) -> datetime | None:
    """Read a time; None where it is unknown, or nothing is frozen."""
    if text is None or text.endswith("infinity"):
        return None
    return datetime.fromisoformat(text).astimezone(UTC)
