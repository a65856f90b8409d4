"""What is sent to whom: topics, channels, who comes back, what waits, and limits."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_refreshd.core.stream import (
    MOST_WAITING,
    RECENT_EVENTS,
    TOLD,
    Channel,
    Ending,
    Event,
    ForbiddenTopicError,
    Full,
    Outbox,
    StreamLimits,
    Topic,
    TopicError,
    backlog,
    event_id,
    full,
    overdue,
    pause_seconds,
    resumed,
    topics_of,
)


def event(number: int, topic: Topic = Topic.REFRESH) -> Event:
    """An event."""
    return Event(number, topic, b"%d" % number)


def channel(began: int, *numbers: int, topic: Topic = Topic.REFRESH) -> Channel:
    """A channel with events."""
    made = Channel(began)
    made.recent.extend(event(number, topic) for number in numbers)
    return made


def numbers(events: list[Event] | None) -> list[int] | None:
    """The numbers of events."""
    return None if events is None else [each.number for each in events]


def test_topics_are_named_known_and_allowed() -> None:
    """Without a name they are summary and refresh; alerts are for who is trusted."""
    assert topics_of(None, trusted=True) == (Topic.SUMMARY, Topic.REFRESH)
    assert topics_of("refresh, summary,refresh", trusted=False) == (Topic.SUMMARY, Topic.REFRESH)
    assert topics_of("alerts", trusted=True) == (Topic.ALERTS,)
    with pytest.raises(ForbiddenTopicError, match="operators"):
        topics_of("summary,alerts", trusted=False)
    for wrong in ("", "summary,", "Summary", "sumary", "alerts,x"):
        with pytest.raises(TopicError, match="summary, refresh, alerts"):
            topics_of(wrong, trusted=False)


def test_a_channel_sends_what_is_new() -> None:
    """The same again is no news, but it is to a channel that has sent nothing."""
    made = Channel(1)
    assert made.news("a")
    made.recent.append(event(1))
    assert not made.news("a")
    assert made.news("b")
    assert not made.news("b")
    assert made.news("a")


@pytest.mark.parametrize(
    ("has", "missed"),
    [(0, None), (3, None), (4, [5, 9]), (5, [9]), (8, [9]), (9, []), (12, [])],
)
def test_who_comes_back_gets_what_was_missed(has: int, missed: list[int] | None) -> None:
    """What came before anybody listened is not known, so nobody can continue from there."""
    assert numbers(channel(4, 5, 9).missed(has)) == missed


def test_of_summaries_the_newest_was_missed() -> None:
    """Those between are no news any more, however many there were."""
    many = channel(1, *range(1, 2 * RECENT_EVENTS), topic=Topic.SUMMARY)
    assert numbers(many.missed(1)) == [2 * RECENT_EVENTS - 1]
    assert many.missed(2 * RECENT_EVENTS - 1) == []


def test_more_was_missed_than_is_kept() -> None:
    """Then how things stand takes the place of it."""
    kept = channel(1, *range(2, 2 + RECENT_EVENTS))
    assert kept.missed(1) is None
    assert numbers(kept.missed(2)) == list(range(3, 2 + RECENT_EVENTS))
    assert numbers(kept.first()) == [1 + RECENT_EVENTS]
    assert Channel(1).first() == []


def test_a_stream_begins_with_its_channels_in_order() -> None:
    """It continues what a client has only if each channel can."""
    summaries, refreshes = channel(1, 3, 7, topic=Topic.SUMMARY), channel(1, 2, 5, 6)
    assert [numbers(backlog([summaries, refreshes], None)[0]), backlog([], None)[1]] == [[6, 7], False]
    found, continued = backlog([summaries, refreshes], 4)
    assert (numbers(found), continued) == ([5, 6, 7], True)
    found, continued = backlog([summaries, channel(6, 6)], 4)
    assert (numbers(found), continued) == ([6, 7], False)
    assert backlog([summaries], 7) == ([], True)


@given(st.lists(st.sampled_from(list(Topic)), max_size=200))
@example([Topic.SUMMARY, Topic.REFRESH, Topic.SUMMARY])
def test_what_waits_is_bounded_and_in_order(topics: list[Topic]) -> None:
    """Of summaries the newest waits alone; who has more than may wait is told to be slow."""
    outbox, others = Outbox(), 0
    for number, topic in enumerate(topics):
        fits = outbox.put(event(number, topic))
        others += topic is not Topic.SUMMARY
        assert fits == (others + (Topic.SUMMARY in topics[: number + 1]) <= MOST_WAITING)
    taken = outbox.take()
    assert [each.number for each in taken] == sorted(each.number for each in taken)
    summaries = [number for number, topic in enumerate(topics) if topic is Topic.SUMMARY]
    assert [each.number for each in taken if each.topic is Topic.SUMMARY] == summaries[-1:]
    assert len(taken) == others + bool(summaries)
    assert outbox.take() == []


def test_the_limits_on_streams() -> None:
    """A key's own comes first: it is told what it can do."""
    limits = StreamLimits(streams=10, per_key=2)
    assert full(limits, 9, 1) is None
    assert full(limits, 10, 1) is Full.PROCESS
    assert full(limits, 10, 2) is Full.KEY
    assert full(limits, 2, 2) is Full.KEY


def test_ids_of_another_process_resume_nothing() -> None:
    """And nothing that clients may send breaks it."""
    assert resumed("0a1b2c3d", event_id("0a1b2c3d", 17)) == 17
    for wrong in (None, "", "17", "0a1b2c3e-17", "0a1b2c3d-", "0a1b2c3d-1\n", "0a1b2c3d--1", "0a1b2c3d-" + "9" * 20):
        assert resumed("0a1b2c3d", wrong) is None


@pytest.mark.parametrize(("turn", "pause"), [(0.0, 1.0), (0.2, 0.8), (0.25, 0.75), (0.5, 1.5), (60.0, 30.0)])
def test_the_poller_rests_three_times_as_long_as_it_reads(turn: float, pause: float) -> None:
    """So it takes at most a quarter of a connection's time."""
    assert pause_seconds(turn) == pause


def test_whose_access_is_checked() -> None:
    """The longest unchecked first, and no more at once than may be."""
    checked = [("a", 80.0), ("b", 10.0), ("c", 50.0), ("d", 20.0)]
    assert overdue(checked, 90.0, 30.0, 2) == ["b", "d"]
    assert overdue(checked, 90.0, 30.0, 9) == ["b", "d", "c"]
    assert overdue([], 90.0, 30.0, 9) == []


def test_who_is_still_there_is_told_why_a_stream_ends() -> None:
    """Each reason has its sentence."""
    assert set(TOLD) == set(Ending) - {Ending.GONE}
