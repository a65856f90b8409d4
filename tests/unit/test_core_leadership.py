"""Who may act as leader, and until when."""

from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.leadership import (
    Leadership,
    LockReading,
    Term,
    after_loss,
    after_reading,
    after_time,
    resigned,
)
from analytics_refreshd.core.model import Role

TERM = Term(ttl_seconds=12.0, margin_seconds=2.0)


def test_a_granted_lock_is_trusted_from_before_the_question() -> None:
    """Trust counts from when the question was asked, less the margin, however late the answer came."""
    state = after_reading(Leadership(), LockReading(100.0, held=True, epoch=7), TERM)
    assert state == Leadership(Role.LEADER, 110.0, 7)
    assert state.leads(109.9)
    assert not state.leads(110.0)


def test_a_lock_that_is_not_held_makes_a_standby() -> None:
    """A lock that somebody else holds makes no leader."""
    reading = LockReading(105.0, held=False)
    state = after_reading(Leadership(Role.LEADER, 110.0, 7), reading, TERM)
    assert state == Leadership(Role.STANDBY)
    assert not state.leads(0.0)


def test_trust_runs_out_when_nothing_is_heard() -> None:
    """After a suspension longer than the term the replica is a standby before it does anything."""
    leader = Leadership(Role.LEADER, 110.0, 7)
    assert after_time(leader, 109.9) is leader
    assert after_time(leader, 700.0) == Leadership(Role.STANDBY)
    assert after_time(Leadership(Role.STANDBY), 700.0) == Leadership(Role.STANDBY)


def test_a_lost_session_ends_leadership_at_once() -> None:
    """Losing the lock's session needs no time-out."""
    assert after_loss(Leadership(Role.LEADER, 110.0, 7)) == Leadership(Role.STANDBY)


def test_who_resigned_never_leads_again() -> None:
    """Neither a grant nor a loss that comes after it changes anything."""
    state = resigned(Leadership(Role.LEADER, 110.0, 7))
    assert after_reading(state, LockReading(100.0, held=True, epoch=7), TERM) is state
    assert after_loss(state) is state
    assert not state.leads(0.0)


actions = st.lists(
    st.one_of(
        st.builds(LockReading, st.floats(0, 1000), st.booleans(), st.none() | st.integers(1, 9)),
        st.floats(0, 1000),
        st.just("loss"),
        st.just("resign"),
    ),
    max_size=20,
)


@given(actions, st.floats(0, 2000))
def test_nobody_leads_without_a_fresh_grant_and_after_resigning(actions: list[object], monotonic: float) -> None:
    """Whatever happens, a leader's last reading was a grant by a primary, still trusted; who resigned never leads."""
    state, last, resigned_once = Leadership(), None, False
    for action in actions:
        if isinstance(action, LockReading):
            state, last = after_reading(state, action, TERM), action
        elif isinstance(action, float):
            state = after_time(state, action)
        elif action == "loss":
            state, last = after_loss(state), None
        else:
            state, resigned_once = resigned(state), True
    if resigned_once:
        assert state.role is Role.DRAINING
        assert not state.leads(monotonic)
    if state.leads(monotonic):
        assert last is not None
        assert last.held
        assert monotonic < last.asked_at + 10.0
