"""Sends what the warehouse lacks: an export of the rollups where an epoch begins, then batch after batch."""

from collections.abc import Callable
from dataclasses import replace

from analytics_refreshd.core.warehouse import (
    SNAPSHOTS,
    Batch,
    Doing,
    Outbox,
    OutboxState,
    Sent,
    Step,
    Warehouse,
    WarehouseFault,
    next_step,
)
from analytics_refreshd.core.warehouse_rows import RowLoader
from analytics_refreshd.warehouse.exporting import Export, body

Progress = Callable[[int, int], None]


class Sender:
    """Brings the warehouse up to the outbox, one step at a time.

    Every step can be done twice: the warehouse counts a token once. `stopping` is asked between steps.
    """

    def __init__(
        self,
        outbox: Outbox,
        warehouse: Warehouse,
        stopping: Callable[[], bool] = lambda: False,
        progress: Progress = lambda done, of: None,
        rows: RowLoader | None = None,
    ) -> None:
        self._outbox = outbox
        self._warehouse = warehouse
        self._stopping = stopping
        self._progress = progress
        self._rows = rows
        self._snapshots_at: tuple[int, int] | None = None

    def send(self) -> Sent | None:
        """Send all that waits; return what that was. None where no outbox is installed.

        Nothing is sent while another sender does: the tables that are exchanged as a whole have one place to wait in.
        Raises DatabaseFault and WarehouseFault. What was sent before stays sent.
        """
        sent, claimed = Sent(), False
        while not self._stopping():
            outbox = self._outbox.state()
            if outbox is None:
                return None
            claimed = claimed or self._outbox.claim()
            if not claimed:
                break
            step = next_step(outbox, self._warehouse.position())
            if step.doing is Doing.SEND and step.batch is None:
                self._send_snapshots(outbox)
                # a part at a time: batches that come meanwhile are sent first
                loaded = self._rows.step(outbox) if self._rows is not None else None
                if loaded is not None and loaded.month is not None:
                    if loaded.month in sent.months:
                        # it moved meanwhile, or is forgotten there: the next run goes on
                        break
                    sent = replace(sent, months=(*sent.months, loaded.month))
                if loaded is None or not loaded.more:
                    break
                continue
            if step.doing is Doing.EXPORT and not outbox.recording and not self._outbox.start():
                break
            sent = self._take(step, outbox, sent)
        return sent

    def _take(self, step: Step, outbox: OutboxState, sent: Sent) -> Sent:
        if step.doing is Doing.RESTART:
            return self._restart(step.reason, step.above, sent)
        if step.doing is Doing.EXPORT:
            if not outbox.recording:
                return sent  # begun just now: what it is to hold is read again
            if sent.exported_epoch == outbox.epoch:
                raise WarehouseFault("the warehouse took an export and does not have it: look at [warehouse] url")
            if outbox.ranges_left < outbox.ranges and not self._warehouse.has_cells(outbox.epoch):
                return self._restart("the warehouse lost what was exported", outbox.epoch, sent)
            ranges, completed = self._export(outbox)
            epoch = outbox.epoch if completed else sent.exported_epoch
            return replace(sent, ranges=sent.ranges + ranges, exported_epoch=epoch)
        batch = step.batch or outbox.waiting[0]
        lost = self._send(batch, outbox.epoch)
        if lost is not None:
            return self._restart(lost, outbox.epoch, sent)
        return replace(sent, batches=sent.batches + 1, rows=sent.rows + batch.rows)

    def _restart(self, reason: str, above: int, sent: Sent) -> Sent:
        if sent.restarted is not None:
            # one epoch a call: what answers wrongly each time would make this one go on for ever
            raise WarehouseFault(
                f"a new epoch was begun, and there is a reason for another one: {reason}; let no other database have"
                " this [service] name in the warehouse"
            )
        self._outbox.restart(reason, above)
        return replace(sent, restarted=reason)

    def _send(self, batch: Batch, epoch: int) -> str | None:
        """Send a batch and note it. Returns why not all of it is there after that, None where it is."""
        with body() as rows:
            self._outbox.rows(batch, epoch, rows)
            if not rows.tell():
                # a fold that gave the outbox up meanwhile took the batch away too
                found = self._outbox.state()
                return "the outbox lost rows of a batch" if found is not None and batch in found.waiting else None
            self._warehouse.land(epoch, batch, rows)
        if self._warehouse.rows_of(epoch, batch) != batch.rows:
            return "the warehouse has a part of a batch"
        self._outbox.acknowledge(epoch, batch.batch)
        return None

    def _export(self, outbox: OutboxState) -> tuple[int, bool]:
        """Send the parts of the export that are left; return how many, and whether it is complete."""
        ranges = self._outbox.ranges(outbox.epoch)

        def begin(number: int) -> bool:
            self._progress(outbox.ranges - len(ranges) + number, outbox.ranges)
            return not self._stopping()

        done = Export(self._outbox, self._warehouse, outbox).send(ranges, begin)
        if done < len(ranges):
            return done, False
        self._warehouse.complete(outbox)
        self._progress(outbox.ranges, outbox.ranges)
        return done, True

    def _send_snapshots(self, outbox: OutboxState) -> None:
        """Send the small tables, once for each batch up to which the warehouse is."""
        at = (outbox.epoch, outbox.acknowledged_batch)
        if at == self._snapshots_at:
            return
        for table in SNAPSHOTS:
            with body() as rows:
                self._outbox.snapshot(table, outbox.acknowledged_batch, rows)
                self._warehouse.replace(table, rows)
        self._snapshots_at = at
