"""The status document: what its schema promises, and what each source leaves unknown."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import jsonschema
import pytest

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.delta import Delta
from analytics_refreshd.core.model import VIEWS, Blocker, Outcome, Pause, Progress
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.observe.status.document import status_json
from analytics_refreshd.observe.status.field import LIST, Field
from analytics_refreshd.observe.status.fields import STATUS_FIELDS
from tests.support.states import NOW, a_day, healthy, of_database, run_at
from tests.support.status_schema import SCHEMA, conforming

BLOCKER = Blocker(812, "etl", "nightly-etl", "idle in transaction", None, NOW, None)
STALE = AlertRecord(Alert.VIEW_STALE, VIEWS[0], AlertState.FIRING, Severity.CRITICAL, NOW, NOW)
NOBODY = AlertRecord(Alert.NO_LEADER, "", AlertState.PENDING, Severity.WARNING, NOW)


def full() -> Snapshot:
    """A state in which nothing is unknown."""
    return healthy(
        delta=Delta("incremental", 12, uncaptured=("public.x",), frozen_until=NOW, late_rows=2),
        pause=Pause(NOW, NOW + timedelta(hours=1), "upgrade", "alice"),
        progress=Progress(UUID(int=1), NOW, 12.0, VIEWS[0], 3.0, BLOCKER, 2.0),
        alerts=(STALE, NOBODY),
        delivery={"ops": "nothing was sent yet"},
        runs=(run_at(5000, NOW, failed=VIEWS[:1], outcome=Outcome.PARTIAL), *a_day()),
    )


def empty() -> Snapshot:
    """A state in which everything is."""
    return healthy((), runs=(), rates=None, leader=None, next_run_at=None, evaluated_monotonic=None)


def document(snapshot: Snapshot) -> Any:
    return conforming(json.loads(status_json(snapshot)))


def test_the_schema_is_one() -> None:
    """It is a valid JSON Schema, and describes every field."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert all("description" in field for field in SCHEMA["properties"].values())


@pytest.mark.parametrize("snapshot", [full(), empty(), of_database(full()), of_database(empty())])
def test_every_state_is_as_the_schema_says(snapshot: Snapshot) -> None:
    """Full or empty, from memory or from the database: the same names, and values of the same kinds."""
    assert set(document(snapshot)) == set(SCHEMA["properties"])


def _memory_only(fields: tuple[Field[Any], ...], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for field in fields:
        if field.memory_only:
            yield (*path, field.name)
        if field.fields and field.kind is not LIST:
            yield from _memory_only(field.fields, (*path, field.name))


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def test_what_only_a_daemon_knows_is_null_in_the_command() -> None:
    """Exactly those fields: the rest is read from the database, or follows from the configuration."""
    paths = list(_memory_only(STATUS_FIELDS))
    assert {".".join(path) for path in paths} == {"replica", "role", "next_run_at", "receivers", "history.pending"}
    of_memory, of_the_database = document(full()), document(of_database(full(), delivery=None))
    assert all(_at(of_memory, path) is not None for path in paths)
    assert all(_at(of_the_database, path) is None for path in paths)
    assert (of_memory["source"], of_the_database["source"]) == ("memory", "database")


def test_an_alert_on_no_view_has_none() -> None:
    """Null, as everything that is nothing: not an empty text."""
    assert [alert["view"] for alert in document(full())["alerts"]] == [VIEWS[0], None]


def test_a_blocker_is_told_in_full_and_in_one_line() -> None:
    """The page shows the line, a script reads the rest."""
    blocker = document(full())["progress"]["blocker"]
    assert (blocker["pid"], blocker["application"], blocker["query_started_at"]) == (812, "nightly-etl", None)
    assert blocker["text"] == "waits 2.0 s on pid 812, nightly-etl, idle in transaction since 14:07 UTC"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"database_up": False}, False),
        ({"alerts": (STALE,)}, False),
        ({"alerts": (NOBODY,)}, True),
        ({"delta": Delta("incremental", verified_ok=False)}, False),
        ({"delta": Delta("incremental", verified_ok=True)}, True),
        ({"runs": (run_at(1, NOW, failed=VIEWS[:1]),)}, False),
        ({"runs": (run_at(1, NOW, failed=VIEWS[:1], outcome=Outcome.CANCELLED), run_at(2, NOW))}, True),
        ({"runs": ()}, True),
        ({"evaluated_monotonic": None}, False),
    ],
)
def test_healthy_is_what_the_exit_code_says(changes: dict[str, Any], expected: bool) -> None:
    """Every view fresh or late, its last run a success, the rollups exact, nothing firing, the database there."""
    assert document(healthy(**changes))["healthy"] is expected


def test_a_stop_is_no_view_s_failure() -> None:
    """A run that was cancelled is neither a view's last run nor its last error; it stays among the recent ones."""
    cancelled = run_at(2, NOW, failed=VIEWS, outcome=Outcome.CANCELLED)
    view = document(healthy(runs=(cancelled, run_at(1, NOW - timedelta(minutes=5)))))["views"][0]
    assert (view["last_run"]["run_id"], view["last_error"]) == (str(UUID(int=1)), None)
    assert [run["success"] for run in view["recent"]] == [True, False]


def test_the_age_says_who_told_it() -> None:
    """The status function's claim, or our own record; the doubt where the claim was not believed."""
    view = document(healthy())["views"][0]
    assert (view["age_source"], view["doubt"]) == ("record", None)
