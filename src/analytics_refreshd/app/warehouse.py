"""Sends to the warehouse after each run, on its own thread.

No refresh waits for it, and none fails by it.
"""

from collections.abc import Callable
from dataclasses import replace

from analytics_refreshd.app.parts import Parts
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.warehouse import OutboxState, Sent, WarehouseFault


class WarehouseForwarder:
    """Lets the leader send what waits, and every replica see what does.

    `send` raises WarehouseFault and DatabaseFault, `state` DatabaseFault; `stop` gives up what is under way.
    """

    def __init__(
        self,
        runtime: Runtime,
        send: Callable[[], Sent | None],
        stop: Callable[[], None],
        state: Callable[[], OutboxState | None],
    ) -> None:
        self._state = runtime.state
        self._clock = runtime.clock
        self._log = runtime.log
        self._parts = Parts(runtime)
        self._send = send
        self._stop = stop
        self._outbox = state

    def run(self) -> None:
        """Send what waits, where this replica leads. What fails is logged once, and tried again after the next run."""
        if self._state.leads():
            self._parts.run(Part.WAREHOUSE, self._send_and_tell)

    def read(self) -> None:
        """Read what waits, for metrics, alerts and status. Raises DatabaseFault."""
        # what was known must not stand for now where it cannot be read
        self._state.change(lambda state: replace(state, warehouse=None))
        found = self._outbox()
        self._state.change(lambda state: replace(state, warehouse=found))

    def stop(self) -> None:
        """Give up what is under way; from any thread."""
        self._stop()

    def _send_and_tell(self) -> None:
        began = self._clock.monotonic()
        sent = self._send()
        seconds = self._clock.monotonic() - began
        if sent is None:
            raise WarehouseFault("no outbox is installed: run analytics-refreshd migrate --warehouse")
        if sent.restarted is not None:
            self._log.emit(Event.WAREHOUSE_RESTARTED, level="warning", reason_text=sent.restarted)
        if sent.exported_epoch is not None:
            self._log.emit(Event.WAREHOUSE_EXPORTED, epoch=sent.exported_epoch, seconds=seconds)
        if sent.months:
            months = ", ".join(f"{month // 100}-{month % 100:02}" for month in sent.months)
            self._log.emit(Event.WAREHOUSE_LOADED, months=months, seconds=seconds)
        if sent.batches:
            self._log.emit(Event.WAREHOUSE_SENT, level="debug", batches=sent.batches, rows=sent.rows, seconds=seconds)
