"""The daemon's durations are true on top of a function that forgets the minutes."""

from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analytics_refreshd.core.model import LockSample
from analytics_refreshd.core.timing import Span, Timing, true_seconds, view_ends, view_timings


@dataclass(frozen=True)
class Call:
    """One call of the function as it really went, and what of it could be seen."""

    seconds: dict[str, float]
    total: float
    samples: tuple[LockSample, ...]

    def reported(self) -> dict[str, float | None]:
        """What an older install says: the seconds part only, in milliseconds, in the order of the work."""
        return {view: round(seconds % 60, 3) for view, seconds in self.seconds.items()}


def call(
    seconds: dict[str, float],
    *,
    poll: float,
    first_poll: float | None = None,
    failing: frozenset[str] = frozenset(),
    before: float = 0.0,
    after: float = 0.0,
    polls_end: float = 1e9,
) -> Call:
    """Play a call: views one after another, failing ones giving back their lock, polled every `poll` seconds."""
    began, at = {}, before
    for view, took in seconds.items():
        began[view] = at
        at += took
    total = at + after
    samples, moment = [], poll if first_poll is None else first_poll
    while moment < min(total, polls_end):
        held = {
            view
            for view, took in seconds.items()
            if began[view] <= moment and (view not in failing or moment < began[view] + took)
        }
        samples.append(LockSample(moment, frozenset(held)))
        moment += poll
    return Call(seconds, total, tuple(samples))


def durations(played: Call, reported: dict[str, float | None] | None = None) -> dict[str, float | None]:
    said = played.reported() if reported is None else reported
    return {view: timing.duration for view, timing in view_timings(said, played.samples, played.total).items()}


@pytest.mark.parametrize("poll", [0.1, 0.37, 1.0])
def test_65_seconds_reported_as_5_are_65(poll: float) -> None:
    """A view that took 65 s and says 5 s is recorded with 65 s, whatever the poll."""
    played = call({"a": 65.0, "b": 1.4}, poll=poll)
    assert played.reported() == {"a": 5.0, "b": 1.4}
    assert durations(played) == {"a": 65.0, "b": 1.4}


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]])
def test_views_first_seen_together_do_not_hide_a_slow_one(order: list[str]) -> None:
    """Two quick views and one of 65 s first seen in one poll: the slow one is found, in any order of the rows."""
    played = call({"a": 0.05, "b": 0.06, "c": 65.0}, poll=1.0)
    reported = {view: played.reported()[view] for view in order}
    assert durations(played, reported) == {"a": 0.05, "b": 0.06, "c": 65.0}


def test_the_one_that_waits_is_the_one_that_took_long() -> None:
    """Where every report of views seen together is small, the view that waits for its lock has the lost minute."""
    samples = (LockSample(1.0, frozenset({"a"}), frozenset({"b"})), LockSample(60.2, frozenset({"a", "b"})))
    timings = view_timings({"b": 0.2, "a": 0.1}, samples, 60.5)
    assert timings["b"].duration == pytest.approx(60.2)
    assert timings["a"] == Timing(0.1, None)


def test_among_equals_the_last_row_has_the_lost_minute() -> None:
    """Where nothing else tells, the function returned its rows in the order of its work."""
    played = call({"a": 0.1, "b": 60.2}, poll=1.0)
    assert durations(played) == {"a": 0.1, "b": pytest.approx(60.2)}


def test_a_view_that_fails_at_once_and_is_never_seen_keeps_its_report() -> None:
    """A failing view between two polls shifts nobody's minutes and gets none itself."""
    played = call({"a": 65.0, "b": 0.02, "c": 3.0, "d": 0.01}, poll=1.0, first_poll=0.5, failing=frozenset("bd"))
    assert not any("b" in sample.held | sample.waiting for sample in played.samples)
    assert durations(played) == {"a": 65.0, "b": 0.02, "c": 3.0, "d": 0.01}


