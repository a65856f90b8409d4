"""What an evaluation costs after 1, 100, 10,000 and 100,000 runs that failed, and `status` and `history` at a million.

    python -m tests.benchmarks.long_history --runs 1 100 10000 100000 --views 50
    python -m tests.benchmarks.long_history --runs 1000000 --views 4

A server of its own. In each history the first half of the views never succeeded. An evaluation here is what grows: the
status and the runs read, every rule evaluated, the figures of views sorted. Medians in milliseconds, and how many
times that of the shortest history: `read` is waiting for the server, `rules` is the CPU of this process alone.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from analytics_refreshd.core.alerts.rules import conditions
from analytics_refreshd.core.model import VIEWS, Limits, Origin, Outcome, Run, ViewResult
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.state import State
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.state.history import PostgresHistory
from tests.conftest import create_application
from tests.support.adapters import session, status_reader
from tests.support.long_history import add_failed_runs
from tests.support.postgres import Server


def median_ms(work: Callable[[], Any], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median of `rounds`, after one that is not counted."""
    work()
    took = []
    for _ in range(rounds):
        began = clock()
        work()
        took.append((clock() - began) * 1000)
    return statistics.median(took)


def figures(dsn: str, count: int, names: list[str], rounds: int) -> dict[str, float]:
    """The medians after `count` runs in which the first half of `names` failed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        add_failed_runs(connection, count, failing=names[: len(names) // 2], views=names)
        connection.execute("vacuum analyze")
    long_ago = datetime.now(UTC) - timedelta(days=3650)
    with status_reader(dsn, views=tuple(names)) as reader, session(dsn) as shared:
        history = PostgresHistory(shared, seconds=120)
        status, runs = reader.read(), history.recent(1500)

        def recorded() -> None:
            run = Run(uuid4(), Origin.COMMAND, datetime.now(UTC), replica="a")
            history.begin(run)
            views = tuple(ViewResult(name, True, rows=7, duration_seconds=0.1) for name in names)
            ended = replace(run, finished_at=datetime.now(UTC), duration_seconds=1.0, outcome=Outcome.OK)
            history.finish(replace(ended, views=views))

        now = status.server_now
        state = State("shop", tuple(names), Limits(), "cycle", "0", status=status, evaluated_monotonic=0.0)
        state = state.with_runs(runs)

        def rules() -> None:
            snapshot = Snapshot(state, now, 0.0)
            list(conditions(snapshot))
            list(snapshot.views)

        return {
            "status read": median_ms(reader.read, rounds),
            "12 runs read": median_ms(lambda: history.recent(12, since=now - timedelta(hours=24)), rounds),
            "rules (CPU)": median_ms(rules, rounds, time.thread_time),
            "history of a view": median_ms(lambda: history.recent(20, since=long_ago, view=names[0]), rounds),
            "of an unknown one": median_ms(lambda: history.recent(20, since=long_ago, view="unknown"), rounds),
            "run recorded": median_ms(recorded, rounds),
        }


def main() -> None:
    """Print a line for each history."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 100, 10_000, 100_000])
    parser.add_argument("--views", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    names = [*VIEWS[::-1], *(f"own_view_{number:02}" for number in range(arguments.views - len(VIEWS)))]
    server = Server(settings={"shared_buffers": "256MB", "max_wal_size": "4GB"}).start()
    first: dict[str, float] = {}
    try:
        for number, count in enumerate(arguments.runs):
            with server.connect() as admin:
                admin.execute(f"create database history{number}")
            dsn = server.dsn(f"history{number}")
            create_application(dsn)
            with psycopg.connect(dsn, autocommit=True) as connection:
                migrate(connection)
            found = figures(dsn, count, names, arguments.rounds)
            first = first or found
            print(f"{count:,} runs of {arguments.views} views")
            for name, milliseconds in found.items():
                print(f"  {name:18} {milliseconds:10.2f} ms   x {milliseconds / first[name]:6.2f}", flush=True)
    finally:
        server.destroy()


if __name__ == "__main__":
    main()
