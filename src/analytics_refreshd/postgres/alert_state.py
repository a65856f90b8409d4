"""Alerts and deliveries in the database, so that a restart or a new leader goes on where the last one stopped."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from analytics_refreshd.core.alerting import Alert, AlertKey, AlertRecord, AlertState, Severity
from analytics_refreshd.core.ports import DeliveryRecord
from analytics_refreshd.postgres.bounded import BoundedConnection
from analytics_refreshd.postgres.session import Session
from analytics_refreshd.postgres.sqlfiles import blocks
from analytics_refreshd.postgres.trust import trusting

_SECONDS = 5.0
_KEPT = timedelta(days=30)
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

    def save(self, changed: Sequence[AlertRecord], removed: Sequence[AlertKey]) -> None:
        """As `core.ports.AlertStore.save`."""
        if not changed and not removed:
            return

        def work(connection: BoundedConnection) -> None:
            for alert, view in removed:
                connection.execute(blocks("alert_state.sql")["remove"], {"alert": str(alert), "view": view})
            for record in changed:
                connection.execute(blocks("alert_state.sql")["save"], _row(record))

        _with_schema(self._session, work, None)


class PostgresDeliveryStore:
    """What each receiver has accepted, by (receiver, alert key, status), on the shared session.

    Without our schema nothing is kept: then a restart delivers what fires once more.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> list[DeliveryRecord]:
        """As `core.ports.DeliveryStore.load`."""

        def work(connection: BoundedConnection) -> list[DeliveryRecord]:
            rows = connection.execute(blocks("alert_state.sql")["load_deliveries"]).fetchall()
            return [DeliveryRecord(*row) for row in rows]

        return _with_schema(self._session, work, [])

    def save(self, sent: Sequence[DeliveryRecord]) -> None:
        """As `core.ports.DeliveryStore.save`, in one transaction; deliveries of a month ago are forgotten."""

        def work(connection: BoundedConnection) -> None:
            for record in sent:
                row = {
                    "receiver": record.receiver,
                    "alert_key": record.alert_key,
                    "status": record.status,
                    "sent_at": record.sent_at,
                }
                connection.execute(blocks("alert_state.sql")["save_delivery"], row)
            connection.execute(blocks("alert_state.sql")["prune_deliveries"], {"retention": _KEPT})

        _with_schema(self._session, work, None)


def _with_schema(session: Session, work: Callable[[BoundedConnection], _Value], without: _Value) -> _Value:
    def guarded(connection: BoundedConnection) -> _Value:
        row = connection.execute(trusting("alert_state.sql"), {"app_schema": session.app_schema}).fetchone()
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