def test_work_before_the_first_lock_is_no_views() -> None:
    """A minute spent before the first view's lock is added to no view, seen or unseen."""
    played = call({"a": 1.5, "b": 0.01}, poll=1.0, before=70.0, failing=frozenset({"b"}))
    assert durations(played) == {"a": 1.5, "b": 0.01}


def test_without_a_watch_lost_minutes_leave_nobody_with_a_duration() -> None:
    """Four views, one of which lost a minute, and nobody watched: better no figure than a wrong one."""
    played = call({"a": 65.0, "b": 1.0, "c": 2.0, "d": 0.5}, poll=1000.0)
    assert played.samples == ()
    assert durations(played) == dict.fromkeys("abcd")


def test_without_a_watch_one_view_alone_gets_its_minutes_back() -> None:
    """One view, nobody watched, and the call took two minutes more than it says: they are its own."""
    assert durations(call({"a": 125.0}, poll=1000.0)) == {"a": 125.0}


def test_without_a_watch_reports_that_fill_the_call_count() -> None:
    """Where the reports add up to the call there is nothing to doubt."""
    assert durations(call({"a": 5.0, "b": 12.0}, poll=1000.0, after=0.2)) == {"a": 5.0, "b": 12.0}


def test_a_watch_that_broke_off_doubts_only_what_it_did_not_see() -> None:
    """The lock watch died after the second view began: the first keeps its figure, the others lose theirs."""
    played = call({"a": 3.0, "b": 65.0, "c": 7.0}, poll=0.5, polls_end=4.0)
    assert durations(played) == {"a": 3.0, "b": None, "c": None}


def test_lost_minutes_that_fit_nowhere_are_given_to_nobody() -> None:
    """The one view that may have lost minutes cannot have lost that many: no figure."""
    samples = (LockSample(70.0, frozenset()), LockSample(140.0, frozenset("a")))
    assert view_timings({"a": 2.0}, samples, 145.0)["a"].duration is None


def test_an_observed_figure_is_no_suspect() -> None:
    """Minutes are missing from a report, never from what was seen: the other view gets them."""
    samples = (LockSample(1.0, frozenset("a")), LockSample(100.0, frozenset("ab")))
    timings = view_timings({"a": 2.0, "b": None}, samples, 400.0)
    assert timings["b"].duration == pytest.approx(300.0)
    assert timings["a"].duration == 62.0


@pytest.mark.parametrize("said", [None, -1.0, float("nan"), float("inf"), 1e9, 31.0])
def test_an_absurd_report_gives_way_to_the_observation(said: float | None) -> None:
    """Nothing, a negative figure or one that disagrees: what was seen counts."""
    assert true_seconds(said, Span(9.0, 11.0, 10.0), 12.0) == 10.0


@pytest.mark.parametrize(("said", "expected"), [(None, None), (-1.0, None), (13.0, None), (5.0, 5.0)])
def test_without_an_observation_a_report_must_fit_into_the_call(said: float | None, expected: float | None) -> None:
    """A figure longer than the call itself is not believed, and nothing is made up."""
    assert true_seconds(said, None, 12.0) == expected


def test_what_was_seen_is_kept_beside_what_is_believed() -> None:
    """A view seen on its own has an observed figure; views first seen together have none but the last."""
    played = call({"a": 0.05, "b": 4.0, "c": 2.0}, poll=1.0)
    timings = view_timings(played.reported(), played.samples, played.total)
    assert timings["a"].observed is None
    assert timings["b"].observed == pytest.approx(4.0, abs=1.01)
    assert timings["c"].observed == pytest.approx(2.0, abs=1.01)


def test_a_sample_taken_after_the_call_ended_changes_nothing() -> None:
    """A poll that came back after the call was over reads as its end."""
    samples = (LockSample(1.0, frozenset("a")), LockSample(65.9, frozenset("a")), LockSample(66.5, frozenset()))
    assert view_timings({"a": 5.1}, samples, 65.2)["a"].duration == pytest.approx(65.1)


def test_seen_views_without_a_row_take_no_minutes_from_those_with_one() -> None:
    """Locks of views that have no row at all are nobody's report."""
    played = call({"x": 0.1, "y": 3.0, "a": 65.0}, poll=1.0)
    assert view_timings({"a": 5.0}, played.samples, played.total)["a"].duration == 65.0


