"""Deletes rows older than a bound, in portions.

Each portion is a transaction of its own.
"""

from datetime import UTC, datetime
from uuid import UUID

from analytics_refreshd.core.retention import End, Pace, Survey
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.retention.action_log import COUNT_SECONDS, RECORD_SECONDS, ActionLog, Leaf, Portion

_CLAIM = 4


class RowRetention(ActionLog):
    """Looks at old rows and deletes them, over one session.

    Every method raises DatabaseFault.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session, "retention/rows.sql", _CLAIM)

    def survey(self, bound: datetime) -> tuple[Survey, list[Leaf]]:
        """Count the rows older than `bound`, and find where they lie. Reads an index, or every row without one."""

        def work(connection: BoundedConnection) -> tuple[Survey, list[Leaf]]:
            ((now, _),) = connection.execute(self._sql["database"]).fetchall()
            found = self._leaves(connection)
            ((to_go, timeless, oldest),) = connection.execute(
                self._filled("survey", table=self.table), {"bound": bound}
            ).fetchall()
            rows = sum(each.rows for each in found)
            if any(each.rows < 0 for each in found) or rows < to_go:
                ((rows,),) = connection.execute(self._filled("count_rows", table=self.table)).fetchall()
            ((incremental,),) = connection.execute(self._sql["incremental"]).fetchall()
            frozen = connection.execute(self._sql["frozen"]).fetchone() if incremental else None
            survey = Survey(
                now=now.astimezone(UTC),
                rows_to_go=to_go,
                rows=int(rows),
                oldest_at=oldest and oldest.astimezone(UTC),
                timeless=timeless,
                incremental=bool(incremental),
                frozen_until=_moment(frozen[0] if frozen else None),
                unindexed=tuple(each.name for each in found if not each.foreign and not each.indexed_by_time),
                foreign=tuple(each.name for each in found if each.foreign),
                hidden=tuple(each.name for each in found if each.hidden),
            )
            return survey, [each.leaf for each in found]

        return self._session.run(work, seconds=COUNT_SECONDS)

    def begin(self, run_id: UUID, bound: datetime, *, keep_figures: bool) -> bool:
        """Record the run; False if another one is under way."""

        def work(connection: BoundedConnection) -> bool:
            claimed = self._may_claim(connection)
            if claimed:
                connection.execute(self._sql["abandon_earlier"])
                values = {"run_id": run_id, "bound": bound, "keep_figures": keep_figures}
                connection.execute(self._sql["begin_run"], values)
            return claimed

        return self._session.run(work)

    def delete(self, run_id: UUID, leaf: Leaf, since: str, bound: datetime, pace: Pace) -> Portion:
        """Delete the next rows of a table, and count them.

        That is one transaction, of a second at most.
        """

        def work(connection: BoundedConnection) -> tuple[int, str]:
            values = {"since": since, "bound": bound, "rows": pace.rows}
            statement = self._filled("delete_rows", leaf=leaf.identifier)
            ((rows, until),) = connection.execute(statement, values).fetchall()
            if rows:
                connection.execute(self._sql["note_rows"], {"run_id": run_id, "rows": rows})
            return int(rows), until or since

        return self._portion(work, since)

    def after_next(self, leaf: Leaf, since: str, bound: datetime, rows: int) -> str | None:
        """Return where the rows after the next few begin.

        None if there are none.
        """
        statement = self._filled("after_next_rows", leaf=leaf.identifier)
        values = {"since": since, "bound": bound, "rows": rows}
        ((until,),) = self._session.run(lambda connection: connection.execute(statement, values).fetchall())
        return until if until is None else str(until)

    def rows_left(self, bound: datetime) -> int:
        """Count the rows older than `bound` that are there."""
        statement = self._filled("rows_left", table=self.table)
        ((left,),) = self._session.run(
            lambda connection: connection.execute(statement, {"bound": bound}).fetchall(), seconds=COUNT_SECONDS
        )
        return int(left)

    def finish(self, run_id: UUID, end: End, reason: str | None, rows_left: int | None) -> tuple[int, int]:
        """Record the end of the run.

        Returns how many rows it deleted, and in how many portions: none where it was stopped before it had begun.
        """

        def work(connection: BoundedConnection) -> tuple[int, int]:
            values = {"run_id": run_id, "outcome": str(end), "reason": reason, "rows_left": rows_left}
            connection.execute(self._sql["finish_run"], values)
            rows = connection.execute(self._sql["deleted"], {"run_id": run_id}).fetchall()
            return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)

        return self._session.run(work, seconds=RECORD_SECONDS)


def _moment(text: str | None) -> datetime | None:
    """Read a time; None where it is unknown, or nothing is frozen."""
    if text is None or text.endswith("infinity"):
        return None
    return datetime.fromisoformat(text).astimezone(UTC)
