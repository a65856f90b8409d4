"""Every query that the warehouse answers, against the same query of PostgreSQL, to the last decimal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.thresholds import Threshold, Thresholds
from analytics_refreshd.core.warehouse import WarehouseFault
from analytics_refreshd.postgres.catalogue.definition import ParameterError
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind, run
from analytics_refreshd.postgres.catalogue.settings import QuerySettings
from analytics_refreshd.warehouse.catalogue.definition import answers
from analytics_refreshd.warehouse.catalogue.statement import Asked, NotAnswered, refuse
from analytics_refreshd.warehouse.reading import Reader
from analytics_refreshd.warehouse.settings import WarehouseSettings
from tests.integration.test_queries_exact import ORGANIZATIONS, holding, stream
from tests.support.brute_force import PRICES, Data
from tests.support.clickhouse import PASSWORD, USER, needs_chdb, serving
from tests.support.warehouse_loading import load, tables

pytestmark = needs_chdb
CATALOGUE = Catalogue.load()
LIMITS = QuerySettings(
    PRICES,
    Thresholds(
        organizations={"acme": Threshold(success_warning_percent=97, latency_warning_ms=900)},
        types={"rest": Threshold(success_warning_percent=96.5, latency_critical_ms=5500)},
    ),
)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseSettings]:
    """A ClickHouse for this file's tests; each makes its own database in it."""
    folder = tmp_path_factory.mktemp("warehouse")
    (folder / "password").write_text(PASSWORD)
    with serving(folder / "data") as server:
        yield WarehouseSettings("shop", server.url, user=USER, password_file=folder / "password", connect_seconds=60.0)


Given = tuple[Mapping[str, object], Sequence[str] | None, Mapping[str, str]]
"""Parameters, organizations and filters."""


