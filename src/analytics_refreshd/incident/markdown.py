"""Write a review in words, as Markdown or for the table."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from analytics_refreshd.core.wording import seconds_in_words, to_the_second
from analytics_refreshd.incident.asked import Asked
from analytics_refreshd.incident.model import (
    AlertSeen,
    AwaySeen,
    BlockerSeen,
    Crash,
    DatabaseLog,
    DistinctError,
    ErrorSeen,
    FailedRequests,
    Incident,
    PauseSeen,
    StaleSeen,
)
from analytics_refreshd.incident.review import Review

_NOT_LOGGED = "not in the log"
_MARKUP = re.compile(r"([\\`*{}\[\]<>|#~&]|(?<!\w)_|_(?!\w))")


def plain(text: object) -> str:
    """Return text from a log on one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in str(text)).strip()


def markup(text: object) -> str:
    """Return text from a log, escaped for Markdown."""
    return _MARKUP.sub(r"\\\1", plain(text))


def stamp(at: datetime | None) -> str:
    """Return a time to the second, in UTC."""
    return _NOT_LOGGED if at is None else to_the_second(at)


def took(seconds: float | None) -> str:
    """Return a duration, or that it is not in the log."""
    return _NOT_LOGGED if seconds is None else seconds_in_words(seconds)


def counts(numbers: Mapping[str, int]) -> str:
    """Return counts like `3 failed, 1 ok`, the most frequent first."""
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {name}" for name, count in ordered) or "none"


def error_words(error: ErrorSeen | None) -> str:
    """Describe an error.

    Example: `55P03 (lock_timeout) on recent_failures: canceling statement due to lock timeout`.
    """
    if error is None:
        return _NOT_LOGGED
    return _error_words(error.sqlstate, error.reason, [error.view] if error.view else [], error.error)


def distinct_words(error: DistinctError) -> str:
    """Describe an error, how often it occurred, and when.

    Example: `P0001 (other) on recent_failures: boom; 4 times, 2026-03-01 12:05:06Z to 2026-03-01 12:20:06Z`.
    """
    words = _error_words(error.sqlstate, error.reason, error.views, error.error)
    if error.times == 1:
        return f"{words}; once, {stamp(error.first_at)}"
    return f"{words}; {error.times} times, {stamp(error.first_at)} to {stamp(error.last_at)}"


def _error_words(sqlstate: str | None, reason: str | None, views: Sequence[str], text: str | None) -> str:
    why = f" ({reason})" if reason else ""
    where = f" on {', '.join(views)}" if views else ""
    return plain(f"{sqlstate or 'no SQLSTATE'}{why}{where}: {text or 'no text'}")


def blocker_words(blocker: BlockerSeen) -> str:
    """Describe who blocked which views, and for how long."""
    parts = [f"pid {blocker.pid}" if blocker.pid is not None else "a session of unknown pid"]
    parts += [text for text in (blocker.application, f"role {blocker.user}" if blocker.user else None) if text]
    if blocker.visible is False:
        parts.append("details hidden: the daemon's role lacks pg_read_all_stats")
    elif blocker.state:
        since = blocker.transaction_started_at
        parts.append(blocker.state + (f", transaction since {stamp(since)}" if since else ""))
    views = f" held up {', '.join(blocker.views)}" if blocker.views else ""
    times = "once" if blocker.times == 1 else f"{blocker.times} times, last {stamp(blocker.last_at)}"
    waited = f", for {seconds_in_words(blocker.waited_seconds)} when logged" if blocker.waited_seconds else ""
    return plain(f"{', '.join(parts)}:{views} {times}, first seen {stamp(blocker.first_at)}{waited}")


def alert_words(alert: AlertSeen) -> str:
    """Describe when an alert fired, was resolved, and was delivered."""
    name = f"{alert.alert} of {alert.view}" if alert.view else alert.alert
    severity = f" ({alert.severity})" if alert.severity else ""
    parts = [f"{name}{severity}: fired {stamp(alert.fired_at)}, resolved {stamp(alert.resolved_at)}"]
    for item in alert.deliveries:
        tries = f" after {item.tries} tries" if item.tries is not None and item.tries > 1 else ""
        parts.append(f"{item.status or 'it'} delivered to {item.receiver or 'a receiver'} {stamp(item.at)}{tries}")
    for failed in alert.failed_deliveries:
        times = f"{failed.failures} times" if failed.failures and failed.failures > 1 else "once"
        parts.append(
            f"not delivered to {failed.receiver or 'a receiver'}, {times} from {stamp(failed.at)}: {failed.error}"
        )
    if not alert.deliveries and not alert.failed_deliveries:
        parts.append(f"delivery {_NOT_LOGGED}")
    return plain("; ".join(parts))


