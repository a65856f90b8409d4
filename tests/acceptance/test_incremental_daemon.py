"""The daemon over the incremental mode: folds, rebuilds, and says so; exact whatever is written or killed meanwhile."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from tests.acceptance.conftest import ROLE
from tests.support import faults
from tests.support.daemon import Daemon, command
from tests.support.faults import age_views, our_sessions, value
from tests.support.incremental import differences
from tests.support.installs import put_older_function_back
from tests.support.postgres import Server
from tests.support.waiting import eventually

# the rows' own failures and latency are nobody's concern here
FAST = faults.FAST | {"alerts__min_executions": 1_000_000}
BOTH = pytest.mark.parametrize("isolation", ["cycle", "view"])

Connection = psycopg.Connection[Any]

# far from the edges of the views' windows, so that the clock alone changes nothing during a test
_INSERT = """
insert into action_results (id, job_id, action_type, status, executed_at, duration_ms, error_message, retry_count)
select %s || i, 'job', (array['rest', 'mcp', 'fax'])[1 + i %% 3],
    (array['success', 'failed', 'retrying'])[1 + i %% 7 / 3],
    now() - (30 + i %% 9 * 100) * interval '1 minute' - i %% 2 * interval '50 days', i * 37 %% 5000, 'broken', i %% 3
from generate_series(1, 60) i
"""


def write(connection: Connection, key: str) -> None:
    """Insert rows, change some, delete some."""
    connection.execute(_INSERT, [key])
    connection.execute("update action_results set status = 'success', duration_ms = 3 where hashtext(id) % 5 = 0")
    connection.execute("delete from action_results where hashtext(id) % 11 = 0")


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database in incremental mode with rows."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        write(connection, "first ")
        incremental.install(connection)
    return dsn


@pytest.fixture
def rolled_up(connection: Connection) -> Connection:
    """A connection to it, with views a day old."""
    age_views(connection)
    return connection


def refreshed(daemon: Daemon) -> dict[str, Any]:
    """Wait for a run that began after this call; returns its line."""
    return daemon.wait_for("refresh.finished", count=len(daemon.events("refresh.finished")) + 2)


@contextmanager
def held(dsn: str, table: LiteralString) -> Iterator[Connection]:
    """Another session that keeps every other one out of one of our tables."""
    with psycopg.connect(dsn) as holder:
        holder.execute("lock table analytics_refresh." + table)
        yield holder
        holder.rollback()


def waits_for(connection: Connection, table: str) -> bool:
    """Whether a session of the daemon waits for that table."""
    return bool(
        value(
            connection,
            "select count(*) from pg_locks l join pg_stat_activity a on a.pid = l.pid"
            " where not l.granted and l.relation = %s::regclass and a.application_name like 'analytics-refreshd/%%'",
            f"analytics_refresh.{table}",
        )
    )


@BOTH
def test_writes_between_cycles_are_exact(dsn: str, rolled_up: Connection, isolation: str) -> None:
    """After every cycle the views hold what the plain definitions give; the line says how long the fold took."""
    with Daemon(dsn, **FAST, refresh__isolation=isolation) as daemon:
        daemon.wait_for("refresh.finished")
        for number in range(3):
            write(rolled_up, f"round {number} ")
            line = refreshed(daemon)
            assert (line["outcome"], line["isolation"]) == ("ok", isolation)
            assert line["fold_seconds"] >= 0
            assert "rebuild_reason" not in line
            assert differences(rolled_up) == {}
        assert daemon.stop() == 0
    assert verify(rolled_up).ok


@BOTH
def test_truncate_is_mended_by_a_rebuild(dsn: str, rolled_up: Connection, isolation: str) -> None:
    """What deltas cannot express makes the daemon rebuild before its next refresh, and log why."""
    with Daemon(dsn, **FAST, refresh__isolation=isolation) as daemon:
        daemon.wait_for("refresh.finished")
        with rolled_up.transaction():
            rolled_up.execute("truncate action_results")
            write(rolled_up, "after ")
        line = daemon.wait_for("refresh.finished", lambda line: "rebuild_reason" in line)
        assert line["outcome"] == "ok"
        assert "TRUNCATE" in line["rebuild_reason"].upper()
        assert differences(rolled_up) == {}
        assert incremental.state(rolled_up).rebuild_reason is None
        assert "rebuild_reason" not in refreshed(daemon)
    assert verify(rolled_up).ok


@pytest.mark.fault
@BOTH
@pytest.mark.parametrize("during", ["fold", "rebuild"])
def test_killed_during_fold_or_rebuild_is_exact_afterwards(
    dsn: str, rolled_up: Connection, isolation: str, during: str
) -> None:
    """kill -9 of the daemon in the middle of a fold or a rebuild: the next daemon's first refresh is exact."""
    table: LiteralString = "duration_counts" if during == "fold" else "duration_stats"
    with Daemon(dsn, **FAST, refresh__isolation=isolation) as daemon:
        daemon.wait_for("refresh.finished")
        with held(dsn, table):
            if during == "rebuild":
                rolled_up.execute("truncate action_results")
            write(rolled_up, "held ")
            eventually(lambda: waits_for(rolled_up, table))
            daemon.process.kill()
            daemon.process.wait(10)
    eventually(lambda: our_sessions(rolled_up) == 0)
    write(rolled_up, "alone ")
    age_views(rolled_up)
    with Daemon(dsn, **FAST, refresh__isolation=isolation) as daemon:
        assert daemon.wait_for("refresh.finished")["outcome"] == "ok"
        assert differences(rolled_up) == {}
    assert verify(rolled_up).ok


