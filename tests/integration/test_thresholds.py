"""Thresholds of organizations and types in the answers, against the rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from analytics_refreshd.core.thresholds import Threshold, Thresholds
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind, run
from analytics_refreshd.postgres.catalogue.settings import QuerySettings
from tests.support.tenants import add_organizations

CATALOGUE = Catalogue.load()
SETTINGS = QuerySettings(
    thresholds=Thresholds(
        Threshold(success_warning_percent=60),
        {"acme": Threshold(75, 70, 1000, 3000, 50, 10)},
        {"rest": Threshold(70, 67, 2000, 2500)},
    )
)


def ask(
    connection: psycopg.Connection[Any], name: str, limit: Sequence[str] | None = None, **given: object
) -> list[dict[str, object]]:
    """The rows of a query as objects, by the thresholds above."""
    parameters = {key.replace("_", "-"): value for key, value in given.items()}
    bound = bind(CATALOGUE.get(name), parameters, limit, datetime.now(UTC), "public", settings=SETTINGS)
    found = run(connection, bound)
    return [dict(zip((column.name for column in found.columns), row, strict=True)) for row in found.rows]


def test_each_figure_is_judged_by_its_own_limits(connection: psycopg.Connection[Any]) -> None:
    """Two triggers with the same figures, of which one belongs to an organization with stricter limits."""
    add_organizations(connection, {"acme": "Acme", "blue": "Blue"})
    connection.execute(
        "insert into triggers (id, organization_id, name) values ('a', 'acme', 'A'), ('b', 'blue', 'B');"
        # 2 of 3 succeed, and each takes 2.2 s
        " insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
        " select t || n, 'j', t, k, case when n % 3 > 0 then 'success' else 'failed' end, now() - interval '2m', 2200"
        " from (values ('a', 'rest'), ('b', 'mcp')) v (t, k), generate_series(1, 30) n"
    )  # fmt: skip
    assert all(row[3] for row in connection.execute("select * from refresh_action_analytics()"))
    slow = ask(connection, "sla-violations")
    assert [(row["trigger_id"], row["sla_status"], row["severity"], row["over_ms"]) for row in slow] == [
        ("a", "WARNING", "warning", 1200)
    ]
    asked = {row["trigger_id"]: row["sla_status"] for row in ask(connection, "sla-violations", above_ms=2000)}
    assert asked == {"a": "WARNING", "b": "OK"}
    weak = ask(connection, "unhealthy-triggers")
    assert [(row["trigger_id"], row["health_status"], row["severity"]) for row in weak] == [
        ("a", "CRITICAL", "critical")
    ]
    (health,) = ask(connection, "trigger-health")
    assert health == {"critical_triggers": 1, "warning_triggers": 0, "ok_triggers": 1}
    rates = {row["action_type"]: row["health_status"] for row in ask(connection, "success-rate")}
    assert rates == {"rest": "CRITICAL", "mcp": "OK"}
    latencies = {row["action_type"]: row["sla_status"] for row in ask(connection, "latency")}
    assert latencies == {"rest": "WARNING", "mcp": "OK"}
    assert [ask(connection, "summary", limit)[0]["status"] for limit in (None, ["acme"], ["blue"])] == [
        "unhealthy", "healthy", "unhealthy",
    ]  # fmt: skip
