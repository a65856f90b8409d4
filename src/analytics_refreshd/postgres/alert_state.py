"""Alert records in the database, so that what fires survives a restart and a change of leader."""

from collections.abc import Sequence
from typing import Any

from analytics_refreshd.core.alerting import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.postgres.bounded import BoundedConnection
from analytics_refreshd.postgres.session import Session
from analytics_refreshd.postgres.sqlfiles import blocks

_KNOWN = frozenset(Alert)


class PostgresAlertStore:
    """Implements `core.ports.AlertStore`; without our schema nothing is stored and nothing found."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._statements = blocks("alert_state.sql")

    def load(self) -> list[AlertRecord]:
        """As `core.ports.AlertStore.load`; alerts of a newer version, unknown to this one, are left alone."""

        def work(connection: BoundedConnection) -> list[AlertRecord]:
            if not self._present(connection):
                return []
            rows = connection.execute(self._statements["load"]).fetchall()
            return [_record(row) for row in rows if row[0] in _KNOWN]

        return self._session.run(work)

    def save(self, changed: Sequence[AlertRecord], removed: Sequence[AlertRecord]) -> None:
        """As `core.ports.AlertStore.save`."""

        def work(connection: BoundedConnection) -> None:
            if not self._present(connection):
                return
            for record in changed:
                connection.execute(self._statements["save"], _row(record))
            for record in removed:
                connection.execute(self._statements["remove"], {"alert": record.alert.value, "view": record.view})

        self._session.run(work)

    def _present(self, connection: BoundedConnection) -> bool:
        row = connection.execute(self._statements["present"]).fetchone()
        return bool(row and row[0])


def _record(row: Sequence[Any]) -> AlertRecord:
    alert, view, state, severity, active_at, fired_at, resolved_at, summary, description, run_id = row
    return AlertRecord(
        Alert(alert),
        view,
        AlertState(state),
        Severity(severity),
        active_at,
        fired_at,
        resolved_at,
        summary or "",
        description or "",
        run_id,
    )


def _row(record: AlertRecord) -> dict[str, object]:
    return {
        "alert": record.alert.value,
        "view": record.view,
        "state": record.state.value,
        "severity": record.severity.value,
        "active_at": record.active_at,
        "fired_at": record.fired_at,
        "resolved_at": record.resolved_at,
        "summary": record.summary,
        "description": record.description,
        "run_id": record.run_id,
    }
