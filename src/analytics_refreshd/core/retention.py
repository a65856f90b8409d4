"""Decides what a retention run may delete, and how fast."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from analytics_refreshd.core import confirmation

_FEWEST, _MOST = 10, 20_000
_QUICK_SECONDS, _SLOW_SECONDS = 0.05, 0.15
_SLOW_COMMIT_SECONDS = 0.1
_REST, _LONG_REST = 2.0, 6.0
"""Rests, as multiples of the time that a portion took."""
_LAG_BYTES = 64 << 20
"""Four segments of WAL: a standby that says no time is behind if it lacks more."""
BEFORE_SLOT, AFTER_SLOT = timedelta(seconds=2), timedelta(seconds=5)


class End(StrEnum):
    """How a retention run ended."""

    OK = "ok"
    STOPPED = "stopped"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class LastRuns:
    """The last run of `retain`, and when one last ended well. None where there was none; times are the server's."""

    begun_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: End | None = None
    reason: str | None = None
    rows_deleted: int | None = None
    rows_left: int | None = None
    bound: datetime | None = None
    ok_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What `[retention]` asks for.

    `keep_figures` is False where the figures of deleted rows may go. `max_share` is a share of all rows.
    """

    rows: timedelta
    keep_figures: bool
    max_share: float


@dataclass(frozen=True, slots=True)
class Survey:
    """What a database holds, by its own clock.

    `rows` is exact for a table that was never analyzed, else the planner's estimate. `frozen_until` is None where no
    figures are frozen. `unindexed`, `foreign` and `hidden` name tables without an index that begins with executed_at,
    partitions that are no tables of this database, and tables whose rows row security may hide from this role.
    """

    now: datetime
    rows_to_go: int
    rows: int
    oldest_at: datetime | None
    timeless: int
    incremental: bool
    frozen_until: datetime | None
    unindexed: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share of all rows that would go, between 0 and 1."""
        return self.rows_to_go / max(self.rows, self.rows_to_go, 1)


@dataclass(frozen=True, slots=True)
class Standbys:
    """How far the slowest standby is behind, None while unknown. `hidden` counts those that this role may not see."""

    lag_seconds: float | None = None
    lag_bytes: int | None = None
    hidden: int = 0

    def behind(self, limit: timedelta) -> bool:
        """Whether a standby is further behind than `limit`, which 0 switches off."""
        if limit <= timedelta(0):
            return False
        return (self.lag_seconds or 0.0) > limit.total_seconds() or (self.lag_bytes or 0) > _LAG_BYTES


@dataclass(frozen=True, slots=True)
class Pace:
    """The rows of the next portion, and the rest before it."""

    rows: int = 1_000
    rest_seconds: float = 0.0

    def after(self, seconds: float, commit_seconds: float) -> "Pace":
        """Return the pace after a portion that took `seconds`, its COMMIT included.

        Writers wait for the same disk and processors: portions are short, so that the WAL of one is soon written, and
        rests are longer than they. A slow COMMIT means fewer rows and a longer rest.
        """
        slow_disk = commit_seconds > _SLOW_COMMIT_SECONDS
        if seconds > _SLOW_SECONDS or slow_disk:
            rows = max(_FEWEST, self.rows // 2)
        elif seconds < _QUICK_SECONDS:
            rows = min(_MOST, self.rows * 2)
        else:
            rows = self.rows
        return Pace(rows, seconds * (_LONG_REST if slow_disk else _REST))

    def after_timeout(self) -> "Pace | None":
        """Return the pace after a portion that took too long.

        None if it cannot be smaller.
        """
        return None if self.rows <= _FEWEST else Pace(max(_FEWEST, self.rows // 4), 1.0)


def bound_at(now: datetime, rows: timedelta) -> datetime:
    """Return the whole UTC hour before which rows may go."""
    return confirmation.whole_hour(now - rows)


def refusal(survey: Survey, policy: Policy, bound: datetime) -> str | None:
    """Return why no row may go, with what to do.

    None if rows may go.
    """
    if survey.foreign:
        return f"{', '.join(survey.foreign)} is a foreign table: delete its old rows where they are stored"
    if survey.hidden:
        return (
            f"row security of {', '.join(survey.hidden)} may hide rows from this role, and nobody would hear of those:"
            " a superuser's `alter role ROLE bypassrls` lets it see them"
        )
    if policy.keep_figures and not survey.incremental:
        return (
            "the views are plain, so the figures of deleted rows would go too: `analytics-refreshd migrate"
            ' --incremental` and `[retention] horizon = "auto"` keep them, `keep = "nothing"` accepts the loss'
        )
    if policy.keep_figures and survey.frozen_until is None:
        return (
            'no figures are frozen yet: set `[retention] horizon = "auto"`, run `analytics-refreshd migrate'
            " --incremental`, and wait for the next refresh"
        )
    if policy.keep_figures and survey.frozen_until is not None and survey.frozen_until < bound:
        return (
            f"figures are frozen until {_hour(survey.frozen_until)} only, and rows until {_hour(bound)} would go:"
            " wait for the next refresh, or look at `analytics-refreshd status`"
        )
    if survey.unindexed and survey.rows_to_go:
        return (
            f"{', '.join(survey.unindexed)} has no index that begins with executed_at, so each portion would read all"
            f" of it: create index concurrently on {survey.unindexed[0]} (executed_at)"
        )
    if survey.share > policy.max_share:
        return (
            f"{survey.rows_to_go} rows are {survey.share:.0%} of the table, and `[retention] max_share` is"
            f" {policy.max_share:.0%}: if that is right, repeat with --max-share {min(survey.share + 0.01, 1.0):.2f}"
        )
    return None


def token(database: str, schema: str, bound: datetime, policy: Policy) -> str:
    """Return what confirms a deletion.

    It is that of rows older than `bound`, in this database and schema, by this policy.
    """
    said = [database, schema, bound.isoformat(), str(policy.rows), str(policy.keep_figures)]
    return confirmation.token(bound, said)


def confirmed_bound(given: str, database: str, schema: str, now: datetime, policy: Policy) -> datetime | None:
    """Return the bound that the token `given` confirms.

    None if it is no token of this database and policy, or older than a day.
    """
    newest = bound_at(now, policy.rows)
    return confirmation.confirmed_hour(given, newest, lambda bound: token(database, schema, bound, policy))


def slot_is_near(now: datetime, last_slot: datetime, next_slot: datetime) -> bool:
    """Whether a refresh begins soon, or may be about to begin: it must find its key free."""
    quarter = (next_slot - last_slot) / 4
    return now - last_slot < min(AFTER_SLOT, quarter) or next_slot - now < min(BEFORE_SLOT, quarter)


def _hour(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
