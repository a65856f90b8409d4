"""Takes whole partitions from the action log, and drops them later."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.retention_months import Kept, Months, OldPartition, Record, marked
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_LOCK_SECONDS = 0.05
"""Everybody waits behind a lock that is waited for."""
_STEP_SECONDS = 5.0
_COUNT_SECONDS = 600.0
_BUSY = frozenset({Reason.LOCK_TIMEOUT, Reason.DEADLOCK, Reason.SERIALIZATION})


class Tried(StrEnum):
    """What came of one try. All but `done` and `gone` name what to wait for."""

    DONE = "done"
    BUSY = "a lock"
    REFRESH = "a refresh"
    PENDING = "changes that wait to be folded"
    GONE = "gone"


class _Undone(Exception):
    def __init__(self, tried: Tried) -> None:
        super().__init__(str(tried))
        self.tried = tried


class MonthRetention:
    """Looks at whole partitions, detaches and drops them, over one session.

    Every method raises DatabaseFault.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sql = blocks("retention/months.sql")
        self._key = blocks("retention/action_log.sql")["take_key"]

    def survey(self, bound: datetime) -> Months:
        """Find what is old as a whole, and what earlier runs took."""

        def work(connection: BoundedConnection) -> Months:
            names = {"table": self._table.as_string(), "bound": bound}
            ((recorded,),) = connection.execute(self._sql["recorded"]).fetchall()
            old = connection.execute(self._sql["old"], names).fetchall()
            ((now, owner, member),) = connection.execute(self._sql["owner"], names).fetchall()
            return Months(
                now.astimezone(UTC),
                tuple(_partition(*row) for row in old),
                records(connection) if recorded else (),
                str(owner),
                bool(member and recorded),
            )

        return self._session.run(work)

    def rows_of(self, partition: OldPartition, bound: datetime) -> int:
        """Count the rows of a partition that are older than the bound."""
        statement = self._filled("rows_of", partition=_name(partition))
        ((rows,),) = self._session.run(
            lambda connection: connection.execute(statement, {"bound": bound}).fetchall(), seconds=_COUNT_SECONDS
        )
        return int(rows)

    def detach(self, run_id: UUID, months: Months, partition: OldPartition) -> Tried:
        """Detach a partition and note it, in one transaction."""

        def work(connection: BoundedConnection) -> None:
            self._begin(connection, months)
            connection.execute(self._filled("lock", table=self._table))
            self._refuse_pending(connection, partition)
            names = {"table": self._table.as_string(), "partition": _name(partition).as_string()}
            row = connection.execute(self._sql["attached"], names).fetchone()
            if row is None:
                raise _Undone(Tried.GONE)
            connection.execute(self._filled("detach", table=self._table, partition=_name(partition)))
            comment = sql.Literal(marked(row[1], run_id))
            connection.execute(self._filled("comment", partition=_name(partition), comment=comment))
            values = {
                "relation": row[0],
                "schema": partition.schema,
                "name": partition.name,
                "since": partition.since,
                "until": partition.until,
                "rows": partition.rows,
                "run_id": run_id,
            }
            connection.execute(self._sql["note_detached"], values)

        return self._tried(work)

    def drop(self, months: Months, record: Record) -> Tried:
        """Drop a detached partition and note it, in one transaction."""

        def work(connection: BoundedConnection) -> None:
            self._begin(connection, months)
            connection.execute(self._filled("lock", table=_name(record.partition)))
            self._refuse_pending(connection, record.partition)
            if record not in records(connection):
                raise _Undone(Tried.GONE)
            connection.execute(self._filled("drop", partition=_name(record.partition)))
            values = {"month_id": record.month_id, "state": str(Kept.DROPPED)}
            connection.execute(self._sql["note_state"], values)

        return self._tried(work)

    def _begin(self, connection: BoundedConnection, months: Months) -> None:
        ((free,),) = connection.execute(self._key).fetchall()
        if not free:
            raise _Undone(Tried.REFRESH)
        connection.execute(self._filled("become", owner=sql.Identifier(months.owner)))

    def _refuse_pending(self, connection: BoundedConnection, partition: OldPartition) -> None:
        """End the transaction while changes of rows so old wait: no more come once the lock is held."""
        ((incremental,),) = connection.execute(self._sql["incremental"]).fetchall()
        if not incremental:
            return
        values = {"since": partition.since, "until": partition.until}
        ((pending,),) = connection.execute(self._sql["pending"], values).fetchall()
        if pending:
            raise _Undone(Tried.PENDING)

    def _tried(self, work: Callable[[BoundedConnection], None]) -> Tried:
        try:
            self._session.run(work, seconds=_STEP_SECONDS, lock_seconds=_LOCK_SECONDS)
        except _Undone as undone:
            return undone.tried
        except DatabaseFault as fault:
            if fault.reason in _BUSY or (fault.reason is Reason.TIMEOUT and fault.error_class is ErrorClass.CANCELLED):
                return Tried.BUSY
            raise
        return Tried.DONE

    @property
    def _table(self) -> sql.Identifier:
        return sql.Identifier(self._session.app_schema, "action_results")

    def _filled(self, name: str, **names: sql.Composable) -> sql.Composed:
        return sql.SQL(self._sql[name]).format(**names)


def records(connection: Connection) -> tuple[Record, ...]:
    """Read what earlier runs took, and what became of it."""
    rows = connection.execute(blocks("retention/months.sql")["records"]).fetchall()
    return tuple(
        Record(_partition(*row[:5]), int(row[5]), Kept(row[6]), row[7].astimezone(UTC), bool(row[8])) for row in rows
    )


def _name(partition: OldPartition) -> sql.Identifier:
    return sql.Identifier(partition.schema, partition.name)


def _partition(schema: str, name: str, since: datetime | None, until: datetime, rows: int) -> OldPartition:
    return OldPartition(schema, name, since and since.astimezone(UTC), until.astimezone(UTC), int(rows))
