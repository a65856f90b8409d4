"""What receivers are told, and what they can rely on."""

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.notify.messages import alert_key, clean, notification, timestamp
from analytics_refreshd.notify.receivers.webhook import WebhookSettings
from analytics_refreshd.notify.settings import DeliverySettings

BEGAN = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
RECORD = AlertRecord(
    Alert.VIEW_STALE,
    "v",
    AlertState.FIRING,
    Severity.CRITICAL,
    BEGAN,
    BEGAN + timedelta(seconds=60),
    None,
    "s",
    "d",
    UUID(int=7),
)


def test_the_key_names_an_episode() -> None:
    """Database, alert, view and beginning: the same in any time zone, whatever else changes."""
    key = alert_key("shop", RECORD)
    assert key == "shop/AnalyticsViewStale/v/2026-05-04T12:00:00.123456Z"
    elsewhere = BEGAN.astimezone(timezone(timedelta(hours=5, minutes=30)))
    later = replace(RECORD, active_at=elsewhere, state=AlertState.RESOLVED, severity=Severity.WARNING, summary="x")
    assert alert_key("shop", later) == key
    others = {
        alert_key("other", RECORD),
        alert_key("shop", replace(RECORD, view="")),
        alert_key("shop", replace(RECORD, alert=Alert.REFRESH_SLOW)),
        alert_key("shop", replace(RECORD, active_at=BEGAN + timedelta(microseconds=1))),
    }
    assert key not in others
    assert len(others) == 4


def test_a_notification_says_what_the_record_says() -> None:
    """Status, times, run and where to read on."""
    settings = DeliverySettings("shop", page_url="http://h:1/", runbooks_url="http://r/")
    firing = notification(RECORD, settings)
    assert (firing.status, firing.firing, firing.run_id) == ("firing:critical", True, str(UUID(int=7)))
    assert (firing.runbook, firing.page) == ("http://r/AnalyticsViewStale.md", "http://h:1/")
    over = notification(replace(RECORD, state=AlertState.RESOLVED, resolved_at=BEGAN, run_id=None), settings)
    assert (over.status, over.firing, over.resolved_at, over.run_id) == ("resolved", False, BEGAN, None)
    assert notification(RECORD, replace(settings, runbooks_url="")).runbook == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a plain sentence: 5 % < 10 %", "a plain sentence: 5 % ‹ 10 %"),  # noqa: RUF001
        ("a\r\nb\tc\x00d\x1b[0m", "a b cd[0m"),
        ("@here and @channel, not a@b.c", "＠here and ＠channel, not a@b.c"),  # noqa: RUF001
        ("[x](http://y)", "[x] (http://y)"),
        ("\ud800 half a pair", "half a pair"),
    ],
)
def test_text_is_made_harmless(text: str, expected: str) -> None:
    """One line without control characters, markup, links and mentions."""
    assert clean(text) == expected


@given(st.text(), st.integers(40, 200))
def test_any_text_fits_and_is_one_printable_line(text: str, most: int) -> None:
    """No text is too long for a receiver, breaks its line or cannot be encoded."""
    seen = clean(text * 3, most)
    assert len(seen.encode()) <= most
    assert not any(unicodedata.category(character)[0] == "C" or character in "<>`\n" for character in seen)


def test_a_cut_text_says_how_long_it_was() -> None:
    """What was cut off is counted, and no character is cut in half."""
    assert clean("ä" * 5000, 100).endswith("… (5000 characters)")
    assert clean("ä" * 50, 100) == "ä" * 50
    assert len(clean("ä" * 51, 100).encode()) <= 100


def test_times_are_rfc_3339_in_utc() -> None:
    """Milliseconds and a Z, or nothing."""
    assert timestamp(BEGAN.astimezone(timezone(timedelta(hours=2)))) == "2026-05-04T12:00:00.123Z"
    assert timestamp(None) is None


def test_an_address_is_not_shown() -> None:
    """A receiver's address may be a secret: it is in no representation of its settings."""
    assert "CANARY" not in repr(WebhookSettings("x", url="http://h/CANARY"))
