"""When to tell that the warehouse is behind."""

from dataclasses import replace
from datetime import timedelta

from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.warehouse import OutboxState
from tests.support.alert_rules import NOW, ago, found, seen
from tests.unit.test_core_warehouse import OUTBOX, WAITING

LIMITS = Limits(warehouse_behind_seconds=900.0)


def outbox(seconds: float) -> OutboxState:
    """One whose oldest batch has waited for so long."""
    waiting = tuple(replace(batch, folded_at=NOW - timedelta(seconds=seconds)) for batch in WAITING)
    return replace(OUTBOX, waiting=waiting)


def told(state: OutboxState | None, limits: Limits = LIMITS, **changes: object) -> Condition:
    """What the rule makes of it."""
    return found(seen(limits=limits, warehouse=state, **changes))[Alert.WAREHOUSE_BEHIND, ""]  # type: ignore[arg-type]


def test_a_change_that_waits_too_long_is_a_warning() -> None:
    """With how long, how much, and where to look."""
    assert told(outbox(899)).holds is False
    condition = told(outbox(1200))
    assert (condition.holds, condition.severity) == (True, Severity.WARNING)
    assert condition.summary == "shop: the warehouse is 20 min behind"
    assert condition.description.startswith("Refreshes go on; 2 batches of 15 rows wait, and part.failed")


def test_an_export_that_takes_too_long_says_why_it_is_due() -> None:
    """Its beginning counts."""
    condition = told(replace(OUTBOX, recording=False, waiting=(), epoch_at=ago(1000)))
    assert condition.holds is True
    assert "an export is due or under way (installation), and 0 batches" in condition.description


def test_without_a_warehouse_it_is_over_and_unknown_is_not() -> None:
    """What cannot be read neither fires nor resolves."""
    assert told(outbox(1200), Limits()).holds is False
    assert told(None).holds is None
    assert told(outbox(1200), database_down_since=ago(60)).holds is None
