"""Decide whether a view's interval can hold, by how long refreshes took.

A target is what an interval promises: a refresh in each slot of the view, and no age over its limit. The daemon's
alert and `check` ask here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from analytics_refreshd.core.alerts.evidence import cause, is_attempt
from analytics_refreshd.core.model import Limits, Reason
from analytics_refreshd.core.schedule import STATEMENT_SHARE
from analytics_refreshd.core.snapshot import ViewRun
from analytics_refreshd.core.staleness import interval_seconds, max_age_seconds
from analytics_refreshd.core.wording import seconds_in_words

LEAST_REFRESHES = 5
"""Fewer do not tell what is typical."""
MOST_REFRESHES = 9
"""Older ones tell of another load."""
_STEP_SECONDS = 5
_LONGEST_SECONDS = 86_400
"""No interval may be longer."""


@dataclass(frozen=True, slots=True)
class RefreshTime:
    """How long a refresh of a view typically takes.

    `run_seconds` is of the runs that it is part of. `cut_off`: a timeout ended it, so it would take longer.
    """

    seconds: float
    run_seconds: float
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class UnmetTarget:
    """Why a view's interval does not hold.

    `text` is a sentence without capital letter and full stop. `smallest_seconds` is the smallest interval that would
    hold, in full 5 s; None where none of a day or less would.
    """

    view: str
    text: str
    smallest_seconds: int | None

    @property
    def advice(self) -> str:
        """Say what would hold, as such a sentence."""
        if self.smallest_seconds is None:
            return "no interval of a day or less would hold"
        return f"the smallest interval that would hold is {seconds_in_words(self.smallest_seconds)}"


def refresh_time(results: Iterable[ViewRun], isolation: str) -> RefreshTime | None:
    """Return the median of a view's last nine refreshes.

    None where fewer than five are known. `results` are newest first. A success counts, and what a timeout ended: that
    took as long at least. Within one transaction for all views a view takes as long as the run.
    """
    found: list[tuple[float, bool]] = []
    runs: list[float] = []
    for run, result in results:
        timed_out = not result.success and cause(run, result) is Reason.TIMEOUT
        own = result.duration_seconds if isolation == "view" else None
        seconds = run.duration_seconds if own is None else own
        if is_attempt(run) and (result.success or timed_out) and seconds is not None:
            found.append((seconds, timed_out))
            runs.append(seconds if run.duration_seconds is None else run.duration_seconds)
        if len(found) == MOST_REFRESHES:
            break
    if len(found) < LEAST_REFRESHES:
        return None
    middle = len(found) // 2
    typical, cut_off = sorted(found)[middle]
    return RefreshTime(typical, sorted(runs)[middle], cut_off)


def unmet_target(
    view: str, times: Mapping[str, RefreshTime], limits: Limits, *, share: float = 1.0
) -> UnmetTarget | None:
    """Return why a view's target cannot be met; None where it can.

    `times` has all views of which a typical time is known, among them this one. `share` of each limit counts: what was
    unmet must get clearly better.
    """
    own, interval = times[view], interval_seconds(limits, view)
    allowed = STATEMENT_SHARE * interval
    least = own.seconds / STATEMENT_SHARE
    # without an interval of its own a view may be given all of the common one
    cut_short = own.cut_off or view in limits.view_interval_seconds
    if own.seconds > share * (allowed if cut_short else interval):
        longer = " or longer, since a timeout ends it," if own.cut_off else ""
        text = f"a refresh of {view} takes {seconds_in_words(own.seconds)}{longer} of an interval of"
        return UnmetTarget(view, f"{text} {seconds_in_words(interval)}", _step(least))
    if own.run_seconds > share * interval:
        text = f"a run that refreshes {view} takes {seconds_in_words(own.run_seconds)}, longer than the view's interval"
        return UnmetTarget(view, f"{text} of {seconds_in_words(interval)}", _step(max(least, own.run_seconds)))
    slowest = max(times, key=lambda other: times[other].run_seconds)
    busy, limit = times[slowest].run_seconds, max_age_seconds(limits, view)
    age = math.ceil(busy / interval) * interval + own.seconds
    # what AnalyticsViewStale would wait for in any case is no matter of the interval
    stale_for = limits.view_stale_for_seconds.get(view, limits.stale_for_seconds)
    if busy > interval and age > share * (limit + stale_for):
        text = (
            f"while a run that refreshes {slowest} takes {seconds_in_words(busy)}, {view} gets "
            f"{seconds_in_words(age)} old, over its limit of {seconds_in_words(limit)}"
        )
        return UnmetTarget(view, text, _step(max(least, busy)))
    return None


def _step(seconds: float) -> int | None:
    rounded = math.ceil(seconds / _STEP_SECONDS) * _STEP_SECONDS
    return rounded if rounded <= _LONGEST_SECONDS else None
