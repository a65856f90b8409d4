"""Compute each view's true duration from its report and the lock watch.

An older install's function reports only the seconds part of its time: 65 s is reported as 5 s. While the function runs,
the leader's session polls for which views the refreshing backend has requested EXCLUSIVE locks. So the start of each
view is known to within one poll. A view that fails at once releases its lock before a poll can see it. A view that
succeeds keeps it until the call ends.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from analytics_refreshd.core.model import LockSample

_SLACK_SECONDS = 0.3
_MINUTE = 60.0
_LOST_SECONDS = _MINUTE - 1.0


@dataclass(frozen=True, slots=True)
class Span:
    """Bounds of a view's duration, in seconds.

    `observed` is the best single figure; None if no poll saw the view.
    """

    least: float
    most: float
    observed: float | None


@dataclass(frozen=True, slots=True)
class Timing:
    """A view's true duration and the observed one, in seconds.

    None means unknown.
    """

    duration: float | None
    observed: float | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The views first seen in one sample. All but the last began and ended since the sample before."""

    views: tuple[str, ...]
    waiting: frozenset[str]
    poll_seconds: float
    last: Span


def _stretches(samples: Sequence[LockSample], total_seconds: float) -> list[_Stretch]:
    starts: list[tuple[float, float, LockSample, tuple[str, ...]]] = []
    seen: set[str] = set()
    previous, busy = 0.0, 0.0
    for sample in samples:
        at = min(sample.at_seconds, total_seconds)
        asked_for = sample.held | sample.waiting
        if asked_for:
            busy = at
        new = tuple(sorted(asked_for - seen))
        if new:
            starts.append((previous, at, sample, new))
            seen.update(new)
        previous = at
    found = []
    for position, (earliest, latest, sample, views) in enumerate(starts):
        following = starts[position + 1] if position + 1 < len(starts) else None
        end_least, end_most = (following[0], following[1]) if following else (busy, total_seconds)
        span = Span(max(0.0, end_least - latest), end_most - earliest, end_most - latest)
        found.append(_Stretch(views, sample.waiting, latest - earliest, span))
    return found


def true_seconds(reported: float | None, span: Span | None, total_seconds: float) -> float | None:
    """Return the reported duration, corrected if it cannot be right.

    If the report and the observation differ by whole minutes, the minutes are added. Otherwise the observation counts.
    Without an observation, the report counts if it is not longer than the call. None means unknown.
    """
    if span is None:
        span = Span(0.0, total_seconds, None)
    if reported is not None and math.isfinite(reported) and reported >= 0:
        minutes = max(0, int((span.least - reported) // _MINUTE))
        for candidate in (reported + minutes * _MINUTE, reported + (minutes + 1) * _MINUTE):
            if span.least - _SLACK_SECONDS <= candidate <= span.most + _SLACK_SECONDS:
                return candidate
    return span.observed


def view_timings(
    reported: Mapping[str, float | None], samples: Sequence[LockSample], total_seconds: float
) -> dict[str, Timing]:
    """Return the timing of every view of one call.

    `reported` is in the order of the function's rows. If several views are first seen in the same sample, only the last
    of them can have taken longer than the poll. That is the one that waits, else the one whose report says so, else the
    last row. A view that was never seen fits between two samples. If the call took at least a minute longer than the
    sum of its views, the one view that can have lost the minutes gets them. If several can, theirs are unknown.
    """
    bounds = {view: Span(0.0, _longest_gap(samples, total_seconds), None) for view in reported}
    for stretch in _stretches(samples, total_seconds):
        last = _last_of(stretch, reported)
        for view in stretch.views:
            bounds[view] = stretch.last if view == last else Span(0.0, stretch.poll_seconds, None)
    durations = {view: true_seconds(said, bounds[view], total_seconds) for view, said in reported.items()}
    lost = total_seconds - sum(duration or 0.0 for duration in durations.values())
    if lost >= _LOST_SECONDS:
        suspects = [
            view
            for view, duration in durations.items()
            if (duration is None or duration != bounds[view].observed)
            and (duration or 0.0) + _MINUTE <= bounds[view].most + _SLACK_SECONDS
        ]
        regained = (lost + 1.0) // _MINUTE * _MINUTE
        for view in suspects:
            known = durations[view] if len(suspects) == 1 else None
            fits = known is not None and known + regained <= bounds[view].most + _SLACK_SECONDS
            durations[view] = known + regained if known is not None and fits else None
    return {view: Timing(duration, bounds[view].observed) for view, duration in durations.items()}


def view_ends(
    durations: Mapping[str, float | None],
    samples: Sequence[LockSample],
    total_seconds: float,
    first_seconds: float = 0.0,
) -> dict[str, float]:
    """Return when each view's own refresh ended, at the earliest.

    Times are in seconds from the call's begin. `durations` are the true ones, in the order of the function's rows; the
    first view began at `first_seconds` or later. A view that the watch saw began after the sample before, any other
    after the view of the row before; each ended its duration later, and one of unknown duration no earlier than it
    began.
    """
    began: dict[str, float] = {}
    previous = 0.0
    for sample in samples:
        for view in sample.held | sample.waiting:
            began.setdefault(view, previous)
        previous = min(sample.at_seconds, total_seconds)
    ends: dict[str, float] = {}
    ended = first_seconds
    for view, duration in durations.items():
        ended = ends[view] = min(began.get(view, ended) + (duration or 0.0), total_seconds)
    return ends


def _longest_gap(samples: Sequence[LockSample], total_seconds: float) -> float:
    moments = [0.0, *(min(sample.at_seconds, total_seconds) for sample in samples), total_seconds]
    return max(later - earlier for earlier, later in pairwise(moments))


def _last_of(stretch: _Stretch, reported: Mapping[str, float | None]) -> str:
    waiting = [view for view in stretch.views if view in stretch.waiting]
    if len(waiting) == 1:
        return waiting[0]
    long = [view for view in stretch.views if (reported.get(view) or 0.0) > stretch.poll_seconds + _SLACK_SECONDS]
    if len(long) == 1:
        return long[0]
    rows = [view for view in reported if view in stretch.views]
    return rows[-1] if rows else stretch.views[-1]
