"""Which alerts are held back while others fire."""

from collections.abc import Sequence

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity


def with_inhibited(
    told: Sequence[AlertRecord], rest: Sequence[AlertRecord]
) -> tuple[Sequence[AlertRecord], Sequence[AlertRecord]]:
    """Return the alerts to deliver, and those held back.

    `rest` are held back anyway. The database's absence holds back all others. Anything that fires holds back the hints
    (severity `info`).
    """
    away = [record for record in told if record.alert is Alert.DATABASE_UNAVAILABLE]
    if _fires(away):
        return away, [*rest, *(record for record in told if record not in away)]
    hints = [record for record in told if record.severity is Severity.INFO and record.state is AlertState.FIRING]
    others = [record for record in told if record not in hints]
    return (others, [*rest, *hints]) if _fires(others) else (told, rest)


def _fires(records: Sequence[AlertRecord]) -> bool:
    return any(record.state is AlertState.FIRING for record in records)
