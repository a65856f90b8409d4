"""Defines catalogue queries, and checks and binds the values given to them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.postgres.catalogue.spans import NAMES, ParameterError, Window, asked_span, zone_of
from analytics_refreshd.postgres.catalogue.zones import UNITS, odd_offset

__all__ = ["Column", "Parameter", "ParameterError", "Query", "QueryFileError", "Window"]

COLUMN_UNITS = (
    "text",
    "message",
    "json",
    "count",
    "number",
    "percent",
    "ms",
    "seconds",
    "days",
    "bytes",
    "timestamp",
    "boolean",
)
"""`message` and `json` come out redacted; `ms`, `seconds`, `days` and `bytes` are shown in human units."""

PARAMETER_TYPES = ("integer", "number", "boolean", "text")
VIEWS_BY_RELATION = {
    "hourly": "action_metrics_hourly",
    "trigger_summary": "trigger_performance_summary",
    "failures": "recent_failures",
    "distribution": "action_type_distribution",
}
WINDOWED = frozenset({"actions", "hourly", "usage", "failures"})
"""The relations that hold the rows of a window only."""
_TEXT_LIMIT = 1000


class QueryFileError(RefreshdError):
    """A query file cannot be used; the text names file and line."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value the user may give; integer and number have inclusive bounds."""

    name: str
    type: str
    default: int | float | bool | str
    minimum: float | None
    maximum: float | None
    meaning: str

    @property
    def placeholder(self) -> str:
        """Return its name in the SQL text."""
        return self.name.replace("-", "_")

    @property
    def in_words(self) -> str:
        """Return `10 (1 to 1000)`, or the default alone without bounds."""
        default = str(self.default).lower() if self.type == "boolean" else str(self.default)
        if self.minimum is None or self.maximum is None:
            return default
        return f"{default} ({self.minimum:.15g} to {self.maximum:.15g})"

    def check(self, given: object) -> int | float | bool | str:
        """Convert what a user typed or an API passed. Raises ParameterError."""
        value = self._convert(given)
        if self.minimum is not None and isinstance(value, int | float) and value < self.minimum:
            raise ParameterError(f"{self.name} must be at least {_plain(self.minimum)}, not {_shown(given)}")
        if self.maximum is not None and isinstance(value, int | float) and value > self.maximum:
            raise ParameterError(f"{self.name} must be at most {_plain(self.maximum)}, not {_shown(given)}")
        return value

    def _convert(self, given: object) -> int | float | bool | str:
        text = given if isinstance(given, str) else None
        if self.type == "boolean":
            if isinstance(given, bool):
                return given
            if text is not None and text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise ParameterError(f"{self.name} must be true or false, not {_shown(given)}")
        if self.type == "text":
            if text is None or "\x00" in text or len(text) > _TEXT_LIMIT:
                raise ParameterError(f"{self.name} must be text of at most {_TEXT_LIMIT} characters, without NUL")
            return text
        if isinstance(given, int) and not isinstance(given, bool):
            return given
        if self.type == "integer":
            if text is not None and re.fullmatch(r"[+-]?[0-9]{1,18}", text):
                return int(text)
            raise ParameterError(f"{self.name} must be a whole number, not {_shown(given)}")
        if isinstance(given, float) and math.isfinite(given):
            return given
        if text is not None and re.fullmatch(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,9})?", text):
            return float(text)
        raise ParameterError(f"{self.name} must be a number, not {_shown(given)}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the result.

    `approximated` says how its figures differ from the exact ones; it is empty where they are exact.
    """

    name: str
    unit: str
    meaning: str
    approximated: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """One catalogue query; `body` is SQL with `{relations}` and `%(placeholders)s`.

    `days` tells that it adds up whole days, so that frozen ones can stand in for older rows; of those the columns
    `after_horizon` say nothing.
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
    days: bool = False
    after_horizon: tuple[str, ...] = ()

    @property
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
        return bool({"actions", "usage"} & self.relations) or "{app}.action_results" in self.body

    @property
    def span_names(self) -> tuple[str, ...]:
        """Return which of since and until it takes."""
        if self.window is None:
            return ()
        return NAMES if self.relations & WINDOWED or "%(until)s" in self.body else NAMES[:1]

    def bind(
        self, given: Mapping[str, object], organizations: Sequence[str] | None, now: datetime
    ) -> dict[str, object]:
        """Return the value of each placeholder of the SQL text.

        These are the parameters, `since`, `until`, `timezone`, `now` and `organizations`. `given` may hold a span
        instead of the window's parameter, as `asked_span` takes it, and a `timezone`. With `organizations` None there
        is no limit; with an empty sequence no row is visible. Raises ParameterError.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        span = [name for name in NAMES if name in given]
        if "timezone" in given and self.window is None:
            raise ParameterError(f"{self.name} covers no span of time: it takes no --timezone")
        for name in given:
            if name not in known and name not in (*span, "timezone"):
                choice = ", ".join([*known, *self.span_names, *(["timezone"] if self.window else [])]) or "none"
                raise ParameterError(f"{self.name} has no parameter {_shown(name)}; it has: {choice}")
        values: dict[str, object] = {
            parameter.placeholder: parameter.check(given.get(name, parameter.default))
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
            only_last="failures" in self.relations,
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
            if not identity or "\x00" in identity or len(identity) > _TEXT_LIMIT:
                raise ParameterError(f"{_shown(identity)} is no organization id")
        return list(organizations)


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _shown(given: object) -> str:
    """Show what was given, on one line and short."""
    text = repr(given)
    return text if len(text) <= 40 else f"{text[:39]}…"
