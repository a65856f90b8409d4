"""How the API serializes answers."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from analytics_refreshd.api.answers import as_body, plain
from analytics_refreshd.api.asking import asked
from analytics_refreshd.api.exchange import as_json
from analytics_refreshd.api.problems import Problem
from analytics_refreshd.api.routes import Route, routes_of
from analytics_refreshd.postgres.catalogue.files import Catalogue

ROUTES = {route.name: route for route in routes_of(Catalogue.load())}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**70,
        1.5,
        float("nan"),
        [1.0, float("-inf")],
        {"a": {"b": [float("inf"), "c"]}},
        "é\ud800<",
        Decimal("1.10"),
        Decimal("NaN"),
        datetime(2026, 3, 1, 2, tzinfo=UTC),
        date(2026, 3, 1),
        timedelta(minutes=1),
        UUID(int=1),
        (1, Decimal(2)),
        [datetime(2026, 3, 1, tzinfo=UTC)],
    ],
    ids=repr,
)
def test_every_value_is_as_json_has_it(value: object) -> None:
    """Written as it was read, it is what it is where each value is looked at first: NaN and infinity are texts."""
    answer = {"data": [{"field": value, "other": "x"}], "meta": {}}
    assert as_body(answer) == as_json(plain(answer))
    json.loads(as_body(answer).decode(), parse_constant=pytest.fail)


def ask(route: Route, *items: tuple[str, str], places: Any = None, accept: str = "") -> Any:
    """What is asked, twice the same."""
    first, second = (asked(route, items, places or {}, accept) for _ in range(2))
    assert first == second
    return first


def test_what_was_asked_before_is_told_from_what_is_not() -> None:
    """By endpoint, parameters in their order, places and what is accepted; a refusal is one each time."""
    hourly, daily = ROUTES["actions/hourly"], ROUTES["actions/daily"]
    assert [ask(route, ("limit", "2")).given for route in (hourly, daily, hourly)] == [
        {"hours": 24},
        {"days": 30},
        {"hours": 24},
    ]
    assert [ask(hourly, ("hours", hours)).given["hours"] for hours in ("2", "3", "2")] == [2, 3, 2]
    assert [ask(hourly, accept=accept).csv for accept in ("", "text/csv", "")] == [False, True, False]
    stats = ROUTES["triggers/{trigger_id}/stats"]
    assert [ask(stats, places={"trigger_id": name}).given for name in ("a", "b")] == [
        {"trigger-id": "a"},
        {"trigger-id": "b"},
    ]
    for _ in range(2):
        with pytest.raises(Problem, match="at most 168"):
            asked(hourly, [("hours", "169")], {})
    long = [("action_type", "x" * 600)]
    assert ask(hourly, *long).filters == dict(long)
