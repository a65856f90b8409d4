"""Renders a report: one HTML file that needs no other, or CSV."""

import base64
import csv
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analytics_refreshd import __version__
from analytics_refreshd.core.display import csv_cell, without_controls
from analytics_refreshd.core.report import Report, ReportColumn, ReportTable
from analytics_refreshd.core.wording import figure_in_words

MOST_ROWS = 20
"""So many rows of a table are in HTML. CSV has all of them."""
_CSS = files(__package__).joinpath("report.css").read_text(encoding="utf-8").strip()
_HASH = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
_NUMERIC = frozenset({"count", "number", "money", "percent", "ms", "seconds", "days", "bytes"})
_WORDS = {"cost": "unknown", "priced_cost": "unknown"}
"""What stands for no figure, if not a dash."""
_BAR_HEIGHT = 96

_environment = Environment(
    loader=PackageLoader("analytics_refreshd.observe", "report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_html(report: Report) -> str:
    """Render the whole report as one document.

    It loads nothing and runs no script.
    """
    zone = ZoneInfo(report.timezone)
    summary, days = report.table("summary"), report.table("days")
    bars = _bars(days, zone)
    others = [table for table in report.tables if table.name not in ("summary", "days")]
    return _environment.get_template("report.html.j2").render(
        policy=_POLICY,
        css=Markup(_CSS),  # noqa: S704 - a file of ours
        name=without_controls(report.name),
        month=report.month,
        stretch=f"{_time(report.since, zone)} to {_time(report.until, zone)}, {report.timezone}.",
        over=report.over,
        ran=any(days.column("executions")),
        summary={"title": summary.title, "facts": _facts(summary, zone)},
        bars=bars,
        spoken=" ".join(bar["text"] + "." for bar in bars),
        most=figure_in_words("count", max([int(str(count)) for count in days.column("executions")], default=0)),
        tables=[_table(table, zone) for table in others],
        notes=report.notes(),
        read_at=_time(report.read_at, zone),
        version=__version__,
    )


def render_csv(report: Report) -> str:
    """Render every figure in a row of its own: section, row, field and value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["section", "row", "field", "value"])
    for row in _figures(report):
        writer.writerow([csv_cell(value) for value in row])
    return out.getvalue()


def _figures(report: Report) -> Iterator[Sequence[object]]:
    names = ("organization_id", "name", "month", "timezone", "since", "until", "read_at", "over")
    for name in names:
        yield "report", 1, name, getattr(report, name)
    for number, note in enumerate(report.notes(), 1):
        yield "notes", number, "note", note
    for table in report.tables:
        for number, row in enumerate(table.rows, 1):
            for column, value in zip(table.columns, row, strict=True):
                yield table.name, number, column.field, value
        yield table.name, "", "complete", table.complete


def _facts(table: ReportTable, zone: ZoneInfo) -> list[dict[str, str]]:
    return [
        {"heading": column.heading, "text": _cell(column, value, zone)}
        for row in table.rows[:1]
        for column, value in zip(table.columns, row, strict=True)
    ]


def _table(table: ReportTable, zone: ZoneInfo) -> dict[str, object]:
    shown = table.rows[:MOST_ROWS]
    left = len(table.rows) - len(shown)
    return {
        "title": table.title,
        "columns": [{"heading": each.heading, "numeric": each.unit in _NUMERIC} for each in table.columns],
        "rows": [
            [_cell(column, value, zone) for column, value in zip(table.columns, row, strict=True)] for row in shown
        ],
        "left": figure_in_words("count", left) if left else "",
    }


def _cell(column: ReportColumn, value: object, zone: ZoneInfo) -> str:
    if value is None:
        return _WORDS.get(column.field, "-")
    if isinstance(value, datetime):
        return _time(value, zone)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | Decimal):
        return figure_in_words(column.unit, value) if math.isfinite(value) else str(value)
    return without_controls(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _bars(days: ReportTable, zone: ZoneInfo) -> list[dict[str, str]]:
    """Return the bars of the days: how high they are, of a hundred, and what each is in words."""
    executions, failures = ([int(str(count)) for count in days.column(name)] for name in ("executions", "failures"))
    most = max(executions, default=0) or 1
    found = []
    for day, ran, failed in zip(days.column("day"), executions, failures, strict=True):
        high, foot = (round(count / most * _BAR_HEIGHT, 2) for count in (ran, failed))
        when = f"{day.astimezone(zone):%d %b}" if isinstance(day, datetime) else str(day)
        found.append(
            {
                "top": f"{100 - high:g}",
                "ran": f"{high:g}",
                "failed_top": f"{100 - foot:g}",
                "failed": f"{foot:g}",
                "text": f"{when}: {ran:,} executions, {failed:,} failed",
            }
        )
    return found


def _time(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"
