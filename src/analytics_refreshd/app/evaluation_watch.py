"""Tells of an evaluation that does not end: every other alert is evaluated by it, and silent with it."""

import threading
from dataclasses import replace

from analytics_refreshd.app.alert_log import log_change
from analytics_refreshd.app.parts import Parts
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.alerts.inhibition import with_inhibited
from analytics_refreshd.core.alerts.lifecycle import AlertState, step
from analytics_refreshd.core.alerts.rules import evaluation_stuck
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.ports import AlertStore, Notifier

_AGAIN_SECONDS = 30.0


class EvaluationWatch:
    """Raises AnalyticsEvaluationStuck from outside the evaluation.

    The next evaluation that ends resolves it.
    """

    def __init__(self, runtime: Runtime, *, store: AlertStore, notifier: Notifier) -> None:
        self._store = store
        self._notifier = notifier
        self._state = runtime.state
        self._log = runtime.log
        self._clock = runtime.clock
        self._parts = Parts(runtime)
        self._teller: threading.Thread | None = None
        self._again_monotonic = 0.0

    def look(self) -> threading.Thread | None:
        """Look once; never waits. Delivery may hang as the evaluation does, so it has a thread of its own.

        While the evaluation stays stuck all alerts are handed over again every half minute: an Alertmanager would
        expire them. Returns the thread that tells, None where there is nothing to tell.
        """
        monotonic = self._clock.monotonic()
        snapshot = self._state.snapshot()
        busy = self._teller is not None and self._teller.is_alive()
        if snapshot.state.draining or busy or monotonic < self._again_monotonic:
            return None
        if not evaluation_stuck(snapshot).holds:
            return None
        self._again_monotonic = monotonic + _AGAIN_SECONDS
        self._teller = threading.Thread(target=self._parts.run, args=(Part.ALERTS, self._tell), daemon=True)
        self._teller.start()
        return self._teller

    def _tell(self) -> None:
        snapshot = self._state.snapshot()
        condition = evaluation_stuck(snapshot)
        key = (condition.alert, condition.view)
        taken = step(snapshot.state.alerts.get(key), condition, snapshot.server_now)
        record = taken.record
        if record is None:
            return
        after = self._state.change(lambda state: replace(state, alerts={**state.alerts, key: record})).alerts
        if taken.became is AlertState.FIRING:
            log_change(self._log, record)
        if not (snapshot.leads or (snapshot.state.database_down and snapshot.state.owns_missed_slots)):
            return
        told, inhibited = with_inhibited([each for each in after.values() if each.state is not AlertState.PENDING], [])
        self._parts.run(Part.DELIVERY, lambda: self._notifier.alerts(told, inhibited=inhibited))
        if taken.became is AlertState.FIRING:
            # a restart would know nothing of it, and never resolve it where it was told
            self._parts.run(Part.ALERT_STORE, lambda: self._store.save([record], []))
