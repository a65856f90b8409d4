"""When the disk will be full: what two weeks of sizes say, and what they do not."""

import math
from datetime import timedelta

import pytest

from analytics_refreshd.core.alerts.lifecycle import Alert, Severity
from analytics_refreshd.core.disk import DiskForecast, SizeSample, disk_forecast
from analytics_refreshd.core.model import Limits
from analytics_refreshd.observe.page.cost import disk_words
from analytics_refreshd.observe.status.document import status_document
from tests.support.alert_rules import NOW, found, seen

GIB = 2**30
_DAY = 86_400.0
LIMITS = Limits(disk_bytes=100 * GIB, disk_full_within_seconds=14 * _DAY)


def sizes(days: float, begin: float, growth: float, *, jump: float = 0.0) -> tuple[SizeSample, ...]:
    """Hourly sizes in GiB until NOW that grow by `growth` a day; `jump` is added for the last third."""
    hours = round(days * 24)
    return tuple(
        SizeSample(
            NOW - timedelta(hours=hours - hour),
            round((begin + growth * hour / 24 + (jump if hour > hours * 2 / 3 else 0.0)) * GIB),
        )
        for hour in range(hours + 1)
    )


def test_steady_growth_has_a_date() -> None:
    """50 of 100 GiB, and 2 a day: 25 days."""
    forecast = disk_forecast(sizes(10, 30, 2), 100 * GIB, NOW)
    assert forecast is not None
    assert forecast.growth_bytes_per_day == pytest.approx(2 * GIB, rel=0.001)
    assert forecast.seconds_left == pytest.approx(25 * _DAY, rel=0.001)
    later = disk_forecast(sizes(10, 30, 2), 100 * GIB, NOW + timedelta(hours=12))
    assert later is not None
    assert later.seconds_left == pytest.approx(24.5 * _DAY, rel=0.001)


@pytest.mark.parametrize("jump", [-20.0, 20.0])
def test_one_jump_is_no_growth(jump: float) -> None:
    """A VACUUM FULL or an import changes the size, and not the growth of a day."""
    forecast = disk_forecast(sizes(14, 30, 2, jump=jump), 100 * GIB, NOW)
    assert forecast is not None
    assert forecast.growth_bytes_per_day == pytest.approx(2 * GIB, rel=0.01)


def test_what_does_not_grow_is_never_full() -> None:
    """Nothing is used up by a database that shrinks or stays."""
    for growth in (0.0, -1.0):
        forecast = disk_forecast(sizes(10, 60, growth), 100 * GIB, NOW)
        assert forecast is not None
        assert forecast.seconds_left == math.inf


def test_too_little_is_known() -> None:
    """Less than a day of sizes, none lately, or no capacity: no date."""
    young = sizes(0.9, 30, 2)
    assert disk_forecast(young, 100 * GIB, NOW) == DiskForecast(young[-1].database_bytes, 100 * GIB)
    assert disk_forecast(sizes(10, 30, 2), 100 * GIB, NOW + timedelta(hours=27)) is None
    assert disk_forecast(sizes(10, 30, 2), None, NOW) is None
    assert disk_forecast((), 100 * GIB, NOW) is None
    same = (SizeSample(NOW - timedelta(days=2), GIB), SizeSample(NOW, GIB), SizeSample(NOW, GIB))
    known = disk_forecast(same, 2 * GIB, NOW)
    assert known is not None
    assert known.seconds_left == math.inf


def test_what_is_used_up_is_known_at_once() -> None:
    """No growth is necessary to see that the capacity is gone."""
    forecast = disk_forecast(sizes(0.1, 101, 0), 100 * GIB, NOW)
    assert forecast is not None
    assert forecast.seconds_left == 0.0


def test_the_alert_fires_within_its_limit() -> None:
    """Ten days are too few, twenty are not; a figure that fires must get clearly better."""

    def told(begin: float, *, firing: bool = False) -> bool | None:
        keys = {(Alert.DISK_FILLING, "")} if firing else ()
        return found(seen(limits=LIMITS, sizes=sizes(10, begin, 2), firing=keys))[Alert.DISK_FILLING, ""].holds

    assert told(60) is True
    assert told(40) is False
    # 15 days
    assert told(50) is False
    assert told(50, firing=True) is True
    condition = found(seen(limits=LIMITS, sizes=sizes(10, 60, 2)))[Alert.DISK_FILLING, ""]
    assert condition.severity is Severity.WARNING
    assert condition.summary == "shop: the space for the database is used up in about 10 d"
    assert "takes 80.0 GiB of [alerts] disk_bytes, 100.0 GiB and grows by 2.0 GiB a day" in condition.description
    full = found(seen(limits=LIMITS, sizes=sizes(0.1, 101, 0)))[Alert.DISK_FILLING, ""]
    assert full.holds is True
    assert full.summary.endswith("used up now")


def test_the_alert_is_off_by_default_and_silent_without_sizes() -> None:
    """Without the key nothing is judged and what fired is over; without sizes nothing is known."""
    assert found(seen(sizes=sizes(10, 99, 2)))[Alert.DISK_FILLING, ""].holds is False
    assert found(seen(limits=LIMITS))[Alert.DISK_FILLING, ""].holds is None
    assert found(seen(limits=LIMITS, sizes=sizes(0.5, 30, 2)))[Alert.DISK_FILLING, ""].holds is None


def test_the_status_document_has_what_is_left() -> None:
    """Null without a capacity; without a date where nothing grows, or too little is known; the page says which."""
    assert status_document(seen())["disk"] is None
    assert disk_words(None) is None

    def shown(days: float, growth: float, begin: float = 30.0) -> tuple[object, str]:
        disk = status_document(seen(limits=LIMITS, sizes=sizes(days, begin, growth)))["disk"]
        words = disk_words(disk)
        assert words is not None
        return disk["seconds_left"], words["text"]

    assert shown(10, 2) == (pytest.approx(25 * _DAY, rel=0.001), "for about 25 d")
    assert shown(10, 0) == (None, "does not fill")
    assert shown(0.5, 2) == (None, "not known yet")
    assert shown(0.5, 0, 101) == (0.0, "used up")
