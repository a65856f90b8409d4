"""The made-up action log: deterministic, and shaped like a real one."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_refreshd.demo.actions import Action, Generator, live_burst, make_bursts
from analytics_refreshd.demo.world import World, make_world
from tests.support.examples import examples

NOW = datetime(2026, 3, 18, 15, 20, 7, 123456, tzinfo=UTC)


def _history(seed: int, rows: int, now: datetime = NOW) -> list[Action]:
    return list(Generator(make_world(seed), Random(seed), make_bursts(seed, now)).history(rows, now))


@pytest.fixture(scope="module")
def world() -> World:
    """The world of one seed."""
    return make_world(1)


@pytest.fixture(scope="module")
def actions() -> list[Action]:
    """A history large enough to see its shape."""
    return _history(1, 30_000)


def test_same_seed_and_now_give_the_same_actions() -> None:
    """Nothing but the seed, the number of rows and `now` decides what is drawn."""
    assert _history(5, 500) == _history(5, 500)
    assert _history(5, 500) != _history(6, 500)


def test_the_world_has_organizations_and_triggers_of_every_kind(world: World) -> None:
    """5 organizations, 200 triggers; some belong to no organization, some are disabled and never execute."""
    assert len(world.organizations) == 5
    assert {one.plan for one in world.organizations} == {"free", "starter", "pro", "enterprise"}
    assert len(world.triggers) == len({one.id for one in world.triggers}) == 200
    assert 5 <= sum(one.organization_id is None for one in world.triggers) <= 20
    assert {one.action_type for one in world.triggers} == {"telegram", "rest", "mcp"}
    idle = [one for one in world.triggers if one.weight == 0]
    assert idle
    assert not any(one.enabled for one in idle)
    assert {one.organization_id for one in world.triggers} >= {one.id for one in world.organizations}


@settings(deadline=None, max_examples=examples(40))
@given(rows=st.integers(1, 800), seed=st.integers(0, 2**32), now=st.datetimes(timezones=st.just(UTC)))
def test_exactly_the_rows_asked_for_end_now(rows: int, seed: int, now: datetime) -> None:
    """Any number of rows is met, ids differ, times lie in the 30 days before now, and the last one is now."""
    now = max(now, datetime(1970, 1, 1, tzinfo=UTC))
    found = _history(seed, rows, now)
    assert len(found) == len({one.id for one in found}) == rows
    assert found[-1].executed_at == now
    times = [one.executed_at for one in found if one.executed_at]
    assert times == sorted(times)
    assert times[0] >= now - timedelta(days=30)
    for one in found:
        assert one.duration_ms is None or 1 <= one.duration_ms <= 600_000
        assert (one.error_message is None) == (one.status == "success")
        assert one.response_data is None or json.loads(one.response_data)


def test_days_have_a_rhythm(actions: list[Action]) -> None:
    """The busiest hour of the day sees at least twice what the quietest sees, on 30 days."""
    hours = Counter(one.executed_at.hour for one in actions if one.executed_at)
    assert max(hours.values()) > 2 * min(hours.values())
    assert len({one.executed_at.date() for one in actions if one.executed_at}) in {30, 31}


def test_durations_have_a_heavy_tail(world: World, actions: list[Action]) -> None:
    """The slowest success of an ordinary trigger takes over fifty times the median; some durations are missing."""
    ordinary = {one.id for one in world.triggers if one.median_ms < 1000}
    durations = sorted(
        one.duration_ms
        for one in actions
        if one.duration_ms is not None and one.status == "success" and one.trigger_id in ordinary
    )
    assert durations[-1] > 50 * durations[len(durations) // 2]
    assert 0 < sum(one.duration_ms is None for one in actions) < len(actions) * 0.02


def test_failures_come_in_bursts(actions: list[Action]) -> None:
    """Within a burst a large part of its action type fails, outside few do, and the last day has one."""
    bursts = make_bursts(1, NOW)
    inside = [
        one.status == "success"
        for one in actions
        for burst in bursts
        if one.executed_at
        and burst.begins_at <= one.executed_at < burst.ends_at
        and burst.action_type == one.action_type
    ]
    assert len(inside) > 50
    assert sum(inside) < 0.6 * len(inside)
    assert any(one.begins_at > NOW - timedelta(days=1) for one in bursts)


def test_every_kind_of_row_occurs(actions: list[Action]) -> None:
    """All states and types, retries, and NULL where the contract allows it."""
    statuses = Counter(one.status for one in actions)
    assert set(statuses) == {"success", "failed", "retrying"}
    assert 0.9 < statuses["success"] / len(actions) < 0.99
    assert {one.action_type for one in actions} == {"telegram", "rest", "mcp"}
    assert any(one.status == "success" and one.retry_count > 0 for one in actions)
    assert any(one.executed_at is None for one in actions)
    assert any(one.trigger_id is None for one in actions)
    assert any(one.event_id is None for one in actions)


def test_some_errors_hold_personal_data(actions: list[Action]) -> None:
    """Redaction has something to hide: mail addresses, tokens, and an empty message too."""
    errors = {one.error_message for one in actions if one.error_message is not None}
    assert any("@mail.example" in error for error in errors)
    assert any("Bearer " in error for error in errors)
    assert "" in errors


def test_a_retrying_action_settles_under_its_own_id(world: World) -> None:
    """Most end as success without an error, the others fail; either way one retry more, at the same time."""
    generator = Generator(world, Random(3))
    moments = [NOW + timedelta(seconds=number) for number in range(3000)]
    retrying = [one for one in map(generator.at, moments) if one.status == "retrying"]
    settled = [generator.settle(one) for one in retrying]
    assert {one.status for one in settled} == {"success", "failed"}
    for before, after in zip(retrying, settled, strict=True):
        assert (after.id, after.executed_at) == (before.id, before.executed_at)
        assert after.retry_count == before.retry_count + 1
        assert (after.error_message is None) == (after.status == "success")


@given(seconds=st.floats(0, 10**7))
def test_the_live_stream_has_a_burst_in_every_ten_minutes(seconds: float) -> None:
    """The burst that belongs to a moment begins in the same ten minutes as the moment."""
    burst = live_burst(1, NOW, NOW + timedelta(seconds=seconds))
    slot = timedelta(minutes=10)
    assert (burst.begins_at - NOW) // slot == timedelta(seconds=seconds) // slot
    assert timedelta(seconds=40) <= burst.ends_at - burst.begins_at <= timedelta(seconds=90)
