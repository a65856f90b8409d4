"""Build the JSON document that `incident --format json` prints."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from types import MappingProxyType

from analytics_refreshd.incident import model
from analytics_refreshd.incident.asked import Asked
from analytics_refreshd.incident.review import Review

FIELDS: Mapping[type, tuple[str, ...]] = MappingProxyType(
    {
        Review: (
            "since", "until", "lines", "events", "cut_lines", "foreign_lines", "unknown_events", "duplicate_lines",
            "unreadable_files", "databases", "incidents", "missing",
        ),
        model.DatabaseLog: (
            "database", "first_at", "last_at", "replicas", "events", "runs", "interval_seconds", "interval_source",
            "lost_lines", "incidents", "alerts_outside", "crashes_outside", "missing",
        ),
        model.Incident: (
            "database", "started_at", "ended_at", "duration_seconds", "began_with", "last_ok_before_at", "parts",
            "views", "runs", "skipped", "missed_slots", "reasons", "first_error", "first_sqlstate", "errors",
            "errors_beyond", "blockers", "retries", "leader_changes", "leaders", "crash_count", "crashes", "away",
            "stale", "pauses", "paused_seconds", "asked", "alerts", "detected_after_seconds",
            "delivered_after_seconds", "recovered_after_seconds", "failed_requests", "other_events", "lost_lines",
            "missing",
        ),
        model.ErrorSeen: ("at", "event", "run_id", "view", "reason", "sqlstate", "error"),
        model.DistinctError: ("sqlstate", "error", "reason", "views", "first_at", "last_at", "times"),
        model.BlockerSeen: (
            "pid", "application", "user", "state", "transaction_started_at", "visible", "views", "first_at", "last_at",
            "waited_seconds", "times",
        ),
        model.StaleSeen: (
            "view", "told_at", "since_at", "max_age_seconds", "until_at", "stale_seconds", "oldest_seconds", "times",
            "last_success_at",
        ),
        model.AwaySeen: ("replica", "from_at", "until_at", "seconds", "missed_slots", "times"),
        model.PauseSeen: ("from_at", "until_at", "reason_text", "created_by", "ended_at"),
        Asked: ("at", "kind", "actor", "reason_text", "outcome", "detail"),
        model.Crash: ("replica", "started_at", "pid", "last_at", "last_pid", "stopping_at"),
        model.DeliverySeen: ("receiver", "host", "status", "at", "tries"),
        model.DeliveryFailed: ("receiver", "host", "at", "error", "failures"),
        model.AlertSeen: (
            "alert", "view", "severity", "active_at", "fired_at", "resolved_at", "summary", "deliveries",
            "failed_deliveries",
        ),
        model.FailedRequests: ("count", "codes", "endpoints", "first_at", "last_at"),
        model.LeaderChange: ("at", "replica", "event", "epoch", "reason"),
    }
)  # fmt: skip
"""The published keys of each part, in order. Other attributes are internal."""


def as_document(review: Review) -> dict[str, object]:
    """Return the review as plain dictionaries and lists; times stay datetimes."""
    document = _plain(review)
    assert isinstance(document, dict)  # noqa: S101 - a Review is a part
    return document


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in FIELDS[type(value)]}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
