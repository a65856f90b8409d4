"""What the frozen horizon costs a refresh: off and on, on the same rows, in turns of one run.

    python tests/benchmarks/horizon_cost.py --rows 1000000 --new-rows 1200 --rounds 15

Starts a PostgreSQL of its own in a temporary folder and removes it. Two databases hold the same rows, those of the
last 60 days; one freezes what is older than 31 days. In each round both get the same new rows and are refreshed, in
turn. Then the horizon moves an hour with each refresh, as it does once in an hour. Prints medians and their ratio.
"""

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[2]))

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.data import TRIGGERS, add_rows, fill
from tests.benchmarks.refresh_cost import SETTINGS
from tests.conftest import create_application
from tests.support.postgres import Server

Connection = psycopg.Connection[Any]

_LEAST = 31 * 86400.0


def _database(server: Server, name: str, rows: int) -> Connection:
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(f"create database {name}")
    dsn = server.dsn(name)
    create_application(dsn)
    connection = psycopg.connect(dsn, autocommit=True)
    fill(connection, rows, triggers=TRIGGERS, failed_percent=5.0, progress=lambda share: None)
    # 60 days instead of 30
    connection.execute(
        "update action_results set executed_at = executed_at - interval '30 days' where hashtext(id) % 2 = 0"
    )
    connection.execute("vacuum analyze action_results")
    migrate(connection)
    return connection


def _add(connection: Connection, first: int, count: int) -> None:
    span = timedelta(minutes=5)
    add_rows(connection, first, count, since=datetime.now(UTC) - span, span=span)


def _refresh(connection: Connection) -> float:
    started = time.perf_counter()
    connection.execute("select count(*) from refresh_action_analytics()")
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--new-rows", type=int, default=1_200)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    server = Server(settings=SETTINGS).start()
    try:
        off = _database(server, "off_", options.rows)
        on = _database(server, "on_", options.rows)
        incremental.install(off)
        started = time.perf_counter()
        incremental.install(on, retention=Retention(_LEAST + 86400))
        print(f"build with the first freeze: {time.perf_counter() - started:.1f} s")
        seconds: dict[str, list[float]] = {"off": [], "on": [], "on, an hour freezes": []}
        for number in range(options.rounds):
            for name, connection in (("off", off), ("on", on)) if number % 2 else (("on", on), ("off", off)):
                _add(connection, options.rows + number * options.new_rows + 1, options.new_rows)
                seconds[name].append(_refresh(connection))
        for number in range(options.rounds):
            on.execute(
                "update analytics_refresh.incremental set retained = make_interval(secs => %s)",
                [_LEAST + 86400 - 3600 * (number + 1)],
            )
            _add(on, options.rows + (options.rounds + number) * options.new_rows + 1, options.new_rows)
            seconds["on, an hour freezes"].append(_refresh(on))
        base = statistics.median(seconds["off"])
        for name, each in seconds.items():
            median = statistics.median(each)
            print(f"{name}: median {median:.3f} s of {len(each)}, {median / base:.2f} of off")
        for table in ("frozen_hours", "frozen_durations", "frozen_triggers", "frozen_retries", "duration_counts"):
            for name, connection in (("off", off), ("on", on)):
                query = "select pg_total_relation_size(to_regclass(%s)) / 1048576.0"
                size = connection.execute(query, [f"analytics_refresh.{table}"]).fetchone()
                print(f"{name} {table}: {size[0] or 0:.1f} MB" if size else "")
        print(f"verified: {verify(on).ok}")
    finally:
        server.destroy()


if __name__ == "__main__":
    main()
