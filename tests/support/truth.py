"""What a database's views really held, what was said of them meanwhile, and where the two differ. Pure: no clock.

A marker row is changed every 0.3 s, and all four views show its number. What a view shows bounds the age of its content
from both sides. All times are seconds of one monotonic clock.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

AlertOf = tuple[str, str]
"""An alert's name and its view, "" for the whole database."""

STALE = "AnalyticsViewStale"
AWAY = "AnalyticsDatabaseUnavailable"
WITHOUT_LEAD = frozenset({AWAY, "AnalyticsNoLeader"})
"""What each replica raises by itself."""
_LASTING = 4
"""Through how many evaluations two places must differ: an alert reaches them one after the other."""


@dataclass(frozen=True)
class Marker:
    """One change of the marker row: it was sent, and seen committed. None where the server went away meanwhile."""

    sent: float
    committed: float | None


@dataclass(frozen=True)
class Shown:
    """The number of the marker that a view showed to a query."""

    asked: float
    answered: float
    view: str
    number: int


@dataclass(frozen=True)
class Said:
    """One poll of a replica: what `/metrics` and then `/status.json` said.

    `evaluated` is when its last evaluation ended.
    """

    asked: float
    answered: float
    replica: str
    role: str | None
    evaluated: float
    database_up: bool
    ages: dict[str, tuple[str, float | None]] = field(default_factory=dict)
    gauge: frozenset[AlertOf] = frozenset()
    firing: frozenset[AlertOf] = frozenset()


@dataclass(frozen=True)
class Logged:
    """A change of an alert in a replica's log. `began` is its `active_at`, in seconds since 1970."""

    at: float
    replica: str
    alert: AlertOf
    firing: bool
    began: float


@dataclass(frozen=True)
class Told:
    """An alert in a webhook's message."""

    at: float
    key: str
    alert: AlertOf
    firing: bool
    began: float


@dataclass(frozen=True)
class Incident:
    """What was broken from `began` until everything was well again at `settled`.

    `may` are the alerts that it may raise; "*" stands for every view.
    """

    name: str
    began: float
    settled: float
    may: frozenset[AlertOf] = frozenset()

    def allows(self, alert: AlertOf) -> bool:
        """Whether it may raise this."""
        return alert in self.may or (alert[0], "*") in self.may


@dataclass(frozen=True)
class Limits:
    """What a reading allows, in seconds.

    `reading` is how long a refresh may take between its look at the rows and its end. `evaluations` is how many may end
    before somebody is told.
    """

    max_age: float
    reading: float
    evaluation: float
    evaluations: int = 8


class Truth:
    """How old the content of a view was at a moment, at least and at most."""

    def __init__(self, markers: Sequence[Marker], shown: Iterable[Shown]) -> None:
        self._markers = markers
        self._shown: dict[str, list[Shown]] = {}
        for each in sorted(shown, key=lambda one: one.asked):
            self._shown.setdefault(each.view, []).append(each)

    def at_least(self, view: str, at: float, until: float | None = None) -> float:
        """The age that the content had at `at`, at least, by what was shown after `until`."""
        seen = self._shown.get(view, [])
        place = bisect_left(seen, at if until is None else until, key=lambda one: one.asked)
        if place == len(seen):
            return 0.0
        following = self._markers[seen[place].number + 1 :]
        return next((max(0.0, at - marker.committed) for marker in following if marker.committed), 0.0)

    def at_most(self, view: str, at: float) -> float:
        """The age that the content had at `at`, at most, by what was shown before."""
        seen = self._shown.get(view, [])
        place = bisect_left(seen, at, key=lambda one: one.answered)
        return at - self._markers[seen[place - 1].number].sent if place else float("inf")


def wrong_ages(truth: Truth, said: Iterable[Said], limits: Limits) -> list[str]:
    """Ages that were told too low: a view was called fresh, or younger than its content."""
    found = []
    for each in said:
        for view, (verdict, age) in each.ages.items():
            if age is None:
                continue
            really = truth.at_least(view, each.asked, each.answered)
            if age < really - limits.reading:
                found.append(
                    f"{each.asked:.1f}: {each.replica} ({each.role}) says {view} is {verdict}, {age:.1f} s old;"
                    f" its content is {really:.1f} s old"
                )
    return found


def missed(truth: Truth, said: Sequence[Said], limits: Limits) -> list[str]:
    """Views whose content was too old through so many evaluations of a leader, and nobody was told."""
    found = []
    views = {view for each in said for view in each.ages}
    for view in sorted(views):
        old: list[Said] = []
        for each in (one for one in said if one.role == "leader"):
            told = {(STALE, view), (AWAY, "")} & each.firing
            if truth.at_least(view, each.evaluated) <= limits.max_age + limits.reading or told or not each.database_up:
                old = []
                continue
            if not old or each.evaluated - old[-1].evaluated > limits.evaluation / 2:
                old.append(each)
            if len(old) > limits.evaluations:
                age = truth.at_least(view, each.evaluated)
                found.append(f"{each.asked:.1f}: {view} has been too old for long ({age:.1f} s), and nothing fires")
                old = []
    return found


