"""An alert's life: inactive, pending, firing, resolved."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from analytics_refreshd.core.alerts.lifecycle import (
    Alert,
    AlertKey,
    AlertRecord,
    AlertState,
    Condition,
    Severity,
    Step,
    fires_in_seconds,
    step,
    unfinished,
)

START = datetime(2026, 5, 4, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def condition(holds: bool | None, for_seconds: float = 0.0, **changes: Any) -> Condition:
    return Condition(Alert.VIEW_STALE, "v", holds, for_seconds=for_seconds, **changes)


def life(*looks: tuple[float, Condition]) -> list[Step]:
    """The steps after looking at each moment."""
    steps: list[Step] = []
    record: AlertRecord | None = None
    for seconds, seen in looks:
        steps.append(step(record, seen, at(seconds)))
        record = steps[-1].record
    return steps


def test_a_condition_that_does_not_hold_leaves_nothing() -> None:
    """An inactive alert has no record."""
    assert life((0, condition(False)), (1, condition(None))) == [Step(None), Step(None)]


def test_without_a_for_it_fires_at_once() -> None:
    """No waiting time: firing from the first look, with the condition's text."""
    (only,) = life((5, condition(True, summary="old", description="very old")))
    assert only.became is AlertState.FIRING
    assert only.record == AlertRecord(
        Alert.VIEW_STALE, "v", AlertState.FIRING, Severity.WARNING, at(5), at(5), None, "old", "very old"
    )


def test_with_a_for_it_is_pending_first() -> None:
    """It fires once its condition has held for long enough, and says so once."""
    steps = life(*((seconds, condition(True, 60)) for seconds in (0, 30, 59.9, 60, 90)))
    assert [taken.became for taken in steps] == [AlertState.PENDING, None, None, AlertState.FIRING, None]
    assert steps[-1].record is not None
    assert (steps[-1].record.active_at, steps[-1].record.fired_at) == (at(0), at(60))


def test_a_pending_alert_that_ends_vanishes() -> None:
    """Nobody was told, so nobody is told that it is over."""
    assert life((0, condition(True, 60)), (30, condition(False)))[-1] == Step(None)


def test_a_rule_may_know_better_since_when() -> None:
    """An outage that began before the first look counts from its beginning; one in the future counts from now."""
    assert life((100, condition(True, 60, since=at(0))))[0].became is AlertState.FIRING
    late = life((100, condition(True, 60, since=at(500))))[0].record
    assert late is not None
    assert late.active_at == at(100)


def test_a_resolution_says_what_is_over() -> None:
    """Its text is that of the firing, told as the past, and it stays for those who were not told yet."""
    old = condition(True, summary="v is old", description="It waits. Next: look")
    steps = life((0, old), (9, condition(False, summary="v is young")), (10, condition(False)))
    assert [taken.became for taken in steps] == [AlertState.FIRING, AlertState.RESOLVED, None]
    last = steps[-1].record
    assert last is not None
    assert (last.state, last.resolved_at, last.fired_at, last.summary) == (
        AlertState.RESOLVED,
        at(9),
        at(0),
        "resolved after 9.0 s; it was: v is old",
    )
    assert last.description == f"Over since {at(9):%H:%M:%S} UTC. Before: It waits."


def test_a_pending_alert_tells_when_it_fires() -> None:
    """As long as its condition holds; one that fires, that ends, or that cannot be judged waits for nothing."""
    waiting = condition(True, 60)
    (pending, fired) = life((100, waiting), (200, waiting))
    assert fires_in_seconds(pending.record, waiting, at(115)) == 45.0
    assert fires_in_seconds(pending.record, condition(None, 60), at(115)) is None
    assert fires_in_seconds(fired.record, waiting, at(215)) is None
    assert fires_in_seconds(None, waiting, at(115)) is None


def test_without_data_nothing_changes() -> None:
    """A condition that cannot be judged neither fires, nor resolves, nor forgets."""
    for before in life((0, condition(True, 60)), (60, condition(True, 60)), (90, condition(False))):
        assert step(before.record, condition(None), at(3600)) == Step(before.record)


def test_a_new_episode_never_shares_its_beginning_with_the_old_one() -> None:
    """Receivers tell episodes apart by active_at: a new one begins after the old was resolved."""
    resolved = life((0, condition(True, since=at(0))), (60, condition(False)))[-1].record
    assert resolved is not None
    again = step(resolved, condition(True, since=at(0)), at(90)).record
    assert again is not None
    assert (again.active_at, again.state, again.resolved_at) == (at(60), AlertState.FIRING, None)
    same_moment = step(replace(resolved, resolved_at=None), condition(True), at(0)).record
    assert same_moment is not None
    assert same_moment.active_at != resolved.active_at


