"""Section C of the fault matrix, the scheduler: overlap, dead threads, failing jobs, starvation, herds, retries."""

import json
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from psycopg import sql

from tests.support.daemon import Daemon
from tests.support.faults import (
    FAST,
    SLOT,
    Connection,
    Terminator,
    as_role,
    fired,
    least_role,
    refreshes_under_way,
    sleeper,
    value,
)
from tests.support.installs import stretch
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault
CALM = FAST | {"staleness__max_age": "1h"}


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def late(line: dict[str, Any]) -> timedelta:
    """How far after its slot a run began to how long it took: its end, seen from its slot."""
    return timedelta(seconds=line["lateness_seconds"] + line["duration_seconds"])


def ended(line: dict[str, Any]) -> datetime:
    """When a run was over."""
    return datetime.fromisoformat(line["scheduled_at"]) + late(line)


def test_C01_run_longer_than_the_interval(dsn: str, stretched: Connection) -> None:
    """A run that reaches into the next slot skips that slot, counted, told and recorded; never two at once."""
    # No configuration allows a run to outlast its slot, so the time limit is broken from inside.
    broken = """
        import analytics_refreshd.app.service as service
        from dataclasses import replace
        settings = service.refresh_settings
        service.refresh_settings = lambda config: replace(
            settings(config), statement_timeout_seconds=60.0, deadline_seconds=60.0)
    """
    stretch(stretched, "recent_failures", 2.8)
    most = 0
    limits = {"alerts__slow_after": "1s", "alerts__slow_after_runs": 1, "staleness__max_age": "1h"}
    with Daemon(dsn, broken=broken, **FAST | limits) as daemon:

        def skipped() -> object:
            nonlocal most
            most = max(most, refreshes_under_way(stretched))
            return daemon.events("refresh.skipped")

        daemon.until(skipped)
        assert daemon.events("refresh.skipped")[0]["reason"] == "overlap"
        fired(daemon, "AnalyticsRefreshSlow", "recent_failures")
        assert (daemon.metric("analytics_runs_skipped_total", reason="overlap") or 0) >= 1
        daemon.wait_for("refresh.finished", ok, count=4)
        eventually(
            lambda: value(
                stretched,
                "select count(*) from analytics_refresh.runs where outcome = 'skipped' and reason = 'overlap'",
            )
        )
        assert daemon.stop() == 0
    # the slot in the middle of each run is gone, not put off; the first run, of a new leader, is on no slot
    slots = [datetime.fromisoformat(line["scheduled_at"]) for line in filter(ok, daemon.events("refresh.finished"))]
    slots = [moment for moment in slots if moment.timestamp() % 2 == 0]
    assert all(later - earlier >= timedelta(seconds=4) for earlier, later in pairwise(slots))
    assert most == 1


def test_C07_scheduler_thread_dies(dsn: str) -> None:
    """A dead scheduler is noticed by its silence: not live, watchdog unfed, and exit 70 for the supervisor."""
    broken = """
        from analytics_refreshd.app import daemon, health, timetable
        from apscheduler.schedulers.base import BaseScheduler
        assert timetable._BEAT_SECONDS and daemon._DEAD_AFTER_SECONDS and health._SILENT_SECONDS
        timetable._BEAT_SECONDS, daemon._DEAD_AFTER_SECONDS, health._SILENT_SECONDS = 0.5, 3.0, 2.0
        process, calls = BaseScheduler._process_jobs, []
        def dying(self):
            calls.append(1)
            if len(calls) > 6:
                raise MemoryError
            return process(self)
        BaseScheduler._process_jobs = dying
    """
    with Daemon(dsn, broken=broken, **CALM) as daemon:
        daemon.until(lambda: daemon.get("/livez")[0] == 200)
        daemon.until(lambda: any("MemoryError" in line for line in daemon.raw))
        said = eventually(lambda: answer[1] if (answer := daemon.get("/livez"))[0] == 503 else None)
        assert "scheduler" in said
        daemon.wait_for("daemon.stopping")
        assert daemon.process.wait(15) == 70
    (stopping,) = daemon.events("daemon.stopping")
    assert "scheduler" in stopping["reason"]
    assert (stopping["level"], stopping["signal"]) == ("error", None)
    for line in daemon.raw:
        json.loads(line)


