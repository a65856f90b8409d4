"""Runs the process: signals, watchdog, reload, and a shutdown that always ends."""

import faulthandler
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from analytics_refreshd.app.service import Service
from analytics_refreshd.app.timetable import Timetable
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import ConfigError, RefreshdError
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.metrics import CLOCK_STEPS
from analytics_refreshd.core.schedule import clock_step

EXIT_STOPPED = 0
EXIT_INTERNAL = 70
EXIT_CONFIG = 78
SHUTDOWN_SECONDS = 10.0
_TICK_SECONDS = 1.0
_DEAD_AFTER_SECONDS = 30.0
_STEP_SECONDS = 30.0
_GAP_SECONDS = 5.0
_HURRY_SECONDS = 1.0
_IGNORED = frozenset({signal.SIGUSR1, signal.SIGUSR2})
"""What log rotation and the like may send to every daemon. By default they would end the process."""
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class Daemon:
    """Runs a `Service` until a signal, its last cycle or a failure.

    Signals are blocked in every thread and taken by the main thread with sigtimedwait, so that no handler ever runs
    in the middle of something.
    """

    def __init__(
        self,
        service: Service,
        *,
        reload: Callable[[], Config] | None = None,
        cycles: int | None = None,
        before_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self._service = service
        self._reload = reload
        self._cycles_left = cycles
        self._before_exit = before_exit
        self._main = threading.main_thread().ident
        self._timetable = Timetable(service, self._count_cycle)
        self._exit: int | None = None
        self._hurried = False
        self._status_shown = ""
        self._last_wall = datetime.now(UTC)
        self._last_monotonic = service.clock.monotonic()

    # -- running ---------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until stopped; return the exit code. Must be called on the main thread."""
        service = self._service
        faulthandler.enable()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        hook, threading.excepthook = threading.excepthook, self._thread_ended
        try:
            address = service.start_http()
            # a person at a terminal would lose what stood there before, and has the file at hand
            person = service.config.log.format == "console" and not service.warnings
            service.log.emit(
                Event.CONFIG_LOADED,
                level="debug" if person else "info",
                config=service.config.public(),
                warnings=service.warnings,
            )
            service.log.emit(
                Event.DAEMON_STARTED,
                version=service.state.current.version,
                pid=os.getpid(),
                http=address,
                interval_seconds=service.config.interval_seconds,
            )
            service.systemd.ready(self._status_line())
            service.telemetry.start()
            self._timetable.start()
            service.election.start()
            return self._stop(self._loop())
        finally:
            threading.excepthook = hook
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _thread_ended(self, given: threading.ExceptHookArgs) -> None:
        """Log the exception that ended a thread; Python would print it as it is, secrets included."""
        name = given.thread.name if given.thread else "unknown"
        self._service.log.emit(
            Event.LIBRARY_MESSAGE,
            level="error",
            library="threading",
            message=f"the thread {name} ended",
            exception=given.exc_value,
        )

    def _loop(self) -> signal.Signals | str:
        """Wait for a signal and check the process every second; return the signal or failure that ends it."""
        while True:
            number = _signal_within(_SIGNALS, _TICK_SECONDS)
            if number is not None and (number != signal.SIGHUP or self._reload is None):
                return signal.Signals(number)
            if number is not None:
                self._reload_config()
            wrong_schema = self._service.database.wrong_schema
            failure = wrong_schema or self._tick()
            if failure is not None:
                self._exit = EXIT_CONFIG if wrong_schema else EXIT_INTERNAL
                return failure

    def _tick(self) -> str | None:
        """Check clocks and scheduler, and feed the watchdog where all is well. Returns why to give up."""
        service = self._service
        monotonic = service.clock.monotonic()
        lost = service.log.lost
        service.state.change(
            lambda state: replace(state.alive(monotonic, gap_seconds=_GAP_SECONDS), log_lines_lost=lost)
        )
        self._look_at_clock(monotonic)
        service.evaluation_watch.look()
        live, why = service.health.live()
        if not service.election.is_alive():
            return "the election's thread has ended"
        if live:
            service.systemd.watchdog()
            self._show_status()
            return None
        seen = service.state.current.scheduler_seen_monotonic
        silent = seen is not None and monotonic - seen > 2 * _DEAD_AFTER_SECONDS
        return why if silent else None

    def _look_at_clock(self, monotonic: float) -> None:
        wall = self._service.clock.now()
        step = clock_step(wall - self._last_wall, timedelta(seconds=monotonic - self._last_monotonic))
        suspended = monotonic - self._last_monotonic > _STEP_SECONDS
        self._last_wall, self._last_monotonic = wall, monotonic
        if abs(step.total_seconds()) <= _STEP_SECONDS and not suspended:
            return
        self._service.metrics.count(CLOCK_STEPS)
        self._service.log.emit(
            Event.CLOCK_STEP, level="warning", step_seconds=round(step.total_seconds(), 3), suspended=suspended
        )
        self._timetable.clock_stepped(wall)

    def _count_cycle(self) -> None:
        """End the process after as many cycles as were asked for."""
        if self._cycles_left is not None:
            self._cycles_left -= 1
            if self._cycles_left <= 0 and self._main is not None:
                signal.pthread_kill(self._main, signal.SIGTERM)

    def _show_status(self) -> None:
        line = self._status_line()
        if line != self._status_shown:
            self._status_shown = line
            self._service.systemd.status(line)

    def _status_line(self) -> str:
        snapshot = self._service.state.snapshot()
        next_run_at = snapshot.state.next_run_at
        upcoming = f"next refresh {next_run_at:%H:%M:%S} UTC" if next_run_at else "no refresh planned"
        database = "database up" if snapshot.state.database_up else "database unavailable"
        return f"{snapshot.role}, {database}, {upcoming}"

    # -- reloading -------------------------------------------------------------------------------------------

    def _reload_config(self) -> None:
        service = self._service
        if self._reload is None:
            return
        service.systemd.reloading()
        try:
            config = self._reload()
        except ConfigError as error:
            service.metrics.config_reloaded(False)
            now = service.clock.now()
            service.state.change(lambda state: replace(state, config_refused_at=now))
            service.log.emit(Event.CONFIG_RELOAD_FAILED, level="error", problems=list(error.problems))
        else:
            needs_restart = service.apply(config)
            self._timetable.reconfigured()
            service.metrics.config_reloaded(True)
            service.state.change(lambda state: replace(state, config_refused_at=None))
            service.log.emit(Event.CONFIG_RELOADED, config=config.public(), needs_restart=needs_restart)
        service.systemd.ready(self._status_line())

    # -- stopping --------------------------------------------------------------------------------------------

    def _stop(self, cause: signal.Signals | str) -> int:
        """Cancel, record, release, deliver, close; within the deadline, whatever hangs."""
        service = self._service
        began = service.clock.monotonic()
        service.systemd.stopping("cancelling what runs")
        service.state.change(lambda state: replace(state, draining=True))
        if self._cycles_left is not None and self._cycles_left <= 0:
            cause = "the cycles asked for are done"
        service.log.emit(
            Event.DAEMON_STOPPING,
            level="info" if self._exit is None else "error",
            signal=cause.name if isinstance(cause, signal.Signals) else None,
            reason=None if isinstance(cause, signal.Signals) else cause,
            running=not self._timetable.idle.is_set(),
        )
        canceller = threading.Thread(target=self._cancel, name="cancel", daemon=True)
        canceller.start()
        self._timetable.pause()
        ended = self._wait(self._timetable.idle, began + SHUTDOWN_SECONDS * 0.6)
        forced = [] if ended else ["refresh"]
        canceller.join(0.5 if ended else 0.0)
        if canceller.is_alive():
            forced.append("cancel.timeout")
        self._timetable.shutdown()
        if self._hurried:
            start, whole = service.clock.monotonic(), _HURRY_SECONDS
        else:
            start, whole = began, SHUTDOWN_SECONDS

        def until(share: float) -> float:
            return max(0.1, start + whole * share - service.clock.monotonic())

        if not service.election.resign(until(0.75)):
            forced.append("leader session")
        service.close(until(0.9))
        forced.extend(name for name in self._timetable.hanging(until(0.95)) if name not in forced)
        if forced:
            service.log.emit(Event.SHUTDOWN_FORCED, level="warning", still_running=forced)
        code = self._exit if self._exit is not None else EXIT_STOPPED
        service.log.emit(Event.DAEMON_STOPPED, exit_code=code, seconds=round(service.clock.monotonic() - began, 3))
        if forced or code:
            # a thread that hangs would keep the interpreter from ending
            self._before_exit()
            os._exit(code)
        return code

    def _cancel(self) -> None:
        """Cancel until the run has ended: a statement that was only about to start escapes the first attempt."""
        self._service.cycle.stop()
        while not self._timetable.idle.wait(0.5):
            self._service.cycle.stop()

    def _wait(self, event: threading.Event, until_monotonic: float) -> bool:
        """Wait for `event`, until a time or a second stop signal."""
        while not event.is_set():
            left = until_monotonic - self._service.clock.monotonic()
            if left <= 0:
                return False
            if _signal_within(_SIGNALS - {signal.SIGHUP}, min(0.02, left)) is not None:
                self._hurried = True
                return event.wait(0.2)
        return True


def _signal_within(wanted: frozenset[signal.Signals], seconds: float) -> int | None:
    """Take one of `wanted` that comes within `seconds`, else None.

    After SIGCONT, where the time ran out in suspension, CPython returns a siginfo that nobody has filled in.
    """
    taken = signal.sigtimedwait(wanted, seconds)
    return taken.si_signo if taken is not None and taken.si_signo in wanted else None


def serve(
    config: Config,
    *,
    reload: Callable[[], Config] | None = None,
    warnings: list[str] | None = None,
    cycles: int | None = None,
    before_exit: Callable[[], None] = lambda: None,
) -> int:
    """Build the service for `config` and run it on the main thread. Returns the process's exit code.

    `cycles` ends it after that many refreshes. `before_exit` is called where the process has to be ended from here,
    because something hangs. Without `reload` a SIGHUP ends it too: nobody is at the terminal any more. Raises
    RefreshdError where the HTTP port cannot be bound.
    """
    # before building the service, so that a SIGTERM during start-up is a clean stop
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED}
    try:
        service = Service(config, warnings=warnings or [])
        try:
            return Daemon(service, reload=reload, cycles=cycles, before_exit=before_exit).run()
        except RefreshdError:
            service.close(1.0)
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
