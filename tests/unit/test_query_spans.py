"""The span that somebody asks a query for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.spans import ParameterError, Window, asked_span
from analytics_refreshd.postgres.catalogue.zones import UNITS

NOW = datetime(2026, 3, 4, 12, 34, 56, tzinfo=UTC)
CATALOGUE = Catalogue.load(None)
WINDOWED = [query.name for query in CATALOGUE if query.window is not None]


def span(query: str, **asked: object) -> tuple[object, object]:
    """What a query is bound to."""
    bound = CATALOGUE.get(query).bind(asked, None, NOW)
    return bound["since"], bound["until"]


def at(day: int, hour: int = 0, month: int = 3) -> datetime:
    """A time of 2026."""
    return datetime(2026, month, day, hour, tzinfo=UTC)


def test_L28_a_span_is_moved_outwards_to_whole_steps() -> None:
    """Hours, UTC days, or weeks from Monday; a look back ends where it was asked to."""
    asked = {"since": at(1, 9) + timedelta(minutes=5), "until": at(2, 17) + timedelta(minutes=1)}
    assert span("latency", **asked) == (at(1, 9), at(2, 18))
    assert span("daily-trend", **asked) == (at(1), at(3))
    # and a week before, to compare with
    assert span("weekly-growth", **asked) == (at(16, month=2), at(9))
    assert span("latency", since=at(1, 9), until=at(1, 10)) == (at(1, 9), at(1, 10))
    assert span("top-errors", since=timedelta(hours=5)) == (NOW - timedelta(hours=5), NOW)


def test_L28_a_duration_counts_back_and_the_end_is_now() -> None:
    """`--since 24h` is the span that `--hours` shows, or an hour more: it began in the middle of one."""
    assert span("latency", since=timedelta(hours=24)) == (at(3, 12), at(4, 13))
    assert span("latency", since=timedelta(hours=24), until=timedelta(hours=2)) == (at(3, 12), at(4, 11))


def test_L28_the_amount_is_that_of_the_span() -> None:
    """What a query divides by is the length that it covers."""
    query = CATALOGUE.get("peak-hours")
    assert query.bind({"since": at(1), "until": at(3)}, None, NOW)["days"] == 2
    assert query.bind({"since": at(1), "until": at(2, 12)}, None, NOW)["days"] == 1.5


@pytest.mark.parametrize(
    ("query", "asked", "said"),
    [
        ("top-organizations", {"since": at(1)}, "covers no span"),
        ("latency", {"since": at(1), "hours": 3}, "not both"),
        ("latency", {"until": at(1)}, "--until needs --since"),
        ("latency", {"since": at(2), "until": at(2)}, "must be before --until"),
        ("latency", {"since": at(2), "until": at(1)}, "must be before --until"),
        ("latency", {"since": at(9)}, "must be before --until"),
        ("latency", {"since": at(1, month=1), "until": at(3)}, "at most 744 hours"),
        ("top-errors", {"since": at(1, month=1), "until": at(3, 1)}, "at most 745 hours"),
        ("idle-triggers", {"since": at(1), "until": at(3)}, "takes no --until"),
        ("latency", {"since": "yesterday"}, "must be a time, or a duration back"),
        ("top-organizations", {"timezone": "UTC"}, "takes no --timezone"),
        ("latency", {"timezone": "Europe"}, "--timezone must be a name such as Europe/Berlin"),
        ("latency", {"timezone": "../../etc/passwd"}, "--timezone must be a name such as Europe/Berlin"),
        ("latency", {"since": at(1), "timezone": "\x00" * 90}, "--timezone must be a name such as Europe/Berlin"),
        ("daily-trend", {"timezone": "Asia/Kolkata"}, "adds up whole hours of UTC, from which Asia/Kolkata is 5.5 off"),
        ("peak-hours", {"since": at(1), "timezone": "America/St_Johns"}, "adds up whole hours of UTC"),
        ("latency", {"since": timedelta(days=999_999)}, "too far back"),
        ("weekly-growth", {"since": datetime(1, 1, 1, tzinfo=UTC)}, "times of the calendar"),
        ("daily-trend", {"since": at(1), "until": datetime.max.replace(tzinfo=UTC)}, "times of the calendar"),
    ],
)
def test_L28_a_wrong_span_is_one_sentence(query: str, asked: dict[str, object], said: str) -> None:
    """It says what works, before anything is asked."""
    with pytest.raises(ParameterError, match=said):
        span(query, **asked)


def test_L28_days_and_weeks_begin_in_the_time_zone() -> None:
    """So do times without an offset; a day of 23 or 25 hours is one day."""
    berlin = {"timezone": "Europe/Berlin"}
    start = datetime(2026, 3, 28)  # noqa: DTZ001
    assert span("daily-trend", since=at(28, 22), until=at(29, 21), **berlin)[0] == at(27, 23)
    before = at(1) - timedelta(hours=1)
    assert span("daily-trend", since=datetime(2026, 3, 1), until=at(2), **berlin) == (before, at(2, 23))  # noqa: DTZ001
    asked = {"since": start, "until": at(29, 20), **berlin}
    since, until, days = asked_span("q", Window("days", "days"), asked, NOW, most=9, ends=True)
    assert (since, until) == (at(27, 23), at(29, 22))
    assert days == pytest.approx(47 / 24)
    assert span("weekly-growth", **berlin)[1] == at(8, 23)
    # hours are those of UTC everywhere
    assert span("latency", timezone="Asia/Kolkata") == span("latency")


@pytest.mark.parametrize("name", WINDOWED)
def test_L28_the_default_window_as_a_span_is_the_same(name: str) -> None:
    """Asking for the bounds of the default window gives those bounds, for every query that has a window."""
    query = CATALOGUE.get(name)
    window = query.window
    assert window is not None
    bound = query.bind({}, None, NOW)
    since, until = bound["since"], bound["until"]
    assert isinstance(since, datetime)
    asked: dict[str, object] = {"since": since + window.earlier}
    if "until" in query.span_names:
        asked["until"] = until
    again = query.bind(asked, None, NOW)
    assert {key: again[key] for key in bound} == bound


@given(
    st.sampled_from(
        [Window("hours", "hours"), Window("days", "hours"), Window("days", "days"), Window("weeks", "weeks", 1)]
    ),
    st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timedeltas(timedelta(seconds=1), timedelta(days=300)),
)
def test_L28_what_was_asked_is_covered_and_little_more(window: Window, since: datetime, length: timedelta) -> None:
    """No moment of the span is left out, and less than a step is added at each end."""
    asked = {"since": since, "until": since + length}
    start, end, amount = asked_span("q", window, asked, NOW, most=9e9, ends=True)
    step = UNITS[str(window.step)]
    assert start <= since - window.earlier < start + step
    assert end - step < since + length <= end
    assert amount * UNITS[window.parameter] == pytest.approx(
        end - start - window.earlier, abs=timedelta(milliseconds=1)
    )
