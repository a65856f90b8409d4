"""One refresh by the daemon's own parts, for `refresh`."""

import threading
from dataclasses import replace

from analytics_refreshd.app.attempts import Watching
from analytics_refreshd.app.commands.joining import RunUnderWay, answers, overlapped
from analytics_refreshd.app.commands.stopping import on_stop
from analytics_refreshd.app.election import LockWatch
from analytics_refreshd.app.service import Service
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Origin, Outcome, Run
from analytics_refreshd.core.ports import Leader

_JOIN_SECONDS = 5.0
_LONGER_SECONDS = 60.0
"""What a refresh under way may take beyond its deadline, until `--wait` gives up."""
_AGAIN_SECONDS = 2.0


class _Watcher:
    """Looks at a run's locks from a thread of its own, over the leader's kind of session but without the lock.

    The session is one thread's: while an earlier one still waits in it, nobody else begins to look or closes it.
    """

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, watch: LockWatch) -> None:
        if self._busy:
            return
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, args=[watch, self._done], name="watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def release(self) -> None:
        """Close the session; one that a thread still waits in ends with the process."""
        self.end()
        if not self._busy:
            self._leader.release()

    @property
    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _look(self, watch: LockWatch, done: threading.Event) -> None:
        while not done.is_set():
            try:
                watch.look(self._leader)
            except DatabaseFault:
                return
            done.wait(watch.pause_seconds())


def refresh_once(config: Config, *, wait: bool = False) -> Run:
    """Run one cycle now, recorded like the daemon's.

    A signal cancels it on the server. `wait`: if a refresh of all views is under way, that one is waited for and
    returned. After one of some views, all are refreshed. Without it nobody is waited for.
    """
    service, stopped = Service(config, warnings=[]), threading.Event()

    def stop() -> None:
        stopped.set()
        service.cycle.stop()

    service.log.set_level("warning")
    watcher = _Watcher(service.leader)
    service.attempts.watching = Watching(watcher.begin, watcher.end)
    try:
        with on_stop(stop):
            service.status.read()
            service.recorder.close_abandoned()
            run = _joining(service, stopped) if wait else service.cycle.run(None, Origin.COMMAND)
            if run is None:
                now = service.clock.now()
                run = service.cycle.new_run(None, Origin.COMMAND, now)
                run = replace(run, finished_at=now, outcome=Outcome.CANCELLED)
            return run
    finally:
        # a thread that waits for a connection, the watcher too, is told by this that there is none
        service.close(5.0)
        watcher.release()


def _joining(service: Service, stopped: threading.Event) -> Run | None:
    """Answer with the run under way, else refresh; what overlaps is tried again until time is up."""
    until = service.clock.monotonic() + service.attempts.settings.only(None).deadline_seconds + _LONGER_SECONDS
    under_way = RunUnderWay(service.status, service.history, service.clock, stopped)
    while True:
        joined = under_way.join(until)
        if joined is not None and answers(joined, service.config.refresh.views):
            return joined
        run = service.cycle.run(None, Origin.COMMAND)
        over = service.clock.monotonic() >= until
        if run is None or over or not overlapped(run) or stopped.wait(_AGAIN_SECONDS):
            return run
