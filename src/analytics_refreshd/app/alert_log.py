"""The log lines of alerts."""

from analytics_refreshd.core.alerts.lifecycle import AlertRecord, AlertState, Severity, escalated
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import EventLog


def log_change(log: EventLog, record: AlertRecord, before: AlertRecord | None = None) -> None:
    """Log that an alert changed its state, or became critical."""
    event = {
        AlertState.PENDING: Event.ALERT_PENDING,
        AlertState.FIRING: Event.ALERT_ESCALATED if escalated(before, record) else Event.ALERT_FIRING,
        AlertState.RESOLVED: Event.ALERT_RESOLVED,
    }[record.state]
    log.emit(
        event,
        level="warning" if record.state is AlertState.FIRING and record.severity is not Severity.INFO else "info",
        alert=record.alert.value,
        view=record.view or None,
        severity=record.severity.value,
        active_at=record.active_at,
        fired_at=record.fired_at,
        resolved_at=record.resolved_at,
        summary=record.summary,
        description=record.description,
        run_id=record.run_id,
    )
