"""Sends to the warehouse after each run, on its own thread.

No refresh waits for it, and none fails by it.
"""

from collections.abc import Callable

from analytics_refreshd.app.parts import Parts
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.warehouse import Sent


class WarehouseForwarder:
    """Lets the leader send what waits. `send` raises WarehouseFault and DatabaseFault; `stop` gives it up."""

    def __init__(self, runtime: Runtime, send: Callable[[], Sent | None], stop: Callable[[], None]) -> None:
        self._state = runtime.state
        self._clock = runtime.clock
        self._log = runtime.log
        self._parts = Parts(runtime)
        self._send = send
        self._stop = stop

    def run(self) -> None:
        """Send what waits, where this replica leads. What fails is logged once, and tried again after the next run."""
        if self._state.leads():
            self._parts.run(Part.WAREHOUSE, self._send_and_tell)

    def stop(self) -> None:
        """Give up what is under way; from any thread."""
        self._stop()

    def _send_and_tell(self) -> None:
        began = self._clock.monotonic()
        sent = self._send()
        seconds = self._clock.monotonic() - began
        if sent is None:
            return
        if sent.restarted is not None:
            self._log.emit(Event.WAREHOUSE_RESTARTED, level="warning", reason_text=sent.restarted)
        if sent.exported_epoch is not None:
            self._log.emit(Event.WAREHOUSE_EXPORTED, epoch=sent.exported_epoch, seconds=seconds)
        if sent.batches:
            self._log.emit(Event.WAREHOUSE_SENT, level="debug", batches=sent.batches, rows=sent.rows, seconds=seconds)
