"""The status snapshot: a state at one moment, with everything that follows from the two.

Rules, metrics, page and JSON read ages, limits, verdicts, the role and the pause here, and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from analytics_refreshd.core.alerts.lifecycle import AlertKey, AlertState, Severity
from analytics_refreshd.core.disk import DiskForecast, disk_forecast
from analytics_refreshd.core.model import Outcome, Pause, Role, Run, ViewResult, ViewStatus
from analytics_refreshd.core.outlook import Outlook, disk_outlook, unknown_outlooks
from analytics_refreshd.core.staleness import (
    Age,
    Verdict,
    age_of,
    critical_age_seconds,
    interval_seconds,
    max_age_seconds,
    verdict,
    with_own_success,
)
from analytics_refreshd.core.state import Source, State

RECENT = 60
"""How many past runs of a view are shown."""

_UNTRIED = (None, Outcome.SKIPPED, Outcome.CANCELLED)

ViewRun = tuple[Run, ViewResult]
"""A run and its result for one view."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state at a moment: `now` by the process's own clock, `monotonic` by the monotonic one in seconds."""

    state: State
    now: datetime
    monotonic: float
    _judged: dict[str, Sequence[ViewRun]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def results(
        self, most: int, counts: Callable[[Run, ViewResult], bool], runs: Sequence[Run] | None = None
    ) -> dict[str, list[ViewRun]]:
        """Return every view's newest results that count, `most` of each.

        Newest first; of all runs, or of `runs`.
        """
        found: dict[str, list[ViewRun]] = {view: [] for view in self.state.views}
        wanted = dict(found)
        for run in self.state.runs if runs is None else runs:
            for result in run.views:
                results = wanted.get(result.view)
                if results is not None and counts(run, result):
                    results.append((run, result))
                    if len(results) == most:
                        del wanted[result.view]
            if not wanted:
                break
        return found

    def judged(self, most: int, counts: Callable[[Run, ViewResult], bool]) -> Mapping[str, Sequence[ViewRun]]:
        """Return `results` of the runs to judge by, as first asked for: three rules ask for each view."""
        if not self._judged:
            self._judged.update(self.results(most, counts, self.state.judged_runs))
        return self._judged

    @property
    def server_now(self) -> datetime:
        """The server's time, as last read and carried on. Our own where none was read.

        Everything that the server dated is compared with this: our own clock may be hours off, and may step.
        """
        since, status = self.since_evaluation_seconds, self.state.status
        return self.now if status is None or since is None else status.server_now + timedelta(seconds=since)

    @property
    def since_evaluation_seconds(self) -> float | None:
        """Seconds since the database's status was read; None where it never was."""
        read = self.state.evaluated_monotonic
        return None if read is None else max(0.0, self.monotonic - read)

    @property
    def evaluation_silent_seconds(self) -> float | None:
        """Seconds since an evaluation last ended, or this process began.

        None where none is expected.
        """
        awake, ended = self.state.awake_since_monotonic, self.state.evaluation_ended_monotonic
        return None if awake is None else max(0.0, self.monotonic - max(awake, awake if ended is None else ended))

    @property
    def evaluation_running_seconds(self) -> float | None:
        """Seconds that the evaluation under way has taken; None between two."""
        began, awake = self.state.evaluation_began_monotonic, self.state.awake_since_monotonic
        return None if began is None else max(0.0, self.monotonic - max(began, began if awake is None else awake))

    @property
    def role(self) -> Role | None:
        """This replica's role. Trust that ran out ends a lead. None where the database alone was read."""
        state = self.state
        if state.source is Source.DATABASE:
            return None
        if state.draining:
            return Role.DRAINING
        if state.leadership.role is Role.LEADER and not state.leadership.leads(self.monotonic):
            return Role.STANDBY
        return state.leadership.role

    @property
    def leads(self) -> bool:
        """Whether this replica may refresh now."""
        return self.role is Role.LEADER

    @property
    def pause(self) -> Pause | None:
        """The pause in force. One that was read earlier may be over."""
        pause = self.state.pause
        return pause if pause is not None and pause.ends_at > self.server_now else None

    def age(self, view: str) -> Age | None:
        """Return a view's age at this moment. It grows while nobody evaluates.

        None where the view's status was never read.
        """
        status = self.state.status
        read = next((one for one in status.views if one.view == view), None) if status is not None else None
        if status is None or read is None:
            return None
        age = age_of(read, status.server_now)
        if age.seconds is not None:
            age = replace(age, seconds=age.seconds + (self.since_evaluation_seconds or 0.0))
        # now, not when the status was read: a refresh may have succeeded since
        return with_own_success(age, self.state.own_success.get(view), self.server_now)

    @property
    def firing(self) -> frozenset[AlertKey]:
        """The alerts that fire, by alert and view."""
        return frozenset(key for key, record in self.state.alerts.items() if record.state is AlertState.FIRING)

    @property
    def pressing(self) -> frozenset[AlertKey]:
        """The alerts that fire and are more than a hint."""
        return frozenset(key for key in self.firing if self.state.alerts[key].severity is not Severity.INFO)

    @property
    def disk(self) -> DiskForecast | None:
        """When the configured capacity is used up.

        None where that is not asked for, or not known.
        """
        return disk_forecast(self.state.sizes, self.state.limits.disk_bytes, self.server_now)

    @property
    def outlooks(self) -> tuple[Outlook, ...]:
        """When each limit is reached, or that it is unknown. That of the disk only where it is asked for."""
        state = self.state
        known = state.outlooks or unknown_outlooks(state.limits, "it was not read yet")
        disk = disk_outlook(state.sizes, state.limits, self.server_now)
        return known if disk is None else (*known, disk)

    @property
    def views(self) -> tuple["ViewSnapshot", ...]:
        """Every configured view in its order."""
        state = self.state
        statuses = {view.view: view for view in state.status.views} if state.status is not None else {}
        results = self.results(RECENT, lambda run, result: True)
        return tuple(
            ViewSnapshot(state, statuses.get(view, ViewStatus(view)), self.age(view), results[view])
            for view in state.views
        )

    @property
    def healthy(self) -> bool:
        """Whether all is well. Views are fresh or late, last runs succeeded, rollups are exact, only hints fire."""
        state = self.state
        fine = all(not view.verdict.is_stale and (view.last is None or view.last[1].success) for view in self.views)
        exact = (state.delta is None or not state.delta.problems) and not state.installation_problems
        return fine and exact and state.database_up and not self.pressing

    def dated(self, run: Run) -> Run:
        """Date a run that begins or ends now by the server's clock.

        The alert rules compare runs that only this process knows with the server's time, too.
        """
        now = self.server_now
        began = now - timedelta(seconds=run.duration_seconds or 0.0)
        return replace(run, started_at=began, finished_at=None if run.finished_at is None else now)


@dataclass(frozen=True, slots=True)
class ViewSnapshot:
    """One view at the moment of a snapshot.

    `status` is what the database last said of it, `age` None where that was never read, `results` its last runs,
    newest first, sixty at most.
    """

    state: State
    status: ViewStatus
    age: Age | None
    results: Sequence[ViewRun]

    @property
    def view(self) -> str:
        """The view's name."""
        return self.status.view

    @property
    def verdict(self) -> Verdict:
        """The verdict on its age."""
        return verdict(self.age, self.state.limits)

    @property
    def interval_seconds(self) -> float:
        """The seconds between two of its slots."""
        return interval_seconds(self.state.limits, self.view)

    @property
    def max_age_seconds(self) -> float:
        """The age beyond which it is stale."""
        return max_age_seconds(self.state.limits, self.view)

    @property
    def critical_age_seconds(self) -> float:
        """The age beyond which being stale is critical."""
        return critical_age_seconds(self.state.limits, self.view)

    @property
    def rows(self) -> int | None:
        """Its rows by the status function, else by the last success."""
        counted = (result.rows for _, result in self.recent[::-1] if result.success)
        return self.status.rows if self.status.rows is not None else next((n for n in counted if n is not None), None)

    @property
    def slow_seconds(self) -> float:
        """The duration beyond which one of its refreshes is slow."""
        return self.state.limits.slow_seconds

    @property
    def last(self) -> ViewRun | None:
        """The last run that tried it and was not cancelled: a stop is no failure."""
        return next(iter(self._tried), None)

    @property
    def last_failure(self) -> tuple[ViewRun, bool] | None:
        """Its last failure, and whether that is its last run."""
        failed = next((at for at, pair in enumerate(self._tried) if not pair[1].success), None)
        return None if failed is None else (self._tried[failed], failed == 0)

    @property
    def recent(self) -> Sequence[ViewRun]:
        """Its last runs, sixty at most, oldest first."""
        return self.results[::-1]

    @property
    def _tried(self) -> list[ViewRun]:
        return [pair for pair in self.results if pair[0].outcome not in _UNTRIED]
