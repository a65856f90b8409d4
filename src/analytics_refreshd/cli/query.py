"""The `query` command: run a named query of the catalogue."""

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from analytics_refreshd.cli.common import (
    EXIT_OK,
    CsvFormatOption,
    FormatWithCsv,
    clock,
    duration,
    example,
    load_config,
    note,
    print_csv,
    print_exact,
    print_json,
    say,
    seconds_of,
)
from analytics_refreshd.cli.query_listing import catalogue_without_database, describe
from analytics_refreshd.cli.query_words import parse_parameters
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.display import exact_text, json_number
from analytics_refreshd.core.errors import ConfigError, UsageError
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.wording import figure_in_words

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.query import Column, Query, Question, Result
    from analytics_refreshd.app.commands.warehouse_query import WarehouseQuestion
    from analytics_refreshd.config import Config

EXIT_BAD_PARAMETER = 2


class Engine(StrEnum):
    """Who answers."""

    POSTGRES = "postgres"
    WAREHOUSE = "warehouse"


def register(app: typer.Typer) -> None:
    """Add the command. Unknown options are the query's parameters."""
    app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        epilog=example(
            "analytics-refreshd query recent-failures --hours 24 --format csv",
            "analytics-refreshd query latency --since 2026-03-01T00:00:00Z --until 2026-03-02T00:00:00Z",
            "analytics-refreshd query daily-trend --since 2026-03-01 --timezone Europe/Berlin",
        ),
    )(query)


def query(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The query's name. Its parameters follow, as in --days 7.")] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Show all queries, or the parameters and columns of NAME.")
    ] = False,
    organization: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this organization. Repeatable."),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="Who answers; --list says what the warehouse can.")] = Engine.POSTGRES,
    fleet: Annotated[bool, typer.Option("--fleet", help="Of all databases of the warehouse together.")] = False,
    output: CsvFormatOption = FormatWithCsv.TABLE,
    raw: Annotated[bool, typer.Option("--raw", help="Show text as stored, without redaction.")] = False,
    print_sql: Annotated[bool, typer.Option("--print-sql", help="Print the SQL instead of running it.")] = False,
    explaining: Annotated[bool, typer.Option("--explain", help="Run it, and show its plan instead of rows.")] = False,
    timeout: Annotated[str, typer.Option(help="Stop the query after this time.", callback=duration)] = "30s",
) -> int:
    """Run a named query; `query --list` shows all."""
    if name is None and not listing:
        raise UsageError("which query? `analytics-refreshd query --list` shows them")
    from analytics_refreshd.app.commands.query import ParameterError, QueryFileError, catalogue

    try:
        if name is None or listing:
            describe(catalogue_without_database(context), name, output)
            return EXIT_OK
        config = load_config(context)
        chosen = catalogue(config.queries.directory).get(name)
        question = _question(chosen, parse_parameters(chosen, context.args), organization, engine, fleet=fleet)
        seconds = seconds_of(timeout).total_seconds()
        if print_sql:
            print_exact(question.printed(config))
        elif explaining:
            say("\n".join(_explained(question, config, seconds)))
        elif output is FormatWithCsv.CSV:
            question.export(config, seconds, lambda columns, rows: export(columns, rows, raw=raw), raw=raw)
            if chosen.note:
                note(chosen.note)
        else:
            show(question.answer(config, seconds, raw=raw), organization, output)
    except ParameterError as error:
        note(f"analytics-refreshd: {printable(str(error))}")
        return EXIT_BAD_PARAMETER
    except QueryFileError as error:
        raise ConfigError([str(error)]) from error
    return EXIT_OK


def _question(
    chosen: "Query",
    parameters: dict[str, object],
    organizations: Sequence[str] | None,
    engine: Engine,
    *,
    fleet: bool,
) -> "Question | WarehouseQuestion":
    from analytics_refreshd.app.commands.query import Question
    from analytics_refreshd.app.commands.warehouse_query import WarehouseQuestion

    if engine is Engine.WAREHOUSE:
        return WarehouseQuestion(chosen, parameters, organizations, fleet)
    if fleet:
        raise UsageError("--fleet needs --engine warehouse: PostgreSQL knows its own database alone")
    return Question(chosen, parameters, organizations)


