"""Who refreshes. A replica leads while it holds a session advisory lock, and only as long as it can know so.

States: STARTING until the first answer, then STANDBY or LEADER, DRAINING after a stop was requested. The database is
authoritative; the local monotonic clock only bounds for how long an old answer may be trusted:
`trusted_until = asked_at + ttl - margin`, counted from before the question was sent. The fence in the
refreshing transaction, not this state, is what keeps two refreshes apart.
"""

from dataclasses import dataclass, replace

from analytics_refreshd.core.model import Role


@dataclass(frozen=True, slots=True)
class Term:
    """How long an answer is trusted. Both in seconds; margin < ttl."""

    ttl_seconds: float = 12.0
    margin_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class LockReading:
    """One answer of the database about the leader lock, to a question asked at monotonic `asked_at`."""

    asked_at: float
    held: bool
    in_recovery: bool = False
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Leadership:
    """This replica's role and until when, on the monotonic clock, it may act on it."""

    role: Role = Role.STARTING
    trusted_until: float = 0.0
    epoch: int | None = None

    def leads(self, monotonic: float) -> bool:
        """Whether this replica may act as leader at this moment."""
        return self.role is Role.LEADER and monotonic < self.trusted_until


def after_reading(state: Leadership, reading: LockReading, term: Term) -> Leadership:
    """The state after an answer. A lock granted by a standby server means nothing."""
    if state.role is Role.DRAINING:
        return state
    if not reading.held or reading.in_recovery:
        return Leadership(Role.STANDBY)
    trusted_until = reading.asked_at + term.ttl_seconds - term.margin_seconds
    return Leadership(Role.LEADER, trusted_until, reading.epoch)


def after_loss(state: Leadership) -> Leadership:
    """The state after the leader's session was lost."""
    return state if state.role is Role.DRAINING else Leadership(Role.STANDBY)


def after_time(state: Leadership, monotonic: float) -> Leadership:
    """The state when nothing was heard: trust runs out."""
    if state.role is Role.LEADER and monotonic >= state.trusted_until:
        return Leadership(Role.STANDBY)
    return state


def resigned(state: Leadership) -> Leadership:
    """The state after a stop was requested: never leader again in this process."""
    return replace(state, role=Role.DRAINING, trusted_until=0.0)