@pytest.mark.fault
def test_sigterm_during_a_rebuild(dsn: str, rolled_up: Connection) -> None:
    """A stop cancels a rebuild on the server within seconds, as a cancelled run; a later daemon goes on."""
    rolled_up.execute("truncate action_results")
    with held(dsn, "duration_stats"):
        with Daemon(dsn, **faults.SLOT) as daemon:
            eventually(lambda: waits_for(rolled_up, "duration_stats"))
            assert daemon.get("/livez")[0] == 200
            assert daemon.stop() == 0
            line = daemon.events("refresh.finished")[-1]
            assert (line["outcome"], line["reason"]) == ("cancelled", "shutdown")
    assert incremental.state(rolled_up).rebuild_reason is not None
    with Daemon(dsn, **FAST) as daemon:
        assert daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")["rebuild_reason"]
    assert differences(rolled_up) == {}


@pytest.mark.fault
def test_fold_that_fails_fails_its_views_only(dsn: str, rolled_up: Connection) -> None:
    """With a transaction per view a fold without its lock fails three views with its reason, and not the fourth."""
    with (
        held(dsn, "duration_counts"),
        Daemon(dsn, **FAST, refresh__isolation="view", refresh__lock_timeout="200ms") as daemon,
    ):
        write(rolled_up, "held ")
        line = daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "partial")
        reasons = {view["view"]: view.get("reason") for view in line["views"]}
        assert reasons.pop("recent_failures") is None
        assert set(reasons.values()) == {"lock_timeout"}
        assert "fold_seconds" not in line


def test_a_standby_does_not_rebuild(dsn: str, rolled_up: Connection) -> None:
    """Slots of a replica that does not lead leave a rebuild mark alone."""
    assert command(dsn, "refresh").returncode == 0
    with Daemon(dsn, schedule__interval="6h", service__replica="one") as leader:
        leader.wait_for("leader.acquired")
        rolled_up.execute("truncate action_results")
        with Daemon(dsn, **FAST, service__replica="two") as standby:
            standby.until(lambda: standby.metric("analytics_leader") == 0)
            seen = {standby.metric("analytics_next_run_timestamp_seconds")}

            def slots() -> int:
                seen.add(standby.metric("analytics_next_run_timestamp_seconds"))
                return len(seen - {None})

            standby.until(lambda: slots() >= 3)
    assert incremental.state(rolled_up).rebuild_reason is not None


