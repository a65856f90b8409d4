"""How old a view is, and whether that is too old. Unknown is stale, never fresh."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from analytics_refreshd.core.model import Limits, ViewStatus

_ABSURD_SECONDS = 20 * 365 * 86400.0
_CLOCK_SKEW_SECONDS = 5.0


class Verdict(StrEnum):
    """The name of an age: `late` is over one and a half of its view's intervals, `stale` over the limit."""

    FRESH = "fresh"
    LATE = "late"
    STALE = "stale"
    UNKNOWN = "unknown"

    @property
    def is_stale(self) -> bool:
        """Whether the view counts as stale: an unknown age does."""
        return self in (Verdict.STALE, Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Age:
    """A view's age in seconds. None where no success is known.

    `source` is "function" or "record", None where nothing is known. `doubt` says to a person which time was not
    believed and why. `skewed`: one of the times lies in the future.
    """

    view: str
    seconds: float | None
    last_success_at: datetime | None
    source: str | None
    doubt: str | None = None
    skewed: bool = False


def _doubt(status: ViewStatus, server_now: datetime) -> str | None:
    claimed = status.claimed_at
    if not status.exists:
        return f"there is no view {status.view}"
    if claimed is None:
        return "the status function knows no last refresh"
    if claimed in status.vacuumed_at:
        return "the status function reports the time of a VACUUM or ANALYZE"
    if (claimed - server_now).total_seconds() > _CLOCK_SKEW_SECONDS:
        return "the status function reports a time in the future"
    if (server_now - claimed).total_seconds() > _ABSURD_SECONDS:
        return "the status function reports a time decades ago"
    return None


def age_of(status: ViewStatus, server_now: datetime) -> Age:
    """Decide a view's age from the function's claim and our record.

    Both are by the server's clock and evidence of a success, so the later believable one counts. A claim that is NULL,
    decades old, or equal to a VACUUM time is not believed, nor is a claim or a record that lies more than five seconds
    in the future: after the server's clock was set back it would look fresh until that moment comes. Less than that
    reads as zero.
    """
    doubt = _doubt(status, server_now)
    candidates: list[tuple[datetime, str]] = []
    if doubt is None and status.claimed_at is not None:
        candidates.append((status.claimed_at, "function"))
    if status.recorded_at is not None:
        if (status.recorded_at - server_now).total_seconds() > _CLOCK_SKEW_SECONDS:
            doubt = "; ".join(filter(None, (doubt, "our own record lies in the future")))
        else:
            candidates.append((status.recorded_at, "record"))
    skewed = any(at is not None and at > server_now for at in (status.claimed_at, status.recorded_at))
    if not candidates:
        return Age(status.view, None, None, None, doubt, skewed)
    at, source = max(candidates)
    return Age(status.view, max(0.0, (server_now - at).total_seconds()), at, source, doubt, skewed)


def with_own_success(age: Age, at: datetime | None, server_now: datetime) -> Age:
    """Count this process's own success `at`, if the database knows none later.

    One in the future is not believed, as in `age_of`.
    """
    if at is None or (age.last_success_at is not None and at <= age.last_success_at):
        return age
    if (at - server_now).total_seconds() > _CLOCK_SKEW_SECONDS:
        return replace(age, doubt="; ".join(filter(None, (age.doubt, "our own record lies in the future"))))
    return replace(age, seconds=max(0.0, (server_now - at).total_seconds()), last_success_at=at, source="record")


def interval_seconds(limits: Limits, view: str) -> float:
    """Return the seconds between two slots of a view."""
    return limits.view_interval_seconds.get(view, limits.interval_seconds)


def max_age_seconds(limits: Limits, view: str) -> float:
    """Return the age beyond which a view is stale: its own limit, else twice its interval."""
    return limits.max_age_seconds.get(view, 2 * interval_seconds(limits, view))


def critical_age_seconds(limits: Limits, view: str) -> float:
    """Return the age beyond which being stale is critical: its own limit, else twice `max_age_seconds`."""
    return limits.critical_age_seconds.get(view, 2 * max_age_seconds(limits, view))


def is_stale(seconds: float | None, limits: Limits, view: str) -> bool:
    """Return whether a view of this age counts as stale: an unknown age does."""
    return seconds is None or seconds > max_age_seconds(limits, view)


def verdict(age: Age | None, limits: Limits) -> Verdict:
    """Compare a view's age with its limits. Without an age the verdict is unknown."""
    if age is None or age.seconds is None:
        return Verdict.UNKNOWN
    if is_stale(age.seconds, limits, age.view):
        return Verdict.STALE
    return Verdict.LATE if age.seconds > interval_seconds(limits, age.view) * 1.5 else Verdict.FRESH