def crash_words(crash: Crash) -> str:
    """Describe which daemon was killed or crashed, and its successor."""
    new, old = (f" (pid {pid})" if pid is not None else "" for pid in (crash.pid, crash.last_pid))
    stopping = f", which began to stop {stamp(crash.stopping_at)}" if crash.stopping_at else ""
    return plain(
        f"{crash.replica or 'unnamed'}{new} started {stamp(crash.started_at)} though the one before it{old}{stopping}"
        f" had not stopped; that one's last line: {stamp(crash.last_at)}"
    )


def request_words(requests: FailedRequests) -> str:
    """Describe the API's requests that failed."""
    number, ends = requests.count, f"from {stamp(requests.first_at)} to {stamp(requests.last_at)}"
    return plain(f"{number:,} requests failed, {ends}: {counts(requests.codes)}; {counts(requests.endpoints)}")


def facts(incident: Incident) -> Iterator[tuple[str, list[str]]]:
    """Yield each heading of an incident's review with its lines."""
    ended = stamp(incident.ended_at) if incident.ended_at else "not over when the log ends"
    so_far = "" if incident.ended_at else " so far"
    parts = f"; {incident.parts} stretches closer together than three intervals" if incident.parts > 1 else ""
    yield "Start", [f"{stamp(incident.started_at)}, with {incident.began_with}; last ok run before: "
                    f"{stamp(incident.last_ok_before_at)}"]  # fmt: skip
    yield "End", [ended]
    paused = f"; refreshes paused for {took(incident.paused_seconds)} of it" if incident.paused_seconds else ""
    yield "Duration", [f"{took(incident.duration_seconds)}{so_far}{parts}{paused}"]
    if incident.pauses:
        yield "Paused", [_pause_words(item) for item in incident.pauses]
    if incident.asked:
        yield "Asked by operators", [_asked_words(item) for item in incident.asked]
    yield "Views", [", ".join(plain(view) for view in incident.views) or "none named"]
    skipped = f"; slots skipped: {counts(incident.skipped)}" if incident.skipped else ""
    missed = f"; slots missed without a database: {incident.missed_slots}" if incident.missed_slots is not None else ""
    yield "Runs", [f"{counts(incident.runs)}{skipped}{missed}"]
    if incident.reasons:
        yield "Reasons", [counts(incident.reasons)]
    errors = [error_words(incident.first_error)]
    if incident.first_sqlstate is not None and incident.first_sqlstate != incident.first_error:
        errors.append(f"first with an SQLSTATE, {stamp(incident.first_sqlstate.at)}: "
                      f"{error_words(incident.first_sqlstate)}")  # fmt: skip
    yield "First error", errors
    if incident.errors:
        distinct = [distinct_words(item) for item in incident.errors]
        beyond = incident.errors_beyond
        yield "Errors", [*distinct, *([f"and further ones, seen {beyond:,} times"] if beyond else [])]
    yield "Blocker", [blocker_words(item) for item in incident.blockers] or [f"none {_NOT_LOGGED[4:]}"]
    yield "Retries", [str(incident.retries)]
    leaders = [
        plain(f"{stamp(item.at)} {item.replica} {item.event}" + (f": {item.reason}" if item.reason else ""))
        for item in incident.leaders
    ]
    more = incident.leader_changes - len(leaders)
    yield "Changes of leader", [*(leaders or ["none"]), *([f"and {more} more"] if more > 0 else [])]
    if incident.crashes:
        unseen = incident.crash_count - len(incident.crashes)
        crashes = [crash_words(item) for item in incident.crashes]
        yield "Daemon killed or crashed", [*crashes, *([f"and {unseen} more"] if unseen > 0 else [])]
    yield "Database away", [_away_words(item) for item in incident.away] or ["no"]
    yield "Stale", [_stale_words(item) for item in incident.stale] or ["nothing"]
    yield "Alerts", [alert_words(item) for item in incident.alerts] or [f"none {_NOT_LOGGED[4:]}"]
    fired, told = incident.detected_after_seconds, incident.delivered_after_seconds
    yield (
        "Time to detect",
        [
            (f"no alert for it {_NOT_LOGGED[4:]}" if fired is None else f"{took(fired)} until the first alert fired")
            + (f"; no delivery of one {_NOT_LOGGED[4:]}" if told is None else f"; {took(told)} until one was delivered")
        ],
    )
    yield "Time to recover", [took(incident.recovered_after_seconds)]
    if incident.failed_requests is not None:
        yield "API", [request_words(incident.failed_requests)]
    if incident.other_events:
        yield "Meanwhile", [counts(incident.other_events)]


