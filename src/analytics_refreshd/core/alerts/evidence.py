"""What several alert rules ask of a snapshot: its attempts, their causes, and a description in words."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from analytics_refreshd.core.errors import UNREACHABLE
from analytics_refreshd.core.model import Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.snapshot import Snapshot, ViewRun
from analytics_refreshd.core.wording import blocked_by

# an absent database has an alert of its own, and a stop is no failure
NOT_A_VIEWS_FAULT = UNREACHABLE | {Reason.SHUTDOWN, Reason.CANCELLED}

MOST_JUDGED = 200
"""Results of a view that are looked at: a limit counts a hundred of them at most."""


def streak(verdicts: Sequence[bool], *, firing: bool, fire_after: int, resolve_after: int) -> bool | None:
    """Decide by the last runs, newest first, whether an alert holds.

    It takes `fire_after` bad runs to fire and `resolve_after` good ones to resolve; None without a run to count.
    """
    if not verdicts:
        return None if firing else False
    if firing:
        return not (len(verdicts) >= resolve_after and not any(verdicts[:resolve_after]))
    return len(verdicts) >= fire_after and all(verdicts[:fire_after])


def cause(run: Run, result: ViewResult) -> Reason | None:
    """Return why a view failed. For one that was rolled back, that is why its run failed."""
    return run.reason if result.reason is Reason.ROLLED_BACK else result.reason


def is_attempt(run: Run) -> bool:
    """Whether a run says something about the views: one that ended ok, partial, failed or timeout."""
    return run.outcome not in (None, Outcome.SKIPPED, Outcome.UNKNOWN, Outcome.CANCELLED)


def judged_results(snapshot: Snapshot) -> Mapping[str, Sequence[ViewRun]]:
    """Return each view's last results that say something about it, newest first."""
    return snapshot.judged(MOST_JUDGED, _counts)


def _counts(run: Run, result: ViewResult) -> bool:
    return is_attempt(run) and (result.success or cause(run, result) not in NOT_A_VIEWS_FAULT)


def last_of_each_slot(results: Sequence[ViewRun], interval_seconds: float) -> list[ViewRun]:
    """Return the newest result of each stretch of one interval.

    `results` are newest first. A repeated failure counts once by this.
    """
    found: dict[int, ViewRun] = {}
    for pair in results:
        at = pair[0].scheduled_at or pair[0].started_at
        found.setdefault(math.floor(at.timestamp() / interval_seconds), pair)
    return list(found.values())


def last_of_each_view(runs: Iterable[Run], count: int) -> list[Run]:
    """Return the runs that are among the last `count` of a view.

    `runs` are newest first.
    """
    seen: Counter[str] = Counter()
    found = []
    for run in runs:
        if any(seen[result.view] < count for result in run.views):
            found.append(run)
        seen.update(result.view for result in run.views)
    return found


def describe(snapshot: Snapshot, text: str, run: Run | None, result: ViewResult | None, look: str) -> str:
    """Write an alert's description: text, last error, blocker, pause, run, and the next command to type."""
    parts = [text]
    if result is not None and result.error:
        state = f" (SQLSTATE {result.sqlstate})" if result.sqlstate else ""
        parts.append(f"Last error: {result.error}{state}.")
    progress = snapshot.state.progress
    blocker = progress.blocker if progress is not None else None
    # the error of a lock that was not had names it already
    named = result is not None and result.reason is Reason.LOCK_TIMEOUT
    if blocker is None and run is not None and run.blockers and not named:
        blocker = run.blockers[-1]
    if blocker is not None:
        parts.append(f"It {blocked_by(blocker)}.")
    pause = snapshot.pause
    if pause is not None:
        parts.append(f"Refreshes are paused until {pause.ends_at:%Y-%m-%d %H:%M} UTC.")
    if run is not None:
        parts.append(f"Run {run.run_id}.")
    parts.append(f"Next: {look}")
    return " ".join(parts)
