"""The leader's thread: holds the lock, sends heartbeats, watches the refresh's locks."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.leadership import Leadership, Term, after_loss, after_reading, after_time, resigned
from analytics_refreshd.core.model import Blocker, LockSample, Reason, Role
from analytics_refreshd.core.ports import Leader
from analytics_refreshd.core.state import State
from analytics_refreshd.core.wording import blocked_by

HEARTBEAT_SECONDS = 5.0
_CLOSE_LOOK_SECONDS = 5.0
_CLOSE_POLL_SECONDS = 0.1
_POLL_SECONDS = 1.0
# Another replica may lead, unseen, between two attempts. All sessions together try at most once a second, and a server
# that is away for longer is asked less often.
_QUICK_SECONDS = 2.0
_QUICK_ATTEMPTS = 15
# Report blocked only after 2 s, or after half of lock_timeout if that is shorter.
_BLOCKED_AFTER_SECONDS = 2.0


class LockWatch:
    """Samples of one run's backends, and the sessions that blocked them."""

    def __init__(self, runtime: Runtime, views: Sequence[str], lock_timeout_seconds: float) -> None:
        self._views = views
        self._blocked_after_seconds = min(_BLOCKED_AFTER_SECONDS, lock_timeout_seconds / 2)
        self._log = runtime.log
        self._state = runtime.state
        self._clock = runtime.clock
        self._began = runtime.clock.monotonic()
        self._pids: list[int] = []
        self._samples: list[LockSample] = []
        self._blockers: list[Blocker] = []
        self._waiting_since: float | None = None
        self._logged = False
        self._seen: frozenset[str] = frozenset()
        self._current: str | None = None
        self._current_since = 0.0

    def add(self, pid: int) -> None:
        """Watch one more backend, which begins to refresh."""
        if not self._pids:
            self._began = self._clock.monotonic()
        self._pids.append(pid)

    @property
    def began_monotonic(self) -> float:
        """Return when the samples' seconds begin."""
        return self._began

    @property
    def samples(self) -> tuple[LockSample, ...]:
        """Return every sample, oldest first."""
        return tuple(self._samples)

    @property
    def blockers(self) -> tuple[Blocker, ...]:
        """Return the blocking sessions, each once, in the order seen."""
        return tuple(self._blockers)

    def pause_seconds(self) -> float:
        """Return how long to wait before the next sample.

        Short at first, because samples tell when each view began.
        """
        early = self._clock.monotonic() - self._began < _CLOSE_LOOK_SECONDS
        return _CLOSE_POLL_SECONDS if early else _POLL_SECONDS

    def look(self, leader: Leader) -> None:
        """Take one sample of all backends, and note progress and blocker."""
        if not self._pids:
            return
        sample = leader.watch(tuple(self._pids), self._views, self._clock.monotonic() - self._began)
        self._samples.append(sample)
        self._note(sample)

    def _note(self, sample: LockSample) -> None:
        new = (sample.held | sample.waiting) - self._seen
        if new:
            self._seen |= new
            self._current = sorted(new & sample.waiting or new)[0]
            self._current_since = sample.at_seconds
        waited = None
        if sample.blocker is not None:
            if self._waiting_since is None:
                self._waiting_since = sample.at_seconds
            waited = sample.at_seconds - self._waiting_since
            self._blocked(sample.blocker, waited, self._current)
        else:
            self._waiting_since = None
            self._logged = False
        self._state.change(lambda state: self._noted(state, sample, waited))

    def _noted(self, state: State, sample: LockSample, waited: float | None) -> State:
        if state.progress is None:
            return state
        progress = replace(
            state.progress,
            elapsed_seconds=sample.at_seconds,
            view=self._current,
            view_seconds=sample.at_seconds - self._current_since,
            blocker=sample.blocker,
            waiting_seconds=waited,
        )
        return replace(state, progress=progress)

    def _blocked(self, blocker: Blocker, waited: float, view: str | None) -> None:
        if waited < self._blocked_after_seconds:
            return
        if all(known.pid != blocker.pid for known in self._blockers):
            self._blockers.append(blocker)
            self._logged = False
        if self._logged:
            return
        self._logged = True
        progress = self._state.current.progress
        self._log.emit(
            Event.VIEW_BLOCKED,
            level="warning",
            run_id=progress.run_id if progress is not None else None,
            view=view,
            waited_seconds=round(waited, 3),
            blocker_pid=blocker.pid,
            blocker_user=blocker.user,
            blocker_application=blocker.application,
            blocker_state=blocker.state,
            blocker_query_started_at=blocker.query_started_at,
            blocker_transaction_started_at=blocker.transaction_started_at,
            blocker_wait_event=blocker.wait_event,
            blocker_visible=blocker.visible,
            text=blocked_by(blocker, waited),
        )


