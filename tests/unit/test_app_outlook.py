"""When limits are reached, as the daemon and the API keep it: read once an hour, and shown as unknown until then."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from analytics_refreshd.api.outlook import KeptOutlooks
from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.outlook import LimitOutlooks
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Limits, Reason, Role
from analytics_refreshd.core.outlook import LimitDays, LimitDaysReader, Outlook, OutlookState
from analytics_refreshd.core.trend import DayFigure
from analytics_refreshd.observe.page.outlook import outlook_words
from analytics_refreshd.observe.status.document import status_document, status_json
from tests.support.fakes import FakeClock, RecordingLog, RecordingMetrics
from tests.support.states import MONOTONIC, NOW, healthy
from tests.support.status_schema import conforming

REFUSED = DatabaseFault("permission denied", error_class=ErrorClass.PERMANENT, reason=Reason.PERMISSION)
AWAY = DatabaseFault("connection refused", error_class=ErrorClass.CONNECT, reason=Reason.CONNECT)
GIB = 1 << 30
GROWING = [DayFigure(NOW - timedelta(days=20 - number), 100.0 + 4 * number) for number in range(20)]
FALLING = [DayFigure(NOW - timedelta(days=20 - number), 99.0 - 0.25 * number) for number in range(20)]
SIZES = [SizeSample(NOW - timedelta(hours=number), (50 * 24 - number) * GIB // 24) for number in range(240, -1, -1)]


class FakeDays(LimitDaysReader):
    """Tells the same days whenever asked; `asked` has with how many executions. Raises `fault` while there is one."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.fault: DatabaseFault | None = None

    def read(self, min_executions: int) -> LimitDays:
        self.asked.append(min_executions)
        if self.fault:
            raise self.fault
        return LimitDays(NOW, GROWING, FALLING)


class Looking:
    """A daemon's look ahead, with its state."""

    def __init__(self, role: Role = Role.LEADER) -> None:
        clock, log = FakeClock(NOW), RecordingLog()
        clock.seconds = MONOTONIC
        self.clock, self.days = clock, FakeDays()
        self.state = StateHolder(healthy(role=role).state, clock)
        runtime = Runtime(self.state, DatabaseAvailability(self.state, log), log, RecordingMetrics(), clock)
        self.outlooks = LimitOutlooks(runtime, self.days)

    @property
    def shown(self) -> list[tuple[OutlookState, str]]:
        return [(one.state, one.text) for one in self.state.snapshot().outlooks]


@pytest.mark.parametrize("role", [Role.LEADER, Role.STANDBY])
def test_the_daemon_reads_once_an_hour(role: Role) -> None:
    """Not at each evaluation, on every replica, and at once where a limit is another one."""
    looking = Looking(role)
    assert [state for state, _ in looking.shown] == [OutlookState.UNKNOWN] * 2
    assert looking.shown[0][1].endswith("it was not read yet")
    for seconds in (0, 30, 3569):
        looking.clock.seconds += seconds
        looking.outlooks.read()
    assert looking.days.asked == [20]
    refresh, rate = looking.shown
    assert "4.0 s more each day: the interval of 5 min is reached in about 30 days" in refresh[1]
    assert "0.25 points less each day: success_rate_min, 90 %, is reached in about" in rate[1]
    looking.clock.seconds += 1
    looking.outlooks.read()
    assert len(looking.days.asked) == 2
    limits = looking.state.current.limits
    looking.state.change(lambda state: replace(state, limits=replace(limits, interval_seconds=600.0, min_executions=5)))
    looking.outlooks.read()
    assert looking.days.asked == [20, 20, 5]
    assert "the interval of 10 min is reached in about" in looking.shown[0][1]


