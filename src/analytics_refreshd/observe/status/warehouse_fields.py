"""The fields of the status document about a warehouse."""

from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.warehouse import OutboxState
from analytics_refreshd.observe.status.field import COUNT, FLAG, SECONDS, TEXT, Field

Waiting = tuple[OutboxState, float]


def waiting(snapshot: Snapshot) -> Waiting | None:
    """Return what waits for the warehouse, and for how long."""
    outbox = snapshot.state.warehouse
    return None if outbox is None else (outbox, outbox.lag_seconds(snapshot.server_now))


WAREHOUSE_FIELDS: tuple[Field[Waiting], ...] = (
    Field("epoch", COUNT, "the number of the export that batches follow", lambda found: found[0].epoch),
    Field("epoch_reason", TEXT, "why it began", lambda found: found[0].epoch_reason),
    Field("exporting", FLAG, "whether the export is due or under way", lambda found: found[0].exporting),
    Field("acknowledged_batch", COUNT, "the last batch that it has", lambda found: found[0].acknowledged_batch),
    Field("batches", COUNT, "batches that wait", lambda found: len(found[0].waiting)),
    Field("rows", COUNT, "their rows", lambda found: found[0].rows),
    Field("lag_seconds", SECONDS, "how long the oldest of them has waited", lambda found: found[1]),
)
