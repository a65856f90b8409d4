"""The incremental mode's state, and what is wrong with it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """Changes that wait for a fold: all that `snapshot`, a pg_snapshot, shows; first read at the server's `seen_at`."""

    snapshot: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Delta:
    """The incremental mode's state: rows captured and not yet folded, the last verification, fold and build.

    `rebuild_reason` is None unless the next refresh rebuilds the rollups. `uncaptured` names tables not all
    of whose changes are captured. `waiting` has the changes that were read before and still wait; `overdue_since` is
    None unless they wait too long. `obstacles` says why changes cannot be counted exactly, `unheld` how many rows
    have a value that the views cannot hold. Figures before `frozen_until` are frozen; `late_rows` came before it,
    or were changed there. Everything but `mode` is unknown where this role may not read it.
    """

    mode: str = "plain"
    pending_rows: int | None = None
    verified_at: datetime | None = None
    verified_ok: bool | None = None
    verified_differences: int | None = None
    fold_seconds: float | None = None
    rebuild_reason: str | None = None
    uncaptured: tuple[str, ...] = ()
    built: bool | None = None
    folded_at: datetime | None = None
    waiting: Waiting | None = None
    overdue_since: datetime | None = None
    obstacles: tuple[str, ...] = ()
    unheld: tuple[str, ...] = ()
    frozen_until: datetime | None = None
    late_rows: int | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """What breaks the incremental mode's promise, a sentence with its remedy each."""
        if self.mode != "incremental":
            return ()
        found = [*self.obstacles, *self.unheld]
        if self.uncaptured:
            found.append(
                f"not all changes of {', '.join(self.uncaptured)} are captured: "
                "run analytics-refreshd migrate --incremental"
            )
        if self.verified_ok is False:
            found.append(
                f"the last verification found {self.verified_differences or 0:,} rows that differ from the plain views:"
                " run analytics-refreshd migrate --verify --rebuild"
            )
        if self.overdue_since is not None:
            found.append(
                f"changes wait to be folded since {self.overdue_since:%Y-%m-%d %H:%M:%S} UTC, while the views are "
                "reported as refreshed: run analytics-refreshd check"
            )
        return tuple(found)


def late_since(before: Delta | None, now: Delta) -> int:
    """Return how many late rows came since `before` was read."""
    return max(0, (now.late_rows or 0) - before.late_rows) if before and before.late_rows is not None else 0


def unheld_words(durations: int, retries: int, keys: int) -> tuple[str, ...]:
    """Say for each kind how many rows the views cannot hold."""
    found = [
        f"{rows:,} rows of action_results have a {column} that is too large for the views: they are counted without it"
        for column, rows in (("duration_ms", durations), ("retry_count", retries))
        if rows
    ]
    if keys:
        found.append(f"{keys:,} rows of action_results have no action_type or no status: they are not counted")
    return tuple(found)
