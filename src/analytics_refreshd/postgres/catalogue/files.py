"""Reads query files: a header of `-- key: value` lines, then one SELECT.

A query is added by adding a file.

    -- name: success-rate
    -- section: success rate
    -- endpoint: actions/success-rate
    -- purpose: Which share of the actions of each type succeeds?
    -- parameter: days integer default 7 min 1 max 3650; Days of the window
    -- window: days in hours            (or: `hours exactly`, `weeks in weeks, 1 before`, `months in months`)
    -- organizations: yes               (whether `--organization` can limit it)
    -- horizon: days; p95_ms            (it adds up whole days, so that frozen ones can stand in for older rows, of
    --                                  which these columns say nothing)
    -- column: action_type text; Type of the action
    -- approximated: approx_x_ms; how, and how far from the exact figure
    -- note: what is said beside every answer
    -- thresholds: above-ms             (parameters for which the configured thresholds stand in, if they are not given)

`endpoint_header` reads the lines that say more of the endpoint.

A line that begins with `--` and three spaces continues the one above it.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Self

from analytics_refreshd.core.files import decode_text, list_files, read_small
from analytics_refreshd.postgres.catalogue.definition import (
    COLUMN_UNITS,
    PARAMETER_TYPES,
    PRICES,
    WINDOWED,
    Column,
    Parameter,
    ParameterError,
    Query,
    QueryFileError,
    Window,
)
from analytics_refreshd.postgres.catalogue.endpoint_header import ONCE, endpoint_of
from analytics_refreshd.postgres.catalogue.headers import Line, need, split
from analytics_refreshd.postgres.catalogue.spans import MONTH
from analytics_refreshd.postgres.catalogue.zones import MONTHS

SECTIONS = (
    "success rate",
    "performance",
    "failures",
    "trigger health",
    "capacity",
    "organizations",
    "system health",
)
_PACKAGE = "analytics_refreshd.postgres.catalogue"
_ONCE = ("name", "section", "endpoint", "purpose", "window", "organizations", "horizon", "note", "thresholds", *ONCE)
_NEEDED = ("name", "section", "endpoint", "purpose", "organizations")
_PARAMETER = re.compile(r"([a-z][a-z-]*) (\w+) default (\S+)(?: min (\S+))?(?: max (\S+))?(?: among ([^;]+))?; (.+)")
_WINDOW = re.compile(
    r"(?P<months>months) in months|(hours|days|weeks) (?:exactly|in (hours|days|weeks)(?:, ([0-9]+) before)?)"
)
_HORIZON = re.compile(r"days(?:; ([a-z0-9_]+(?:, [a-z0-9_]+)*))?")
_COLUMN = re.compile(r"([a-z_][a-z0-9_]*) (\w+); (.+)")
_APPROXIMATED = re.compile(r"([a-z_][a-z0-9_]*); (.+)")
_PRIVATE_UNITS = {"error_message": "message", "response_data": "json"}
_RESERVED = frozenset(
    "now since until timezone organizations organization help list format raw print-sql explain timeout guide"
    " dashboard frozen-until".split()
)
_FILE_LIMIT_BYTES = 1 << 20
_BEGINNING = re.compile(r"(?:\s|--[^\n]*\n|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/|\()*+(?:select|with|values|table)\b", re.I)
"""Of a statement that only reads, after comments that hold none. The protocol refuses a second statement, and the
read-only transaction a write."""


def parse(text: str, file: str, *, own: bool = False) -> Query:
    """Read one query from its file's text.

    `own` is one of the user's. Raises QueryFileError, which names the file, the line and what is wrong.
    """
    lines, body, body_line = split(text, file)
    values: dict[str, Line] = {}
    for line in lines:
        if line.key in _ONCE and line.key in values:
            raise QueryFileError(f"{file}:{line.number}: {line.key} is given twice")
        if line.key not in (*_ONCE, "parameter", "column", "approximated", "argument"):
            raise QueryFileError(f"{file}:{line.number}: unknown header {line.key!r}")
        if not line.value:
            raise QueryFileError(f"{file}:{line.number}: {line.key} is empty")
        values.setdefault(line.key, line)
    for key in _NEEDED:
        if key not in values:
            raise QueryFileError(f"{file}:1: the header lacks {key!r}")
    need(re.fullmatch(r"[a-z][a-z0-9-]{0,62}", values["name"].value), file, values["name"], "a kebab-case name")
    need(values["organizations"].value in ("yes", "no"), file, values["organizations"], "yes or no")
    parameters = tuple(_parameter(line, file) for line in lines if line.key == "parameter")
    columns = _columns(lines, file)
    query = Query(
        name=values["name"].value,
        section=values["section"].value,
        endpoint=values["endpoint"].value,
        purpose=values["purpose"].value,
        parameters=parameters,
        window=_window(values["window"], parameters, file) if "window" in values else None,
        columns=columns,
        organizations=values["organizations"].value == "yes",
        days="horizon" in values,
        after_horizon=_after_horizon(values["horizon"], lines, file) if "horizon" in values else (),
        note=values["note"].value if "note" in values else "",
        configured=_configured(values["thresholds"], parameters, file) if "thresholds" in values else (),
        body=body,
        file=file,
        api=endpoint_of(lines, parameters, columns, file),
        own=own,
    )
    _check_body(query, body_line)
    return query


def _parameter(line: Line, file: str) -> Parameter:
    match = _PARAMETER.fullmatch(line.value)
    need(match, file, line, "`name type default X min X max X; meaning`, or with `among A, B` of a text")
    assert match is not None  # noqa: S101 - need has raised otherwise
    name, kind, default, low, high, among, meaning = match.groups()
    need(kind in PARAMETER_TYPES, file, line, f"of a type among {', '.join(PARAMETER_TYPES)}")
    numeric = kind in ("integer", "number")
    need(name not in _RESERVED, file, line, "of another name, which no option and no bound value has")
    need(kind == "text" or among is None, file, line, "of type text where it has choices")
    need(numeric == (low is not None and high is not None), file, line, "given min and max if it is a number")
    try:
        bounds = (float(low), float(high)) if numeric else (None, None)
        choices = tuple(choice.strip() for choice in among.split(",")) if among else ()
        unset = Parameter(name, kind, 0, bounds[0], bounds[1], meaning, choices)
        return replace(unset, default=unset.check(default))
    except (ParameterError, ValueError) as error:
        raise QueryFileError(f"{file}:{line.number}: the parameter's own figures do not fit: {error}") from error


def _window(line: Line, parameters: tuple[Parameter, ...], file: str) -> Window:
    match = _WINDOW.fullmatch(line.value)
    wanted = "`PARAMETER in hours|days|weeks`, with `, N before` if needed, `PARAMETER exactly`, or `months in months`"
    need(match, file, line, wanted)
    assert match is not None  # noqa: S101 - need has raised otherwise
    name, step = (MONTHS, MONTHS) if match["months"] else (match[2], match[3])
    declared = [parameter for parameter in parameters if parameter.name == name]
    need(step != MONTHS or MONTH not in {item.name for item in parameters}, file, line, "without a parameter `month`")
    need(declared and declared[0].type == "integer", file, line, "over an integer parameter of that name")
    need((declared[0].maximum or 0) <= 36_500, file, line, "over a parameter of at most 36500")
    return Window(name, step, int(match[4] or 0))


def _after_horizon(line: Line, lines: list[Line], file: str) -> tuple[str, ...]:
    match = _HORIZON.fullmatch(line.value)
    need(match, file, line, "`days`, or `days; ` and the columns that say nothing of frozen days")
    assert match is not None  # noqa: S101 - _need has raised otherwise
    names = tuple(match[1].split(", ")) if match[1] else ()
    declared = {column.name for column in _columns(lines, file)}
    need(declared.issuperset(names), file, line, "followed by columns above or below")
    return names


def _configured(line: Line, parameters: tuple[Parameter, ...], file: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in line.value.split(","))
    need({parameter.name for parameter in parameters}.issuperset(names), file, line, "names of parameters")
    return names


def _columns(lines: list[Line], file: str) -> tuple[Column, ...]:
    columns: dict[str, Column] = {}
    for line in lines:
        if line.key == "column":
            match = _COLUMN.fullmatch(line.value)
            need(match, file, line, "`name unit; meaning`")
            assert match is not None  # noqa: S101 - need has raised otherwise
            need(match[2] in COLUMN_UNITS, file, line, f"of a unit among {', '.join(COLUMN_UNITS)}")
            private = _PRIVATE_UNITS.get(match[1])
            need(private in (None, match[2]), file, line, f"of unit {private}, so that it is redacted")
            need(match[1] not in columns, file, line, "named once")
            columns[match[1]] = Column(match[1], match[2], match[3])
    for line in lines:
        if line.key == "approximated":
            match = _APPROXIMATED.fullmatch(line.value)
            need(match and match[1] in columns, file, line, "`column; how`, for a column above or below")
            assert match is not None  # noqa: S101 - need has raised otherwise
            columns[match[1]] = replace(columns[match[1]], approximated=match[2])
    if not columns:
        raise QueryFileError(f"{file}:1: the header lacks 'column'")
    return tuple(columns.values())


def _check_body(query: Query, body_line: int) -> None:
    where = f"{query.file}:{body_line}"
    if not _BEGINNING.match(query.body):
        raise QueryFileError(f"{where}: the SQL must be one SELECT; it begins with {query.body[:40]!r}")
    unknown = query.relations - frozenset(relations())
    if unknown or re.search(r"\{(?!\w+\})|(?<!\w)\}", query.body):
        names = ", ".join(sorted(relations()))
        raise QueryFileError(f"{where}: braces name the schema {{app}} or a relation: {names}")
    if query.relations & WINDOWED and query.window is None:
        raise QueryFileError(f"{where}: {', '.join(sorted(query.relations & WINDOWED))} needs a window header")
    known = {parameter.placeholder for parameter in query.parameters} | {"now"}
    known |= {"since", "until", "timezone"} if query.window else set()
    known |= {"organizations"} if query.organizations else set()
    known |= {"currency"} if PRICES in query.relations else set()
    known |= {"healthy_percent", "degraded_percent"}
    if re.search(r"%(?!%|\(\w+\)s)", query.body.replace("%%", "")):
        raise QueryFileError(f"{where}: a percent sign in SQL is written %%")
    for name in re.findall(r"%\((\w+)\)s", query.body):
        if name not in known:
            raise QueryFileError(f"{where}: %({name})s is not declared in the header")
    if query.organizations and "{app}." in query.body:
        raise QueryFileError(
            f"{where}: a query that can be limited to organizations reads relations such as {{hourly}}, "
            "never {app} tables, which hold every tenant's rows"
        )


@cache
def relations() -> Mapping[str, str]:
    """Return the SQL of each relation.

    `NAME` is without, `NAME limited` with a limit to organizations.
    """
    text = resources.files(_PACKAGE).joinpath("relations/relations.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (.+)$", text, flags=re.M)[1:]
    return {name.strip(): body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The queries by name, in the order of their sections.

    A section's built-in queries come before a user's own.
    """

    queries: Mapping[str, Query]

    @classmethod
    def load(cls, extra_directory: Path | None = None) -> Self:
        """Read the built-in queries and those of `extra_directory`/*.sql. Raises QueryFileError."""
        queries: dict[str, Query] = {}
        given = _files(extra_directory) if extra_directory else ()
        for file, text, own in (*((*found, False) for found in _built_in()), *((*found, True) for found in given)):
            query = parse(text, file, own=own)
            for other in queries.values():
                if query.name == other.name or set(query.api.paths) & set(other.api.paths):
                    raise QueryFileError(f"{file}:1: {query.name} repeats the name or endpoint of {other.file}")
            queries[query.name] = query
        for query in queries.values():
            if query.api.summary and query.api.summary not in queries:
                raise QueryFileError(f"{query.file}:1: there is no query {query.api.summary[:60]!r} to add")
        order = {section: number for number, section in enumerate(SECTIONS)}
        chosen = sorted(queries.values(), key=lambda query: order.get(query.section, len(order)))
        return cls({query.name: query for query in chosen})

    def __iter__(self) -> Iterator[Query]:
        return iter(self.queries.values())

    def get(self, name: str) -> Query:
        """Return the query of that name or endpoint. Raises ParameterError, with the nearest name."""
        for query in self:
            if name in (query.name, query.endpoint):
                return query
        near = difflib.get_close_matches(name[:100], self.queries, n=1, cutoff=0.4)
        advice = f"did you mean {near[0]}?" if near else "`query --list` shows them all"
        shown = repr(name) if len(name) <= 40 else f"{name[:39]!r}…"
        raise ParameterError(f"there is no query {shown}; {advice}")


def _built_in() -> Iterator[tuple[str, str]]:
    folder = resources.files(_PACKAGE)
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".sql"):
            yield entry.name, entry.read_text("utf-8")


def _files(directory: Path) -> Iterator[tuple[str, str]]:
    try:
        paths = list_files(directory, ".sql")
    except OSError as error:
        raise QueryFileError(f"the directory of queries {directory} cannot be read: {error.strerror}") from error
    for path in paths:
        try:
            yield str(path), decode_text(read_small(path, _FILE_LIMIT_BYTES))
        except OSError as error:
            raise QueryFileError(f"{path}:1: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise QueryFileError(f"{path}:1: cannot be read: it is not UTF-8") from error