class Election(threading.Thread):
    """Keeps the state's `leadership` up to date.

    Losing the lock first clears the role, then calls `on_lost`.
    """

    def __init__(
        self,
        runtime: Runtime,
        leader: Leader,
        *,
        on_acquired: Callable[[], None],
        on_lost: Callable[[], None],
        term: Term | None = None,
    ) -> None:
        super().__init__(name="election", daemon=True)
        self._leader = leader
        self._state = runtime.state
        self._database = runtime.database
        self._log = runtime.log
        self._clock = runtime.clock
        self._on_acquired = on_acquired
        self._on_lost = on_lost
        self._term = term or Term()
        self._leadership = Leadership()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._stop_requested = False
        self._asked = False
        self._watch: LockWatch | None = None
        self._other_holder_logged = False
        self._failed_attempts = 0

    # -- called by other threads -----------------------------------------------------------------------------

    def watch(self, watch: LockWatch) -> None:
        """Begin to watch a run's backends."""
        self._watch = watch
        self._wake.set()

    def unwatch(self) -> None:
        """Stop watching."""
        self._watch = None

    def ask(self) -> None:
        """Ask the database now, and not with the next heartbeat: somebody saw that the lead is over."""
        self._asked = True
        self._wake.set()

    def resign(self, within_seconds: float) -> bool:
        """Release the lock and end the thread.

        False where that takes longer than `within_seconds`.
        """
        self._stop_requested = True
        self._state.change(lambda state: replace(state, draining=True))
        self._wake.set()
        return not self.is_alive() or self._ended.wait(within_seconds)

    # -- the thread ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Acquire the lock, send heartbeats and watch, until resigned."""
        next_beat = self._clock.monotonic()
        try:
            while not self._stop_requested:
                watch = self._watch
                if self._asked or self._clock.monotonic() >= next_beat:
                    self._asked = False
                    next_beat = self._clock.monotonic() + self._beat()
                elif watch is not None and self._leadership.role is Role.LEADER:
                    self._look(watch)
                self._set(after_time(self._leadership, self._clock.monotonic()), "trust ran out")
                pause = next_beat - self._clock.monotonic()
                if watch is not None:
                    pause = min(pause, watch.pause_seconds())
                self._wake.wait(max(0.01, pause))
                self._wake.clear()
        finally:
            self._set(resigned(self._leadership), "resigned")
            try:
                self._leader.release()
            except DatabaseFault:
                # the session is gone, and the lock with it
                self._stop_requested = True
            self._ended.set()

    def _look(self, watch: LockWatch) -> None:
        try:
            watch.look(self._leader)
        except DatabaseFault as fault:
            self._lost(fault)

    def _beat(self) -> float:
        """Ask the database once; return the seconds until the next heartbeat."""
        leading = self._leadership.role is Role.LEADER
        try:
            reading = self._leader.heartbeat() if leading else self._leader.acquire()
        except DatabaseFault as fault:
            self._lost(fault)
            self._failed_attempts += 1
            if leading:
                return 1.0
            return _QUICK_SECONDS if self._failed_attempts <= _QUICK_ATTEMPTS else HEARTBEAT_SECONDS
        self._failed_attempts = 0
        self._database.answered()
        self._state.change(lambda state: replace(state, election_problem=None))
        self._set(after_reading(self._leadership, reading, self._term), "the lock is held by another session")
        if self._leadership.role is not Role.LEADER:
            self._look_for_other_holder()
        leaderless = self._leadership.role is not Role.LEADER and self._state.current.leader is None
        return 1.0 if leaderless else HEARTBEAT_SECONDS

    def _lost(self, fault: DatabaseFault) -> None:
        self._set(after_loss(self._leadership), fault.message)
        if fault.error_class is ErrorClass.PERMANENT and fault.reason is Reason.CONTRACT:
            self._state.change(
                lambda state: replace(state, leaderless_reason=fault.message, election_problem=fault.message)
            )
        self._database.failed(fault)

    def _look_for_other_holder(self) -> None:
        try:
            holder = self._leader.other_holder()
        except DatabaseFault:
            return
        if holder is None or holder.ours:
            self._other_holder_logged = False
            self._state.change(lambda state: state.following(holder))
            return
        reason = f"the leader lock is held by pid {holder.pid}, {holder.replica}, which is not one of our daemons"
        self._state.change(lambda state: replace(state, leader=holder, leaderless_reason=reason))
        if not self._other_holder_logged:
            self._other_holder_logged = True
            self._log.emit(
                Event.ELECTION_BLOCKED,
                level="warning",
                holder_pid=holder.pid,
                holder=holder.replica,
                since=holder.since,
            )

    def _set(self, leadership: Leadership, reason: str) -> None:
        before, self._leadership = self._leadership, leadership
        self._state.change(lambda state: replace(state, leadership=leadership))
        if leadership.role is before.role:
            return
        if leadership.role is Role.LEADER:
            now = self._state.server_now()
            self._state.change(lambda state: replace(state.leading(now), leaderless_reason=None))
            self._log.emit(Event.LEADER_ACQUIRED, epoch=leadership.epoch)
            self._on_acquired()
        elif before.role is Role.LEADER:
            level = "info" if leadership.role is Role.DRAINING else "warning"
            self._log.emit(Event.LEADER_LOST, level=level, reason=reason, epoch=before.epoch)
            self._on_lost()
