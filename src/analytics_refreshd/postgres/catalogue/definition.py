"""Defines catalogue queries, and checks and binds the values given to them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.postgres.catalogue.endpoint import Endpoint
from analytics_refreshd.postgres.catalogue.parameters import (
    COLUMN_UNITS,
    PARAMETER_TYPES,
    TEXT_LIMIT,
    Column,
    Parameter,
    shown,
)
from analytics_refreshd.postgres.catalogue.spans import MONTH, NAMES, ParameterError, Window, asked_span, zone_of
from analytics_refreshd.postgres.catalogue.zones import MONTHS, UNITS, odd_offset

__all__ = [
    "COLUMN_UNITS",
    "PARAMETER_TYPES",
    "Column",
    "Parameter",
    "ParameterError",
    "Query",
    "QueryFileError",
    "Window",
]

VIEWS_BY_RELATION = {
    "hourly": "action_metrics_hourly",
    "trigger_summary": "trigger_performance_summary",
    "failures": "recent_failures",
    "distribution": "action_type_distribution",
}
WINDOWED = frozenset({"actions", "hourly", "usage", "monthly", "failures"})
"""The relations that hold the rows of a window only."""
OF_ROWS = frozenset({"actions", "usage", "monthly"})
"""The relations that are read from action_results, so that their cost grows with the window."""
PRICES, THRESHOLDS = "prices", "thresholds"
"""The relations that hold what is configured, and no tenant's rows."""
FILTERS = ("action_type", "trigger_id")


class QueryFileError(RefreshdError):
    """A query file cannot be used; the text names file and line."""


# without slots, so that what follows from the file is worked out once, not for each question
@dataclass(frozen=True)
class Query:
    """One catalogue query; `body` is SQL with `{relations}` and `%(placeholders)s`.

    `days` tells that it adds up whole days, so that frozen ones can stand in for older rows; of those the columns
    `after_horizon` say nothing. `own` says that it comes from a file of the user's. `note` is for the reader of any
    answer. Parameters that are `configured` and not given are NULL in SQL: the thresholds count.
    """

    name: str
    section: str
    endpoint: str
    purpose: str
    parameters: tuple[Parameter, ...]
    window: Window | None
    columns: tuple[Column, ...]
    organizations: bool
    body: str
    file: str
    api: Endpoint
    own: bool = False
    days: bool = False
    after_horizon: tuple[str, ...] = ()
    note: str = ""
    configured: tuple[str, ...] = ()

    @cached_property
    def relations(self) -> frozenset[str]:
        """Return the names in braces of the body, without `app`, the schema."""
        return frozenset(re.findall(r"\{(\w+)\}", self.body)) - {"app"}

    @property
    def views(self) -> tuple[str, ...]:
        """Return the materialized views read without a limit to organizations."""
        return tuple(view for relation, view in VIEWS_BY_RELATION.items() if relation in self.relations)

    @property
    def reads_rows(self) -> bool:
        """Whether it reads action_results, so that its cost grows with the window."""
        return bool(OF_ROWS & self.relations) or "{app}.action_results" in self.body

    @cached_property
    def calls_functions(self) -> bool:
        """Whether it calls functions of the application's schema."""
        return re.search(r"\{app\}\.\w+\s*\(", self.body) is not None

    @cached_property
    def span_names(self) -> tuple[str, ...]:
        """Return which of since, until and month it takes."""
        if self.window is None:
            return ()
        if self.window.step == MONTHS:
            return (*NAMES, MONTH)
        ends = WINDOWED | {"distribution"}
        return NAMES if self.relations & ends or "%(until)s" in self.body else NAMES[:1]

    @cached_property
    def filters(self) -> tuple[str, ...]:
        """Return by what its relations can be limited: type and trigger, where they hold a window's actions."""
        holds = self.window is not None and self.relations & (WINDOWED | {"distribution"})
        return FILTERS if holds else ()

    def bind(
        self, given: Mapping[str, object], organizations: Sequence[str] | None, now: datetime
    ) -> dict[str, object]:
        """Return the value of each placeholder of the SQL text.

        These are the parameters, `since`, `until`, `timezone`, `now` and `organizations`. `given` may hold a span
        instead of the window's parameter, as `asked_span` takes it, and a `timezone`. With `organizations` None there
        is no limit; with an empty sequence no row is visible. Raises ParameterError.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        span = [name for name in dict.fromkeys((*NAMES, *self.span_names)) if name in given]
        if "timezone" in given and self.window is None:
            raise ParameterError(f"{self.name} covers no span of time: it takes no --timezone")
        for name in given:
            if name not in known and name not in (*span, "timezone"):
                choice = ", ".join([*known, *self.span_names, *(["timezone"] if self.window else [])]) or "none"
                raise ParameterError(f"{self.name} has no parameter {shown(name)}; it has: {choice}")
        values: dict[str, object] = {
            parameter.placeholder: parameter.check(given.get(name, parameter.default))
            if name in given or name not in self.configured
            else None
            for name, parameter in known.items()
        }
        values["now"] = now.astimezone(UTC)
        if span:
            values |= self._span(given, now)
        elif self.window is not None:
            amount = values[self.window.parameter]
            assert isinstance(amount, int)  # noqa: S101 - the parser admits integer windows only
            values["since"], values["until"] = self.window.bounds(amount, now, zone_of(given))
        if self.window is not None:
            values["timezone"] = self._timezone(given, values["since"], values["until"])
        if organizations is not None:
            values["organizations"] = self._checked_organizations(organizations)
        return values

    def _timezone(self, given: Mapping[str, object], since: object, until: object) -> str:
        zone = zone_of(given)
        adds_hours = "hourly" in self.relations and "%(timezone)s" in self.body
        if adds_hours and isinstance(since, datetime) and isinstance(until, datetime):
            odd = odd_offset(since, until, zone)
            if odd is not None:
                off = odd / UNITS["hours"]
                raise ParameterError(f"{self.name} adds up whole hours of UTC, from which {zone.key} is {off:g} off")
        return zone.key

    def _span(self, given: Mapping[str, object], now: datetime) -> dict[str, object]:
        parameter = next((item for item in self.parameters if self.window and item.name == self.window.parameter), None)
        since, until, amount = asked_span(
            self.name,
            self.window,
            given,
            now,
            most=parameter.maximum if parameter is not None and parameter.maximum is not None else 0,
            ends="until" in self.span_names,
        )
        own = {parameter.placeholder: amount} if parameter is not None else {}
        return own | {"since": since, "until": until}

    def _checked_organizations(self, organizations: Sequence[str]) -> list[str]:
        if not self.organizations:
            raise ParameterError(f"{self.name} cannot be limited to organizations")
        if isinstance(organizations, str):
            raise ParameterError("organizations must be a list of ids")
        for identity in organizations:
            if not identity or "\x00" in identity or len(identity) > TEXT_LIMIT:
                raise ParameterError(f"{shown(identity)} is no organization id")
        return list(organizations)
