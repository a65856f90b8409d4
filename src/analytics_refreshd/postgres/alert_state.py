"""Alerts and deliveries in the database, so that a restart or a new leader goes on where the last one stopped."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from analytics_refreshd.core.alerting import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.postgres.bounded import BoundedConnection
from analytics_refreshd.postgres.session import Session
from analytics_refreshd.postgres.sqlfiles import blocks

_SECONDS = 5.0
_Value = TypeVar("_Value")


class PostgresAlertStore:
    """`core.ports.AlertStore` on the shared session; without our schema it holds nothing and keeps nothing."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> list[AlertRecord]:
        """As `core.ports.AlertStore.load`; an alert that only a newer version knows is left out, and left alone."""

        def work(connection: BoundedConnection) -> list[AlertRecord]:
            rows = connection.execute(blocks("alert_state.sql")["load"]).fetchall()
            return [record for row in rows if (record := _record(row)) is not None]

        return _with_schema(self._session, work, [])

    def save(self, changed: Sequence[AlertRecord], removed: Sequence[AlertRecord]) -> None:
        """As `core.ports.AlertStore.save`."""
        if not changed and not removed:
            return

        def work(connection: BoundedConnection) -> None:
            for record in removed:
                key = {"alert": str(record.alert), "view": record.view}
                connection.execute(blocks("alert_state.sql")["remove"], key)
            for record in changed:
                connection.execute(blocks("alert_state.sql")["save"], _row(record))

        _with_schema(self._session, work, None)


class PostgresDeliveryStore:
    """What each receiver has accepted, by (receiver, alert key, status), on the shared session.

    Without our schema nothing is kept: then a restart delivers what fires once more.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> Mapping[tuple[str, str, str], datetime]:
        """When each (receiver, alert key, status) was last accepted. Raises DatabaseFault."""

        def work(connection: BoundedConnection) -> dict[tuple[str, str, str], datetime]:
            rows = connection.execute(blocks("alert_state.sql")["load_deliveries"]).fetchall()
            return {(receiver, key, status): sent_at for receiver, key, status, sent_at in rows}

        return _with_schema(self._session, work, {})

    def save(self, receiver: str, alert_key: str, status: str, sent_at: datetime | None = None) -> None:
        """Note that `receiver` accepted it at `sent_at`, by default now on the server's clock. Raises DatabaseFault."""
        row = {"receiver": receiver, "alert_key": alert_key, "status": status, "sent_at": sent_at}

        def work(connection: BoundedConnection) -> None:
            connection.execute(blocks("alert_state.sql")["save_delivery"], row)

        _with_schema(self._session, work, None)

    def prune(self, retention: timedelta) -> int:
        """Forget deliveries older than `retention`; says how many. Raises DatabaseFault."""

        def work(connection: BoundedConnection) -> int:
            return connection.execute(blocks("alert_state.sql")["prune_deliveries"], {"retention": retention}).rowcount

        return _with_schema(self._session, work, 0)


def _with_schema(session: Session, work: Callable[[BoundedConnection], _Value], without: _Value) -> _Value:
    def guarded(connection: BoundedConnection) -> _Value:
        row = connection.execute(blocks("alert_state.sql")["present"]).fetchone()
        return work(connection) if row and row[0] else without

    return session.run(guarded, seconds=_SECONDS, lock_seconds=_SECONDS)


def _row(record: AlertRecord) -> dict[str, Any]:
    return {
        "alert": str(record.alert),
        "view": record.view,
        "state": str(record.state),
        "severity": str(record.severity),
        "active_at": record.active_at,
        "fired_at": record.fired_at,
        "resolved_at": record.resolved_at,
        "summary": record.summary.replace("\0", ""),
        "description": record.description.replace("\0", ""),
        "run_id": record.run_id,
    }


def _record(row: Sequence[Any]) -> AlertRecord | None:
    alert, view, state, severity, active_at, fired_at, resolved_at, summary, description, run_id = row
    try:
        known = Alert(alert), AlertState(state), Severity(severity)
    except ValueError:
        return None
    return AlertRecord(
        known[0],
        view,
        known[1],
        known[2],
        active_at,
        fired_at,
        resolved_at,
        summary or "",
        description or "",
        run_id,
    )