@pytest.mark.quick
def test_C07_election_thread_dies(dsn: str) -> None:
    """Without the thread that holds the lead a process could never refresh again: exit 70, and the lock is free."""
    broken = """
        from analytics_refreshd.app.election import Election
        beat, calls = Election._beat, []
        def dying(self):
            calls.append(1)
            if len(calls) > 1:
                raise MemoryError
            beat(self)
            return 0.5
        Election._beat = dying
    """
    with Daemon(dsn, broken=broken, **CALM) as daemon:
        assert daemon.process.wait(20) == 70
        (stopping,) = daemon.events("daemon.stopping")
        assert "election" in stopping["reason"]
        assert daemon.events("leader.lost")
        assert any("election" in line["message"] for line in daemon.events("library.message"))
    for line in daemon.raw:
        json.loads(line)


@pytest.mark.parametrize("error", ["SystemExit(3)", "MemoryError()", "RuntimeError('password=CANARY-7f3a')"])
def test_C08_job_raises(dsn: str, stretched: Connection, error: str) -> None:
    """Whatever a cycle raises costs that cycle: a failed run in log, metric and history; the next slot runs."""
    broken = f"""
        from analytics_refreshd.postgres.refresh.refresher import PostgresRefresher
        refresh, calls = PostgresRefresher.refresh, []
        def failing(self, *given):
            calls.append(1)
            if len(calls) == 1:
                raise {error}
            return refresh(self, *given)
        PostgresRefresher.refresh = failing
    """
    with Daemon(dsn, broken=broken, **CALM) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], line["reason"]) == ("failed", "internal")
        daemon.wait_for("refresh.finished", ok)
        assert daemon.metric("analytics_runs_total", outcome="failed") == 1
        assert daemon.get("/livez")[0] == 200
        assert daemon.stop() == 0
    assert value(stretched, "select reason from analytics_refresh.runs where outcome = 'failed'") == "internal"
    assert value(stretched, "select count(*) from analytics_refresh.runs where outcome is null") == 0
    assert "CANARY" not in "\n".join(daemon.raw)


def test_a_job_that_is_no_run_forges_none(dsn: str) -> None:
    """An evaluation that raises is told as what it is, once, and no line speaks of a run that never was."""
    broken = """
        import threading
        from analytics_refreshd.app.evaluate_cycle import EvaluateCycle
        run = EvaluateCycle.run
        def failing(self):
            if threading.current_thread().name.startswith("bookkeeping"):
                raise RuntimeError("evaluation")
            run(self)
        EvaluateCycle.run = failing
    """
    with Daemon(dsn, broken=broken, **CALM) as daemon:
        daemon.wait_for("refresh.finished", ok, count=2)
        assert daemon.stop() == 0
    (message,) = daemon.events("library.message")
    assert [part["type"] for part in message["exception"]] == ["RuntimeError"]
    assert all("run_id" in line for line in daemon.events("refresh.finished"))


def test_C09_listener_raises(dsn: str) -> None:
    """A listener that fails is told, and neither stops the schedule nor loses what metrics count."""
    broken = """
        from analytics_refreshd.app.timetable import Timetable
        from apscheduler.events import EVENT_ALL
        def failing(self, event):
            raise RuntimeError("listener")
        Timetable._on_overlap = failing
        arrange = Timetable._arrange
        def with_listener(self):
            arrange(self)
            self.scheduler.add_listener(lambda event: failing(self, event), EVENT_ALL)
        Timetable._arrange = with_listener
    """
    with Daemon(dsn, broken=broken, **CALM) as daemon:
        daemon.wait_for("refresh.finished", ok, count=3)
        assert (daemon.metric("analytics_runs_total", outcome="ok") or 0) >= 2
        assert daemon.events("library.message")
        assert daemon.get("/livez")[0] == 200
        assert daemon.stop() == 0