def test_a_view_left_alone_stays_fresh(dsn: str, rolled_up: Connection) -> None:
    """Where nothing changed, a view is as fresh as the refresh that found so: young in metrics and status, no alert."""
    assert command(dsn, "refresh").returncode == 0
    age_views(rolled_up)
    with Daemon(dsn, **FAST, staleness__max_age="1h") as daemon:
        assert refreshed(daemon)["outcome"] == "ok"
        daemon.until(lambda: (daemon.metric("analytics_view_age_minutes", view="recent_failures") or 99) < 1)
        assert command(dsn, "status").returncode == 0
        assert daemon.events("alert.firing") == []
        assert daemon.stop() == 0
    dated = value(
        rolled_up, "select max(last_success_at) < now() - interval '1 hour' from analytics_refresh.last_refresh"
    )
    assert dated is True
    assert value(rolled_up, "select max(age_minutes) from get_analytics_refresh_status()") == 0


def test_everything_shows_the_mode(dsn: str, rolled_up: Connection) -> None:
    """Backlog, fold, last verification and tables that are not captured are in status, metrics, page and JSON."""
    assert verify(rolled_up).ok
    with Daemon(dsn, **FAST) as daemon:
        refreshed(daemon)
        daemon.until(lambda: daemon.metric("analytics_fold_seconds") is not None)
        assert daemon.metric("analytics_delta_rows") is not None
        assert daemon.metric("analytics_verify_last_differences") == 0
        assert (daemon.metric("analytics_verify_last_timestamp_seconds") or 0) > 1e9
        delta = json.loads(daemon.get("/status.json")[1])["delta"]
        assert (delta["mode"], delta["verified_ok"], delta["uncaptured"]) == ("incremental", True, [])
        assert "the last fold took" in daemon.get("/")[1]
        table = command(dsn, "status")
        assert table.returncode == 0
        assert "mode: incremental, 0 deltas wait, the last fold took" in " ".join(table.stdout.split())
        shown = json.loads(command(dsn, "status", "--format", "json").stdout)
        assert shown["mode"] == "incremental"
        assert (shown["delta"]["pending_rows"], shown["delta"]["uncaptured"]) == (0, [])
        assert shown["delta"]["fold_seconds"] >= 0

        rolled_up.execute("create table directly () inherits (action_results)")
        alert = daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsContractBroken")
        assert "public.directly" in alert["description"]
        assert "migrate --incremental" in alert["description"]
        assert any(
            "migrate --incremental" in notice["text"] for notice in json.loads(daemon.get("/status.json")[1])["notices"]
        )
        broken = command(dsn, "status")
        assert broken.returncode == 1
        assert "migrate --incremental" in " ".join(broken.stdout.split())
        assert command(dsn, "migrate", "--incremental").returncode == 0
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsContractBroken")


def test_a_difference_alerts_until_it_is_mended(dsn: str, rolled_up: Connection) -> None:
    """Rollups that a verification found wrong wake somebody, and a verified rebuild resolves it."""
    rolled_up.execute("select refresh_action_analytics()")
    rolled_up.execute("update analytics_refresh.hour_cells set n = n + 1")
    assert command(dsn, "migrate", "--verify").returncode == 1
    with Daemon(dsn, **FAST) as daemon:
        alert = daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsContractBroken")
        assert "rows that differ from the plain views" in alert["description"]
        assert "migrate --verify --rebuild" in alert["description"]
        assert command(dsn, "migrate", "--verify", "--rebuild").returncode == 0
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsContractBroken")
        refreshed(daemon)  # the rollups are right again, and with the next run the views
        assert daemon.stop() == 0
    assert not differences(rolled_up)


