"""Find successful refreshes whose rows or times look wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from analytics_refreshd.core.model import Run, ViewResult

_LEAST_HISTORY = 5
_LEAST_ROWS = 20
_LEAST_SECONDS = 1.0
_COLLAPSED = "rows_collapsed"
_SLOW = "slow_beside_itself"
GUARDS = (_COLLAPSED, _SLOW)


@dataclass(frozen=True, slots=True)
class Trip:
    """A guard that tripped.

    `guard` is rows_collapsed or slow_beside_itself. `usual` and `now` are in rows or seconds.
    """

    guard: str
    view: str
    usual: float
    now: float


def guard(result: ViewResult, earlier: Sequence[Run], *, rows_collapse_ratio: float, slow_factor: float) -> list[Trip]:
    """Compare a successful result with the earlier runs, newest first.

    One guard trips if the rows are under `rows_collapse_ratio` of the last success's. The other trips if the time is
    over `slow_factor` times the median of the recent ones. Views of under 20 rows and times under a second are ignored.
    Zero turns a guard off.
    """
    past = [item for run in earlier for item in run.views if item.view == result.view and item.success]
    trips = []
    rows = next((item.rows for item in past if item.rows is not None), None)
    if (
        rows is not None
        and result.rows is not None
        and rows >= _LEAST_ROWS
        and result.rows < rows * rows_collapse_ratio
    ):
        trips.append(Trip(_COLLAPSED, result.view, float(rows), float(result.rows)))
    times = [item.duration_seconds for item in past if item.duration_seconds is not None][:60]
    if slow_factor > 0 and len(times) >= _LEAST_HISTORY and result.duration_seconds is not None:
        usual = median(times)
        if result.duration_seconds > max(_LEAST_SECONDS, usual * slow_factor):
            trips.append(Trip(_SLOW, result.view, usual, result.duration_seconds))
    return trips
