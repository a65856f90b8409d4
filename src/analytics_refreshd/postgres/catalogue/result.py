"""What a query's rows come back as."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from analytics_refreshd.postgres.catalogue.definition import Column, Query

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A query's rows, in the order of `columns`.

    Numbers are int, float or Decimal; times are aware datetimes. `parameters` holds every bound value, `since` and
    `until` included where the query has a window. `complete` is False where a limit left rows out. `frozen_until` and
    `notes` are those of the BoundQuery. `engine` answered; the warehouse did with what was folded until `as_of`.
    """

    query: Query
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    parameters: Mapping[str, object]
    complete: bool = True
    frozen_until: datetime | None = None
    notes: tuple[str, ...] = ()
    engine: str = "postgres"
    as_of: datetime | None = None
