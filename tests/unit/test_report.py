"""A report as HTML and as CSV, made of plain values."""

import csv
import io
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analytics_refreshd.core.files import write_whole
from analytics_refreshd.core.report import Report, ReportColumn, ReportTable
from analytics_refreshd.observe.report.render import render_csv, render_html

SINCE = datetime(2026, 3, 1, tzinfo=UTC)
UNTIL = datetime(2026, 4, 1, tzinfo=UTC)
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(1)">'
COUNTS = (ReportColumn("executions", "count", "Executions"), ReportColumn("failures", "count", "Failures"))
COSTS = (
    ReportColumn("trigger_name", "text", "Trigger"),
    ReportColumn("cost", "money", "Cost"),
    ReportColumn("last_execution_at", "timestamp", "Last"),
)


def report(ran: int = 1200, read_at: datetime = UNTIL + timedelta(days=1)) -> Report:
    """A month with `ran` executions on its first day, and triggers of which one has no price."""
    day = ReportColumn("day", "timestamp", "Day")
    days = [
        (SINCE + timedelta(days=number), ran if number == 0 else 0, ran // 4 if number == 0 else 0)
        for number in range(31)
    ]
    triggers = [(f"trigger {number}", Decimal("1E-7"), SINCE) for number in range(24)]
    return Report(
        "acme",
        HOSTILE,
        "2026-03",
        "UTC",
        SINCE,
        UNTIL,
        read_at,
        (
            ReportTable("summary", "Overview", COUNTS, [(ran, ran // 4)]),
            ReportTable("days", "Day by day", (day, *COUNTS), days),
            ReportTable("costs", "Costs", COSTS, [(HOSTILE, None, None), *triggers], ("never a bill",)),
        ),
    )


class Elements(HTMLParser):
    """The elements of a document, and what is odd about them."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    """No script, no address, no event: a name full of markup stays text."""
    document = render_html(report())
    found = Elements(document)
    assert found.open == []
    assert not found.seen & {"script", "img", "link", "iframe", "a"}
    assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "href", "style")}
    assert "://" not in document
    assert "&lt;script&gt;" in document
    (policy,) = re.findall(r"Content-Security-Policy\" content=\"([^\"]+)", document)
    assert policy.startswith("default-src &#39;none&#39;; style-src &#39;sha256-")


def test_the_page_shows_the_figures() -> None:
    """A cost that is not known is said to be; a small one is not 0; long tables end with how much is left."""
    document = render_html(report())
    for text in ("1,200", "unknown", "0.0000001", "never a bill", "And 5 more", "01 Mar: 1,200 executions, 300 failed"):
        assert text in document, text
    assert "This month is not over." not in document
    assert "This month is not over." in render_html(report(read_at=UNTIL - timedelta(hours=1)))


def test_an_empty_month_says_so() -> None:
    """There is no chart of nothing."""
    empty = report(ran=0)
    document = render_html(replace(empty, tables=(*empty.tables[:2], replace(empty.tables[2], rows=[]))))
    assert "Nothing ran in this month." in document
    assert "<svg" not in document
    assert "<table" not in document


def test_csv_has_every_figure() -> None:
    """A row each, exact, and no formula."""
    tables = (*report().tables, ReportTable("errors", "Errors", (COSTS[0],), [("=1+1",)], complete=False))
    rows = list(csv.DictReader(io.StringIO(render_csv(replace(report(), tables=tables)))))
    found = {(row["section"], row["row"], row["field"]): row["value"] for row in rows}
    assert found["summary", "1", "executions"] == "1200"
    assert found["costs", "1", "cost"] == ""
    assert found["costs", "25", "cost"] == "0.0000001"
    assert found["report", "1", "since"] == "2026-03-01T00:00:00Z"
    assert found["notes", "1", "note"] == "never a bill"
    assert found["errors", "1", "trigger_name"] == "'=1+1"
    assert (found["errors", "", "complete"], found["costs", "", "complete"]) == ("false", "true")


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """What fails leaves the old one, and nothing beside it."""
    path = tmp_path / "report.html"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(taken, b"three")
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "report.html", b"four")
    assert sorted(os.listdir(tmp_path)) == ["report.html", "taken"]