def _asked_words(asked: Asked) -> str:
    reason = f" ({asked.reason_text})" if asked.reason_text else ""
    end = f"{asked.outcome or _NOT_LOGGED}" + (f", {asked.detail}" if asked.detail else "")
    by = asked.actor or f"somebody {_NOT_LOGGED}"
    return plain(f"{asked.kind or 'something'} by {by}{reason}: {end}, {stamp(asked.at)}")


def _pause_words(pause: PauseSeen) -> str:
    ended = stamp(pause.ended_at) if pause.ended_at else "not over when the log ends"
    planned = f", planned until {stamp(pause.until_at)}" if pause.until_at not in (None, pause.ended_at) else ""
    by = pause.created_by or f"somebody {_NOT_LOGGED}"
    return plain(f"{stamp(pause.from_at)} to {ended}{planned}, by {by}: {pause.reason_text or f'reason {_NOT_LOGGED}'}")


def _away_words(away: AwaySeen) -> str:
    length = took(away.seconds) if away.seconds or away.until_at else f"for how long is {_NOT_LOGGED}"
    times = f", {away.times} times" if away.times > 1 else ""
    return plain(f"{away.replica}: {length}, from {stamp(away.from_at)} to {stamp(away.until_at)}{times}")


def _stale_words(stale: StaleSeen) -> str:
    still = "" if stale.until_at else " and still"
    times = f", {stale.times} times" if stale.times > 1 else ""
    limit, oldest = took(stale.max_age_seconds), took(stale.oldest_seconds)
    since = f"since {stamp(stale.since_at)}, limit {limit}, oldest {oldest}"
    return plain(f"{stale.view}: for {took(stale.stale_seconds)}{still}, {since}{times}")


def log_words(log: DatabaseLog) -> str:
    """Describe what the log covers for one database."""
    source = {"daemon.started": "", "slots": ", taken from its slots"}.get(
        log.interval_source, ", the default: the log does not name it"
    )
    replicas = ", ".join(name or "unnamed" for name in log.replicas)
    return plain(
        f"{log.database}: {stamp(log.first_at)} to {stamp(log.last_at)}, {log.events:,} lines of {replicas}; "
        f"runs: {counts(log.runs)}; interval {seconds_in_words(log.interval_seconds)}{source}"
    )


def input_words(review: Review) -> str:
    """Describe how many lines of each kind were read."""
    words = [f"{review.lines:,} lines read", f"{review.events:,} of the daemon"]
    for count, name in (
        (review.cut_lines, "cut"),
        (review.foreign_lines, "foreign"),
        (review.duplicate_lines, "given twice"),
        (review.unknown_events, "of unknown events"),
    ):
        if count:
            words.append(f"{count:,} {name}")
    return ", ".join(words)


def document(review: Review) -> Iterator[str]:
    """Yield the whole review, line by line."""
    yield "# Incident review"
    yield ""
    if review.since or review.until:
        yield f"Asked for: {_window(review)}."
        yield ""
    yield f"Log: {input_words(review)}."
    yield ""
    for log in review.databases:
        yield f"- {markup(log_words(log))}"
    if review.databases:
        yield ""
    if not review.incidents:
        yield "No incident in these lines." if review.databases else "Nothing can be said."
        yield ""
    for number, incident in enumerate(review.incidents, 1):
        yield f"## {number}. {markup(incident.database)}, {stamp(incident.started_at)}"
        yield ""
        yield "| | |"
        yield "|---|---|"
        for heading, lines in facts(incident):
            yield f"| {heading} | {'<br>'.join(markup(line) for line in lines)} |"
        yield ""
        yield from _list("Not in the log:", incident.missing)
    outside = [(log.database, alert) for log in review.databases for alert in log.alerts_outside]
    if outside:
        yield "## Alerts outside of incidents"
        yield ""
        yield from (f"- {markup(f'{name}: {alert_words(alert)}')}" for name, alert in outside)
        yield ""
    crashes = [f"{log.database}: {crash_words(crash)}" for log in review.databases for crash in log.crashes_outside]
    if crashes:
        yield "## Daemons killed or crashed outside of incidents"
        yield ""
        yield from (f"- {markup(text)}" for text in crashes)
        yield ""
    yield from _list("Missing from the log as a whole:", review.missing)


def _list(heading: str, lines: tuple[str, ...]) -> Iterator[str]:
    if lines:
        yield heading
        yield ""
        yield from (f"- {markup(line)}" for line in lines)
        yield ""


def _window(review: Review) -> str:
    since = f"from {stamp(review.since)}" if review.since else ""
    until = f"until {stamp(review.until)}" if review.until else ""
    return f"{since} {until}".strip()