@pytest.mark.fault
def test_L01_an_older_function_put_back_is_no_green_light(dsn: str, rolled_up: Connection) -> None:
    """The views get no younger by it, somebody is told what was left out, and `migrate` ends it."""
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        put_older_function_back(rolled_up)
        write(rolled_up, "left out ")
        line = daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "partial")
        assert {view["view"] for view in line["views"] if not view["success"]} == set(VIEWS) - {"recent_failures"}
        alert = daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsContractBroken")
        assert "changed rows out: run analytics-refreshd migrate" in alert["description"]
        assert command(dsn, "status").returncode == 1
        assert command(dsn, "check").returncode == 1
        assert command(dsn, "migrate").returncode == 0
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsContractBroken")
        refreshed(daemon)
        assert daemon.stop() == 0
    assert differences(rolled_up) == {}


@pytest.mark.fault
def test_L01_another_program_that_folds_nothing_is_no_green_light(dsn: str, rolled_up: Connection) -> None:
    """Changes that wait for longer than a view may be old, behind views recorded as refreshed, break the contract."""
    rolled_up.execute("select refresh_action_analytics()")
    write(rolled_up, "left out ")
    rolled_up.execute("update analytics_refresh.incremental set folded_at = now() - interval '1 day'")
    rolled_up.execute("update analytics_refresh.last_refresh set last_success_at = now(), last_checked_at = now()")
    broken = command(dsn, "status")
    assert broken.returncode == 1
    assert "changes wait to be folded since" in " ".join(broken.stdout.split())
    with Daemon(dsn, schedule__interval="1h", alerts__evaluate_every="1s") as daemon:
        alert = daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsContractBroken")
        assert "changes wait to be folded since" in alert["description"]
        assert daemon.stop() == 0


@pytest.mark.quick
def test_plain_mode_shows_nothing_of_it(databases: Callable[..., str], migrated_template: str) -> None:
    """In plain mode there are no incremental series, and no fold in a run's line."""
    with Daemon(databases(migrated_template), **FAST) as daemon:
        line = refreshed(daemon)
        assert not {"fold_seconds", "rebuild_reason"} & set(line)
        names = ("analytics_delta_rows", "analytics_fold_seconds", "analytics_verify_last_differences")
        assert [daemon.metric(name) for name in names] == [None] * 3
        assert "plain mode" in daemon.get("/")[1]


@pytest.mark.quick
def test_migrate_renews_the_incremental_functions(dsn: str, rolled_up: Connection) -> None:
    """`migrate` in incremental mode brings this version's functions, and is harmless when repeated."""
    rolled_up.execute("comment on function analytics_refresh.fold() is 'of another version'")
    for _ in range(2):
        assert command(dsn, "migrate").returncode == 0
    assert value(rolled_up, "select obj_description('analytics_refresh.fold()'::regprocedure)") != "of another version"
    assert verify(rolled_up).ok


@pytest.fixture
def switched(granted: Server) -> Server:
    """A server of each version whose daemon's role was granted before the switch to the incremental mode."""
    with granted.connect() as owner:
        write(owner, "first ")
        incremental.install(owner)
        age_views(owner)
    return granted


@BOTH
def test_least_privileged_role_suffices(switched: Server, isolation: str) -> None:
    """The role that grants.sql makes folds, rebuilds and sees the state, although granted before the switch."""
    dsn = switched.dsn(user=ROLE)
    with switched.connect() as owner, Daemon(dsn, **FAST, refresh__isolation=isolation) as daemon:
        write(owner, "second ")
        line = refreshed(daemon)
        assert line["outcome"] == "ok"
        assert line["fold_seconds"] >= 0
        owner.execute("truncate action_results")
        write(owner, "third ")
        line = daemon.wait_for("refresh.finished", lambda line: "rebuild_reason" in line)
        assert line["outcome"] == "ok"
        assert differences(owner) == {}
        daemon.until(lambda: daemon.metric("analytics_fold_seconds") is not None)
        daemon.until(lambda: daemon.metric("analytics_delta_rows") == 0)
        shown = command(dsn, "status")
        assert shown.returncode == 0, shown.stdout
        assert "mode: incremental" in shown.stdout
