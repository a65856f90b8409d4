"""How long each view really took, from what the function says and what the lock watch saw.

An older install's function reports only the seconds part of its time: 65 s reads as 5 s. While the function
runs, the leader's session sees which views' EXCLUSIVE locks the refreshing backend has asked for, so that the
moment each view began is known to within one poll.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics_refreshd.core.model import LockSample

_SLACK_SECONDS = 0.3
_MINUTE = 60.0
_MOST_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Span:
    """The bounds within which a view's duration lies, and the best single figure, all in seconds."""

    least: float
    most: float
    observed: float


def observed_spans(samples: Sequence[LockSample], total_seconds: float) -> dict[str, Span]:
    """When each view was worked on in one call that takes its locks one after another.

    A view began between the sample before the one that first shows its lock and that sample; it ended when the
    next one began, or with the call. Views first seen in the same sample cannot be told apart: each may have
    taken anything from nothing to the whole gap.
    """
    starts: list[tuple[float, float, tuple[str, ...]]] = []
    seen: set[str] = set()
    previous = 0.0
    for sample in samples:
        new = tuple(sorted((sample.held | sample.waiting) - seen))
        if new:
            starts.append((previous, sample.at_seconds, new))
            seen.update(new)
        previous = sample.at_seconds
    last_seen = previous
    spans: dict[str, Span] = {}
    for position, (earliest, latest, views) in enumerate(starts):
        following = starts[position + 1] if position + 1 < len(starts) else None
        end_least, end_most = (following[0], following[1]) if following else (last_seen, total_seconds)
        end = following[1] if following else total_seconds
        for view in views:
            least = 0.0 if len(views) > 1 else max(0.0, end_least - latest)
            spans[view] = Span(least, max(0.0, end_most - earliest), max(0.0, end - latest))
    return spans


def true_seconds(reported: float | None, span: Span | None, total_seconds: float) -> float | None:
    """The duration to believe: the reported one where it can be right, else corrected, else the observed one.

    Where the report equals the observation but for whole minutes, the minutes are added. Without an
    observation the report counts if it fits into the call at all; None means that nobody knows.
    """
    plausible = reported is not None and 0 <= reported <= total_seconds + _SLACK_SECONDS
    if span is None:
        return reported if plausible else None
    if reported is not None and reported >= 0:
        for minutes in range(min(int(span.most // _MINUTE) + 1, _MOST_MINUTES) + 1):
            candidate = reported + minutes * _MINUTE
            if span.least - _SLACK_SECONDS <= candidate <= span.most + _SLACK_SECONDS:
                return candidate
    return span.observed
