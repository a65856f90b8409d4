"""How fresh an answer is, until when it may be kept, and how clients are told apart."""

from datetime import UTC, datetime, timedelta

import pytest

from analytics_refreshd.api.freshness import Timing, any_stale, as_of, entity_tag, matches
from analytics_refreshd.config import load

NOW = datetime(2026, 3, 4, 10, 52, 30, tzinfo=UTC)
CONFIG = load({"database": {"url": "postgresql://localhost/app"}, "schedule": {"interval": "5m"}})
TIMING = Timing(CONFIG.limits(), CONFIG.plan())
HOURLY, SUMMARY = "action_metrics_hourly", "trigger_performance_summary"


def ago(**length: float) -> datetime:
    """A moment before NOW."""
    return NOW - timedelta(**length)


def test_an_answer_is_as_old_as_the_oldest_view_that_it_read() -> None:
    """Rows alone are of now; where one view's success is not known, nothing is said."""
    successes = {HOURLY: ago(minutes=2), SUMMARY: ago(minutes=4)}
    assert as_of([HOURLY, SUMMARY], successes, rows=True, now=NOW) == ago(minutes=4)
    assert as_of([HOURLY], successes, rows=False, now=NOW) == ago(minutes=2)
    assert as_of([], successes, rows=True, now=NOW) == NOW
    assert as_of([HOURLY, "recent_failures"], successes, rows=True, now=NOW) is None
    assert as_of([], successes, rows=False, now=NOW) is None


@pytest.mark.parametrize(
    ("successes", "stale"),
    [
        ({HOURLY: ago(minutes=9), SUMMARY: ago(minutes=1)}, False),
        ({HOURLY: ago(minutes=11), SUMMARY: ago(minutes=1)}, True),
        ({SUMMARY: ago(minutes=1)}, True),
    ],
)
def test_one_stale_or_unknown_view_makes_an_answer_stale(successes: dict[str, datetime], stale: bool) -> None:
    """The limit is the daemon's: twice the interval."""
    assert any_stale([HOURLY, SUMMARY], successes, TIMING, NOW) is stale
    assert not any_stale([], successes, TIMING, NOW)


@pytest.mark.parametrize(
    ("success", "now", "seconds"),
    [
        (ago(seconds=145), NOW, 150),
        # the slot of 10:50 is not refreshed yet: that may happen at any moment
        (ago(minutes=3), NOW, 0),
        (ago(seconds=-439), NOW + timedelta(minutes=7, seconds=20), 10),
    ],
    ids=["until the next slot", "due", "until the hour"],
)
def test_an_answer_is_kept_until_the_next_refresh_is_due(success: datetime, now: datetime, seconds: int) -> None:
    """Or until the hour ends, where windows move on."""
    assert TIMING.seconds_left({HOURLY: success, SUMMARY: now}, now) == seconds


def test_a_view_with_an_interval_of_its_own_is_due_by_that() -> None:
    """An answer from the hourly view alone is kept for longer than one that also reads the view of half a minute."""
    schedule = {"interval": "15m", "views": {"recent_failures": "30s"}}
    settings = {
        "database": {"url": "postgresql://localhost/app"},
        "schedule": schedule,
        "refresh": {"isolation": "view"},
    }
    config = load(settings)
    timing = Timing(config.limits(), config.plan())
    successes = {HOURLY: ago(minutes=1), "recent_failures": ago(seconds=10)}
    assert timing.seconds_left({HOURLY: successes[HOURLY]}, NOW) == 450
    assert timing.seconds_left(successes, NOW + timedelta(seconds=5)) == 0
    assert timing.seconds_left({"recent_failures": NOW}, NOW + timedelta(seconds=5)) == 25
    assert timing.stale("recent_failures", {"recent_failures": ago(seconds=61)}, NOW)
    assert not timing.stale(HOURLY, {HOURLY: ago(minutes=29)}, NOW)


def test_a_tag_changes_with_all_that_an_answer_depends_on() -> None:
    """View, success, and what was asked; without a known success there is none."""
    successes = {HOURLY: ago(minutes=2), SUMMARY: ago(minutes=4)}
    tags = [
        entity_tag([HOURLY], successes, ["actions/hourly", {"hours": 3}, ["acme"]]),
        entity_tag([HOURLY], successes, ["actions/hourly", {"hours": 4}, ["acme"]]),
        entity_tag([HOURLY], successes, ["actions/hourly", {"hours": 3}, ["bolt"]]),
        entity_tag([HOURLY], successes, ["actions/hourly", {"hours": 3}, None]),
        entity_tag([HOURLY], {HOURLY: NOW}, ["actions/hourly", {"hours": 3}, ["acme"]]),
        entity_tag([SUMMARY], successes, ["actions/hourly", {"hours": 3}, ["acme"]]),
    ]
    assert len(set(tags)) == len(tags)
    assert entity_tag([HOURLY], successes, ["actions/hourly", {"hours": 3}, ["acme"]]) == tags[0]
    assert entity_tag([HOURLY, "recent_failures"], successes, []) is None
    assert entity_tag([], successes, []) is None


def test_a_tag_is_matched_weakly_and_whole() -> None:
    """As RFC 9110 compares If-None-Match."""
    tag = 'W/"abc"'
    assert matches(tag, 'W/"abc"')
    assert matches(tag, '"x", "abc"')
    assert matches(tag, "*")
    assert not matches(tag, '"ab"')
    assert not matches(tag, 'W/"abcd"')
    assert not matches(tag, "")
