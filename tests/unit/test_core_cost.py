"""What refreshes cost: figures that are known, and those that are not."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from analytics_refreshd.core.cost import Cost, Spent, known_cost, spent, total
from analytics_refreshd.core.model import VIEWS, Outcome, Run
from analytics_refreshd.core.spending import spending
from analytics_refreshd.core.wording import cost_in_words
from analytics_refreshd.observe.status.document import status_document
from analytics_refreshd.postgres.refresh.measuring import cost_of_plan
from tests.support.states import NOW, healthy, run_at

WHOLE = Cost(1000, 200, 30, 0)
_PLAN = {
    "Node Type": "Aggregate",
    "Shared Hit Blocks": 100,
    "Shared Read Blocks": 20,
    "Local Hit Blocks": 5,
    "Local Read Blocks": 1,
    "Local Written Blocks": 2,
    "Temp Written Blocks": 3,
    "WAL Bytes": 4096,
    "Plans": [{"Shared Hit Blocks": 100, "WAL Bytes": 4096}],
}


def test_a_sum_lacks_what_a_part_lacks() -> None:
    """A run costs what its parts cost together; one part that does not tell makes the figure unknown."""
    assert total([WHOLE, WHOLE]) == Cost(2000, 400, 60, 0)
    assert total([WHOLE, replace(WHOLE, wal_bytes=None)]) == Cost(None, 400, 60, 0)
    assert total([WHOLE, None]) is None
    assert total([]) is None


def test_several_runs_cost_what_those_that_tell_cost() -> None:
    """Runs without a cost are counted beside the sum, never as nothing."""
    assert spent([WHOLE, None, Cost(wal_bytes=5)]) == Spent(3, 1, Cost(1005, 200, 30, 0))
    assert spent([None]) == Spent(1, 1, None)
    assert spent([]) == Spent()


def test_a_negative_figure_is_no_figure() -> None:
    """What cannot be is unknown."""
    assert known_cost({"wal_bytes": -1, "blocks_hit": 3}) == Cost(blocks_hit=3)
    assert known_cost({"wal_bytes": None}) is None


def test_explain_tells_the_cost() -> None:
    """Shared and temporary tables' blocks count alike; what is written to temporary files and tables is in bytes."""
    assert cost_of_plan(json.dumps([{"Plan": _PLAN}]), 8192) == Cost(4096, 105, 21, 5 * 8192)


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '[{"Plan": 7}]', '[{"Plan": {}}]'])
def test_an_explanation_that_is_none_tells_nothing(text: str) -> None:
    """A server that explains in another way costs the figure, and not the refresh."""
    assert cost_of_plan(text, 8192) is None


def test_an_explanation_that_lacks_a_figure_tells_the_others() -> None:
    """Each figure stands for itself."""
    plan = {name: value for name, value in _PLAN.items() if name != "Temp Written Blocks"}
    assert cost_of_plan(json.dumps([{"Plan": plan}]), 8192) == Cost(4096, 105, 21, None)


def _paid(run: Run, cost: Cost | None) -> Run:
    return replace(run, cost=cost, views=tuple(replace(result, cost=cost) for result in run.views))


def test_a_day_has_the_runs_of_24_hours() -> None:
    """Skipped slots and older runs do not count; each view has its own sum."""
    runs = (
        _paid(run_at(1, NOW - timedelta(minutes=5), outcome=Outcome.SKIPPED), None),
        _paid(run_at(2, NOW - timedelta(minutes=10)), WHOLE),
        _paid(run_at(3, NOW - timedelta(hours=23), failed=VIEWS[:1]), None),
        _paid(run_at(4, NOW - timedelta(hours=25)), WHOLE),
    )
    found = spending(healthy(runs=runs))
    assert found.last_run == runs[1]
    assert found.day == Spent(2, 1, WHOLE)
    assert [(each.view, each.spent) for each in found.views] == [(view, Spent(2, 1, WHOLE)) for view in VIEWS]


def test_the_status_document_says_what_is_unknown() -> None:
    """An unknown cost is null, on the last run, the day and each view."""
    unknown = {"wal_bytes": None, "blocks_hit": None, "blocks_read": None, "temporary_bytes": None}
    document = status_document(healthy(runs=[run_at(1, NOW)]))
    assert document["cost"]["last_run"]["cost"] == unknown
    assert document["cost"]["day"] == {"runs": 1, "unknown": 1, "cost": unknown}
    assert document["views"][0]["last_run"]["cost"] == unknown
    assert status_document(healthy(runs=[]))["cost"]["last_run"] is None
    known = status_document(healthy(runs=[_paid(run_at(1, NOW), WHOLE)]))
    assert known["cost"]["day"]["cost"]["wal_bytes"] == known["views"][0]["last_run"]["cost"]["wal_bytes"] == 1000


def test_costs_are_said_in_words() -> None:
    """Only what is known is said."""
    assert cost_in_words(Cost(1536, 2000, 7, 0)) == "1.5 KiB of WAL, 7 blocks read, 2,000 hit, 0 B temporary"
    assert cost_in_words(Cost(wal_bytes=10)) == "10 B of WAL"
    assert cost_in_words(Cost(blocks_hit=10)) == "10 hit"
    assert cost_in_words(None) == cost_in_words(Cost()) == "unknown"