def windows(now: datetime) -> list[Mapping[str, object]]:
    """Parameters that move windows, zones and limits of figures; a query takes those that it has."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    return [
        {
            "days": 45,
            "weeks": 6,
            "months": 3,
            "hours": 23,
            "by": "trigger",
            "above": 0.25,
            "limit": 3,
            "include-disabled": True,
        },
        {
            "since": hour - timedelta(days=40, hours=7),
            "until": hour - timedelta(days=3),
            "timezone": "America/Santiago",
        },
        {"timezone": "Pacific/Auckland", "by": "action_type", "metric": "max_duration_ms", "above-ms": 1500},
        {
            "metric": "avg_duration_ms",
            "below-percent": 96.5,
            "critical-percent": 90,
            "trigger-id": "trigger-3",
            "limit": 7,
        },
    ]


def fitting(name: str, parameters: Mapping[str, object]) -> dict[str, object]:
    """Those of the parameters that the query takes."""
    query = CATALOGUE.get(name)
    own = {parameter.name for parameter in query.parameters}
    spanned = "since" in parameters and "until" in query.span_names
    named = own - ({query.window.parameter} if query.window and spanned else set())
    named |= {"since", "until"} if spanned else set()
    named |= {"timezone"} if query.window else set()
    return {key: value for key, value in parameters.items() if key in named}


def differing(
    connection: psycopg.Connection[Any], reader: Reader, now: datetime, asked: Sequence[Given]
) -> tuple[list[str], int]:
    """What differs, in words, and how many answers were compared: those that are not refused."""
    state, found, compared = reader.state(), [], 0
    for name, answer in answers().items():
        query = CATALOGUE.get(name)
        for parameters, organizations, filters in asked:
            given = fitting(name, parameters)
            kept = {key: value for key, value in filters.items() if key in query.filters}
            try:
                bound = bind(query, given, organizations, now, "public", kept, LIMITS)
                question = Asked(answer, bound.values, state.epochs)
                refuse(question)
            except (NotAnswered, ParameterError):
                continue
            wanted = list(run(connection, bound, raw=True).rows)
            got = list(reader.rows(question, [column.unit for column in query.columns]))
            compared += 1
            if got != wanted:
                rows = [pair for pair in zip(got, wanted, strict=False) if pair[0] != pair[1]][:2]
                found.append(
                    f"{name} {given} {organizations} {kept}: {len(got)} and {len(wanted)} rows, such as {rows}"
                )
    return found, compared


@pytest.mark.slow
def test_equals_postgresql(connection: psycopg.Connection[Any], warehouse: WarehouseSettings) -> None:
    """On random actions each query's rows are PostgreSQL's: windows, zones, limits, filters, NULLs and percentiles."""
    settings = replace(warehouse, database="equals")
    with holding(connection, stream(2_000)) as now, tables(settings):
        load(settings, connection)
        first, second, third, fourth = windows(now)
        asked: list[Given] = [({}, None, {}), (first, ["blue", "unknown"], {}), (second, None, {})]
        asked += [(third, ["acme"], {"action_type": "rest"}), (fourth, None, {"trigger_id": "trigger-3"})]
        found, compared = differing(connection, Reader(settings, 60), now, asked)
    assert not found, "\n".join(found)
    assert compared > 85


@pytest.mark.nightly
def test_equals_postgresql_on_everything(connection: psycopg.Connection[Any], warehouse: WarehouseSettings) -> None:
    """All windows, limits and filters with each other, on 20,000 actions."""
    settings = replace(warehouse, database="everything")
    with holding(connection, stream(20_000)) as now, tables(settings):
        load(settings, connection)
        filters: list[Mapping[str, str]] = [{}, {"action_type": "mcp"}, {"trigger_id": "trigger-1"}]
        limits: Sequence[Sequence[str] | None] = (None, ["acme"], ["blue", "unknown"], ["nobody"], [])
        asked: list[Given] = [
            (parameters, limit, chosen) for parameters in ({}, *windows(now)) for limit in limits for chosen in filters
        ]
        found, compared = differing(connection, Reader(settings, 60), now, asked)
    assert not found, "\n".join(found)
    assert compared > 900


def owned(data: Data) -> Data:
    """The actions that have an organization; what belongs to none is a row of each database."""
    kept = {key for key, row in data.triggers.items() if row.organization_id}
    return replace(data, actions=tuple(row for row in data.actions if row.trigger_id in kept))


def of_database(name: str, data: Data) -> Data:
    """The data under names that no other database has."""
    return Data(
        tuple(
            replace(row, id=f"{name}-{row.id}", trigger_id=row.trigger_id and f"{name}-{row.trigger_id}")
            for row in data.actions
        ),
        {
            f"{name}-{key}": replace(
                row, id=f"{name}-{key}", organization_id=row.organization_id and f"{name}-{row.organization_id}"
            )
            for key, row in data.triggers.items()
        },
        {f"{name}-{key}": replace(row, id=f"{name}-{key}") for key, row in data.organizations.items()},
    )


@pytest.mark.slow
def test_a_fleet_equals_its_databases_together(
    connection: psycopg.Connection[Any], warehouse: WarehouseSettings
) -> None:
    """What three databases are asked together is what one PostgreSQL with all rows answers, percentiles too."""
    whole = owned(stream(2_000))
    assert whole.organizations == ORGANIZATIONS
    parts = {
        name: of_database(name, Data(whole.actions[place::3], whole.triggers, whole.organizations))
        for place, name in enumerate(("east", "north", "west"))
    }
    settings = replace(warehouse, database="fleet")
    with connection.transaction(force_rollback=True), tables(settings):
        for name, data in parts.items():
            with holding(connection, data):
                load(replace(settings, name=name), connection)
        east, north, west = parts.values()
        everything = Data(
            (*east.actions, *north.actions, *west.actions),
            {**east.triggers, **north.triggers, **west.triggers},
            {**east.organizations, **north.organizations, **west.organizations},
        )
        reader, compared = Reader(settings, 60, fleet=True), 0
        state = reader.state()
        assert set(state.epochs) == set(parts)
        with holding(connection, everything) as now:
            for name, answer in answers().items():
                query = CATALOGUE.get(name)
                bound = bind(query, {}, None, now, "public", settings=QuerySettings(PRICES))
                question = Asked(answer, bound.values, state.epochs, fleet=True)
                try:
                    refuse(question)
                except NotAnswered:
                    assert name == "distribution"
                    continue
                wanted = run(connection, bound, raw=True).rows
                got = list(reader.rows(question, [column.unit for column in query.columns]))
                if answer.of_database:
                    assert {row[0] for row in got} <= set(parts)
                    got = [row[1:] for row in got]
                assert got == list(wanted), name
                compared += 1
        assert compared == len(answers()) - 1
        alone = Reader(replace(settings, name="west"), 60).state()
        assert alone.epochs == {"west": 1}


@pytest.mark.slow
def test_what_is_not_there_is_said(warehouse: WarehouseSettings, tmp_path: Path) -> None:
    """A database that never sent, a table that is missing, a wrong password and a closed port: one sentence each."""
    settings = replace(warehouse, database="empty")
    with pytest.raises(WarehouseFault, match="migrate --warehouse"):
        Reader(settings, 60).state()
    with tables(settings):
        with pytest.raises(WarehouseFault, match="no complete figures of the database shop yet"):
            Reader(settings, 60).state()
        wrong = tmp_path / "wrong"
        wrong.write_text("not this one")
        with pytest.raises(WarehouseFault, match="refused user or password"):
            Reader(replace(settings, password_file=wrong), 60).state()
    with pytest.raises(WarehouseFault, match="cannot be reached"):
        Reader(replace(settings, url="http://127.0.0.1:1"), 60).state()
