"""How late refreshes begin while the API beside them is at full load, and while it idles: in turn, in one run.

    python -m tests.benchmarks.refresh_lateness --rows 20000 --slots 30 --rounds 3

Starts a PostgreSQL of its own, and the daemon and the API on it. The API reads each answer from the database.
A stretch without requests and one with more connections than the API reads over follow each other; lateness is that of
the daemon's log, from each slot to the start of its refresh. Exits 1 where the load makes the median or the 99th
percentile more than 50 ms later.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.api_load import Served, api_server, load
from tests.benchmarks.query_latency import fill
from tests.conftest import create_application
from tests.support.api import install_api, make_key
from tests.support.daemon import Daemon
from tests.support.postgres import Server

MOST_MS = 50.0


@dataclass
class Phase:
    """What was seen of one kind of stretch."""

    name: str
    late_ms: list[float] = field(default_factory=list)
    run_ms: list[float] = field(default_factory=list)
    failed: int = 0
    requests: int = 0
    seconds: float = 0.0
    busy: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """So many milliseconds late are this share of the runs, or fewer."""
        return sorted(self.late_ms)[min(len(self.late_ms) - 1, int(share * len(self.late_ms)))]

    def line(self) -> str:
        """Its row of the table."""
        return (
            f"{self.name:8}{len(self.late_ms):6}{self.failed:8}{statistics.median(self.late_ms):10.1f}{self.quantile(0.95):10.1f}"
            f"{self.quantile(0.99):10.1f}{max(self.late_ms):10.1f}{statistics.median(self.run_ms):10.0f}"
            f"{self.requests / self.seconds:10.0f}{statistics.median(self.busy):8.0f}"
        )


def stretch(phase: Phase, daemon: Daemon, served: Served | None, options: argparse.Namespace) -> None:
    """Let so many slots pass, with or without load; keep what the daemon's log says of their runs."""
    before = len(daemon.events("refresh.finished"))
    psutil.cpu_percent()
    seconds = options.slots * options.interval
    if served is not None:
        phase.requests += asyncio.run(load(served, options.connections, seconds, 200))
    else:
        asyncio.run(asyncio.sleep(seconds))
    phase.busy.append(psutil.cpu_percent())
    phase.seconds += seconds
    # the first one may have begun before
    for run in daemon.events("refresh.finished")[before + 1 :]:
        phase.failed += run["outcome"] != "ok"
        phase.late_ms.append(1000 * float(run["lateness_seconds"]))
        phase.run_ms.append(1000 * float(run["duration_seconds"]))


def measure(options: argparse.Namespace) -> tuple[Phase, Phase]:
    """Run both kinds of stretches in turn."""
    idle, loaded = Phase("idle"), Phase("load")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(settings={"shared_buffers": "256MB"}).start()
        stack.callback(server.destroy)
        with server.connect() as admin:
            admin.execute("create database late")
        dsn = server.dsn("late")
        create_application(dsn)
        with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
            migrate(connection)
            fill(connection, options.rows)
            own, secret = install_api(dsn, connection, "late_api", folder)
            connection.execute("select * from refresh_action_analytics()")
        served = stack.enter_context(
            api_server("api", own, secret, make_key(dsn, "--all-organizations"), api__cache_megabytes=0)
        )
        interval = f"{options.interval * 1000:.0f}ms"
        daemon = stack.enter_context(Daemon(dsn, schedule__interval=interval))
        daemon.wait_for("refresh.finished", count=2)
        for _ in range(options.rounds):
            stretch(idle, daemon, None, options)
            stretch(loaded, daemon, served, options)
        daemon.stop()
    return idle, loaded


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--interval", type=float, default=3.0, help="seconds between slots")
    parser.add_argument("--slots", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    idle, loaded = measure(options)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {options.rows:,} rows; lateness in ms")
    columns = "".join(f"{name:>10}" for name in ("median", "p95", "p99", "max", "run ms", "req/s"))
    print(f"{'API':8}{'runs':>6}{'failed':>8}{columns}{'CPU %':>8}")
    for phase in (idle, loaded):
        print(phase.line())
    later = {
        "median": statistics.median(loaded.late_ms) - statistics.median(idle.late_ms),
        "p99": loaded.quantile(0.99) - idle.quantile(0.99),
    }
    print(", ".join(f"{name} {by:+.1f} ms under load" for name, by in later.items()), f"(at most {MOST_MS:g})")
    return int(any(by > MOST_MS for by in later.values()))


if __name__ == "__main__":
    sys.exit(main())
