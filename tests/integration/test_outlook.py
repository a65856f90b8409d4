"""When limits are reached: `check`, `status`, the daemon and the API say the same, and say what is unknown."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.outlook import OutlookState, day_outlooks
from analytics_refreshd.postgres.check.run import CheckSettings, run_checks
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.state.outlook import PostgresLimitDays
from tests.support.adapters import connector
from tests.support.api import Api, api_role, make_key
from tests.support.daemon import Daemon, command
from tests.support.faults import Connection
from tests.support.tenants import fill

SPACE = 60_000_000_000
STATED: dict[str, Any] = {"alerts__disk_bytes": SPACE}


def grow(connection: Connection) -> None:
    """Six weeks of runs that take longer and longer on a database that grows, and of actions that fail more."""
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome,"
        " duration_seconds, database_bytes) select gen_random_uuid(), 'd', 'r', 'schedule',"
        " date_trunc('day', now()) - i * interval '12 hours', now(), 'ok', 200 - 4 * (i / 2),"
        " case when i < 20 then 50000000000 - i * 1000000000::bigint end"
        " from generate_series(0, 41) i"
    )
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " select gen_random_uuid(), 'j', 'rest', case when i < 2 + d / 3 then 'failed' else 'success' end,"
        " date_trunc('day', now()) - (20 - d) * interval '1 day', 5"
        " from generate_series(0, 19) d, generate_series(1, 100) i"
    )
    connection.execute("select * from refresh_action_analytics()")


def told_by_check(dsn: str) -> list[str]:
    """The lines of `check`."""
    settings = CheckSettings(limits=replace(Limits(), disk_bytes=SPACE))
    found = run_checks(connector(dsn), settings, lambda: datetime.now(UTC))
    return [finding.text for finding in found if finding.name == "forecast"]


@pytest.mark.slow
def test_every_place_says_the_same(dsn: str, connection: Connection, tmp_path: Path) -> None:
    """One pure function: the sentence of `check` is that of `status`, of the daemon, its page and the API."""
    grow(connection)
    texts = told_by_check(dsn)
    refresh, rate, disk = texts
    assert "4.0 s more each day: the interval of 5 min is reached in about 2" in refresh
    assert "0.33 points less each day: success_rate_min, 90 %, is reached in about" in rate
    assert "1.9 GiB more each day: disk_bytes, 55.9 GiB, is reached in about" in disk
    printed = command(dsn, "status", "--format", "json", **STATED)
    outlook = json.loads(printed.stdout)["outlook"]
    assert [one["text"] for one in outlook] == texts
    assert [(one["quantity"], one["unit"], one["state"], one["soon"]) for one in outlook] == [
        ("refresh_time", "seconds", "expected", True),
        ("success_rate", "percent", "expected", True),
        ("disk", "bytes", "expected", True),
    ]
    assert all("within two days" in one["text"] or one["reached_at"][:10] in one["text"] for one in outlook)
    table = command(dsn, "status", **STATED).stdout.splitlines()
    assert [line for line in table if line.startswith("ahead: ")] == [f"ahead: {text}" for text in texts]
    far = command(dsn, "status", **STATED | {"alerts__success_rate_min": 1.0, "alerts__disk_bytes": 2**60})
    assert [line for line in far.stdout.splitlines() if line.startswith("ahead: ")] == [f"ahead: {refresh}"]
    with Daemon(dsn, schedule__interval="5m", alerts__evaluate_every="1s", **STATED) as daemon:

        def served() -> Any:
            return json.loads(daemon.get("/status.json")[1])["outlook"]

        daemon.until(lambda: [one["state"] for one in served()] == ["expected"] * 3)
        # its first run is among the days by then, and the size is measured again
        assert [one["quantity"] for one in served()] == [one["quantity"] for one in outlook]
        assert served()[1]["text"] == rate
        page = unescape(daemon.get("/")[1])
        assert "Limits ahead" in page
        assert f"{rate}." in page
    with api_role(dsn, connection, tmp_path) as (own, secret):
        fill(connection)
        everything = make_key(dsn, "--all-organizations", "--role", "admin")
        tenant, texts = make_key(dsn, "--organization", "acme"), told_by_check(dsn)
        with Api(own, secret, **STATED) as api:
            summary = api.ask("meta/refresh-status", everything).json["summary"]
            assert [one["text"] for one in summary["outlook"]] == texts
            assert "outlook" not in api.ask("meta/refresh-status", tenant).json["summary"]
            # an hour long nothing more is asked of the database
            connection.execute("update analytics_refresh.runs set duration_seconds = 1")
            again = api.ask("meta/refresh-status", everything).json["summary"]
            assert again["outlook"] == summary["outlook"]


@pytest.mark.slow
def test_without_what_it_is_read_from_it_is_unknown(dsn: str, connection: Connection) -> None:
    """Without our schema, without the hourly view, and where a lock lets nobody read: the rest is shown."""

    def texts() -> list[str]:
        found = json.loads(command(dsn, "status", "--format", "json").stdout)
        assert len(found["views"]) == 4
        known = {(one["state"], one["value"], one["reached_at"]) for one in found["outlook"]}
        assert known == {("unknown", None, None)}
        return [one["text"].partition("is unknown: ")[2] for one in found["outlook"]]

    few = ["fewer than 14 days of runs are known", "fewer than 14 days have enough actions"]
    unread = "the days before may not be read here"
    assert texts() == few
    with connection.transaction():
        connection.execute("lock table analytics_refresh.runs in access exclusive mode")
        assert texts() == ["it cannot be read"] * 2
    connection.execute("drop materialized view action_metrics_hourly cascade")
    assert texts() == [few[0], unread]
    connection.execute("drop schema analytics_refresh cascade")
    assert texts() == [unread] * 2


@pytest.mark.slow
def test_an_api_without_its_functions_says_that_runs_are_unknown(
    dsn: str, connection: Connection, tmp_path: Path
) -> None:
    """An older `migrate --tenants` made none: no request fails for it."""
    grow(connection)
    with api_role(dsn, connection, tmp_path) as (own, secret):
        connection.execute("drop function analytics_api.run_days(timestamptz)")
        with Api(own, secret, **STATED) as api:
            answer = api.ask("meta/refresh-status", make_key(dsn, "--all-organizations"))
            assert answer.status == 200, answer.body
            states = {one["quantity"]: one["state"] for one in answer.json["summary"]["outlook"]}
            assert states == {"refresh_time": "unknown", "success_rate": "expected", "disk": "unknown"}


def test_two_weeks_of_days_are_read_and_no_hour_to_come(dsn: str, connection: Connection) -> None:
    """A day's figure is at its noon; failed runs, and days with too few actions, have none."""
    grow(connection)
    connection.execute(
        "update analytics_refresh.runs set outcome = 'failed' where started_at > now() - interval '5 days'"
    )
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at)"
        " values ('later', 'j', 'rest', 'failed', now() + interval '3 days')"
    )
    connection.execute("select * from refresh_action_analytics()")
    session = Session(connector(dsn))
    try:
        days = PostgresLimitDays(session).read(1)
        few = PostgresLimitDays(session).read(101)
    finally:
        session.close()
    assert days.refresh_seconds is not None
    assert days.success_rate_percent is not None
    assert {day.at.astimezone(UTC).hour for day in (*days.refresh_seconds, *days.success_rate_percent)} == {12}
    assert len(days.refresh_seconds) in (16, 17)
    assert len(days.success_rate_percent) == 20
    assert [days.success_rate_percent[0].value, days.success_rate_percent[-1].value] == [99.0, 93.0]
    assert few.success_rate_percent == []
    assert [one.state for one in day_outlooks(few, Limits())][1] is OutlookState.UNKNOWN
