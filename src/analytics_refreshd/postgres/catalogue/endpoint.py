"""How a query is an endpoint of the API: its path, parameters, fields and shape."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from analytics_refreshd.postgres.catalogue.parameters import Column, Parameter

DEFAULT_LIMIT = 20
MOST_LIMIT = 100
PAGE_LIMIT = Parameter("limit", "integer", DEFAULT_LIMIT, 1, MOST_LIMIT, "Rows of a page")
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of the endpoint, with its own name and bounds.

    `of` is the query's parameter.
    """

    of: str
    parameter: Parameter


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the answer, with its own name."""

    name: str
    column: Column

    @property
    def sortable(self) -> bool:
        """Whether rows can be put in its order."""
        return self.column.unit not in ("message", "json", "list")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the API makes of a query.

    `paths` are below the base, the first is the usual one. `summary` names the query whose row stands beside the rows.
    `limit` are the rows of a page. `order` is a field's name, after a minus sign for descending; empty for the query's
    own order. `cost` is what an answer counts for in the limits.
    """

    paths: tuple[str, ...]
    shape: Literal["list", "object"]
    arguments: tuple[Argument, ...]
    fields: tuple[Field, ...]
    limit: Parameter = PAGE_LIMIT
    summary: str = ""
    order: str = ""
    cost: int = 1

    @property
    def places(self) -> tuple[str, ...]:
        """Return the names of the parameters that stand in the path."""
        return tuple(_PLACE.findall(self.paths[0]))

    @property
    def sorts(self) -> tuple[str, ...]:
        """Return the fields by which rows can be sorted."""
        return tuple(field.name for field in self.fields if field.sortable)


def every_parameter(parameters: Sequence[Parameter]) -> tuple[Argument, ...]:
    """Offer all parameters but `limit`, which is the page's."""
    return tuple(
        Argument(item.name, replace(item, name=item.placeholder)) for item in parameters if item.name != PAGE_LIMIT.name
    )