def false(truth: Truth, logged: Iterable[Logged], incidents: Iterable[Incident], limits: Limits) -> list[str]:
    """Alerts that fired and could not be true: the content was young, or no incident explains them."""
    found, during = [], list(incidents)
    for line in (one for one in logged if one.firing):
        alert, view = line.alert
        where = next((each for each in during if each.began <= line.at <= each.settled), None)
        name = where.name if where is not None else "no incident"
        if alert == STALE:
            # by what it showed before the evaluation that found it too old
            age = truth.at_most(view, line.at - limits.evaluation) + limits.evaluation
            if age < limits.max_age:
                found.append(f"{line.at:.1f}: {alert} {view} fires during {name}, and its content is {age:.1f} s old")
        elif where is None or not where.allows(line.alert):
            found.append(f"{line.at:.1f}: {alert} {view} fires during {name}")
    return found


def contradictions(said: Sequence[Said], logged: Sequence[Logged], told: Sequence[Told], limits: Limits) -> list[str]:
    """Where log, gauge, webhook and status document say different things for longer than it takes to say them."""
    return [*_gauge_status_log(said, logged, limits), *_log_webhook(logged, told, limits)]


def _gauge_status_log(said: Sequence[Said], logged: Sequence[Logged], limits: Limits) -> list[str]:
    found = []
    lasting: dict[tuple[str, AlertOf], list[float]] = {}
    leader: str | None = None
    for each in said:
        if each.role != "leader":
            if each.replica == leader:
                # it holds back what it was about to tell, until it leads again and evaluates
                lasting, leader = {}, None
            continue
        leader = each.replica
        by_log = firing(logged, each.asked)
        differences = {("gauge and status document", alert) for alert in each.gauge ^ each.firing}
        differences |= {("log and status document", alert) for alert in by_log ^ each.firing}
        before, lasting = lasting, {}
        for what, alert in differences:
            ends = before.get((what, alert), [])
            if not ends or each.evaluated - ends[-1] > limits.evaluation / 2:
                ends = [*ends, each.evaluated]
                if len(ends) == _LASTING:
                    found.append(f"{each.asked:.1f}: {what} of {each.replica} differ on {alert}")
            lasting[(what, alert)] = ends
    return found


def firing(logged: Iterable[Logged], at: float) -> set[AlertOf]:
    """What fires at a moment by all logs."""
    last: dict[tuple[str, AlertOf], bool] = {}
    for line in sorted(logged, key=lambda one: one.at):
        if line.at <= at:
            last[(line.replica if line.alert[0] in WITHOUT_LEAD else "", line.alert)] = line.firing
    return {alert for (_, alert), fires in last.items() if fires}


def _log_webhook(logged: Sequence[Logged], told: Sequence[Told], limits: Limits) -> list[str]:
    found = []
    away = [line for line in logged if line.alert[0] == AWAY]
    for line in (one for one in logged if one.firing):
        over = next((one for one in logged if one.alert == line.alert and not one.firing and one.at > line.at), None)
        held = any(one.at <= (over.at if over else one.at) and one.at >= line.at - 1 for one in away)
        if not any(_same(line, one) and one.firing for one in told) and not (held and line.alert[0] != AWAY):
            found.append(f"{line.at:.1f}: {line.alert} is in the log of {line.replica}, and no webhook was told")
    for one in told:
        if not any(_same(line, one) and line.firing == one.firing for line in logged):
            found.append(
                f"{one.at:.1f}: {one.alert} was told as {'firing' if one.firing else 'over'}, and no log has it"
            )
    last = {one.key: one for one in sorted(told, key=lambda one: one.at)}
    found += [f"{one.at:.1f}: {one.alert} was never told to be over" for one in last.values() if one.firing]
    open_keys: dict[AlertOf, set[str]] = {}
    for one in sorted(told, key=lambda one: one.at):
        keys = open_keys.setdefault(one.alert, set())
        if one.firing:
            keys.add(one.key)
        else:
            keys.discard(one.key)
        if len(keys) > 1 and one.alert[0] not in WITHOUT_LEAD:
            found.append(f"{one.at:.1f}: {one.alert} was told under {len(keys)} keys at once")
    return found


def _same(line: Logged, one: Told) -> bool:
    return line.alert == one.alert and abs(line.began - one.began) < 0.002
