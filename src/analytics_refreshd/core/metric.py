"""What an entry of the catalogue of metrics says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric family; every series also carries `database`.

    `read_at` says what gives the value: an event as it happens, or the state at the scrape. `known` holds each closed
    list of label values. The values of `view`, `endpoint` and `receiver` are the configured names. `buckets` are
    seconds.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    read_at: Literal["event", "scrape"] = "event"
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
