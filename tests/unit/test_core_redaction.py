"""Values that JSON does not know are redacted as their text."""

from datetime import UTC, datetime
from decimal import Decimal

from analytics_refreshd.core.redaction import redact_json


def test_other_values_are_redacted_as_text() -> None:
    """A decimal or a date has no kind of its own: its text is looked at like any other."""
    assert redact_json(
        {"at": datetime(2026, 5, 4, tzinfo=UTC), "rate": Decimal("1.5"), "number": Decimal(12345678)}
    ) == {
        "at": "2026-05-04 00:00:00+00:00",
        "rate": "1.5",
        "number": "<number>",
    }
