"""Stores alerts and deliveries, for a restart or a new leader."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from psycopg.rows import class_row, dict_row

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertKey, AlertRecord, AlertState, Severity
from analytics_refreshd.core.ports import DeliveryRecord
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting

_SECONDS = 5.0
_RETENTION = timedelta(days=30)
_Value = TypeVar("_Value")


class PostgresAlertStore:
    """`core.ports.AlertStore` on the shared session; empty without our schema."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> list[AlertRecord]:
        """As `core.ports.AlertStore.load`, without alerts that only a newer version knows."""

        def work(connection: BoundedConnection) -> list[AlertRecord]:
            rows = connection.cursor(row_factory=dict_row).execute(blocks("state/alerts.sql")["load"])
            return [record for row in rows if (record := _record(row)) is not None]

        return _with_schema(self._session, work, [])

    def save(self, changed: Sequence[AlertRecord], removed: Sequence[AlertKey]) -> None:
        """As `core.ports.AlertStore.save`."""
        if not changed and not removed:
            return

        def work(connection: BoundedConnection) -> None:
            for alert, view in removed:
                connection.execute(blocks("state/alerts.sql")["remove"], {"alert": str(alert), "view": view})
            for record in changed:
                connection.execute(blocks("state/alerts.sql")["save"], _row(record))

        _with_schema(self._session, work, None)

    def lead_over(self, epoch: int) -> bool:
        """As `core.ports.AlertStore.lead_over`; also without our schema."""

        def work(connection: BoundedConnection) -> bool:
            row = connection.execute(blocks("state/alerts.sql")["lead_over"], {"epoch": epoch}).fetchone()
            return bool(row and row[0])

        return self._session.run(work, seconds=_SECONDS, lock_seconds=_SECONDS)


class PostgresDeliveryStore:
    """Stores what each receiver has accepted, by (receiver, alert key, status).

    Without our schema nothing is stored, so a restart delivers firing alerts again.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> list[DeliveryRecord]:
        """As `core.ports.DeliveryStore.load`."""

        def work(connection: BoundedConnection) -> list[DeliveryRecord]:
            cursor = connection.cursor(row_factory=class_row(DeliveryRecord))
            return cursor.execute(blocks("state/alerts.sql")["load_deliveries"]).fetchall()

        return _with_schema(self._session, work, [])

    def save(self, sent: Sequence[DeliveryRecord]) -> None:
        """As `core.ports.DeliveryStore.save`, in one transaction; deletes deliveries after 30 days."""

        def work(connection: BoundedConnection) -> None:
            for record in sent:
                row = {
                    "receiver": record.receiver,
                    "alert_key": record.alert_key,
                    "status": record.status,
                    "sent_at": record.sent_at,
                }
                connection.execute(blocks("state/alerts.sql")["save_delivery"], row)
            connection.execute(blocks("state/alerts.sql")["prune_deliveries"], {"retention": _RETENTION})

        _with_schema(self._session, work, None)


def _with_schema(session: Session, work: Callable[[BoundedConnection], _Value], without: _Value) -> _Value:
    def guarded(connection: BoundedConnection) -> _Value:
        row = connection.execute(trusting("state/alerts.sql"), {"app_schema": session.app_schema}).fetchone()
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


def _record(row: dict[str, Any]) -> AlertRecord | None:
    """Read a row; None for an alert, state or severity that only a newer version knows."""
    try:
        known = {"alert": Alert(row["alert"]), "state": AlertState(row["state"]), "severity": Severity(row["severity"])}
    except ValueError:
        return None
    return AlertRecord(**row | known | {"summary": row["summary"] or "", "description": row["description"] or ""})
