"""What operators asked the daemon for over the API."""

from dataclasses import dataclass
from datetime import datetime

from analytics_refreshd.incident.fields import Fields, text_of


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of an operator, and how it ended at `at`."""

    at: datetime
    kind: str | None
    actor: str | None
    reason_text: str | None
    outcome: str | None
    detail: str | None


def asked_of(at: datetime, fields: Fields) -> Asked:
    """Read `operator.request_ended`."""
    return Asked(at, *(text_of(fields, name) for name in ("kind", "actor", "reason_text", "outcome", "detail")))