view_seconds = st.one_of(
    st.floats(0.001, 2.0),
    st.floats(0.001, 240.0),
    st.integers(1, 3).map(lambda minutes: minutes * 60.0 + 0.1),
    st.integers(1, 3).map(lambda minutes: minutes * 60.0 - 0.1),
).map(lambda seconds: round(seconds, 3))


@given(
    st.permutations(list("abcd")),
    st.lists(view_seconds, min_size=4, max_size=4),
    st.sets(st.sampled_from("abcd"), max_size=2),
    st.floats(0.1, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 90.0),
    st.floats(0.0, 0.2),
)
def test_every_duration_is_true_to_the_slack(
    order: list[str],
    took: list[float],
    failing: set[str],
    poll: float,
    first_share: float,
    before: float,
    after: float,
) -> None:
    """Whatever the order, the durations, the poll and the failures: no figure is off by over a poll and a bit."""
    seconds = dict(zip(order, took, strict=True))
    played = call(
        seconds, poll=poll, first_poll=poll * first_share, failing=frozenset(failing), before=before, after=after
    )
    for view, duration in durations(played).items():
        assert duration is not None
        assert duration == pytest.approx(seconds[view], abs=poll + 0.31)


@given(
    st.permutations(list("abcd")),
    st.lists(view_seconds, min_size=4, max_size=4),
    st.floats(0.1, 1.0),
    st.permutations(list("abcd")),
)
def test_the_order_of_the_rows_matters_only_between_equals(
    order: list[str], took: list[float], poll: float, rows: list[str]
) -> None:
    """With rows in any order figures are true, save where one just over whole minutes hides among quick views."""
    assume(all(seconds < 60 or seconds % 60 > poll + 0.31 for seconds in took))
    seconds = dict(zip(order, took, strict=True))
    played = call(seconds, poll=poll)
    for view, duration in durations(played, {view: played.reported()[view] for view in rows}).items():
        assert duration == pytest.approx(seconds[view], abs=2 * poll + 0.31)


_SECONDS = st.lists(st.floats(0.01, 130.0), min_size=1, max_size=4)


@given(_SECONDS, st.floats(0.05, 1.0), st.floats(0.0, 40.0), st.floats(0.0, 40.0), st.booleans())
def test_L08_a_view_is_never_said_to_have_ended_later_than_it_did(
    seconds: list[float], poll: float, before: float, after: float, watched: bool
) -> None:
    """Whatever else the function does: the end is the true one, or up to one poll earlier where the view was seen."""
    played = call({str(at): took for at, took in enumerate(seconds)}, poll=poll, before=before, after=after)
    samples = played.samples if watched else ()
    found = view_ends(played.seconds, samples, played.total)
    ended = before
    seen = {view for sample in samples for view in sample.held}
    for view, took in played.seconds.items():
        ended += took
        assert found[view] <= ended + 1e-6
        if view in seen:
            assert ended - poll - 1e-6 <= found[view]


def test_L08_views_that_no_sample_shows_ended_one_after_the_other() -> None:
    """Without a watch, rows and durations tell: each began when the one before had ended."""
    assert view_ends({"a": 1.0, "b": 30.0, "c": 5.0}, (), 40.0) == {"a": 1.0, "b": 31.0, "c": 36.0}
    assert view_ends({"a": 1.0, "b": 30.0, "c": 50.0}, (), 40.0, 3.0) == {"a": 4.0, "b": 34.0, "c": 40.0}


def test_L08_a_view_of_unknown_duration_ended_no_earlier_than_it_began() -> None:
    """What cannot be known counts as the earliest."""
    samples = (LockSample(2.0, frozenset()), LockSample(2.1, frozenset({"b"})))
    assert view_ends({"b": None}, samples, 9.0) == {"b": 2.0}
    assert view_ends({"a": 1.0, "b": None, "c": 3.0}, (), 9.0) == {"a": 1.0, "b": 1.0, "c": 4.0}