def test_what_cannot_be_read_is_unknown_and_read_again_later() -> None:
    """The reason is shown, ten minutes pass, and no query comes each half minute; an outage forgets nothing."""
    looking = Looking()
    looking.days.fault = REFUSED
    with pytest.raises(DatabaseFault):
        looking.outlooks.read()
    assert looking.shown[0] == (
        OutlookState.UNKNOWN,
        "when a refresh takes its interval is unknown: it could not be read: permission denied",
    )
    looking.clock.seconds += 599
    looking.outlooks.read()
    assert len(looking.days.asked) == 1
    looking.days.fault = None
    looking.clock.seconds += 1
    looking.outlooks.read()
    assert looking.shown[0][0] is OutlookState.EXPECTED
    looking.days.fault = AWAY
    looking.clock.seconds += 3600
    for _ in range(2):
        with pytest.raises(DatabaseFault):
            looking.outlooks.read()
    assert len(looking.days.asked) == 4
    assert looking.shown[0][0] is OutlookState.EXPECTED


def test_the_document_and_the_page_show_each_limit() -> None:
    """That of the disk where it is asked for; a date is one, and unknown is said to be unknown."""
    looking = Looking()

    def shown(*sizes: SizeSample, disk_bytes: int | None) -> list[tuple[object, ...]]:
        limits = replace(looking.state.current.limits, disk_bytes=disk_bytes)
        looking.state.change(lambda state: replace(state, limits=limits, sizes=sizes))
        document = status_document(looking.state.snapshot())
        words = outlook_words(document["outlook"], document["server_now"])
        return [
            (one["quantity"], one["unit"], one["state"], one["soon"], said["when"], said["tone"])
            for one, said in zip(document["outlook"], words, strict=True)
        ]

    unknown = ("unknown", False, "unknown", "off")
    assert shown(disk_bytes=None) == [("refresh_time", "seconds", *unknown), ("success_rate", "percent", *unknown)]
    looking.outlooks.read()
    refresh, rate, disk = shown(*SIZES, disk_bytes=100 * GIB)
    assert refresh[:3] == ("refresh_time", "seconds", "expected")
    assert str(refresh[4]).startswith("in about 30 days, on 20")
    assert rate[2:4] == ("expected", True)
    assert rate[5] == "warn"
    assert disk[:4] == ("disk", "bytes", "expected", False)
    assert str(disk[4]).startswith("in about 50 days")
    assert shown(*SIZES, disk_bytes=1000 * GIB)[2][2:5] == ("not_expected", False, "not within a year")
    assert shown(*SIZES, disk_bytes=40 * GIB)[2][2:] == ("reached", True, "reached", "warn")
    assert shown(*SIZES, disk_bytes=51 * GIB)[2][2:5] == ("expected", True, "within two days")
    assert shown(disk_bytes=40 * GIB)[2][2:5] == ("unknown", False, "unknown")


def kept(read: Callable[[int], tuple[LimitDays, Sequence[SizeSample]]], clock: FakeClock) -> KeptOutlooks:
    return KeptOutlooks(read, replace(Limits(), disk_bytes=100 * GIB), clock.monotonic)


def test_the_api_reads_once_an_hour() -> None:
    """However many ask; what cannot be read is unknown for ten minutes, and while the database is away it says so."""
    clock, days = FakeClock(NOW), FakeDays()
    outlooks = kept(lambda least: (days.read(least), SIZES), clock)

    def states() -> list[OutlookState]:
        found: tuple[Outlook, ...] = outlooks.get()
        return [one.state for one in found]

    assert states() == states() == [OutlookState.EXPECTED] * 3
    clock.seconds += 3599
    assert states() == [OutlookState.EXPECTED] * 3
    assert days.asked == [20]
    clock.seconds += 1
    days.fault = AWAY
    with pytest.raises(DatabaseFault):
        outlooks.get()
    days.fault = REFUSED
    assert states() == states() == [OutlookState.UNKNOWN] * 2
    assert len(days.asked) == 3
    days.fault = None
    clock.seconds += 600
    assert states() == [OutlookState.EXPECTED] * 3


def test_the_document_with_outlooks_is_as_the_schema_says() -> None:
    """Known or not."""
    looking = Looking()
    conforming(json.loads(status_json(looking.state.snapshot())))
    looking.outlooks.read()
    shown = conforming(json.loads(status_json(looking.state.snapshot())))
    assert datetime.fromisoformat(shown["outlook"][0]["reached_at"]) > NOW
