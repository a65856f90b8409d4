"""Reads the header lines that make a query an endpoint.

    -- endpoint: triggers/low-success-rate
    -- also: triggers/health                    (a second path)
    -- answer: list                             (or object: the one row)
    -- summary: trigger-health                  (a query whose row is added)
    -- argument: threshold of below-percent default 80 min 0 max 100
    -- argument: limit default 20 min 1 max 100 (the rows of a page)
    -- order: -hour                             (a field, `-` for descending)
    -- fields: trigger_id, executions as total_executions
    -- cost: 2                                  (1, 2, 5 or 10 in the limits)

Only the arguments and fields that are named are offered. A header that names none offers all of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from analytics_refreshd.postgres.catalogue.endpoint import PAGE_LIMIT, Argument, Endpoint, Field, every_parameter
from analytics_refreshd.postgres.catalogue.headers import Line, need
from analytics_refreshd.postgres.catalogue.parameters import Column, Parameter
from analytics_refreshd.postgres.catalogue.spans import ParameterError

ONCE = ("also", "answer", "summary", "order", "fields", "cost")
_PATH = re.compile(r"[a-z][a-z0-9-]*(?:/(?:[a-z][a-z0-9-]*|\{[a-z][a-z_]*\}))*")
_ARGUMENT = re.compile(r"([a-z][a-z_]*)(?: of ([a-z][a-z-]*))? default (\S+)(?: min (\S+) max (\S+))?")
_FIELD = re.compile(r"([a-z_][a-z0-9_]*)(?: as ([a-z_][a-z0-9_]*))?")
_RESERVED = frozenset("organization_id format since until timezone action_type trigger_id offset sort".split())
_MOST_ROWS = 1000


def endpoint_of(
    lines: Sequence[Line], parameters: Sequence[Parameter], columns: Sequence[Column], file: str
) -> Endpoint:
    """Return what the header's lines say of the endpoint. Raises QueryFileError."""
    values = {line.key: line for line in lines}
    paths = tuple(_path(values[key], file) for key in ("endpoint", "also") if key in values)
    named = [line for line in lines if line.key == "argument"]
    arguments, limit = _arguments(named, parameters, file)
    if not named and "fields" not in values:
        arguments = every_parameter(parameters)
    endpoint = Endpoint(
        paths,
        "object" if _word(values, "answer", "list", ("list", "object"), file) == "object" else "list",
        arguments,
        _fields(values["fields"], columns, file) if "fields" in values else tuple(Field(c.name, c) for c in columns),
        limit,
        summary=values["summary"].value if "summary" in values else "",
        order=values["order"].value if "order" in values else "",
        cost=int(_word(values, "cost", "1", ("1", "2", "5", "10"), file)),
    )
    texts = {argument.parameter.name for argument in arguments if argument.parameter.type == "text"}
    need(set(endpoint.places) <= texts, file, values["endpoint"], "a path whose {places} are parameters of type text")
    if "order" in values:
        need(endpoint.order.removeprefix("-") in endpoint.sorts, file, values["order"], "a field that can be sorted by")
    return endpoint


def _word(values: Mapping[str, Line], key: str, default: str, choice: tuple[str, ...], file: str) -> str:
    if key not in values:
        return default
    need(values[key].value in choice, file, values[key], " or ".join(choice))
    return values[key].value


def _path(line: Line, file: str) -> str:
    need(len(line.value) <= 100 and _PATH.fullmatch(line.value), file, line, "a path")
    return line.value


def _arguments(
    lines: Sequence[Line], parameters: Sequence[Parameter], file: str
) -> tuple[tuple[Argument, ...], Parameter]:
    known = {parameter.name: parameter for parameter in parameters}
    arguments: dict[str, Argument] = {}
    limit = PAGE_LIMIT
    for line in lines:
        match = _ARGUMENT.fullmatch(line.value)
        need(match, file, line, "`name of PARAMETER default X min X max X`")
        assert match is not None  # noqa: S101 - need has raised otherwise
        name, of, default, low, high = match.groups()
        of = of or name.replace("_", "-")
        base = PAGE_LIMIT if name == PAGE_LIMIT.name else known.get(of)
        need(base and name not in arguments, file, line, "of a parameter that is declared, and given once")
        need(name not in _RESERVED, file, line, "of another name, which no parameter of every endpoint has")
        assert base is not None  # noqa: S101 - need has raised otherwise
        parameter = _bounded(replace(base, name=name), default, low, high, line, file)
        if base is PAGE_LIMIT:
            need((parameter.maximum or 0) <= _MOST_ROWS, file, line, f"of at most {_MOST_ROWS} rows")
            limit = parameter
        else:
            arguments[name] = Argument(of, parameter)
    return tuple(arguments.values()), limit


def _bounded(base: Parameter, default: str, low: str | None, high: str | None, line: Line, file: str) -> Parameter:
    """Return the parameter with the bounds given, which lie within its own."""
    try:
        minimum, maximum = (base.minimum if low is None else float(low), base.maximum if high is None else float(high))
        bounded = replace(base, minimum=minimum, maximum=maximum)
        bounded = replace(bounded, default=bounded.check(default))
    except (ParameterError, ValueError):
        need(False, file, line, "given a default within its bounds")
        raise
    if base.name != PAGE_LIMIT.name and base.minimum is not None and base.maximum is not None:
        within = base.minimum <= (minimum or 0) <= (maximum or 0) <= base.maximum
        need(within, file, line, "within the bounds of the query's parameter")
    return bounded


def _fields(line: Line, columns: Sequence[Column], file: str) -> tuple[Field, ...]:
    known = {column.name: column for column in columns}
    fields: dict[str, Field] = {}
    for part in line.value.split(","):
        match = _FIELD.fullmatch(part.strip())
        need(match and match[1] in known, file, line, "columns that are declared, as `column` or `column as field`")
        assert match is not None  # noqa: S101 - need has raised otherwise
        name = match[2] or match[1]
        need(name not in fields, file, line, "different fields")
        fields[name] = Field(name, known[match[1]])
    return tuple(fields.values())
