"""Decide whether this replica leads, which means that it refreshes.

A replica leads while it holds a session advisory lock, as far as it can know. Its state is STARTING until the first
answer, then STANDBY or LEADER, and DRAINING after a stop was requested. The database is authoritative. The local
monotonic clock only limits for how long an old answer is trusted: `trusted_until = asked_at + ttl - margin`, where
`asked_at` is before the question was sent. This state does not keep two refreshes apart; the fence in the refreshing
transaction does.
"""

from dataclasses import dataclass, replace

from analytics_refreshd.core.model import Role


@dataclass(frozen=True, slots=True)
class Term:
    """For how long an answer is trusted; margin < ttl."""

    ttl_seconds: float = 12.0
    margin_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class LockReading:
    """One answer of the database about the leader lock.

    The question was sent at monotonic `asked_at`.
    """

    asked_at: float
    held: bool
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Leadership:
    """This replica's role.

    `trusted_until` says until when, on the monotonic clock, it may act as leader.
    """

    role: Role = Role.STARTING
    trusted_until: float = 0.0
    epoch: int | None = None

    def leads(self, monotonic: float) -> bool:
        """Return whether this replica may act as leader now."""
        return self.role is Role.LEADER and monotonic < self.trusted_until


def after_reading(state: Leadership, reading: LockReading, term: Term) -> Leadership:
    """Return the state after an answer."""
    if state.role is Role.DRAINING:
        return state
    if not reading.held:
        return Leadership(Role.STANDBY)
    trusted_until = reading.asked_at + term.ttl_seconds - term.margin_seconds
    return Leadership(Role.LEADER, trusted_until, reading.epoch)


def after_loss(state: Leadership) -> Leadership:
    """Return the state after the leader's session was lost."""
    return state if state.role is Role.DRAINING else Leadership(Role.STANDBY)


def after_time(state: Leadership, monotonic: float) -> Leadership:
    """Return the state without any answer: trust expires."""
    if state.role is Role.LEADER and monotonic >= state.trusted_until:
        return Leadership(Role.STANDBY)
    return state


def resigned(state: Leadership) -> Leadership:
    """Return the state after a stop was requested, which never leads again."""
    return replace(state, role=Role.DRAINING, trusted_until=0.0)
