"""What the daemon itself costs, beside the refresh it calls.

    python -m tests.benchmarks.overhead --rows 1000000 --cycles 200 --idle-seconds 300 --slots 60

Starts a PostgreSQL of its own and prints: a cycle's wall time beside a bare loop that calls the same function, in
turn in the same run; an idle daemon's share of a core and its memory; what the evaluate cycle costs inside
PostgreSQL a day; and how late slots begin.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

from analytics_refreshd.app.service import Service
from analytics_refreshd.config import load
from analytics_refreshd.core.model import Origin, Outcome
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.query_latency import fill
from tests.conftest import create_application
from tests.support.daemon import Daemon, environment
from tests.support.postgres import Server

Figures = dict[str, Any]
_DAY_SECONDS = 86_400
_EVALUATE_SECONDS = 30


def prepare(server: Server, database: str, rows: int) -> str:
    """A migrated database with `rows` actions; returns its URL."""
    with server.connect() as admin:
        admin.execute(f'create database "{database}"')
    dsn = server.dsn(database)
    create_application(dsn)
    with server.connect(database) as connection:
        migrate(connection)
        fill(connection, rows)
        connection.execute("vacuum analyze")
    return dsn


def cycle_overhead(dsn: str, cycles: int) -> Figures:
    """Whole cycles of the daemon's own parts, history included, and bare calls, one after the other."""
    service = Service(load({"database": {"url": dsn}, "log": {"level": "error"}}), warnings=[])
    watched = threading.Event()
    service.election.start()
    service.on_leading = watched.set
    if not service.memory.leads():
        watched.wait(10)
    bare: list[float] = []
    whole: list[float] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(cycles + 5):
            began = time.perf_counter()
            connection.execute("select * from refresh_action_analytics()").fetchall()
            between = time.perf_counter()
            run = service.cycle.run(None, Origin.COMMAND)
            ended = time.perf_counter()
            if run is None or run.outcome is not Outcome.OK:
                raise SystemExit(f"a cycle ended as {run.outcome if run else None}: {run.error if run else ''}")
            if number >= 5:
                bare.append(between - began)
                whole.append(ended - between)
    service.election.resign(5)
    service.close(5)
    differences = [one - other for one, other in zip(whole, bare, strict=True)]
    return {
        "cycles": cycles,
        "bare_ms_median": 1000 * statistics.median(bare),
        "cycle_ms_median": 1000 * statistics.median(whole),
        "difference_ms_median": 1000 * statistics.median(differences),
        "ratio": statistics.median(whole) / statistics.median(bare),
    }


def idle(dsn: str, seconds: float) -> Figures:
    """Share of one core and resident memory of a daemon between two slots."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "analytics_refreshd", "run"],
            env=environment(dsn, schedule__interval="1h", staleness__max_age="2h"),
            stderr=log,
        )
        try:
            seen = psutil.Process(process.pid)
            time.sleep(15)  # start-up is not idling
            before, began = seen.cpu_times(), time.monotonic()
            time.sleep(seconds)
            after, ended = seen.cpu_times(), time.monotonic()
            used = after.user + after.system - before.user - before.system
            memory = seen.memory_info().rss
        finally:
            process.terminate()
            process.wait(15)
    return {
        "idle_seconds": ended - began,
        "percent_of_a_core": 100 * used / (ended - began),
        "resident_mb": memory / 1e6,
    }


def evaluate_cost(dsn: str, server: Server, times: int = 100) -> Figures:
    """Time inside PostgreSQL of one evaluation while no view moves, and of that a day; by pg_stat_statements."""
    service = Service(load({"database": {"url": dsn}, "log": {"level": "error"}}), warnings=[])
    for _ in range(3):
        service.evaluate.run()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create extension if not exists pg_stat_statements")
        connection.execute("select pg_stat_statements_reset()")
        for _ in range(times):
            service.evaluate.run()
        row = connection.execute(
            "select sum(total_exec_time) from pg_stat_statements s join pg_database d on d.oid = s.dbid"
            " where d.datname = current_database() and query not ilike '%pg_stat_statements%'"
        ).fetchone()
        service.memory.update(rates=None)
        connection.execute("select pg_stat_statements_reset()")
        service.evaluate.run()
        moved = connection.execute(
            "select sum(total_exec_time) from pg_stat_statements s join pg_database d on d.oid = s.dbid"
            " where d.datname = current_database() and query not ilike '%pg_stat_statements%'"
        ).fetchone()
    service.close(5)
    quiet = float(row[0]) / times if row else 0.0
    moving = float(moved[0]) if moved else 0.0
    evaluations = _DAY_SECONDS / _EVALUATE_SECONDS
    return {
        "evaluate_ms_in_server": quiet,
        "evaluate_ms_in_server_after_a_refresh": moving,
        "seconds_in_server_a_day": ((evaluations - 288) * quiet + 288 * moving) / 1000,
    }


def lateness(dsn: str, slots: int) -> Figures:
    """How late runs begin, over so many slots of one second."""
    with Daemon(dsn, schedule__interval="1s", refresh__lock_timeout="100ms") as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["lateness_seconds"] is not None, count=slots, within=300)
        found = sorted(line["lateness_seconds"] for line in daemon.events("refresh.finished"))
        daemon.stop()
    return {
        "slots": len(found),
        "lateness_ms_median": 1000 * statistics.median(found),
        "lateness_ms_p95": 1000 * found[int(0.95 * (len(found) - 1))],
        "lateness_ms_max": 1000 * found[-1],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="actions for the evaluate cycle and the idle daemon"
    )
    parser.add_argument("--cycle-rows", type=int, default=5_000, help="actions for the comparison of cycles")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--idle-seconds", type=float, default=300.0)
    parser.add_argument("--slots", type=int, default=60)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    os.environ.pop("ANALYTICS_REFRESHD_DATABASE__URL", None)
    server = Server(settings={"shared_preload_libraries": "pg_stat_statements", "shared_buffers": "512MB"}).start()
    figures: Figures = {}
    try:
        small = prepare(server, "small", options.cycle_rows)
        figures["cycle"] = cycle_overhead(small, options.cycles)
        figures["lateness"] = lateness(small, options.slots)
        large = prepare(server, "large", options.rows)
        figures["evaluate"] = evaluate_cost(large, server) | {"rows": options.rows}
        figures["idle"] = idle(large, options.idle_seconds)
    finally:
        server.destroy()
    for section, values in figures.items():
        print(section)
        for name, value in values.items():
            print(f"  {name:40} {value:12.3f}" if isinstance(value, float) else f"  {name:40} {value:12,}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
