"""Which runs have a log line of their own, and what is said of the others."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from analytics_refreshd.app.run_logger import RunExtras
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Limits, Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.run_summary import RunSummary, ViewSummary, stands_out
from analytics_refreshd.core.schedule import Schedule, ViewTimes
from analytics_refreshd.core.state import State
from tests.support.fakes import FakeRefresher
from tests.support.leading import BEGAN, Leading, reply, started

DAY = datetime(2026, 3, 2, tzinfo=UTC)
FAST, MIDDLE, SLOW = "failures", "hourly", "triggers"
ALL = (FAST, MIDDLE, SLOW)
HALF_MINUTE = timedelta(seconds=30)
LIMITS = Limits(interval_seconds=3600.0, view_interval_seconds={FAST: 30.0, MIDDLE: 300.0})


def a_run(slot: datetime, views: Sequence[str] = (FAST,), *, seconds: float = 0.2, **changes: Any) -> Run:
    """A run of a slot, in which each of its views succeeded."""
    results = tuple(ViewResult(view, True, rows=7, duration_seconds=seconds) for view in views)
    made = Run(
        UUID(int=int(slot.timestamp())), Origin.SCHEDULE, slot, slot, slot + timedelta(seconds=seconds), Outcome.OK,
        duration_seconds=seconds, lateness_seconds=0.01, leader_epoch=1, views=results,
    )  # fmt: skip
    return replace(made, **changes)


def failed(slot: datetime, view: str = FAST) -> Run:
    """A run in which a view failed."""
    return replace(a_run(slot), outcome=Outcome.FAILED, views=(ViewResult(view, False, Reason.DATA, error="no"),))


def state(**changes: Any) -> State:
    """That of a daemon with intervals of its views."""
    return replace(State("shop", ALL, LIMITS, "view", "0"), **changes)


class Logged:
    """A run logger, and what it wrote of the runs given to it."""

    def __init__(self) -> None:
        self._replica = Leading(FakeRefresher(started))
        self.logger, self.log = self._replica.run_logger, self._replica.log
        self._before: deque[Run] = deque(maxlen=20)

    def finish(self, *runs: Run, extras: RunExtras | None = None) -> list[str]:
        """Log runs that ended; returns the level of each line `refresh.finished`."""
        before = len(self.log.of(Event.REFRESH_FINISHED))
        for run in runs:
            self.logger.finished(
                run, (), rows_collapse_ratio=0.5, slow_factor=3.0, extras=extras or RunExtras(),
                stands_out=stands_out(run, state(runs=tuple(self._before))), slow_seconds=5.0,
            )  # fmt: skip
            self._before.appendleft(run)
        return [line["level"] for line in self.log.of(Event.REFRESH_FINISHED)[before:]]

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """The summaries so far."""
        return self.log.of(Event.REFRESH_SUMMARY)

    @property
    def told(self) -> int:
        """How many lines there are at level info or above."""
        return sum(line["level"] != "debug" for _, line in self.log.lines)


def slots(count: int, began: datetime = DAY) -> Iterator[datetime]:
    """Slots of the frequent view."""
    return (began + number * timedelta(seconds=30) for number in range(count))


@pytest.mark.parametrize(
    ("interval", "own", "lines"),
    [
        (timedelta(hours=1), {FAST: HALF_MINUTE, MIDDLE: timedelta(minutes=5)}, 24),
        (timedelta(hours=1), dict.fromkeys(ALL, HALF_MINUTE), 288),
        (timedelta(minutes=1), {FAST: HALF_MINUTE}, 288),
        (HALF_MINUTE, {SLOW: timedelta(minutes=15)}, 96),
    ],
)
def test_a_quiet_day_has_few_lines(interval: timedelta, own: dict[str, timedelta], lines: int) -> None:
    """Of 2,880 runs each is counted once: in a line of its own, or in a summary; 600 lines are the limit of a day."""
    logged, taken = Logged(), dict.fromkeys(ALL, DAY - timedelta(days=1))
    plan = Schedule(interval, views=ALL, own=own)
    runs = []
    for slot in slots(2880):
        due = plan.due(slot, taken)
        assert due
        taken |= {view: plan.slots_at(slot)[view] for view in due}
        runs.append(a_run(slot, due))
    logged.finish(*runs)
    logged.logger.quiet_runs.flush()
    told = [line for line in logged.log.of(Event.REFRESH_FINISHED) if line["level"] != "debug"]
    assert sum(summary["runs"] for summary in logged.summaries) + len(told) == 2880
    assert sum(sum(summary["outcomes"].values()) for summary in logged.summaries) == 2880
    assert len(told) == lines
    assert logged.told <= lines + 97


def test_a_summary_says_what_the_runs_were() -> None:
    """Since when, how many, how late; of each view the slowest refresh and the last success."""
    logged = Logged()
    first, second, third, *_ = (a_run(slot) for slot in slots(4))
    slower = replace(a_run(third.started_at, (FAST, MIDDLE), seconds=1.5), lateness_seconds=0.7, rows_folded=3)
    levels = logged.finish(first, a_run(first.started_at, (MIDDLE,)), second, replace(slower, rows_folded=4), slower)
    assert levels == ["info", "info", "debug", "debug", "debug"]
    assert logged.summaries == []
    logged.logger.quiet_runs.flush()
    (line,) = logged.summaries
    assert line == {
        "level": "info",
        "since": DAY,
        "runs": 3,
        "outcomes": {"ok": 5},
        "duration_seconds": 1.5,
        "lateness_seconds": 0.7,
        "rows_folded": 7,
        "views": [
            {"view": FAST, "runs": 3, "seconds": 1.5, "run_id": slower.run_id, "rows": 7,
             "last_success_at": slower.finished_at},
            {"view": MIDDLE, "runs": 2, "seconds": 1.5, "run_id": slower.run_id, "rows": 7,
             "last_success_at": slower.finished_at},
        ],
    }  # fmt: skip
    logged.logger.quiet_runs.flush()
    assert len(logged.summaries) == 1


def test_a_summary_comes_every_quarter_of_an_hour() -> None:
    """Also where the clock was set back."""
    logged = Logged()
    logged.finish(*(a_run(slot) for slot in slots(31)))
    assert [(line["since"], line["runs"]) for line in logged.summaries] == [(DAY, 30)]
    logged.finish(a_run(DAY + timedelta(minutes=16)), a_run(DAY - timedelta(hours=1)))
    assert len(logged.summaries) == 2


def test_of_runs_of_all_views_the_first_in_five_minutes_stands_out() -> None:
    """As many as at the default interval; another run of these minutes has told of all views only if it was whole."""
    slot = DAY + timedelta(minutes=5)
    now = a_run(slot + HALF_MINUTE, ALL)
    for before, expected in (
        (a_run(slot, ALL), False),
        (a_run(slot - HALF_MINUTE, ALL), True),
        (a_run(slot, (FAST, MIDDLE)), True),
        (replace(a_run(slot, ALL), origin=Origin.COMMAND), True),
        (replace(a_run(slot, ALL), outcome=Outcome.PARTIAL), True),
        (now, True),
    ):
        assert stands_out(now, state(runs=(before,))) is expected
    # the run before is of these minutes, and another one before it was whole
    runs = (a_run(slot + HALF_MINUTE), a_run(slot, ALL))
    assert not stands_out(a_run(slot + 2 * HALF_MINUTE, ALL), state(runs=runs))
    # a late one counts by its slot
    late = replace(now, scheduled_at=slot - HALF_MINUTE)
    assert stands_out(late, state(runs=(a_run(slot, ALL),)))


def test_what_stands_out_has_a_line_of_its_own() -> None:
    """The first run of all views, one of a person, with a retry, that is not ok, or that ends an alert."""
    slot, quiet = DAY, a_run(DAY)
    assert not stands_out(quiet, state())
    assert stands_out(quiet, state(limits=Limits()))
    assert stands_out(a_run(slot, ALL), state())
    assert stands_out(replace(quiet, origin=Origin.COMMAND), state())
    assert stands_out(replace(quiet, attempts=2), state())
    assert stands_out(replace(quiet, outcome=Outcome.PARTIAL), state())
    for alert, view, alert_state, expected in (
        (Alert.VIEW_STALE, FAST, AlertState.FIRING, True),
        (Alert.REFRESH_FAILED, FAST, AlertState.PENDING, True),
        (Alert.VIEW_STALE, FAST, AlertState.RESOLVED, False),
        (Alert.VIEW_STALE, SLOW, AlertState.FIRING, False),
        (Alert.REFRESH_SLOW, FAST, AlertState.FIRING, False),
    ):
        record = AlertRecord(alert, view, alert_state, Severity.WARNING, DAY)
        assert stands_out(quiet, state(alerts={(alert, view): record})) is expected


def test_the_first_run_of_a_view_and_of_a_lead_has_a_line_of_its_own() -> None:
    """Of a lead before, and of what another replica did since, nothing is known."""
    logged = Logged()
    one, two, three, four = slots(4)
    assert logged.finish(a_run(one), a_run(two), a_run(three, (FAST, MIDDLE))) == ["info", "debug", "info"]
    assert logged.finish(a_run(four, leader_epoch=2), a_run(four, leader_epoch=2)) == ["info", "debug"]


def test_the_first_success_after_a_failure_has_a_line_of_its_own() -> None:
    """What happened before a failure is told before it, and another view's success ends no failure."""
    logged = Logged()
    one, two, three, four, five, six = slots(6)
    logged.finish(a_run(one), a_run(one, (MIDDLE,)), a_run(two))
    assert logged.finish(failed(three)) == ["warning"]
    events = [event for event, line in logged.log.lines if line["level"] != "debug"]
    assert events[-3:] == [Event.REFRESH_SUMMARY, Event.VIEW_FAILED, Event.REFRESH_FINISHED]
    assert logged.finish(a_run(four, (MIDDLE,)), a_run(five), a_run(six)) == ["debug", "info", "debug"]
    logged.logger.quiet_runs.flush()
    assert logged.summaries[-1]["outcomes"] == {"failed": 1, "ok": 3}


