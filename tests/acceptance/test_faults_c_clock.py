"""Section C of the fault matrix, the clocks: steps, summer time, suspension, and clocks that differ."""

import json
import signal
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.model import VIEWS
from tests.support.daemon import Daemon
from tests.support.faults import FAST, Connection, fired, value
from tests.support.machine import WallClock, faketime
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault
HOUR = 3600.0
DAY = timedelta(days=1)
CALM = FAST | {"staleness__max_age": "1h"}
"""A cycle every two seconds on views that are not stale on a slow machine either."""


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    """The wall clock of the daemons that get its environment (Debian: apt install faketime)."""
    library = faketime()
    if library is None:
        pytest.skip("libfaketime is not installed")
    return WallClock(library, tmp_path)


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def slots_after(daemon: Daemon, line: dict[str, Any]) -> list[datetime]:
    """The slots of the runs that finished after `line`; a run made at once on becoming leader has none on the grid."""
    later = daemon.lines[daemon.lines.index(line) :]
    planned = [datetime.fromisoformat(run["scheduled_at"]) for run in later if run["event"] == "refresh.finished"]
    return [moment for moment in planned if moment.timestamp() % 2 == 0]


def peak_memory(daemon: Daemon) -> int:
    """The most bytes that the process ever held at once, by the kernel's own account."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak.split()[1]) * 1024


def finished_after(daemon: Daemon, line: dict[str, Any], count: int) -> None:
    """Wait for `count` more runs after `line`."""
    before = sum(1 for known in daemon.lines[: daemon.lines.index(line)] if known["event"] == "refresh.finished")
    daemon.wait_for("refresh.finished", count=before + count)


@pytest.mark.parametrize("years", [0, 10])
def test_C02_C04_clock_forward(dsn: str, connection: Connection, clock: WallClock, years: int) -> None:
    """An hour or ten years forward is one step in log and metric; no slot is made up for or missed, no list built."""
    # the scheduler is to meet the leap before the main loop has planned anew
    broken = """
        from analytics_refreshd.app import daemon
        assert daemon._TICK_SECONDS
        daemon._TICK_SECONDS = 4.0
    """
    with Daemon(dsn, **CALM, log__level="debug", broken=broken, extra=clock.environment) as daemon:
        daemon.wait_for("refresh.finished", ok, count=2)
        memory_before = peak_memory(daemon)
        jump = HOUR + years * 365 * 24 * HOUR
        clock.step(jump)
        step = daemon.wait_for("clock.step")
        assert abs(step["step_seconds"] - jump) < 5
        finished_after(daemon, step, 3)
        slots = slots_after(daemon, step)
        assert all(timedelta() < later - earlier < timedelta(minutes=1) for earlier, later in pairwise(slots))
        assert daemon.metric("analytics_clock_steps_total") == 1
        assert peak_memory(daemon) < memory_before + 20_000_000
        assert [line for line in daemon.events("library.message") if "was missed by" in line["message"]] == []
        assert len(daemon.events("clock.step")) == 1
        assert daemon.get("/livez")[0] == 200
        assert daemon.events("alert.firing") == []
        assert daemon.stop() == 0
    # each run of the test at most, not the slots of an hour
    assert value(connection, "select count(*) from analytics_refresh.runs") < 30
    assert (
        value(
            connection,
            "select count(*) from analytics_refresh.runs where started_at > now() + '1 minute' and clock = 'server'",
        )
        == 0
    )


def test_C03_clock_back(dsn: str, clock: WallClock) -> None:
    """An hour back: noticed within a second or two, rescheduled, and refreshes go on without waiting for the hour."""
    with Daemon(dsn, **CALM, extra=clock.environment) as daemon:
        daemon.wait_for("refresh.finished", ok, count=2)
        clock.step(-HOUR)
        step = daemon.wait_for("clock.step")
        assert abs(step["step_seconds"] + HOUR) < 5
        finished_after(daemon, step, 3)
        assert daemon.metric("analytics_clock_steps_total") == 1
        upcoming = daemon.metric("analytics_next_run_timestamp_seconds") or 0
        assert abs(upcoming - (datetime.now(UTC).timestamp() - HOUR)) < 60
        daemon.until(lambda: (daemon.metric("analytics_view_age_minutes", view="recent_failures") or 9) < 1)
        assert daemon.events("alert.firing") == []
        assert daemon.stop() == 0


@pytest.mark.parametrize("change", ["2026-03-29T01:00:00+00:00", "2026-10-25T01:00:00+00:00"])
def test_C05_summer_time(dsn: str, clock: WallClock, change: str) -> None:
    """Where local time leaps or repeats an hour, slots go on in UTC two seconds apart, and no clock has stepped."""
    moment = datetime.fromisoformat(change)
    with Daemon(dsn, **CALM, extra=clock.environment | {"TZ": "Europe/Berlin"}) as daemon:
        daemon.wait_for("refresh.finished", ok)
        clock.step((moment - datetime.now(UTC)).total_seconds() - 5)
        step = daemon.wait_for("clock.step")
        line = daemon.wait_for(
            "refresh.finished", lambda line: moment < datetime.fromisoformat(line["scheduled_at"]) < moment + DAY
        )
        slots = [slot for slot in slots_after(daemon, step) if slot > moment - timedelta(minutes=1)]
        assert slots[0] < moment < slots[-1]
        assert all(timedelta() < later - earlier < timedelta(minutes=1) for earlier, later in pairwise(slots))
        assert line["scheduled_at"].endswith(("Z", "+00:00"))
        assert daemon.events("clock.step") == [step]
        assert daemon.stop() == 0


def test_C06_suspended_leader(dsn: str, connection: Connection) -> None:
    """A leader suspended beyond its trust is replaced, and on waking is a standby before it refreshes anything."""
    # on waking the election's thread comes last, so that nothing but the trust that ran out keeps a slot from running
    broken = """
        import threading
        import time
        from analytics_refreshd.app.election import Election
        beat, seen = Election._beat, []
        def late(self):
            if seen and time.monotonic() - seen[-1] > 9.0:
                threading.Event().wait(4.0)
            seen.append(time.monotonic())
            return beat(self)
        Election._beat = late
    """
    with Daemon(dsn, **CALM, broken=broken, service__replica="one") as one:
        one.wait_for("refresh.finished", ok)
        with Daemon(dsn, **CALM, service__replica="two") as two:
            eventually(lambda: two.get("/readyz")[0] == 200)
            one.process.send_signal(signal.SIGSTOP)
            two.wait_for("leader.acquired")
            two.wait_for("refresh.finished", ok)
            before = len(one.events("refresh.finished"))
            woken = datetime.now(UTC)
            one.process.send_signal(signal.SIGCONT)
            lost = one.wait_for("leader.lost")
            one.until(lambda: one.metric("analytics_leader") == 0)
            two.wait_for("refresh.finished", count=len(two.events("refresh.finished")) + 2)
            # a run that the suspension caught in the middle may have ended, none was begun on the old trust
            later = one.lines[one.lines.index(lost) :]
            assert [line for line in later if line["event"] == "refresh.finished" and ok(line)] == []
            assert len(one.events("refresh.finished")) <= before + 1
            begun = [datetime.fromisoformat(line["started_at"]) for line in one.events("refresh.finished")]
            assert [moment for moment in begun if moment > woken] == []
            assert [two.metric("analytics_leader"), one.metric("analytics_leader")] == [1, 0]
            assert two.stop() == 0
        assert one.stop() == 0


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
def test_C12_clocks_differ(dsn: str, connection: Connection, clock: WallClock, offset: float) -> None:
    """With the daemon's clock an hour off, ages are the server's and alerts are neither early nor late."""
    clock.step(offset)
    with Daemon(dsn, **CALM, extra=clock.environment) as daemon:
        daemon.wait_for("refresh.finished", ok, count=2)
        # the first ages are those of the views as they were found
        daemon.until(
            lambda: (
                (age := daemon.metric("analytics_view_age_minutes", view="recent_failures")) is not None
                and 0 <= age < 1
            )
        )
        assert daemon.events("alert.firing") == []
        assert daemon.stop() == 0
    off = value(connection, "select max(abs(extract(epoch from started_at - now()))) from analytics_refresh.runs")
    assert float(off) < 120


# ages by clocks that differ are read both ways above
@pytest.mark.parametrize("offset", [-HOUR, pytest.param(HOUR, marks=pytest.mark.nightly)])
def test_C12_clocks_differ_without_a_leader(dsn: str, clock: WallClock, offset: float) -> None:
    """How long nobody has led is measured on one clock, whatever the other says."""
    clock.step(offset)
    with psycopg.connect(dsn, autocommit=True, application_name="curious") as stranger:
        stranger.execute("select pg_advisory_lock(2583, 1)")
        with Daemon(dsn, **CALM, alerts__no_leader_for="4s", extra=clock.environment) as daemon:
            pending = daemon.wait_for("alert.pending", lambda line: line["alert"] == "AnalyticsNoLeader")
            alert = fired(daemon, "AnalyticsNoLeader")
            waited = datetime.fromisoformat(alert["timestamp"]) - datetime.fromisoformat(pending["timestamp"])
            assert waited > timedelta(seconds=2)
            assert daemon.stop() == 0


@pytest.mark.quick
@pytest.mark.parametrize(("minutes", "ahead"), [(-90, "90 minutes"), (1_000_000, "-1000000 minutes")])
def test_C12_absurd_ages_of_the_function(dsn: str, connection: Connection, minutes: int, ahead: str) -> None:
    """A status function that says -90 or a million minutes: our own record's age is shown, and it is not negative."""
    connection.execute(
        "update analytics_refresh.last_refresh set last_success_at = now() - interval '100 seconds',"
        " last_checked_at = now() - interval '100 seconds'"
    )
    definition = value(connection, "select pg_get_functiondef('get_analytics_refresh_status'::regproc)")
    columns = definition[definition.index("RETURNS") : definition.index("LANGUAGE")]
    connection.execute(
        psycopg.sql.SQL(
            "create or replace function get_analytics_refresh_status() {columns} language sql as $$ select v,"
            " 1::bigint, 8192::bigint, now() + {ahead}::interval, {minutes}::integer from unnest({views}::text[]) v $$"
        ).format(
            columns=psycopg.sql.SQL(columns),
            ahead=psycopg.sql.Literal(ahead),
            minutes=psycopg.sql.Literal(minutes),
            views=psycopg.sql.Literal(list(VIEWS)),
        )
    )
    with Daemon(dsn, schedule__interval="1d", alerts__evaluate_every="1s") as daemon:
        daemon.until(lambda: daemon.metric("analytics_view_age_minutes", view="recent_failures") is not None)
        assert 100 / 60 <= (daemon.metric("analytics_view_age_minutes", view="recent_failures") or 0) < 60
        for view in json.loads(daemon.get("/status.json")[1])["views"]:
            assert 100 <= view["age_seconds"] < 3600
        assert bool(daemon.metric("analytics_clock_skew_total")) is (minutes < 0)
        assert daemon.events("alert.firing") == []
        assert daemon.stop() == 0
