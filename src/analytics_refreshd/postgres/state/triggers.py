"""Reads the triggers that fail too often."""

from dataclasses import replace

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.failing_triggers import MOST_TRIGGERS, TriggerRate
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_TIMEOUT_SECONDS = 5.0


class PostgresTriggerRates:
    """`core.failing_triggers.TriggerRates` on the shared session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def below(self, percent: float, min_executions: int) -> list[TriggerRate]:
        """As `core.failing_triggers.TriggerRates.below`."""
        text = blocks("state/triggers.sql")["failing_triggers"]
        query = sql.SQL(text).format(app=sql.Identifier(self._session.app_schema))
        values = {"percent": percent, "least": min_executions, "most": MOST_TRIGGERS}

        def work(connection: BoundedConnection) -> list[TriggerRate]:
            return connection.cursor(row_factory=class_row(TriggerRate)).execute(query, values).fetchall()

        found = self._session.run(work, seconds=_TIMEOUT_SECONDS)
        return [replace(rate, trigger_id=printable(rate.trigger_id)) for rate in found]