def test_a_view_that_becomes_slow_or_fast_again_has_a_line_of_its_own() -> None:
    """One that goes on being slow has an alert and a gauge, and not a line in each slot."""
    logged = Logged()
    runs = [a_run(slot, seconds=seconds) for slot, seconds in zip(slots(5), (0.2, 5.1, 6.0, 5.0, 0.2), strict=True)]
    assert logged.finish(*runs) == ["info", "info", "debug", "info", "debug"]


@pytest.mark.parametrize(
    ("reason", "level"), [(Reason.PAUSED, "info"), (Reason.CONNECT, "info"), (Reason.OVERLAP, "debug")]
)
def test_after_a_pause_or_an_outage_the_next_run_has_a_line_of_its_own(reason: Reason, level: str) -> None:
    """A slot that came during another run is nothing to recover from. Skipped slots are counted."""
    logged = Logged()
    one, two, three = slots(3)
    logged.finish(a_run(one))
    logged.logger.skipped(a_run(two, (), outcome=Outcome.SKIPPED, reason=reason))
    assert logged.finish(a_run(three)) == [level]
    logged.finish(a_run(three))
    logged.logger.quiet_runs.flush()
    assert logged.summaries[-1]["outcomes"] == {"skipped": 1, "ok": 3}


def test_a_run_that_an_operator_joined_or_that_says_more_has_a_line_of_its_own() -> None:
    """So has one with notices or a rebuild; the time of a fold is nothing unusual."""
    logged = Logged()
    one, two, three, four, five = slots(5)
    logged.finish(a_run(one))
    logged.logger.quiet_runs.join(a_run(two).run_id)
    assert logged.finish(a_run(two), a_run(three)) == ["info", "debug"]
    assert logged.finish(a_run(four), extras=RunExtras(fold_seconds=0.1)) == ["debug"]
    assert logged.finish(a_run(five), extras=RunExtras(fold_seconds=0.1, notices=1)) == ["info"]


