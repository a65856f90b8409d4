"""The fields of the log events about a warehouse."""

from collections.abc import Mapping

from analytics_refreshd.core.events import Event
from analytics_refreshd.observe.log.field import Field

_SECONDS = Field("seconds", "number", "how long that took")
WAREHOUSE_FIELDS: Mapping[Event, tuple[Field, ...]] = {
    Event.WAREHOUSE_EXPORTED: (Field("epoch", "count", "the number of the epoch"), _SECONDS),
    Event.WAREHOUSE_LOADED: (Field("months", "text", "the months, as 2026-03"), _SECONDS),
    Event.WAREHOUSE_RESTARTED: (Field("reason_text", "text", "how they have parted"),),
    Event.WAREHOUSE_SENT: (
        Field("batches", "count", "how many batches"),
        Field("rows", "count", "how many rows they have"),
        _SECONDS,
    ),
}
