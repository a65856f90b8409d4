"""What the alert rules look at, and the questions that several of them ask of it."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from analytics_refreshd.core.alerts.lifecycle import Alert
from analytics_refreshd.core.errors import UNREACHABLE
from analytics_refreshd.core.model import Blocker, Outcome, Pause, Rates, Reason, Run, ViewResult
from analytics_refreshd.core.staleness import Age
from analytics_refreshd.core.wording import blocked_by


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the rules look at. `runs` is newest first; `firing` holds (alert, view) of what fires now.

    `now` is the server's time where the database answers. Unknown figures are None. `blocker` adds to the texts only.
    `last_outage` is when the database was last lost and when it came back, None where it never went.
    """

    database: str
    now: datetime
    views: Sequence[str]
    ages: Mapping[str, Age] = field(default_factory=dict)
    runs: Sequence[Run] = ()
    rates: Rates | None = None
    database_down_since: datetime | None = None
    database_error: str | None = None
    last_outage: tuple[datetime, datetime] | None = None
    history_failing_since: datetime | None = None
    history_pending: int = 0
    leaderless_since: datetime | None = None
    leaderless_reason: str | None = None
    contract_problems: Sequence[str] = ()
    pause: Pause | None = None
    blocker: Blocker | None = None
    firing: AbstractSet[tuple[Alert, str]] = frozenset()


# What the database's absence causes is DatabaseUnavailable's to tell, and a stop is nobody's failure.
NOT_A_VIEWS_FAULT = UNREACHABLE | {Reason.SHUTDOWN}


def streak(verdicts: Sequence[bool], *, firing: bool, fire_after: int, resolve_after: int) -> bool | None:
    """Hysteresis over runs, newest first: bad `fire_after` times to fire, good `resolve_after` times to resolve."""
    if not verdicts:
        return None if firing else False
    if firing:
        return not (len(verdicts) >= resolve_after and not any(verdicts[:resolve_after]))
    return len(verdicts) >= fire_after and all(verdicts[:fire_after])


def cause(run: Run, result: ViewResult) -> Reason | None:
    """Why a view failed: what rolled it back says more than that it was."""
    return run.reason if result.reason is Reason.ROLLED_BACK else result.reason


def attempts(situation: Situation) -> list[Run]:
    """The runs, newest first, that tell something about the views: no skipped, cancelled or unknown ones."""
    silent = (None, Outcome.SKIPPED, Outcome.UNKNOWN, Outcome.CANCELLED)
    return [run for run in situation.runs if run.outcome not in silent]


def describe(situation: Situation, text: str, run: Run | None, result: ViewResult | None, look: str) -> str:
    """An alert's description: what happened, the last error, who blocks, the run, and the next command to type."""
    parts = [text]
    if result is not None and result.error:
        state = f" (SQLSTATE {result.sqlstate})" if result.sqlstate else ""
        parts.append(f"Last error: {result.error}{state}.")
    blocker = situation.blocker or (run.blockers[-1] if run is not None and run.blockers else None)
    if blocker is not None:
        parts.append(f"It {blocked_by(blocker)}.")
    if situation.pause is not None:
        parts.append(f"Refreshes are paused until {situation.pause.ends_at:%Y-%m-%d %H:%M} UTC.")
    if run is not None:
        parts.append(f"Run {run.run_id}.")
    parts.append(f"Next: {look}")
    return " ".join(parts)
