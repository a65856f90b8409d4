"""Tell how large a view gets between two visits of autovacuum.

A concurrent refresh deletes and inserts the rows that differ. Until autovacuum has removed the deleted ones, the next
refresh needs new space for its rows.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from analytics_refreshd.core.snapshot import ViewRun
from analytics_refreshd.core.targets import LEAST_REFRESHES, MOST_REFRESHES
from analytics_refreshd.core.wording import seconds_in_words

_LEAST_DEAD_ROWS = 1_000
"""Fewer take a few dozen pages, and are nobody's trouble."""
_MOST_TIMES = 2.0


@dataclass(frozen=True, slots=True)
class Churn:
    """A view has so many rows; a refresh leaves so many dead."""

    rows: int
    dead_rows: int


@dataclass(frozen=True, slots=True)
class Autovacuum:
    """What holds for one view.

    Autovacuum looks at the database every `naptime_seconds`. It vacuums a view with more dead rows than `threshold`
    and `scale_factor` of its rows.
    """

    enabled: bool
    naptime_seconds: float
    threshold: float
    scale_factor: float


@dataclass(frozen=True, slots=True)
class Bloat:
    """How many times its size a view gets.

    `refreshes` leave their dead rows before autovacuum removes them; None where it never does. `lags` says whether it
    comes too seldom. `text` is a sentence without capital letter and full stop.
    """

    times: float
    refreshes: int | None
    lags: bool
    text: str


def churn(results: Iterable[ViewRun]) -> Churn | None:
    """Return what is typical of a view's last nine refreshes.

    None where fewer than five are known. `results` are newest first. A changed row was deleted or inserted: half of
    them are dead.
    """
    known = [
        (result.rows_changed, result.rows)
        for _, result in results
        if result.success and result.rows_changed is not None and result.rows is not None
    ][:MOST_REFRESHES]
    if len(known) < LEAST_REFRESHES:
        return None
    middle = len(known) // 2
    changed, rows = (sorted(figures)[middle] for figures in zip(*known, strict=True))
    return Churn(rows, changed // 2)


def bloat(view: str, found: Churn, autovacuum: Autovacuum, interval_seconds: float) -> Bloat | None:
    """Return how a view grows beyond twice its size. None where it does not, and where that is small."""
    if found.rows <= 0 or found.dead_rows <= 0:
        return None
    visit = max(1, math.ceil(autovacuum.naptime_seconds / interval_seconds))
    wanted = autovacuum.threshold + autovacuum.scale_factor * found.rows
    visits = max(1, math.floor(wanted / (visit * found.dead_rows)) + 1)
    refreshes = visits * visit if autovacuum.enabled else None
    dead = math.inf if refreshes is None else refreshes * found.dead_rows
    times = 1 + dead / found.rows
    if times <= _MOST_TIMES or dead < _LEAST_DEAD_ROWS:
        return None
    every = f"a refresh of {view} every {seconds_in_words(interval_seconds)}"
    leaves = f"{every} leaves {found.dead_rows:,} dead rows beside {found.rows:,}"
    if refreshes is None:
        return Bloat(times, None, False, f"{leaves}, and autovacuum is off: the view grows without end")
    text = f"{leaves}, and autovacuum removes them after {refreshes} refreshes: it gets {times:.1f} times its size"
    return Bloat(times, refreshes, visit > 1, text)
