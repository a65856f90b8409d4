"""Hours that are unusual, as the daemon reads them: once an hour, by the leader alone, and only where asked for."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.app.unusual import UnusualHours
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.hour_series import FURTHEST_BACK, HOUR, HourCell
from analytics_refreshd.core.model import VIEWS, Reason, Role
from analytics_refreshd.core.ports import HourCells
from tests.support.fakes import FakeClock, RecordingLog, RecordingMetrics
from tests.support.states import MONOTONIC, NOW, healthy, view_state

LAST = NOW.replace(minute=0, second=0) - HOUR
REFUSED = DatabaseFault("permission denied", error_class=ErrorClass.PERMANENT, reason=Reason.PERMISSION)


class FakeCells(HourCells):
    """The same in every hour; `asked` has what was asked for. Raises `fault` while there is one."""

    def __init__(self) -> None:
        self.asked: list[tuple[datetime, datetime]] = []
        self.fault: DatabaseFault | None = None

    def read(self, since: datetime, until: datetime) -> list[HourCell]:
        self.asked.append((since, until))
        if self.fault:
            raise self.fault
        hours = int((until - since) / HOUR)
        return [HourCell(since + HOUR * number, "rest", 100, 2, 98, 0.5) for number in range(hours)]


class Looking:
    """A daemon's look at the hours, with its state."""

    def __init__(self, *, enabled: bool = True, role: Role = Role.LEADER) -> None:
        clock, log = FakeClock(NOW), RecordingLog()
        clock.seconds = MONOTONIC
        self.clock, self.cells = clock, FakeCells()
        self.state = StateHolder(healthy(role=role, unusual_enabled=enabled).state, clock)
        runtime = Runtime(self.state, DatabaseAvailability(self.state, log), log, RecordingMetrics(), clock)
        self.hours = UnusualHours(runtime, self.cells)

    def refreshed(self, at: datetime) -> None:
        """The hourly view was refreshed then, and its status read."""
        views = tuple(replace(view_state(name), recorded_at=at, claimed_at=at) for name in VIEWS)
        status = self.state.current.status
        assert status is not None
        self.state.change(lambda state: replace(state, status=replace(status, views=views, server_now=at)))

    @property
    def found(self) -> dict[str, tuple[float, bool]]:
        """Each series' value, and whether it is unusual."""
        last = self.state.current.unusual
        return {one.series: (round(one.value, 2), one.unusual) for one in last.readings} if last else {}


def test_each_whole_hour_is_read_once() -> None:
    """When the view holds it as a whole; a second evaluation in the same hour asks nothing."""
    looking = Looking()
    looking.hours.read()
    looking.hours.read()
    assert looking.cells.asked == [(LAST - FURTHEST_BACK, LAST + HOUR)]
    assert looking.found["volume:rest"] == (100.0, False)
    looking.refreshed(NOW + timedelta(minutes=52))
    looking.hours.read()
    assert len(looking.cells.asked) == 1
    looking.refreshed(NOW + timedelta(minutes=53))
    looking.hours.read()
    assert looking.cells.asked[1:] == [(LAST + HOUR - FURTHEST_BACK, LAST + 2 * HOUR)]


@pytest.mark.parametrize(("enabled", "role"), [(False, Role.LEADER), (True, Role.STANDBY)])
def test_nothing_is_read_where_nobody_asked_or_another_leads(enabled: bool, role: Role) -> None:
    """Off by default, and only the leader looks."""
    looking = Looking(enabled=enabled, role=role)
    looking.hours.read()
    assert looking.cells.asked == []
    assert looking.found == {}


def test_switched_off_it_forgets() -> None:
    """A reload that turns it off leaves no figure behind."""
    looking = Looking()
    looking.hours.read()
    looking.state.change(lambda state: replace(state, unusual_enabled=False))
    looking.hours.read()
    assert looking.found == {}


def test_a_view_that_was_never_refreshed_is_not_read() -> None:
    """Its hours are not known to be whole."""
    looking = Looking()
    unknown = tuple(view_state(name, age_seconds=None) for name in VIEWS)
    status = looking.state.current.status
    assert status is not None
    looking.state.change(lambda state: replace(state, status=replace(status, views=unknown)))
    looking.hours.read()
    assert looking.cells.asked == []


def test_an_hour_that_cannot_be_read_is_unknown_and_tried_again() -> None:
    """What was known of the hour before does not stand for it."""
    looking = Looking()
    looking.hours.read()
    looking.cells.fault = REFUSED
    looking.refreshed(NOW + timedelta(hours=1))
    for _ in range(2):
        with pytest.raises(DatabaseFault):
            looking.hours.read()
        assert looking.found == {}
    looking.cells.fault = None
    looking.hours.read()
    assert looking.found["volume:rest"] == (100.0, False)