def test_the_severity_of_a_firing_alert_only_rises() -> None:
    """A warning becomes critical while it fires and stays so until it is over; a pending one follows its condition."""
    warning, critical = condition(True), condition(True, severity=Severity.CRITICAL)
    steps = life((0, warning), (1, critical), (2, warning), (3, condition(False)))
    assert [taken.record.severity for taken in steps if taken.record] == [
        Severity.WARNING,
        Severity.CRITICAL,
        Severity.CRITICAL,
        Severity.CRITICAL,
    ]
    assert [taken.became for taken in steps] == [AlertState.FIRING, None, None, AlertState.RESOLVED]
    pending = life((0, replace(critical, for_seconds=60)), (1, replace(warning, for_seconds=60)))[-1].record
    assert pending is not None
    assert pending.severity is Severity.WARNING


conditions = st.builds(
    condition,
    st.sampled_from([True, False, None]),
    st.sampled_from([0.0, 45.0, 600.0]),
    severity=st.sampled_from(Severity),
    since=st.none() | st.integers(-900, 900).map(at),
    summary=st.text(max_size=3),
)


def test_what_a_replica_raised_and_no_store_holds_is_its_own_to_end() -> None:
    """After another one took the lead: its episodes that fired, and what each replica raises for itself."""
    pending = AlertRecord(Alert.VIEW_STALE, "v", AlertState.PENDING, Severity.WARNING, at(0))
    fired = replace(pending, state=AlertState.FIRING, fired_at=at(60))
    over = replace(fired, view="w", state=AlertState.RESOLVED, resolved_at=at(90))
    lost = replace(pending, alert=Alert.DATABASE_UNAVAILABLE, view="")
    key, other, away = (Alert.VIEW_STALE, "v"), (Alert.VIEW_STALE, "w"), (Alert.DATABASE_UNAVAILABLE, "")
    unsaved: dict[AlertKey, AlertRecord | None] = {key: fired, other: over, away: lost}
    assert unfinished(unsaved, {}) == unsaved
    assert unfinished(unsaved, {key: replace(fired, active_at=at(1)), other: over}) == {key: fired, away: lost}
    assert unfinished({key: pending, other: None}, {}) == {}


class AlertLife(RuleBasedStateMachine):
    """Look at any conditions at moments that mostly move on, and hold the record to its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.record: AlertRecord | None = None
        self.keys: list[datetime] = []

    @rule(seen=conditions, passed=st.sampled_from([0, 1, 30, 300, 3600, -3600]))
    def look(self, seen: Condition, passed: int) -> None:
        """One evaluation."""
        self.now += timedelta(seconds=passed)
        before, taken = self.record, step(self.record, seen, self.now)
        after = taken.record
        self.record = after
        if seen.holds is None:
            assert taken == Step(before)
            return
        open_before = before is not None and before.state is not AlertState.RESOLVED
        if before is not None and before.state is AlertState.FIRING:
            assert after is not None, "a firing alert vanished without a word"
            assert after.state is (AlertState.FIRING if seen.holds else AlertState.RESOLVED)
            assert after.fired_at == before.fired_at
        if open_before and before is not None and after is not None:
            moved = seen.since if before.state is AlertState.PENDING and seen.since is not None else before.active_at
            began = max(before.active_at, min(moved, self.now))
            assert after.active_at == began, "the beginning of an open alert moved"
        if not open_before and seen.holds:
            assert after is not None
            assert before is None or after.active_at != before.active_at, "a new episode has the old one's key"
        was = before.state if open_before and before is not None else None
        assert taken.became == (
            after.state if after is not None and seen.holds and after.state is not was else None
        ) or (taken.became is AlertState.RESOLVED and was is AlertState.FIRING and not seen.holds)

    @precondition(lambda self: self.record is not None)
    @invariant()
    def times_are_in_order(self) -> None:
        """State and moments belong together."""
        assert self.record is not None
        assert (self.record.fired_at is None) == (self.record.state is AlertState.PENDING)
        assert (self.record.resolved_at is None) == (self.record.state is not AlertState.RESOLVED)
        assert self.record.active_at <= self.now + timedelta(hours=100)


TestAlertLife = AlertLife.TestCase


@given(st.lists(conditions, max_size=30))
def test_every_firing_is_followed_by_its_resolution_or_still_fires(seen: list[Condition]) -> None:
    """Told transitions alternate: firing, resolved, firing; nobody is told of an end without a beginning."""
    told = [
        taken.became
        for taken in life(*((30.0 * number, look) for number, look in enumerate(seen)))
        if taken.became in (AlertState.FIRING, AlertState.RESOLVED)
    ]
    assert told == [(AlertState.FIRING, AlertState.RESOLVED)[number % 2] for number in range(len(told))]
