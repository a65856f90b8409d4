"""The endpoints of the catalogue: what each one takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from analytics_refreshd.core.names import TENANT_SCHEMA
from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.endpoint import Argument, Endpoint
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.parameters import Column, Parameter

BASE = "/api/v1/analytics"
STREAM_PATHS = (f"{BASE}/stream", "/api/v1/stream")
SCHEMA = TENANT_SCHEMA
MOST_OFFSET = 10_000
OFFSET = Parameter("offset", "integer", 0, 0, MOST_OFFSET, "Rows before the page")
ORGANIZATION = "organization_id"
FLEET = Parameter("fleet", "boolean", False, None, None, "Of all databases of the warehouse together")
DATABASE = Column("database", "text", "The database that the row is of, by the name of its daemon")
FRESHNESS = "refresh-status"
"""The query whose answer differs for tenants."""
SUMMARY = "summary"
"""The query whose figures the stream has."""


# without slots, so that what follows from the query is worked out once, not for each request
@dataclass(frozen=True, eq=False)
class Route:
    """One endpoint: its query with the API's bounds and defaults, and its paths with the base.

    `fleet` says that it can be asked of all databases of a warehouse, and `by_database` that each row is of one then.
    """

    query: Query
    paths: tuple[str, ...]
    summary: Query | None
    fleet: bool = False
    by_database: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """Return what the query's header says of the endpoint."""
        return self.query.api

    @cached_property
    def name(self) -> str:
        """Return the path below the base, for metrics and log."""
        return self.paths[0].removeprefix(f"{BASE}/")

    @cached_property
    def field_names(self) -> tuple[str, ...]:
        """Return the names of the answer's fields."""
        return tuple(field.name for field in self.endpoint.fields)

    @cached_property
    def arguments(self) -> Mapping[str, Argument]:
        """Return the endpoint's own parameters by name."""
        return {argument.parameter.name: argument for argument in self.endpoint.arguments}

    @cached_property
    def filters(self) -> tuple[str, ...]:
        """Return the filters offered: those that are no parameter of the endpoint's own."""
        return tuple(name for name in self.query.filters if name not in self.arguments)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Return the names that a request's query string may have."""
        own = tuple(name for name in self.arguments if name not in self.endpoint.places)
        window = (*self.query.span_names, "timezone") if self.query.window is not None else ()
        pages = ("limit", "offset", "sort") if self.endpoint.shape == "list" else ()
        fleet = (FLEET.name,) if self.fleet else ()
        return (*own, *window, *self.filters, *pages, *fleet, "format", ORGANIZATION)

    def names(self, *, fleet: bool) -> tuple[str, ...]:
        """Return the names of a row's fields."""
        return (DATABASE.name, *self.field_names) if fleet and self.by_database else self.field_names


def routes_of(catalogue: Catalogue, fleets: Mapping[str, bool] = MappingProxyType({})) -> tuple[Route, ...]:
    """Return an endpoint for each query, the built-in ones first.

    `fleets` has those that all databases of a warehouse can be asked, and whether their rows are of one database each.
    """
    return tuple(sorted(_routes(catalogue, fleets), key=lambda route: route.query.own))


def _routes(catalogue: Catalogue, fleets: Mapping[str, bool]) -> Iterator[Route]:
    for query in catalogue:
        below = "custom/" if query.own else ""
        paths = tuple(f"{BASE}/{below}{path}" for path in query.api.paths)
        summary = catalogue.queries[query.api.summary] if query.api.summary else None
        by_database = fleets.get(query.name, False)
        # one row of one trigger is of one database
        asks_fleet = not query.own and query.name in fleets and not (query.api.shape == "object" and by_database)
        yield Route(_bounded(query), paths, summary, asks_fleet, asks_fleet and by_database)


def _bounded(query: Query) -> Query:
    """Return the query with the bounds and defaults of the endpoint, also for spans of time."""
    own = {argument.of: argument.parameter for argument in query.api.arguments}
    parameters = tuple(
        replace(item, default=own[item.name].default, minimum=own[item.name].minimum, maximum=own[item.name].maximum)
        if item.name in own
        else item
        for item in query.parameters
    )
    return replace(query, parameters=parameters)