def test_a_daemon_with_intervals_of_its_views_writes_summaries() -> None:
    """The cycle knows which runs are of some views only, and the process's end writes what was counted."""
    times = {FAST: ViewTimes(1.0, 24.0, 25.0)}
    replica = Leading(FakeRefresher(lambda *given: reply(FAST)), isolation="view", own=times)
    limits = Limits(view_interval_seconds={FAST: 30.0})
    for known, expected in ((Limits(), ["info", "info"]), (limits, ["debug", "debug"])):
        replica.state.change(partial(replace, limits=known))
        replica.log.lines.clear()
        for _ in range(2):
            replica.clock.pass_by(30)
            replica.cycle.run(replica.clock.now(), views=(FAST,))
        assert [line["level"] for line in replica.log.of(Event.REFRESH_FINISHED)] == expected
    replica.run_logger.quiet_runs.flush()
    (line,) = replica.log.of(Event.REFRESH_SUMMARY)
    assert (line["runs"], line["since"] > BEGAN) == (2, True)


def test_figures_that_are_unknown_stay_so() -> None:
    """A view without a duration is no slower than another; runs without a fold have no rows folded."""
    unknown = replace(a_run(DAY), views=(ViewResult(FAST, True),), duration_seconds=None, lateness_seconds=None)
    summary = RunSummary(DAY).taking(unknown)
    assert (summary.rows_folded, summary.lateness_seconds, summary.duration_seconds) == (None, 0.0, 0.0)
    assert summary.views[FAST].seconds is None
    known = replace(a_run(DAY, seconds=2.0), rows_folded=5)
    both = summary.taking(known).taking(unknown)
    assert (both.rows_folded, both.views[FAST].seconds, both.views[FAST].rows) == (5, 2.0, None)
    assert both.views[FAST].run_id == known.run_id
    running = RunSummary(DAY).counting(replace(unknown, outcome=None))
    assert running.outcomes == {"unknown": 1}
    assert isinstance(both.views[FAST], ViewSummary)
