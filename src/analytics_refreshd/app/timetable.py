"""Runs the daemon's jobs on APScheduler. Each kind has its own thread."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from analytics_refreshd.app.service import Service
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run
from analytics_refreshd.core.schedule import Schedule, splay_offset, taken

_BEAT_SECONDS = 5.0
_AFTER_DUE_SECONDS = 0.1
_SKIPPED_KEPT = 1000
_EXECUTORS = ("refresh", "evaluate", "beat", "bookkeeping", "warehouse")


class SlotTrigger(BaseTrigger):  # type: ignore[misc]
    """Fires at every slot of a view. A clock that jumps by years costs one computation and one run."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the first slot after `now` that has not fired yet."""
        upcoming = self.schedule.next_slot(now)
        if previous_fire_time is not None and upcoming <= previous_fire_time <= now + self.schedule.shortest:
            return self.schedule.next_slot(previous_fire_time)
        return upcoming


class Timetable:
    """Refreshes at the slots and evaluates in between. A beat shows that the scheduler lives.

    `idle` is set while no refresh runs. `on_cycle` is called on the refresh thread after each cycle that did something.
    """

    def __init__(self, service: Service, on_cycle: Callable[[], None]) -> None:
        self._service = service
        self._on_cycle = on_cycle
        # the slots before the start are past, and not made up for
        self._taken = self._trigger().schedule.slots_at(service.clock.now())
        """Each view's last slot that a run took; the refresh thread's alone."""
        self._skipped: deque[datetime] = deque(maxlen=_SKIPPED_KEPT)
        """The last slots that were skipped during a run, so that a slot which waits for it keeps its own time."""
        self._slot: datetime | None = None
        """The slot of the run under way."""
        self.idle = threading.Event()
        self.idle.set()
        self.scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={name: ThreadPoolExecutor(1, {"thread_name_prefix": name}) for name in _EXECUTORS},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        )
        self._arrange()

    def start(self) -> None:
        """Begin to run jobs."""
        self.scheduler.start()

    def clock_stepped(self, wall: datetime) -> None:
        """Plan again: after a step back the library would wait for times of the old clock."""
        self._skipped.clear()
        for job in self.scheduler.get_jobs():
            with suppress(JobLookupError):
                job.modify(next_run_time=wall if job.id != "refresh" else self._next_slot(wall))
        self.note_next_run()

    def reconfigured(self) -> None:
        """Plan again by the service's new configuration."""
        job = self.scheduler.get_job("refresh")
        if job is not None:
            job.reschedule(self._trigger())
        self.scheduler.reschedule_job("evaluate", trigger=self._evaluate_trigger())
        self.note_next_run()

    def pause(self) -> None:
        """Start nothing more."""
        self.scheduler.pause()

    def shutdown(self) -> None:
        """End the scheduler; jobs under way end by themselves."""
        self.scheduler.shutdown(wait=False)

    def hanging(self, within_seconds: float) -> list[str]:
        """Return the executors whose thread has not ended. The interpreter would wait for it."""
        ends = self._service.clock.monotonic() + within_seconds
        names = []
        for thread in threading.enumerate():
            name = thread.name.rpartition("_")[0]
            if name in _EXECUTORS:
                thread.join(max(0.0, ends - self._service.clock.monotonic()))
                if thread.is_alive():
                    names.append(name)
        return names

    def _arrange(self) -> None:
        service, scheduler = self._service, self.scheduler
        scheduler.add_listener(self._on_overlap, EVENT_JOB_MAX_INSTANCES)
        # a job that raises needs no listener: the library logs the exception, and a cycle's run is the cycle's to tell
        scheduler.add_job(self._refresh, self._trigger(), id="refresh", executor="refresh")
        scheduler.add_job(
            self._evaluate,
            self._evaluate_trigger(),
            id="evaluate",
            executor="evaluate",
            # one that is asked for while another is under way comes after it
            max_instances=2,
            next_run_time=service.clock.now(),
        )
        scheduler.add_job(
            self._beat,
            SlotTrigger(Schedule(timedelta(seconds=_BEAT_SECONDS))),
            id="beat",
            executor="beat",
            next_run_time=service.clock.now(),
        )
        service.on_leading = self._first_run
        service.on_finished = self._finished
        service.on_request = self._evaluate_now
        service.requests.on_refresh = self._refresh_requested

    def _trigger(self) -> SlotTrigger:
        return SlotTrigger(self._service.config.plan(self._service.state.current.database))

    def _evaluate_trigger(self) -> SlotTrigger:
        """Make a trigger that, unlike the library's, lists no skipped times when the clock leaps."""
        interval = timedelta(seconds=self._service.config.evaluate_seconds)
        return SlotTrigger(Schedule(interval, splay_offset(self._service.state.current.database, interval)))

    def _next_slot(self, now: datetime) -> datetime:
        return self._trigger().get_next_fire_time(None, now)

    def _first_run(self) -> None:
        """Refresh at once, as a new leader, where views are older than one interval of theirs.

        Their ages are read on another thread than the refreshes': a status function that hangs delays no slot.
        """
        now = self._service.clock.now()
        self._forward()
        self.scheduler.add_job(
            self._refresh_if_due, next_run_time=now, id="first", executor="bookkeeping", replace_existing=True
        )

    def _refresh_if_due(self) -> None:
        self._service.evaluate.run()
        self._look_when_due()
        snapshot = self._service.state.snapshot()
        ages = {view: age.seconds for view in snapshot.state.views if (age := snapshot.age(view)) is not None}
        views = self._trigger().schedule.overdue(ages)
        if views is None or views:
            now = self._service.clock.now()
            self.scheduler.add_job(
                self._refresh,
                args=[False, views],
                id="due",
                executor="refresh",
                next_run_time=now,
                replace_existing=True,
            )

    def _refresh(self, slot: bool = True, views: tuple[str, ...] | None = None) -> None:
        """Refresh what is due now, or else `views`; None for all."""
        run: Run | None = None
        self.idle.clear()
        try:
            now = self._service.clock.now()
            schedule = self._trigger().schedule
            due = schedule.due(now, self._taken) if slot else views
            scheduled_at = schedule.slot_but(now, self._skipped) if slot else now
            self._slot = scheduled_at if slot else None
            self.note_next_run()
            if due is None or due:
                run = self._service.cycle.run(scheduled_at, views=due)
                self._take(schedule, now, due, run)
            elif self._service.state.leads():
                # a run that was under way when the slot came has refreshed all that was due in it
                self._service.cycle.skip(Reason.OVERLAP, scheduled_at)
        finally:
            self._slot = None
            self.idle.set()
            self.note_next_run()
        if run is not None:
            self._on_cycle()

    def _take(self, schedule: Schedule, now: datetime, due: tuple[str, ...] | None, run: Run | None) -> None:
        """Note whose slot this run was, where views have slots of their own."""
        slots = schedule.slots_at(now)
        self._taken |= {view: slots[view] for view in taken(schedule.views if due is None else due, run)}

    def _finished(self, run: Run) -> None:
        """Evaluate and probe right after a run, on other threads than the refresh's."""
        now = self._service.clock.now()
        self._evaluate_now()
        self._forward()
        if run.outcome in (Outcome.OK, Outcome.PARTIAL) and self._service.prober.endpoints:
            self.scheduler.add_job(
                self._service.prober.run, id="probe", executor="bookkeeping", next_run_time=now, replace_existing=True
            )

    def _forward(self) -> None:
        """Send to the warehouse, on a thread of its own; one call at a time, which sends what comes meanwhile too."""
        if self._service.forwarder is not None:
            now = self._service.clock.now()
            self.scheduler.add_job(
                self._service.forwarder.run,
                id="warehouse",
                executor="warehouse",
                next_run_time=now,
                replace_existing=True,
            )

    def _evaluate_now(self) -> None:
        with suppress(JobLookupError):  # gone where a stop did not wait for a run
            self.scheduler.modify_job("evaluate", next_run_time=self._service.clock.now())

    def _refresh_requested(self, run_id: UUID) -> None:
        """Refresh for operators, after a refresh under way."""
        now = self._service.clock.now()
        self.scheduler.add_job(
            self._run_requested, args=[run_id], id=str(run_id), executor="refresh", next_run_time=now
        )

    def _run_requested(self, run_id: UUID) -> None:
        run: Run | None = None
        self.idle.clear()
        try:
            run = self._service.cycle.run_requested(run_id)
        finally:
            self.idle.set()
            self._service.requests.finished(run_id, run)
            self._evaluate_now()

    def note_next_run(self) -> None:
        """Note in the state when the next slot comes."""
        job = self.scheduler.get_job("refresh")
        upcoming = getattr(job, "next_run_time", None)
        self._service.state.change(lambda state: replace(state, next_run_at=upcoming))

    def _evaluate(self) -> None:
        was_paused = self._service.evaluate.paused
        self._service.evaluate.run()
        if was_paused and not self._service.evaluate.paused and self._service.state.leads():
            self._first_run()
        self._look_when_due()

    def _look_when_due(self) -> None:
        """Evaluate again when a pending alert is to fire, if the next evaluation comes later than that."""
        seconds = self._service.alerts.next_fires_in_seconds
        job = self.scheduler.get_job("evaluate")
        if seconds is None or job is None or job.next_run_time is None:
            return
        due = self._service.clock.now() + timedelta(seconds=max(seconds, 0.0) + _AFTER_DUE_SECONDS)
        if due < job.next_run_time:
            job.modify(next_run_time=due)

    def _beat(self) -> None:
        monotonic = self._service.clock.monotonic()
        self._service.state.change(lambda state: replace(state, scheduler_seen_monotonic=monotonic))

    def _on_overlap(self, event: JobExecutionEvent) -> None:
        """Record a slot that came during a run, on another thread than the scheduler's."""
        if event.job_id != "refresh" or not self._service.state.leads():
            return
        slots = list(getattr(event, "scheduled_run_times", [])) or [self._service.clock.now()]
        slot = slots[-1]
        if slot == self._slot:
            # a run that had waited began just now, and took this slot for its own: that one is free instead
            slot = self._trigger().schedule.slot_but(slot - timedelta(microseconds=1), self._skipped)
        self._skipped.append(slot)
        self.scheduler.add_job(
            self._service.cycle.skip,
            args=[Reason.OVERLAP, slot, Origin.SCHEDULE],
            executor="bookkeeping",
            next_run_time=self._service.clock.now(),
        )
