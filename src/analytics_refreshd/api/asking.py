"""Reads what a request asks for: parameters, span of time, filters, order and page."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from analytics_refreshd.api.problems import invalid, unknown_parameter
from analytics_refreshd.api.routes import FLEET, OFFSET, ORGANIZATION, Route
from analytics_refreshd.postgres.catalogue.page import Page
from analytics_refreshd.postgres.catalogue.parameters import Parameter
from analytics_refreshd.postgres.catalogue.spans import MONTH, ParameterError

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_SPACE_FOR_PLUS = re.compile(r" (?=[0-9]{2}:[0-9]{2}\Z)")
_MOST_REMEMBERED = 500
"""How many characters of a request are kept for the next one like it."""
_OPTION = re.compile(r"--(?=[a-z])")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks of an endpoint.

    `given` is what the query binds, `filters` its type and trigger. `parameters` are those in force, for the answer.
    `csv` asks for rows alone, all of them unless a page is named; `fleet` for all databases of a warehouse.
    """

    given: Mapping[str, object]
    filters: Mapping[str, str]
    page: Page
    parameters: Mapping[str, object]
    csv: bool = False
    fleet: bool = False


def asked(route: Route, items: Iterable[tuple[str, str]], places: Mapping[str, str], accept: str = "") -> Asked:
    """Read a request's parameters and the values that stand in its path. Raises Problem."""
    given = tuple(items)
    if places or len(accept) + sum(len(name) + len(value) for name, value in given) > _MOST_REMEMBERED:
        return _asked(route, given, places, accept)
    return _remembered(route, given, accept)


@lru_cache(maxsize=1000)
def _remembered(route: Route, items: tuple[tuple[str, str], ...], accept: str) -> Asked:
    """Read parameters. Pages and dashboards ask the same again and again."""
    return _asked(route, items, {}, accept)


def _asked(route: Route, items: Iterable[tuple[str, str]], places: Mapping[str, str], accept: str) -> Asked:
    values = _once(route, items)
    as_csv = _as_csv(values, accept)
    given: dict[str, object] = {}
    shown: dict[str, object] = {}
    spans = [name for name in route.query.span_names if name in values]
    window = route.query.window
    for name, argument in route.arguments.items():
        text = places.get(name, values.get(name))
        if window is not None and argument.of == window.parameter and spans:
            if text is not None:
                other = MONTH if MONTH in spans else "since and until"
                raise invalid(f"give {other}, or {name}, not both", parameter=name)
            continue
        if text is None and argument.of in route.query.configured:
            # the thresholds count
            shown[name] = None
            continue
        value = argument.parameter.default if text is None else checked(argument.parameter, text)
        given[argument.of] = shown[name] = value
    for name in spans:
        given[name] = values[name] if name == MONTH else _time(name, values[name])
        shown[name] = given[name]
    if "timezone" in values:
        given["timezone"] = shown["timezone"] = values["timezone"]
    filters = {name: values[name] for name in route.filters if name in values}
    fleet = FLEET.name in values and bool(checked(FLEET, values[FLEET.name]))
    if fleet:
        shown[FLEET.name] = True
    return Asked(given, filters, _page(route, values, shown, every=as_csv), shown | filters, as_csv, fleet)


def checked(parameter: Parameter, text: str) -> int | float | bool | str:
    """Return a parameter's value. Raises Problem."""
    try:
        return parameter.check(text)
    except ParameterError as error:
        raise not_usable(error, parameter.name) from None


def not_usable(error: ParameterError, parameter: str | None = None) -> Exception:
    """Translate what the catalogue says of a value.

    The API's parameters have no dashes.
    """
    details = {"parameter": parameter} if parameter else {}
    return invalid(_OPTION.sub("", str(error)), **details)


def _once(route: Route, items: Iterable[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in items:
        if name not in route.parameters:
            raise unknown_parameter(name, route.parameters)
        if name in values:
            raise invalid(f"the parameter {name} is given twice", parameter=name)
        if "\x00" in value:
            raise invalid(f"the parameter {name} holds a NUL", parameter=name)
        values[name] = value
    values.pop(ORGANIZATION, None)
    return values


def _time(name: str, text: str) -> datetime:
    # a plus sign that was not escaped arrives as a space
    written = _SPACE_FOR_PLUS.sub("+", text)
    try:
        if _TIME.fullmatch(written):
            return datetime.fromisoformat(written.upper())
    except ValueError:
        pass
    raise invalid(f"{name} must be a time such as 2026-03-01T00:00:00Z", parameter=name)


def _as_csv(values: Mapping[str, str], accept: str) -> bool:
    """Whether CSV is asked for: by the parameter, else by what the client accepts first."""
    wanted = values.get("format")
    if wanted is None:
        kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
        known = [kind for kind in kinds if kind in ("text/csv", "application/json", "application/*", "*/*")]
        return known[:1] == ["text/csv"]
    if wanted not in ("json", "csv"):
        raise invalid("format must be json or csv", parameter="format")
    return wanted == "csv"


def _page(route: Route, values: Mapping[str, str], shown: dict[str, object], *, every: bool) -> Page:
    endpoint = route.endpoint
    if endpoint.shape == "object":
        return Page(2)
    limit = checked(endpoint.limit, values["limit"]) if "limit" in values else endpoint.limit.default
    whole = every and "limit" not in values
    offset = checked(OFFSET, values["offset"]) if "offset" in values else OFFSET.default
    sort = values.get("sort", endpoint.order)
    if "sort" in values:
        if sort.removeprefix("-") not in endpoint.sorts:
            choice = ", ".join(endpoint.sorts)
            raise invalid(f"sort must be one of {choice}, after a minus sign for descending", parameter="sort")
        shown["sort"] = sort
    columns = {field.name: field.column.name for field in endpoint.fields}
    order = (columns[sort.removeprefix("-")], sort.startswith("-")) if sort else None
    return Page(None if whole else int(limit), int(offset), order)
