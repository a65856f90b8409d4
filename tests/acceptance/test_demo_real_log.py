"""The four views over a real log, against the same aggregates computed here, row by row, in plain Python."""

import csv
import gzip
import json
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.demo import RunningDemo
from tests.support.waiting import eventually

_FOLDER = Path(os.environ.get("REFRESHD_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
_FILE = _FOLDER / "http_checks.csv.gz"

pytestmark = pytest.mark.skipif(not _FILE.exists(), reason=f"the real log {_FILE.name} is not on this machine")

Row = dict[str, Any]
_VIEWS = {
    "action_metrics_hourly": ("hour", "action_type", "status"),
    "trigger_performance_summary": ("trigger_id",),
    "recent_failures": ("id",),
    "action_type_distribution": ("action_type",),
}


def rounded(value: Fraction | None, decimals: int = 2) -> Decimal | None:
    """`value` with so many decimals, halves away from zero, as numeric rounds; no float is involved."""
    if value is None:
        return None
    with localcontext(prec=60):
        quotient = Decimal(value.numerator) / Decimal(value.denominator)
        return quotient.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def mean(values: list[int]) -> Fraction | None:
    """The exact mean, None of nothing."""
    return Fraction(sum(values), len(values)) if values else None


def percentile(values: list[int], percent: int) -> Fraction | None:
    """The interpolated percentile: between the two neighbours of position p·(n - 1), in proportion."""
    if not values:
        return None
    ordered = sorted(values)
    position = Fraction(percent, 100) * (len(ordered) - 1)
    below, above = math.floor(position), math.ceil(position)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def durations(rows: list[Row]) -> Row:
    """The six figures over duration_ms that two views share; rows without a duration are left out."""
    values = [row["duration_ms"] for row in rows if row["duration_ms"] is not None]
    return {
        "avg_duration_ms": rounded(mean(values)),
        "min_duration_ms": min(values, default=None),
        "max_duration_ms": max(values, default=None),
        "p50_duration_ms": rounded(percentile(values, 50)),
        "p95_duration_ms": rounded(percentile(values, 95)),
        "p99_duration_ms": rounded(percentile(values, 99)),
    }


def of_status(rows: list[Row], status: str) -> int:
    """How many have this status."""
    return sum(row["status"] == status for row in rows)


def grouped(rows: Iterable[Row], *keys: str) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    """The rows by the values of `keys`."""
    groups: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    yield from groups.items()


def hourly(rows: list[Row]) -> list[Row]:
    """action_metrics_hourly."""
    return [
        {
            "hour": hour,
            "action_type": action_type,
            "status": status,
            "execution_count": len(group),
            **durations(group),
            "success_count": of_status(group, "success"),
            "failure_count": of_status(group, "failed"),
            "retrying_count": of_status(group, "retrying"),
            "total_retries": sum(row["retry_count"] for row in group),
            "actions_with_retries": sum(row["retry_count"] > 0 for row in group),
        }
        for (hour, action_type, status), group in grouped(rows, "hour", "action_type", "status")
    ]


def triggers(rows: list[Row]) -> list[Row]:
    """trigger_performance_summary; hours_active as an exact fraction."""
    summary = []
    for (trigger_id,), group in grouped((row for row in rows if row["trigger_id"]), "trigger_id"):
        retries = [row["retry_count"] for row in group]
        times = [row["executed_at"] for row in group]
        active = (max(times) - min(times)) // timedelta(microseconds=1)
        summary.append(
            {
                "trigger_id": trigger_id,
                "total_executions": len(group),
                "success_count": of_status(group, "success"),
                "failure_count": of_status(group, "failed"),
                "retrying_count": of_status(group, "retrying"),
                "success_rate": rounded(Fraction(100 * of_status(group, "success"), len(group))),
                **durations(group),
                "total_retries": sum(retries),
                "avg_retries": rounded(mean(retries)),
                "max_retries": max(retries),
                "last_execution_at": max(times),
                "first_execution_at": min(times),
                "hours_active": Fraction(active, 3_600_000_000),
            }
        )
    return summary


def failures(rows: list[Row]) -> list[Row]:
    """recent_failures over rows that are all within the window."""
    columns = (
        "id job_id trigger_id event_id action_type error_message retry_count executed_at duration_ms response_data"
    )
    return [{name: row[name] for name in columns.split()} for row in rows if row["status"] == "failed"]


def distribution(rows: list[Row]) -> list[Row]:
    """action_type_distribution over rows that are all within the window."""
    return [
        {
            "action_type": action_type,
            "total_executions": len(group),
            "success_count": of_status(group, "success"),
            "failure_count": of_status(group, "failed"),
            "percentage": rounded(Fraction(100 * len(group), len(rows))),
            "avg_duration_ms": rounded(mean([row["duration_ms"] for row in group if row["duration_ms"] is not None])),
            "total_retries": sum(row["retry_count"] for row in group),
            "last_execution_at": max(row["executed_at"] for row in group),
        }
        for (action_type,), group in grouped(rows, "action_type")
    ]


def expected_at(rows: list[Row], now: datetime) -> dict[str, list[Row]]:
    """All four views as a refresh at `now` finds them."""
    return {
        "action_metrics_hourly": hourly(rows),
        "trigger_performance_summary": triggers(rows),
        "recent_failures": failures([row for row in rows if row["executed_at"] >= now - timedelta(hours=24)]),
        "action_type_distribution": distribution(
            [row for row in rows if row["executed_at"] >= now - timedelta(days=30)]
        ),
    }


def read_file(last_at: datetime) -> list[Row]:
    """The file's rows, read here independently of the project, the last of them at `last_at`."""
    with gzip.open(_FILE, "rt", encoding="utf-8", newline="") as lines:
        rows: list[Row] = list(csv.DictReader(lines))
    shift = last_at - max(datetime.fromisoformat(row["executed_at"]) for row in rows)
    for row in rows:
        for name, value in row.items():
            row[name] = value or None
        row["executed_at"] = datetime.fromisoformat(row["executed_at"]).astimezone(UTC) + shift
        row["hour"] = row["executed_at"].replace(minute=0, second=0, microsecond=0)
        row["duration_ms"] = int(row["duration_ms"]) if row["duration_ms"] else None
        row["retry_count"] = int(row["retry_count"] or 0)
        row["response_data"] = json.loads(row["response_data"]) if row["response_data"] else None
    return rows


@pytest.fixture(scope="module")
def seen() -> tuple[dict[str, list[Row]], list[Row], tuple[datetime, datetime]]:
    """What the demo's views hold, the file's rows, and the bounds of the moment of the refresh."""
    with tempfile.TemporaryDirectory(prefix="demo-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        demo = RunningDemo(Path(name), "--port", "0", "--api-port", "0", "--input", str(_FILE), "--interval", "2s")
        try:
            dsn = demo.dsn()
            eventually(lambda: demo.events("refresh.finished"))
            with psycopg.connect(dsn, row_factory=dict_row, options="-c timezone=UTC") as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                views = {view: connection.execute(f"select * from {view}").fetchall() for view in _VIEWS}
                times = connection.execute("select max(executed_at), clock_timestamp() as now from action_results")
                last_at, now = next(tuple(row.values()) for row in times)
            assert demo.stop() == 0
        finally:
            demo.stop()
        assert list(Path(name).iterdir()) == []
    return views, read_file(last_at), (last_at, now)


@pytest.mark.parametrize("view", _VIEWS)
def test_a_view_agrees_with_plain_python(
    seen: tuple[dict[str, list[Row]], list[Row], tuple[datetime, datetime]], view: str
) -> None:
    """Every row and column, to the last decimal."""
    views, rows, (earliest, latest) = seen
    keys = _VIEWS[view]
    found = {tuple(row[key] for key in keys): dict(row) for row in views[view]}
    assert len(found) == len(views[view])
    # The refresh happened at some moment between the two bounds: at most a row on the edge of a window differs.
    for now in (earliest, latest):
        expected = {tuple(row[key] for key in keys): row for row in expected_at(rows, now)[view]}
        for key, row in expected.items():
            if isinstance(row.get("hours_active"), Fraction) and key in found:
                shown = found[key]["hours_active"]
                assert -shown.as_tuple().exponent >= 6
                row["hours_active"] = rounded(row["hours_active"], -shown.as_tuple().exponent)
        if found == expected:
            break
    assert found == expected
    assert {type(value) for row in found.values() for value in row.values()} <= {
        str, int, Decimal, datetime, dict, type(None)
    }  # fmt: skip


def test_the_file_is_the_one_that_is_known(
    seen: tuple[dict[str, list[Row]], list[Row], tuple[datetime, datetime]],
) -> None:
    """2,426 rows, 781 of them without a duration, and nothing was made up beside them."""
    views, rows, _ = seen
    assert len(rows) == 2426
    assert sum(row["duration_ms"] is None for row in rows) == 781
    assert sum(row["execution_count"] for row in views["action_metrics_hourly"]) == 2426
    assert len(views["trigger_performance_summary"]) == 125
