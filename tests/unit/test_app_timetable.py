"""Which slot a run has that waited, and which one was skipped."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent

from analytics_refreshd.app.service import Service
from analytics_refreshd.app.timetable import Timetable
from analytics_refreshd.config import Config
from analytics_refreshd.core.leadership import Leadership
from analytics_refreshd.core.model import Origin, Reason, Role, Run
from tests.support.waiting import eventually

SECOND = timedelta(seconds=1)

# the library's thread may find that its last job went with the scheduler
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class RecordingCycle:
    """Keeps the slots that were run and skipped. `work` is what a run does."""

    def __init__(self) -> None:
        self.ran: list[datetime] = []
        self.skipped: list[datetime] = []
        self.skipping = threading.Event()
        self.work: Callable[[datetime], None] = lambda slot: None

    def run(self, scheduled_at: datetime, views: Sequence[str] | None = None) -> None:
        """A run of a slot."""
        self.ran.append(scheduled_at)
        self.work(scheduled_at)

    def run_requested(self, run_id: UUID) -> Run | None:
        """A run that nobody planned, which lasts until a slot was skipped."""
        assert self.skipping.wait(30)
        return None

    def skip(self, reason: Reason, scheduled_at: datetime, origin: Origin) -> None:
        """A slot without a run."""
        self.skipped.append(scheduled_at)
        self.skipping.set()


@pytest.fixture
def cycle() -> RecordingCycle:
    """What stands for the refreshes."""
    return RecordingCycle()


@pytest.fixture(params=["common", "own"])
def timetable(request: pytest.FixtureRequest, cycle: RecordingCycle) -> Iterator[Timetable]:
    """A leader's timetable with a slot each second, over a cycle that refreshes nothing."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    own = request.param == "own"
    given: dict[str, Any] = {
        "database": {"url": "postgresql://u@localhost/orders"},
        "schedule": {"interval": "1h", "views": {"recent_failures": "1s"}} if own else {"interval": "1s"},
        "refresh": {"isolation": "view"},
    }
    service = Service(Config.model_validate(given), warnings=[])
    service.cycle = cast("Any", cycle)
    service.evaluate.run = lambda: None  # type: ignore[method-assign]
    leads = Leadership(Role.LEADER, 1e18, 1)
    service.state.change(lambda state: replace(state, leadership=leads))
    made = Timetable(service, lambda: None)
    try:
        yield made
    finally:
        made.pause()
        made.shutdown()
        made.hanging(10)
        root.handlers[:], root.level = handlers, level


def test_a_slot_that_waits_for_another_run_is_recorded_once(timetable: Timetable, cycle: RecordingCycle) -> None:
    """It keeps its own time, though it begins after a slot that was skipped meanwhile."""
    service = timetable._service
    timetable.start()
    service.requests.on_refresh(uuid4())
    eventually(lambda: len(cycle.ran) >= 3)
    recorded = sorted([*cycle.ran, *cycle.skipped])
    assert len(set(recorded)) == len(recorded), "a slot was recorded twice"
    assert recorded == [recorded[0] + number * SECOND for number in range(len(recorded))], "a slot is missing"
    assert cycle.ran[0] < cycle.skipped[0], "the run that waited was that of the slot it waited from"


def test_a_slot_that_a_run_took_for_its_own_leaves_its_own_one_free(
    timetable: Timetable, cycle: RecordingCycle
) -> None:
    """A run that had waited may begin after the next slot came, and before that is known to be skipped."""
    skipped = threading.Event()

    def next_slot_comes(slot: datetime) -> None:
        if not skipped.is_set():
            skipped.set()
            event = JobSubmissionEvent(EVENT_JOB_MAX_INSTANCES, "refresh", "default", [slot])
            timetable._on_overlap(event)

    cycle.work = next_slot_comes
    timetable.start()
    eventually(lambda: bool(cycle.skipped))
    assert cycle.skipped == [cycle.ran[0] - SECOND]


def test_after_a_step_of_the_clock_slots_come_again(timetable: Timetable) -> None:
    """A slot that was skipped before the clock was set back is a slot like others after it."""
    event = SimpleNamespace(job_id="refresh", scheduled_run_times=[timetable._service.clock.now()])
    timetable.start()
    timetable._on_overlap(cast("Any", event))
    assert len(timetable._skipped) == 1
    timetable.clock_stepped(timetable._service.clock.now())
    assert len(timetable._skipped) == 0