def test_C10_executor_starved(dsn: str, stretched: Connection) -> None:
    """While a refresh hangs, ages are evaluated, alerts fire, the lead is kept and the process is live."""
    stretch(stretched, "recent_failures", 60)
    broken = """
        import sys
        from analytics_refreshd.app import timetable
        assert timetable._BEAT_SECONDS
        timetable._BEAT_SECONDS = 0.5
        beat = timetable.Timetable._beat
        def told(self):
            beat(self)
            print("beat", file=sys.stderr, flush=True)
        timetable.Timetable._beat = told
    """
    with Daemon(dsn, broken=broken, **SLOT | {"schedule__interval": "6h", "alerts__stale_for": "0s"}) as daemon:
        eventually(lambda: sleeper(stretched))
        firing = fired(daemon, "AnalyticsViewStale", "recent_failures")
        assert firing["active_at"]

        def evaluated() -> float:
            return float(json.loads(daemon.get("/status.json")[1])["evaluated_seconds_ago"])

        last = 0.0

        def set_back() -> bool:
            nonlocal last
            before, last = last, evaluated()
            return last < before

        # it grows until an evaluation sets it back, three times over
        for _ in range(3):
            daemon.until(set_back)
        beats = daemon.raw.count("beat")
        daemon.until(lambda: daemon.raw.count("beat") >= beats + 3)
        assert sleeper(stretched)
        assert daemon.get("/livez")[0] == 200
        assert daemon.metric("analytics_leader") == 1
        assert daemon.stop() == 0


def ready(replica: Daemon) -> bool:
    """Whether it can serve."""
    return replica.get("/readyz")[0] == 200


def test_C11_thundering_herd(dsn: str, stretched: Connection) -> None:
    """Of three replicas started at once one refreshes, in the first slot and in the next ones."""
    with ExitStack() as stack:
        replicas = [stack.enter_context(Daemon(dsn, **CALM, service__replica=f"r{number}")) for number in range(3)]
        for replica in replicas:
            replica.until(partial(ready, replica))
        eventually(lambda: any(len(replica.events("refresh.finished")) >= 3 for replica in replicas))
        assert sorted(replica.metric("analytics_leader") or 0 for replica in replicas) == [0, 0, 1]
        assert sorted(len(replica.events("refresh.finished")) for replica in replicas)[:2] == [0, 0]
        # a slot that a standby gave up because the leader held the fence would be a run too; asked before the leader
        # stops, whom another one follows at once
        assert value(stretched, "select count(distinct replica) from analytics_refresh.runs") == 1
        assert [replica.stop() for replica in replicas] == [0, 0, 0]


def test_C13_retries_stay_in_their_slot(dsn: str, stretched: Connection) -> None:
    """A run whose every attempt is terminated is given up before its slot ends, and the next slot starts anew."""
    stretch(stretched, "recent_failures", 20)
    with Terminator(dsn), Daemon(dsn, **FAST | {"schedule__interval": "4s"}) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["reason"] == "conn_lost", count=3)
        assert daemon.stop() == 0
    lines = [line for line in daemon.events("refresh.finished") if line["reason"] == "conn_lost"]
    assert all(late(line) < 2 * timedelta(seconds=4) for line in lines)
    # on a busy machine an attempt may take longer to be given up: then the slot behind it is skipped, and the next not
    assert len(daemon.events("refresh.skipped")) < len(lines)
    for skipped in daemon.events("refresh.skipped"):
        assert skipped["reason"] == "overlap"
        at = datetime.fromisoformat(skipped["scheduled_at"])
        runs = daemon.events("refresh.finished")
        assert any(datetime.fromisoformat(line["scheduled_at"]) < at < ended(line) for line in runs)
    slots = [datetime.fromisoformat(line["scheduled_at"]) for line in lines]
    assert len(set(slots)) == len(slots)


def test_C13_connecting_again_stays_in_its_slot(dsn: str, stretched: Connection) -> None:
    """Connecting is tried without a limit of attempts, and all the same not into the next slot."""
    with least_role(stretched) as role:
        with Daemon(as_role(dsn, role), **CALM | {"schedule__interval": "5s"}) as daemon:
            daemon.wait_for("refresh.finished", ok)
            stretched.execute(sql.SQL("alter role {} connection limit 0").format(sql.Identifier(role)))
            stretched.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database()"
                " and usename = %s and application_name not like '%%/leader'",
                (role,),
            )
            daemon.wait_for("refresh.finished", lambda line: line["reason"] in ("connect", "too_many_connections"))
            stretched.execute(sql.SQL("alter role {} connection limit -1").format(sql.Identifier(role)))
            daemon.wait_for("database.restored")
            daemon.wait_for("refresh.finished", ok, count=2)
            assert daemon.stop() == 0
    failed = [line for line in daemon.events("refresh.finished") if not ok(line)]
    assert all(late(line) < 2 * timedelta(seconds=5) for line in failed)
