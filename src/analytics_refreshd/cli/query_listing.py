"""Shows which queries there are, and what they take."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from analytics_refreshd.cli.common import FormatWithCsv, load_config, note, print_csv, print_json, say
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.errors import ConfigError

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.query import Catalogue, Query


def catalogue_without_database(context: typer.Context) -> "Catalogue":
    """Return the catalogue.

    It holds the user's own queries if the configuration can be used.
    """
    from analytics_refreshd.app.commands.query import catalogue

    try:
        directory = load_config(context).queries.directory
    except ConfigError:
        note("the configuration cannot be used, so only the built-in queries are shown")
        directory = None
    return catalogue(directory)


def describe(catalogue: "Catalogue", name: str | None, output: FormatWithCsv) -> None:
    """Print all queries, or one with its parameters and columns. Raises ParameterError for an unknown name."""
    from analytics_refreshd.app.commands.warehouse_question import why_not

    if name is not None:
        _describe_one(catalogue.get(name), output)
    elif output is FormatWithCsv.JSON:
        print_json(
            [
                {
                    "query": item.name,
                    "section": item.section,
                    "span": list(item.span_names),
                    "warehouse": why_not(item) is None,
                    "purpose": item.purpose,
                }
                for item in catalogue
            ]
        )
    else:
        names = ["query", "section", "span", "warehouse", "purpose"]
        rows = [
            [item.name, item.section, _yes(bool(item.span_names)), _yes(why_not(item) is None), item.purpose]
            for item in catalogue
        ]
        if output is FormatWithCsv.CSV:
            print_csv(names, rows)
        else:
            print_table(names, rows, prose=["purpose"])


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _describe_one(chosen: "Query", output: FormatWithCsv) -> None:
    from analytics_refreshd.app.commands.warehouse_question import why_not

    refusal = why_not(chosen)
    parameters = [[f"--{item.name}", item.in_words, item.meaning] for item in chosen.parameters]
    length = f"Instead of --{chosen.window.parameter}" if chosen.window else ""
    words = {
        "since": ("a time, or a duration back", length),
        "until": ("a time, or a duration back", "The end of it"),
        "month": ("a month, such as 2026-03", f"{length}: that month alone"),
    }
    parameters += [[f"--{option}", *words[option]] for option in chosen.span_names]
    if chosen.window is not None:
        parameters.append(["--timezone", "UTC", "Of days, weeks and hours of the day, and of times without an offset"])
    columns = [[column.name, column.unit, column.meaning] for column in chosen.columns]
    if output is FormatWithCsv.JSON:
        fields = ("name", "section", "endpoint", "purpose", "organizations")
        described: dict[str, object] = {field: getattr(chosen, field) for field in fields}
        described["parameters"] = [asdict(item) for item in chosen.parameters]
        described["span"] = list(chosen.span_names)
        described["warehouse"] = refusal is None
        described["columns"] = [asdict(column) for column in chosen.columns]
        print_json(described)
    elif output is FormatWithCsv.CSV:
        rows = [*(["parameter", *row] for row in parameters), *(["column", *row] for row in columns)]
        # raw: the options begin with dashes, and the text is the catalogue's
        print_csv(["kind", "name", "values", "meaning"], rows, raw=True)
    else:
        limit = "can be limited to organizations" if chosen.organizations else "cannot be limited to organizations"
        answers = "The warehouse answers it too" if refusal is None else f"The warehouse does not answer it: {refusal}"
        say(f"{chosen.name} ({chosen.section}, {chosen.endpoint}): {chosen.purpose}\nIt {limit}. {answers}.")
        if parameters:
            print_table(["parameter", "values", "meaning"], parameters, prose=["values", "meaning"])
        print_table(["column", "unit", "meaning"], columns, prose=["meaning"])
