"""The state: what a process knows of its database and of itself.

One frozen value, replaced as a whole: a daemon's is in `app.state`, and `status` makes one from what it reads. What
follows from a state and a moment (ages, verdicts, the role, the pause in force) is in `core.snapshot`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import AlertKey, AlertRecord
from analytics_refreshd.core.delta import Delta
from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.evaluating import stuck_seconds
from analytics_refreshd.core.failing_triggers import TriggerRate
from analytics_refreshd.core.leadership import Leadership
from analytics_refreshd.core.model import (
    DatabaseStatus,
    LeaderInfo,
    Limits,
    Outcome,
    Pause,
    Progress,
    Rates,
    Run,
    ViewResult,
)
from analytics_refreshd.core.outlook import Outlook
from analytics_refreshd.core.retention import LastRuns
from analytics_refreshd.core.unusual import LastHour
from analytics_refreshd.core.warehouse import OutboxState

STATUS_MISSES_TOLERATED = 2
"""How often in a row the status function may fail before that breaks the contract, and its last sizes are dropped."""

_KEPT_RUNS = 1500
_MOST_KEPT_RUNS = 4000
_KEPT_RESULTS = 200
_DAY_SECONDS = 86_400.0


def kept_runs(limits: Limits) -> int:
    """Return how many runs are kept in memory: those of a day, between 1,500 and 4,000."""
    if limits.shortest_interval_seconds is None:
        return _KEPT_RUNS
    return min(_MOST_KEPT_RUNS, max(_KEPT_RUNS, round(_DAY_SECONDS / limits.shortest_interval_seconds) + 100))


def _rare(kept: Sequence[Run], late: Sequence[Run]) -> list[Run]:
    """Return the `late` runs, newest first, with one of the last 200 results of a view: it is refreshed rarely."""
    counts = Counter(result.view for run in kept for result in run.views) if late else Counter[str]()
    found = []
    for run in late:
        if any(counts[result.view] < _KEPT_RESULTS for result in run.views):
            found.append(run)
        counts.update(result.view for result in run.views)
    return found


class Source(StrEnum):
    """Where a state comes from: a daemon's memory, or the database alone."""

    MEMORY = "memory"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class State:
    """All that is known, with unknown values None. Change it with `dataclasses.replace` or the methods below.

    Times ending in `_monotonic` are seconds of the monotonic clock; `next_run_at` and `config_refused_at` are by the
    process's own clock, all other times by the database server's, which may be hours away.

    `status` was read at `evaluated_monotonic`; `rates` was still true at `rates_confirmed_monotonic`, and
    `rates_problem` says why it can never be read; `unread` names what could not be read then, and why; `status_misses`
    counts the readings in a row in which the status function failed. `runs` is newest first. `own_success` has when
    this process last refreshed each view. `leading_since` is since when no other replica led. `last_outage` is when the
    database was last lost and when it came back. `delivery` has each receiver's last delivery or failure in words, by
    name. `owns_missed_slots`: the slots missed while the database is away are this replica's to record, because it led
    last, or nobody did.
    `evaluation_began_monotonic` is None between two evaluations; `awake_since_monotonic` is when this process started,
    or went on after it was suspended. A state from the database alone has no `replica`, no `delivery` and no
    `history_pending`. `retention` is None while unknown, and where our schema keeps no record of it. `unusual` and
    `failing_triggers` are None unless they are enabled, and while unknown; so is `warehouse` unless one is configured
    and installed. `outlooks` are those of refresh time and success rate, None until they are read.
    `problems_by_view` has what the last run of each view found, and `run_problems` all of it once.
    """

    database: str
    views: tuple[str, ...]
    limits: Limits
    isolation: str
    version: str
    runbooks_url: str = ""
    source: Source = Source.MEMORY
    replica: str | None = None

    status: DatabaseStatus | None = None
    status_misses: int = 0
    evaluated_monotonic: float | None = None
    unread: tuple[str, ...] = ()
    rates: Rates | None = None
    rates_confirmed_monotonic: float | None = None
    rates_problem: str | None = None
    pause: Pause | None = None
    leader: LeaderInfo | None = None
    progress: Progress | None = None
    delta: Delta | None = None
    retention: LastRuns | None = None
    outlooks: tuple[Outlook, ...] | None = None
    unusual_enabled: bool = False
    unusual: LastHour | None = None
    failing_triggers: tuple[TriggerRate, ...] | None = None
    warehouse: OutboxState | None = None
    runs: tuple[Run, ...] = ()
    outdated_runs: frozenset[UUID] = frozenset()
    sizes: tuple[SizeSample, ...] = ()
    alerts: Mapping[AlertKey, AlertRecord] = field(default_factory=dict)
    own_success: Mapping[str, datetime] = field(default_factory=dict)
    history_available: bool = True
    history_pending: int | None = None
    history_failing_since: datetime | None = None

    database_reached: bool = False
    database_down_since: datetime | None = None
    database_error: str | None = None
    last_outage: tuple[datetime, datetime] | None = None

    leadership: Leadership = field(default_factory=Leadership)
    leading_since: datetime | None = None
    lead_taken_at: datetime | None = None
    draining: bool = False
    owns_missed_slots: bool = True
    leaderless_since: datetime | None = None
    leaderless_reason: str | None = None
    election_problem: str | None = None
    run_problems: tuple[str, ...] = ()
    problems_by_view: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    installation_problems: tuple[str, ...] = ()

    next_run_at: datetime | None = None
    scheduler_seen_monotonic: float | None = None
    main_seen_monotonic: float | None = None
    run_deadline_monotonic: float | None = None
    evaluation_began_monotonic: float | None = None
    evaluation_ended_monotonic: float | None = None
    awake_since_monotonic: float | None = None
    delivery: Mapping[str, str] | None = None
    config_refused_at: datetime | None = None
    log_lines_lost: int = 0

    @property
    def database_down(self) -> bool:
        """Whether the database was away when last asked."""
        return self.database_down_since is not None

    @property
    def database_up(self) -> bool:
        """Whether the database answered when it was last asked."""
        return self.database_reached and not self.database_down

    def leading(self, at: datetime) -> "State":
        """Note that this replica took the lead. One that it lost to nobody goes on."""
        since = self.leading_since if self.owns_missed_slots else None
        return replace(self, owns_missed_slots=True, leading_since=since or at, lead_taken_at=at)

    def following(self, holder: LeaderInfo | None) -> "State":
        """Note which other replica leads, None where nobody does. Its lead ends what counts from ours.

        Without our schema nobody knows when that one refreshes: how old a view is, is unknown from then on.
        """
        followed = replace(self, leader=holder, leaderless_reason=None, owns_missed_slots=holder is None)
        if holder is None:
            return followed
        outdated = frozenset(run.run_id for run in self.runs)
        own = self.own_success if self.history_available else {}
        return replace(followed, leading_since=None, outdated_runs=outdated, run_problems=(), own_success=own)

    @property
    def judged_runs(self) -> Sequence[Run]:
        """The runs that tell how things are now.

        Without our schema another replica's are unknown: once one has led, ours from before tell nothing.
        """
        if self.history_available or not self.outdated_runs:
            return self.runs
        return [run for run in self.runs if run.run_id not in self.outdated_runs]

    def lost_since(self, moment: datetime | None) -> bool:
        """Whether the database was lost after `moment`, and is still: what began before says nothing of it."""
        return moment is not None and self.database_down_since is not None and self.database_down_since > moment

    def counted_from(self, since: datetime | None) -> datetime | None:
        """Return from when a condition counts: what could not be otherwise during an outage counts from its end."""
        if since is None or self.last_outage is None:
            return since
        return max(since, self.last_outage[1])

    @property
    def mode(self) -> str:
        """The refresh mode, `plain` until the database says otherwise."""
        return self.delta.mode if self.delta is not None else "plain"

    @property
    def contract_problems(self) -> tuple[str, ...]:
        """What run, election, rates and the look at the installation found.

        Each clears its own finding.
        """
        others = filter(None, (self.election_problem, self.rates_problem))
        return (*self.run_problems, *others, *self.installation_problems)

    def with_runs(self, runs: Sequence[Run]) -> "State":
        """Add runs, or replace older versions of them. The oldest beyond `kept_runs` are dropped.

        Where views have intervals of their own, the last results of each view are kept nevertheless. A run that is
        known to have ended never goes back to running, and keeps the blockers once seen.
        """
        kept = {run.run_id: run for run in self.runs}
        for run in runs:
            known = kept.get(run.run_id)
            if known is not None and known.outcome not in (None, Outcome.UNKNOWN) and run.outcome is None:
                continue
            if known is not None and known.blockers and not run.blockers:
                run = replace(run, blockers=known.blockers)
            kept[run.run_id] = run
        ordered = sorted(kept.values(), key=lambda run: run.started_at, reverse=True)
        most = kept_runs(self.limits)
        late = ordered[most:] if self.limits.view_interval_seconds else []
        return replace(self, runs=(*ordered[:most], *_rare(ordered[:most], late)))

    def with_run_problems(self, views: Sequence[str] | None, problems: tuple[str, ...]) -> "State":
        """Note what a run of `views` found, None for all. What other views' last runs found stays."""
        found = {**self.problems_by_view, **dict.fromkeys(self.views if views is None else views, problems)}
        known = tuple(dict.fromkeys(text for view in self.views for text in found.get(view, ())))
        return replace(self, run_problems=known, problems_by_view=found)

    def with_successes(self, results: Sequence[ViewResult]) -> "State":
        """Note our own successes, each with its own end: the only record where nothing can be stored."""
        ends = {one.view: one.finished_at for one in results if one.success and one.finished_at is not None}
        return replace(self, own_success={**self.own_success, **ends})

    def known_at(self, monotonic: float) -> "State":
        """Forget the figures that could not be read for three periods.

        What was true stays true, such as when a view was refreshed. How many rows it has does not.
        """
        oldest = monotonic - stuck_seconds(self.limits.evaluate_seconds)
        known = self
        if self.rates_confirmed_monotonic is None or self.rates_confirmed_monotonic < oldest:
            known = replace(known, rates=None)
        if self.status is not None and (self.evaluated_monotonic is None or self.evaluated_monotonic < oldest):
            views = tuple(replace(view, rows=None, size_bytes=None) for view in self.status.views)
            known = replace(known.without_delta_figures(), status=replace(self.status, views=views))
        return known

    def without_delta_figures(self) -> "State":
        """Forget how much waits to be folded, and how long that took."""
        delta = replace(self.delta, pending_rows=None, fold_seconds=None) if self.delta is not None else None
        return replace(self, delta=delta)

    def evaluation_began(self, monotonic: float) -> "State":
        """Note that an evaluation is under way."""
        return replace(self, evaluation_began_monotonic=monotonic)

    def evaluation_ended(self, monotonic: float) -> "State":
        """Note that it has ended."""
        return replace(self, evaluation_began_monotonic=None, evaluation_ended_monotonic=monotonic)

    def alive(self, monotonic: float, *, gap_seconds: float) -> "State":
        """Note a sign of life of the main loop.

        After a gap this process was suspended, or has just started: whatever ran meanwhile counts from now.
        """
        seen = self.main_seen_monotonic
        slept = seen is None or monotonic - seen > gap_seconds
        awake_since = monotonic if slept else self.awake_since_monotonic
        return replace(self, main_seen_monotonic=monotonic, awake_since_monotonic=awake_since)

    def database_lost(self, at: datetime, error: str) -> "State":
        """Note that the database does not answer. A second call updates the error only."""
        return replace(self, database_down_since=self.database_down_since or at, database_error=error)

    def database_answered(self, at: datetime) -> "State":
        """Note that the database answers, and the outage that this ends."""
        since = self.database_down_since
        return replace(
            self,
            database_reached=True,
            database_down_since=None,
            database_error=None,
            last_outage=self.last_outage if since is None else (since, at),
        )
