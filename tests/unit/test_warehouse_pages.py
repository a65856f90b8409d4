"""One page of a query in the warehouse's SQL, and what each request says beside it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analytics_refreshd.core.warehouse import CELLS, SNAPSHOTS
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind
from analytics_refreshd.warehouse.catalogue.definition import answers
from analytics_refreshd.warehouse.catalogue.page import MOST_ROWS, PageOf, page_statement, parts, total_statement
from analytics_refreshd.warehouse.catalogue.statement import Asked
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.reading import Reader
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.tenants import (
    DATABASE,
    GRANTED,
    NOTHING,
    ORGANIZATIONS,
    TENANT,
    WALLED,
    admission,
    policies,
    shown_to_nobody,
)

NOW = datetime(2026, 3, 1, 10, 20, tzinfo=UTC)
CATALOGUE = Catalogue.load()


def asked(name: str, *, fleet: bool = False) -> Asked:
    """The question, with the values that the catalogue binds."""
    return Asked(answers()[name], bind(CATALOGUE.get(name), {}, None, NOW, "public").values, {"shop": 3}, fleet)


@pytest.mark.parametrize("name", sorted(answers()))
def test_a_page_has_the_querys_own_order_and_no_limit_of_its_own(name: str) -> None:
    """What the query ends with goes into the numbering of its rows; only one row has no order."""
    rows, order = parts(answers()[name])
    assert order or name in ("summary", "trigger-health")
    assert "{limit" not in rows + order
    assert answers()[name].body.startswith(f"select {rows}")


def test_a_page_is_read_in_the_order_asked_for() -> None:
    """The order that is asked for comes first, and the query's own one breaks ties."""
    page = PageOf(("trigger_id", "executions"), 20, 40, ("executions", True))
    made = page_statement(asked("idle-triggers"), page, "sink")
    assert made.text.startswith("select count() over () as `row total`, answer.`trigger_id`, answer.`executions`\n")
    assert made.text.endswith(
        " order by answer.`executions` desc nulls last, answer.`row number`\n"
        " limit {LIMIT:UInt64} offset {OFFSET:UInt64}"
    )
    assert "row_number() over (order by coalesce(s.last_execution_at, t.created_at), t.id, t.database)" in made.text
    assert (made.parameters["LIMIT"], made.parameters["OFFSET"]) == ("20", "40")
    assert "limit" not in made.parameters


def test_all_rows_are_one_more_than_may_be() -> None:
    """So that the server refuses them, instead of cutting them off."""
    made = page_statement(asked("idle-triggers"), PageOf(("trigger_id",), None), "sink")
    assert made.parameters["LIMIT"] == str(MOST_ROWS + 1)
    counted = total_statement(asked("idle-triggers"), "sink").text
    assert counted.startswith("select count() from (\nselect t.database")
    assert "limit" not in counted


@pytest.mark.parametrize(("name", "names"), [("idle-triggers", True), ("success-rate", False)])
def test_a_fleets_rows_name_their_database_where_they_are_of_one(name: str, names: bool) -> None:
    """Rows that add up databases name none."""
    made = page_statement(asked(name, fleet=True), PageOf(("executions",), 5), "sink")
    assert ("answer.`database`" in made.text) == names


@pytest.mark.parametrize(
    "body",
    [
        "with x as (select 1) select 1",
        "select 1\n order by a\n order by b",
        "select 1 from (select 2 limit {limit:UInt64})\n order by a",
    ],
)
def test_a_query_that_ends_otherwise_is_a_mistake(body: str) -> None:
    """Its order would be lost, or its limit count."""
    with pytest.raises(ValueError, match="does not begin with its select, or end with its order"):
        parts(replace(answers()["summary"], body=body))


def test_what_a_request_may_see_is_written_in_hexadecimal() -> None:
    """No name is read as a list, as all, or as the end of a text."""
    assert admission("shop", ["a,b", "all", "'"]) == {
        DATABASE: "'73686f70'",
        ORGANIZATIONS: "'612c62,616c6c,27'",
        "readonly": "1",
    }
    assert admission(None, None) == {DATABASE: "'all'", ORGANIZATIONS: "'all'", "readonly": "1"}
    assert admission("shop", [])[ORGANIZATIONS] == NOTHING[ORGANIZATIONS] == "''"


def test_every_table_that_may_be_read_has_a_policy() -> None:
    """None is forgotten: of the API's user, and of everybody else, who sees what it saw."""
    assert set(TENANT) == {*CELLS, *SNAPSHOTS}
    assert set(GRANTED) - {"current_epochs"} == set(WALLED)
    made = policies("sink")
    for table in WALLED:
        assert len([text for text in made if f"on `sink`.{table}\n" in text or f"on `sink`.{table} " in text]) == 2
    assert {"{target}" in text for text in (*made, shown_to_nobody("sink"))} == {False}
    assert all("on cluster c on" in text for text in policies("sink", cluster="c"))


@pytest.mark.parametrize("walled", [False, True])
def test_every_request_asks_no_replica_that_lags(monkeypatch: pytest.MonkeyPatch, walled: bool) -> None:
    """Nor changes its settings within, behind the wall; numbers come as numbers, also from older servers."""
    sent: list[dict[str, str]] = []

    def lines(self: Any, statement: str, settings: dict[str, str], *_: object) -> Any:
        sent.append(dict(settings))
        return iter([b'["a"]', b'["UInt8"]'])

    monkeypatch.setattr(Client, "lines", lines)
    settings = WarehouseSettings("shop", "http://127.0.0.1:1", password_file=Path("none"))
    reader = Reader(settings, 5, walled=walled)
    reader.refuse_missing_wall()
    list(reader.rows(asked("success-rate"), []))
    _, rows = reader.page(asked("success-rate"), PageOf(("executions",), 5), ["count"], ["acme"])
    assert list(rows) == []
    assert len(sent) == 3
    for each in sent:
        assert each["max_replica_delay_for_distributed_queries"] == "30"
        assert each["fallback_to_stale_replicas_for_distributed_queries"] == "0"
        assert (each["join_use_nulls"], each["max_execution_time"]) == ("1", "5")
        assert each["output_format_json_quote_64bit_integers"] == "0"
        assert each.get("readonly") == ("1" if walled else None)
    assert [each.get(ORGANIZATIONS) for each in sent] == (["''", "'all'", "'61636d65'"] if walled else [None] * 3)
    assert [each.get(DATABASE) for each in sent] == (["'all'", "'all'", "'73686f70'"] if walled else [None] * 3)
