"""Views at 30 s, 5 min and 1 h on one daemon: slots, lateness, alerts, log lines, and the size of the frequent view.

    python -m tests.benchmarks.freshness --factor 30 --hours 1

Starts a PostgreSQL of its own, and a daemon on it, with every interval divided by `--factor`, autovacuum's naptime too.
The log of actions grows meanwhile. Each slot is a run, or was skipped and counted; lateness is from a slot to the start
of its run. The largest size of the frequent view is compared with
that after VACUUM FULL. Exits 1 where a slot is missing or recorded
twice, the 99th percentile of lateness is 50 ms or more, an alert fired, or the view grew to twice its size.
"""

import argparse
import os
import statistics
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.core.schedule import Schedule
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.query_latency import fill
from tests.conftest import create_application
from tests.support.daemon import Daemon
from tests.support.postgres import Server

VIEWS = ("trigger_performance_summary", "recent_failures", "action_metrics_hourly", "action_type_distribution")
MOST_LATE_MS = 50.0
_AUTOVACUUM = (
    "alter materialized view {} set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 100,"
    " autovacuum_vacuum_cost_delay = 0)"
)
_INSERT = (
    "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, error_message)"
    " select gen_random_uuid(), 'j', 'trigger-' || floor(random() * 1000), 'rest',"
    " case when random() < 0.05 then 'failed' else 'success' end, clock_timestamp(), 100 + 900 * random(), 'no'"
    " from generate_series(1, %s)"
)


class Writer:
    """Adds rows once a second, and notes how large the view is. The largest size counts."""

    def __init__(self, dsn: str, view: str, rows: int) -> None:
        self._dsn, self._view, self._rows = dsn, view, rows
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.sizes: list[int] = []

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _work(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._over.wait(1.0):
                if self._rows:
                    connection.execute(_INSERT, [self._rows])
                self.sizes.append(_size(connection, self._view))


def _size(connection: psycopg.Connection[Any], relation: str) -> int:
    row = connection.execute("select pg_relation_size(%s::regclass)", [relation]).fetchone()
    assert row is not None
    return int(row[0])


def measure(options: argparse.Namespace) -> tuple[Schedule, list[tuple[Any, ...]], list[dict[str, Any]], Writer, int]:
    """Run the daemon; return its schedule, history, log lines, and the sizes of the frequent view."""
    every = [timedelta(seconds=seconds / options.factor) for seconds in (30, 300, 3600)]
    fast, middle = options.view, next(view for view in VIEWS if view != options.view)
    plan = Schedule(every[2], views=VIEWS, own={fast: every[0], middle: every[1]})
    with ExitStack() as stack:
        naptime = max(1, round(60 / options.factor))
        server = Server(settings={"shared_buffers": "256MB", "autovacuum_naptime": f"{naptime}s"}).start()
        stack.callback(server.destroy)
        with server.connect() as admin:
            admin.execute("create database fresh")
        dsn = server.dsn("fresh")
        create_application(dsn)
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC"))
        migrate(connection)
        fill(connection, options.rows)
        connection.execute("select * from refresh_action_analytics()")
        if not options.plain_autovacuum:
            connection.execute(sql.SQL(_AUTOVACUUM).format(sql.Identifier(fast)))
        own = {fast: f"{every[0].total_seconds():g}s", middle: f"{every[1].total_seconds():g}s"}
        daemon = stack.enter_context(
            Daemon(
                dsn,
                refresh__isolation="view",
                schedule__interval=f"{every[2].total_seconds():g}s",
                schedule__views=own,
                # what the actions are like is no matter here
                alerts__latency_p95_max="1h",
                alerts__success_rate_min=0,
            )
        )
        daemon.wait_for("refresh.finished")
        writer = stack.enter_context(Writer(dsn, fast, options.inserted))
        threading.Event().wait(options.hours * every[2].total_seconds())
        assert daemon.stop() == 0
        writer.__exit__()
        runs = connection.execute(
            "select scheduled_at, outcome, reason, lateness_seconds, started_at from analytics_refresh.runs"
            " where origin = 'schedule' order by started_at"
        ).fetchall()
        connection.execute(sql.SQL("vacuum (full) {}").format(sql.Identifier(fast)))
        return plan, runs, list(daemon.lines), writer, _size(connection, fast)


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=float, default=30.0, help="by which intervals are shortened")
    parser.add_argument("--hours", type=float, default=1.0, help="of the time that is shortened")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--inserted", type=int, default=20, help="actions in a second")
    parser.add_argument("--view", choices=VIEWS, default="recent_failures", help="the frequent one")
    parser.add_argument("--plain-autovacuum", action="store_true", help="without the settings of the guide")
    options = parser.parse_args()
    plan, runs, lines, writer, packed = measure(options)
    # the run at the start has no slot
    slots = [run for run in runs if run[0] == plan.slot_at(run[0])]
    seen = Counter(slot for slot, *_ in slots)
    first, last = min(seen), max(seen)
    expected: list[datetime] = [first]
    while expected[-1] < last:
        expected.append(plan.next_slot(expected[-1]))
    missing = [slot for slot in expected if slot not in seen]
    twice = [slot for slot, times in seen.items() if times > 1]
    late = sorted(1000 * run[3] for run in slots if run[1] != "skipped")
    p99 = late[min(len(late) - 1, int(0.99 * len(late)))]
    alerts = [(line["alert"], line.get("view")) for line in lines if line["event"] == "alert.firing"]
    outcomes = Counter(run[1] if run[1] != "skipped" else f"skipped ({run[2]})" for run in slots)
    day = 86_400 / options.factor / (last - first).total_seconds()
    load = f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"
    print(f"{load}; {options.rows:,} rows; factor {options.factor:g}")
    print(f"slots     {len(expected)} expected, {len(missing)} missing, {len(twice)} twice; {dict(outcomes)}")
    print(f"lateness  median {statistics.median(late):.1f} ms, p99 {p99:.1f} ms, most {late[-1]:.1f} ms")
    print(f"alerts    {len(alerts)} {alerts[:5]}")
    events = Counter(line["event"] for line in lines)
    print(f"log       {len(lines)} lines: {dict(events.most_common(6))}")
    print(f"runs      {len(slots) * day:.0f} slots a day at this rate")
    grown = max(writer.sizes) / packed
    print(f"size      {options.view}: at most {max(writer.sizes):,} bytes, {packed:,} packed: {grown:.2f} times")
    bad = bool(missing or twice or alerts or p99 >= MOST_LATE_MS or grown >= 2)
    print("does not hold" if bad else "holds")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
