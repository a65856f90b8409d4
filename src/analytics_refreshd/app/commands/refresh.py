"""One refresh by the daemon's own parts, for `refresh`."""

import threading
from dataclasses import replace

from analytics_refreshd.app.attempts import Watching
from analytics_refreshd.app.commands.stopping import on_stop
from analytics_refreshd.app.election import LockWatch
from analytics_refreshd.app.service import Service
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Origin, Outcome, Run
from analytics_refreshd.core.ports import Leader

_JOIN_SECONDS = 5.0


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


def refresh_once(config: Config) -> Run:
    """Run one cycle now, recorded like the daemon's. A signal cancels it on the server. Waits for nobody."""
    service = Service(config, warnings=[])
    service.log.set_level("warning")
    watcher = _Watcher(service.leader)
    service.attempts.watching = Watching(watcher.begin, watcher.end)
    try:
        with on_stop(service.cycle.stop):
            service.status.read()
            service.recorder.close_abandoned()
            run = service.cycle.run(None, Origin.COMMAND)
            if run is None:
                now = service.clock.now()
                run = service.cycle.new_run(None, Origin.COMMAND, now)
                run = replace(run, finished_at=now, outcome=Outcome.CANCELLED)
            return run
    finally:
        # a thread that waits for a connection, the watcher too, is told by this that there is none
        service.close(5.0)
        watcher.release()
