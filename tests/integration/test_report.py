"""The report of a month: its figures, its file, and how it refuses."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from analytics_refreshd.app.commands.query import ParameterError
from analytics_refreshd.app.commands.report import read_report
from analytics_refreshd.config import Config, load
from tests.integration.test_queries_exact import VIEWS, insert, shifted, stream
from tests.support.brute_force import ANSWERS, Data, months_until
from tests.support.costs import COSTS
from tests.support.daemon import command
from tests.support.tenants import add_organizations

HOSTILE = "../a/b =1 <b>"


@pytest.fixture(scope="module")
def world(templates: Callable[..., str], migrated_template: str) -> Iterator[tuple[str, Data]]:
    """A database with 3,000 actions of 60 days, and what is in it."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        now = datetime.now(UTC)
        data = shifted(stream(3_000), now)
        insert(connection, data)
        add_organizations(connection, {HOSTILE: "odd"})
        for view in VIEWS:
            connection.execute(f"refresh materialized view {view}")
        yield dsn, data


def configured(dsn: str) -> Config:
    """A configuration with prices."""
    costs = {name.partition("__")[2]: value for name, value in COSTS.items()}
    return load({"database": {"url": dsn}, "costs": costs})


@pytest.mark.quick
def test_the_figures_are_those_of_the_month(world: tuple[str, Data]) -> None:
    """Of the last month that is over, for one organization alone, as the rows have them."""
    dsn, data = world
    found = read_report(configured(dsn), "acme", None, "UTC", 60)
    until = months_until(found.read_at, 1, UTC)[0]
    since = months_until(found.read_at, 2, UTC)[0]
    assert (found.since, found.until, found.month) == (since, until, f"{since:%Y-%m}")
    assert found.over
    assert found.name == "Acme"
    own = data.only(["acme"])
    given = {"since": since, "until": until, "by": "trigger", "months": 1, "days": 31, "hours": 31 * 24, "limit": 1000}
    for table, query in (
        ("summary", "summary"),
        ("types", "success-rate"),
        ("triggers", "most-active"),
        ("errors", "top-errors"),
        ("costs_by_trigger", "organization-costs"),
    ):
        wanted = ANSWERS[query](own, found.read_at, given)
        assert len(found.table(table).rows) == len(wanted), table
    (executions,) = found.table("summary").column("executions")
    assert executions == len(own.between(since, until)) > 0
    assert sum(int(str(count)) for count in found.table("days").column("executions")) == executions
    (cost,) = found.table("costs").column("priced_cost")
    assert cost == ANSWERS["organization-costs"](own, found.read_at, {**given, "by": "organization"})[0][11]
    assert any("never a bill" in note for note in found.notes())


@pytest.mark.slow
def test_the_command_writes_a_file_whole(world: tuple[str, Data], tmp_path: Path) -> None:
    """Named by organization and month; an id leads nowhere; the exit code says what went wrong."""
    dsn, _ = world
    done = command(dsn, "report", "--organization", HOSTILE, "--directory", str(tmp_path), **COSTS)
    assert (done.returncode, done.stderr) == (0, "")
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("..%2Fa%2Fb%20%3D1%20%3Cb%3E-20")
    assert "Nothing ran in this month." in path.read_text()
    done = command(
        dsn, "report", "--organization", "acme", "--format", "csv", "--month", f"{datetime.now(UTC):%Y-%m}", **COSTS
    )
    figures = {(row["section"], row["field"]): row["value"] for row in csv.DictReader(io.StringIO(done.stdout))}
    assert figures["report", "over"] == "false"
    missing = command(dsn, "report", "--organization", "acme", "--directory", str(tmp_path / "none"))
    assert (missing.returncode, "No such file or directory" in missing.stderr) == (74, True)
    assert command(dsn, "report").returncode == 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("organization", "month", "timezone", "said"),
    [
        ("nobody", None, "UTC", "there is no organization nobody"),
        ("acme", "2026-3", "UTC", "--month must be a month such as 2026-03"),
        ("acme", "2999-01", "UTC", "the month 2999-01 has not begun"),
        ("acme", None, "Mars", "--timezone must be a name"),
        ("acme", None, "Asia/Kolkata", "adds up whole hours of UTC"),
    ],
)
def test_what_cannot_be_reported_is_one_sentence(
    world: tuple[str, Data], organization: str, month: str | None, timezone: str, said: str
) -> None:
    """It says what works."""
    with pytest.raises(ParameterError, match=said):
        read_report(configured(world[0]), organization, month, timezone, 60)
