"""What a person should know before reading any figure, in words: for the head of the page and for status.json."""

from dataclasses import dataclass
from typing import Literal

from analytics_refreshd.core.alerts.lifecycle import AlertState
from analytics_refreshd.core.model import Pause, Role
from analytics_refreshd.core.picture import ServiceState
from analytics_refreshd.core.staleness import Verdict
from analytics_refreshd.core.wording import blocked_by, seconds_in_words
from analytics_refreshd.observe import reading

_SILENT_SECONDS = 90.0
_SCHEDULER_SECONDS = 30.0
_LONG_RUN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence; `bad` where somebody should act, `warn` where somebody should know, `info` otherwise."""

    level: Literal["bad", "warn", "info"]
    text: str


def notices(state: ServiceState, monotonic: float) -> list[Notice]:
    """Everything unusual, the worst first."""
    found = [*_database(state, monotonic), *_loop(state, monotonic), *_leadership(state), *_now(state, monotonic)]
    if not state.history_available:
        found.append(Notice("info", "History is kept in memory only: analytics-refreshd migrate installs its tables."))
    if state.config_refused_at is not None:
        text = f"The configuration read at {state.config_refused_at:%Y-%m-%d %H:%M} UTC was refused"
        found.append(Notice("warn", f"{text}: the old one is in force; see config.reload_failed in the log."))
    if state.log_lines_lost:
        text = f"{state.log_lines_lost:,} log lines could not be written since this replica started."
        found.append(Notice("warn", text))
    if state.history_pending:
        found.append(Notice("warn", f"{state.history_pending} runs wait in memory to be written to history."))
    found.extend(Notice("warn", text) for text in state.problems)
    found.extend(_incremental(state))
    return sorted(found, key=lambda notice: ("bad", "warn", "info").index(notice.level))


def _incremental(state: ServiceState) -> list[Notice]:
    delta = state.delta
    if delta is None or delta.mode == "plain":
        return []
    found = [Notice("bad", f"Incremental mode: {text}.") for text in delta.problems]
    if delta.rebuild_reason is not None:
        found.append(Notice("warn", f"The next refresh rebuilds the rollups: {delta.rebuild_reason}."))
    return found


def _database(state: ServiceState, monotonic: float) -> list[Notice]:
    if state.database_up:
        return []
    if state.database_down_since is None:
        return [Notice("warn", "The database has not answered yet.")]
    away = (reading.server_now(state, monotonic) - state.database_down_since).total_seconds()
    since = f"{state.database_down_since:%Y-%m-%d %H:%M} UTC ({seconds_in_words(max(0.0, away))})"
    reason = f": {state.database_error}" if state.database_error else ""
    text = f"The database has not answered since {since}{reason}"
    end = "" if text.endswith((".", "?", "!")) else "."  # libpq ends with a question
    return [Notice("bad", f"{text}{end} Ages below count on from what was read last.")]


def _loop(state: ServiceState, monotonic: float) -> list[Notice]:
    found = []
    scheduler = state.scheduler_seen_monotonic
    if scheduler is not None and monotonic - scheduler > _SCHEDULER_SECONDS:
        silent = seconds_in_words(monotonic - scheduler)
        found.append(Notice("bad", f"The scheduler has given no sign of life for {silent}: restart this daemon."))
    since = reading.since_evaluation_seconds(state, monotonic)
    if state.evaluated_monotonic is None:
        found.append(Notice("info", "Nothing has been evaluated yet."))
    elif since > _SILENT_SECONDS and state.database_up:
        found.append(Notice("bad", f"Nothing has been evaluated for {seconds_in_words(since)}: the loop may hang."))
    deadline = state.run_deadline_monotonic
    if deadline is not None and monotonic > deadline:
        over = seconds_in_words(monotonic - deadline)
        found.append(Notice("bad", f"The refresh under way passed its deadline {over} ago."))
    overdue = _overdue_seconds(state, monotonic)
    if overdue is not None and state.progress is None:
        found.append(Notice("bad", f"The next run is overdue by {seconds_in_words(overdue)}."))
    return found


def _overdue_seconds(state: ServiceState, monotonic: float) -> float | None:
    if state.next_run_at is None or reading.pause(state, monotonic) or state.role is not Role.LEADER:
        return None
    late = (reading.now(state, monotonic) - state.next_run_at).total_seconds()
    return late if late > max(_SCHEDULER_SECONDS, state.limits.interval_seconds / 2) else None


def _leadership(state: ServiceState) -> list[Notice]:
    leader = state.leader
    if state.role is Role.DRAINING:
        return [Notice("warn", "This replica is shutting down.")]
    if not state.database_up:
        last = f" {leader.replica} led last." if leader is not None and leader.ours else ""
        return [Notice("info", f"While the database is away nobody is known to refresh.{last}")]
    if state.role is Role.LEADER:
        return []
    if leader is None:
        return [Notice("warn", "No replica holds the leader lock: nothing is refreshed.")]
    if not leader.ours:
        text = f"The leader lock is held by pid {leader.pid}, which is not one of our daemons: nothing is refreshed."
        return [Notice("bad", text)]
    return [Notice("info", f"This replica stands by; {leader.replica} refreshes.")]


def _now(state: ServiceState, monotonic: float) -> list[Notice]:
    found = []
    pause = reading.pause(state, monotonic)
    if pause is not None:
        found.append(Notice("warn", f"{_paused(pause)}: {pause.reason}"))
    progress = state.progress
    if progress is not None:
        elapsed = progress.elapsed_seconds + max(0.0, monotonic - state.taken_monotonic)
        what = f" of {progress.view}" if progress.view else ""
        text = f"A refresh{what} has been running for {seconds_in_words(elapsed)}"
        if progress.blocker is not None:
            found.append(Notice("warn", f"{text} and {blocked_by(progress.blocker, progress.waiting_seconds)}."))
        elif elapsed >= _LONG_RUN_SECONDS:
            found.append(Notice("info", f"{text}."))
    return found


def _paused(pause: Pause) -> str:
    by = f" by {pause.created_by}" if pause.created_by else ""
    return f"Refreshes are paused{by} until {pause.ends_at:%Y-%m-%d %H:%M} UTC"


def headline(state: ServiceState, monotonic: float) -> Notice:
    """The whole page in one sentence; a pause, which is somebody's wish, comes before the ages that it makes."""
    firing = sum(record.state is AlertState.FIRING for record in state.alerts)
    pause = reading.pause(state, monotonic)
    found = _of_views(state, monotonic, firing)
    if pause is None:
        return found
    return Notice("bad" if firing or not state.database_up else "warn", f"{_paused(pause)}. {found.text}")


def _of_views(state: ServiceState, monotonic: float, firing: int) -> Notice:
    alerts = f"; {firing} alert{'s fire' if firing > 1 else ' fires'}" if firing else ""
    total = len(state.views)
    if not state.views or all(view.age is None for view in state.views):
        return Notice("bad" if firing else "warn", f"Nothing is known about the views yet{alerts}")
    verdicts = [reading.current_verdict(state, view, monotonic) for view in state.views]
    bad = sum(verdict in (Verdict.STALE, Verdict.UNKNOWN) for verdict in verdicts)
    late = sum(verdict is Verdict.LATE for verdict in verdicts)
    unknown = sum(verdict is Verdict.UNKNOWN for verdict in verdicts)
    if unknown and unknown == bad:
        return Notice("bad", f"{unknown} of {total} views never seen refreshed{alerts}")
    if bad:
        return Notice("bad", f"{bad} of {total} views stale{alerts}")
    if not state.database_up:
        return Notice("bad", f"The database does not answer{alerts}")
    if late:
        return Notice("bad" if firing else "warn", f"{late} of {total} views late{alerts}")
    return Notice("bad" if firing else "info", f"All {total} views fresh{alerts}")