def _explained(question: "Question | WarehouseQuestion", config: "Config", seconds: float) -> list[str]:
    from analytics_refreshd.app.commands.query import Question

    if isinstance(question, Question):
        return question.explain(config, seconds)
    raise UsageError(
        "--explain shows PostgreSQL's plans: for ClickHouse's give clickhouse-client what --print-sql prints"
    )


def show(result: "Result", organizations: Sequence[str] | None, output: FormatWithCsv) -> None:
    """Print a result.

    A table has units for people; JSON has exact figures.
    """
    columns = result.columns
    if output is FormatWithCsv.JSON:
        print_json(as_json(result, organizations))
    else:
        zone = _zone(result)
        rows = [[cell(column, value, zone) for column, value in zip(columns, row, strict=True)] for row in result.rows]
        print_table([column.name for column in columns], rows, title=_title(result))
        for column in result.columns:
            if column.approximated:
                note(f"{column.name} is an approximation: {column.approximated}")
        for text in result.notes:
            note(text)
    if not result.complete:
        note(f"only the first {len(result.rows):,} rows are shown; --format csv writes all of them")


def export(columns: Sequence["Column"], rows: Iterable[Sequence[object]], *, raw: bool) -> None:
    """Write all rows as csv while they come, with exact figures."""
    print_csv([column.name for column in columns], rows, raw=raw)


def as_json(result: "Result", organizations: Sequence[str] | None) -> dict[str, object]:
    """Return the result with its query, parameters and columns.

    Numbers are exact, times RFC 3339 in UTC. Each column names its unit.
    """
    parameters = {item.name: result.parameters[item.placeholder] for item in result.query.parameters}
    return {
        "query": result.query.name,
        "engine": result.engine,
        "as_of": result.as_of,
        "endpoint": result.query.endpoint,
        "parameters": parameters,
        "since": result.parameters.get("since"),
        "until": result.parameters.get("until"),
        "timezone": result.parameters.get("timezone"),
        "organizations": None if organizations is None else list(organizations),
        "columns": [
            {"name": column.name, "unit": column.unit, "approximated": column.approximated or None}
            for column in result.columns
        ],
        "complete": result.complete,
        "frozen_until": result.frozen_until,
        "notes": list(result.notes),
        "rows": [
            {column.name: _as_json(column, value) for column, value in zip(result.columns, row, strict=True)}
            for row in result.rows
        ],
    }


def _as_json(column: "Column", value: object) -> object:
    return exact_text(value) if column.unit == "money" else json_number(value)


def cell(column: "Column", value: object, zone: tzinfo = UTC) -> Text:
    """Return a value for people, without control characters.

    Times are those of `zone`.

    Examples: `1,234`, `2.6 s`, `93.4 %`, `1.5 MiB`.
    """
    if value is None:
        return Text("-")
    if isinstance(value, datetime):
        return Text(_clock(value, zone))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int | float | Decimal):
        if not math.isfinite(value):
            return Text(str(value), justify="right")
        return Text(figure_in_words(column.unit, value), justify="right")
    if column.unit == "list" and isinstance(value, list):
        return Text(printable(", ".join(str(item) for item in value)))
    if column.unit == "json":
        return Text(printable(json.dumps(value, ensure_ascii=False, default=str)))
    return Text(printable(str(value)))


def _title(result: "Result") -> str:
    since, until = result.parameters.get("since"), result.parameters.get("until")
    if isinstance(since, datetime) and isinstance(until, datetime):
        zone = _zone(result)
        return f"{result.query.name}, {_clock(since, zone)} to {_clock(until, zone)}"
    return result.query.name


def _zone(result: "Result") -> tzinfo:
    return ZoneInfo(str(result.parameters.get("timezone", "UTC")))


def _clock(at: datetime, zone: tzinfo) -> str:
    """Write a time for people, with its offset where the zone is another than UTC."""
    if getattr(zone, "key", "UTC") == "UTC" or at.year in (1, 9999):
        return clock(at)
    return at.astimezone(zone).isoformat(" ", "seconds")
