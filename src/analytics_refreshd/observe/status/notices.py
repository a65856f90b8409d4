"""Puts into words what a person should know before reading any figure."""

from dataclasses import dataclass
from typing import Literal

from analytics_refreshd.core.model import Pause, Role
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.staleness import Verdict, verdict
from analytics_refreshd.core.state import Source, State
from analytics_refreshd.core.wording import blocked_by, seconds_in_words

_SILENT_SECONDS = 90.0
_SCHEDULER_SECONDS = 30.0
_LONG_RUN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence. `bad`: somebody should act. `warn`: somebody should know."""

    level: Literal["bad", "warn", "info"]
    text: str


def notices(snapshot: Snapshot) -> list[Notice]:
    """Return everything unusual, the worst first."""
    state = snapshot.state
    found = [*_database(snapshot), *_loop(snapshot), *_leadership(snapshot), *_now(snapshot)]
    if not state.history_available:
        text = "Runs and alerts are not stored in the database: analytics-refreshd migrate installs its tables."
        found.append(Notice("info", text))
    if state.config_refused_at is not None:
        text = f"The configuration read at {state.config_refused_at:%Y-%m-%d %H:%M} UTC was refused"
        found.append(Notice("warn", f"{text}: the old one is in force; see config.reload_failed in the log."))
    if state.log_lines_lost:
        text = f"{state.log_lines_lost:,} log lines could not be written since this replica started."
        found.append(Notice("warn", text))
    if state.history_pending:
        found.append(Notice("warn", f"{state.history_pending} runs wait in memory to be written to history."))
    found.extend(Notice("warn", text) for text in state.contract_problems)
    if not state.database_down:
        found.extend(Notice("warn", f"Could not be read: {text}.") for text in state.unread)
    found.extend(_incremental(state))
    return sorted(found, key=lambda notice: ("bad", "warn", "info").index(notice.level))


def _incremental(state: State) -> list[Notice]:
    delta = state.delta
    if delta is None or delta.mode == "plain":
        return []
    found = [Notice("bad", f"Incremental mode: {text}.") for text in delta.problems]
    if delta.rebuild_reason is not None:
        found.append(Notice("warn", f"The next refresh rebuilds the rollups: {delta.rebuild_reason}."))
    return found


def _database(snapshot: Snapshot) -> list[Notice]:
    state = snapshot.state
    if state.database_up:
        return []
    if state.database_down_since is None:
        return [Notice("warn", "The database has not answered yet.")]
    away = (snapshot.server_now - state.database_down_since).total_seconds()
    since = f"{state.database_down_since:%Y-%m-%d %H:%M} UTC ({seconds_in_words(max(0.0, away))})"
    reason = f": {state.database_error}" if state.database_error else ""
    text = f"The database has not answered since {since}{reason}"
    end = "" if text.endswith((".", "?", "!")) else "."  # libpq ends with a question
    return [Notice("bad", f"{text}{end} Ages below count on from what was read last.")]


def _loop(snapshot: Snapshot) -> list[Notice]:
    state, monotonic = snapshot.state, snapshot.monotonic
    found = []
    scheduler = state.scheduler_seen_monotonic
    if scheduler is not None and monotonic - scheduler > _SCHEDULER_SECONDS:
        silent = seconds_in_words(monotonic - scheduler)
        found.append(Notice("bad", f"The scheduler has given no sign of life for {silent}: restart this daemon."))
    since = snapshot.since_evaluation_seconds
    if since is None:
        found.append(Notice("info", "Nothing has been evaluated yet."))
    elif since > _SILENT_SECONDS and state.database_up:
        found.append(Notice("bad", f"Nothing has been evaluated for {seconds_in_words(since)}: the loop may hang."))
    deadline = state.run_deadline_monotonic
    if deadline is not None and monotonic > deadline:
        over = seconds_in_words(monotonic - deadline)
        found.append(Notice("bad", f"The refresh under way passed its deadline {over} ago."))
    overdue = _overdue_seconds(snapshot)
    if overdue is not None and state.progress is None:
        found.append(Notice("bad", f"The next run is overdue by {seconds_in_words(overdue)}."))
    return found


def _overdue_seconds(snapshot: Snapshot) -> float | None:
    state = snapshot.state
    if state.next_run_at is None or snapshot.pause is not None or not snapshot.leads:
        return None
    late = (snapshot.now - state.next_run_at).total_seconds()
    interval = state.limits.shortest_interval_seconds or state.limits.interval_seconds
    return late if late > max(_SCHEDULER_SECONDS, interval / 2) else None


def _leadership(snapshot: Snapshot) -> list[Notice]:
    state, leader = snapshot.state, snapshot.state.leader
    if snapshot.role is Role.DRAINING:
        return [Notice("warn", "This replica is shutting down.")]
    if not state.database_up:
        last = f" {leader.replica} led last." if leader is not None and leader.ours else ""
        return [Notice("info", f"While the database is away nobody is known to refresh.{last}")]
    if snapshot.leads:
        return []
    if leader is None:
        return [Notice("warn", "No replica holds the leader lock: nothing is refreshed.")]
    if not leader.ours:
        text = f"The leader lock is held by pid {leader.pid}, which is not one of our daemons: nothing is refreshed."
        return [Notice("bad", text)]
    if state.source is Source.DATABASE:
        return []
    return [Notice("info", f"This replica stands by; {leader.replica} refreshes.")]


def _now(snapshot: Snapshot) -> list[Notice]:
    found = []
    pause, progress = snapshot.pause, snapshot.state.progress
    if pause is not None:
        found.append(Notice("warn", f"{_paused(pause)}: {pause.reason}"))
    if progress is not None:
        what = f" of {progress.view}" if progress.view else ""
        text = f"A refresh{what} has been running for {seconds_in_words(progress.elapsed_seconds)}"
        if progress.blocker is not None:
            found.append(Notice("warn", f"{text} and {blocked_by(progress.blocker, progress.waiting_seconds)}."))
        elif progress.elapsed_seconds >= _LONG_RUN_SECONDS:
            found.append(Notice("info", f"{text}."))
    return found


def _paused(pause: Pause) -> str:
    by = f" by {pause.created_by}" if pause.created_by else ""
    return f"Refreshes are paused{by} until {pause.ends_at:%Y-%m-%d %H:%M} UTC"


def headline(snapshot: Snapshot) -> Notice:
    """Sum everything up in one sentence. A pause comes before the ages that it makes."""
    firing, pause = len(snapshot.pressing), snapshot.pause
    found = _of_views(snapshot, firing)
    if pause is None:
        return found
    return Notice("bad" if firing or not snapshot.state.database_up else "warn", f"{_paused(pause)}. {found.text}")


def _of_views(snapshot: Snapshot, firing: int) -> Notice:
    alerts = f"; {firing} alert{'s fire' if firing > 1 else ' fires'}" if firing else ""
    ages = [snapshot.age(view) for view in snapshot.state.views]
    total = len(ages)
    if all(age is None for age in ages):
        return Notice("bad" if firing else "warn", f"Nothing is known about the views yet{alerts}")
    verdicts = [verdict(age, snapshot.state.limits) for age in ages]
    bad = sum(each.is_stale for each in verdicts)
    late, unknown = verdicts.count(Verdict.LATE), verdicts.count(Verdict.UNKNOWN)
    if unknown and unknown == bad:
        return Notice("bad", f"{unknown} of {total} views never seen refreshed{alerts}")
    if bad:
        return Notice("bad", f"{bad} of {total} views stale{alerts}")
    if not snapshot.state.database_up:
        return Notice("bad", f"The database does not answer{alerts}")
    if late:
        return Notice("bad" if firing else "warn", f"{late} of {total} views late{alerts}")
    return Notice("bad" if firing else "info", f"All {total} views fresh{alerts}")
