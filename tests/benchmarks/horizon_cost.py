"""What the frozen horizon costs a refresh: off and on, with frozen days and without, in turns of one run.

    python tests/benchmarks/horizon_cost.py --rows 1000000 --new-rows 1200 --rounds 15

Starts a PostgreSQL of its own in a temporary folder and removes it. Three databases hold the same rows, those of the
last 60 days; two freeze what is older than 31 days, one of them without days of triggers. In each round all get the
same new rows and are refreshed, in turn. Then the horizon moves an hour with each refresh, as it does once in an hour.
Prints medians and their ratio.
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
from analytics_refreshd.postgres.schema.definitions import FROZEN_TABLES
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


def _without_days(connection: Connection) -> None:
    """Take the days out of the function that freezes."""
    query = "select pg_get_functiondef('analytics_refresh.freeze(integer)'::regprocedure)"
    (source,) = connection.execute(query).fetchall()[0]
    first, last = source.index(",\nkept_days as materialized"), "retry_total = f.retry_total + excluded.retry_total)"
    source = source[:first] + source[source.index(last, first) + len(last) :]
    end = source.index("from kept_days f), 0)")
    source = source[: source.rindex("+ coalesce((select sum(", 0, end)] + source[end + len("from kept_days f), 0)") :]
    connection.execute(source)


def _freeze_an_hour(connection: Connection, number: int) -> None:
    connection.execute(
        "update analytics_refresh.incremental set retained = make_interval(secs => %s)",
        [_LEAST + 86400 - 3600 * (number + 1)],
    )


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
        bare = _database(server, "bare_", options.rows)
        incremental.install(off)
        for name, connection in (("without days", bare), ("with days", on)):
            incremental.install(connection, retention=Retention(1000 * 86400))
            if connection is bare:
                _without_days(bare)
            _freeze_an_hour(connection, -1)
            started = time.perf_counter()
            steps = 0
            longest = 0.0
            share = 0.0
            while share < 1:
                begun = time.perf_counter()
                (share,) = connection.execute("select analytics_refresh.rebuild_step()").fetchall()[0]
                longest, steps = max(longest, time.perf_counter() - begun), steps + 1
            seconds_in_all = time.perf_counter() - started
            print(f"first freeze {name}: {seconds_in_all:.1f} s in {steps} steps, the longest {longest:.1f} s")
        seconds: dict[str, list[float]] = {name: [] for name in (
            "off", "on", "on without days", "on, an hour freezes", "on without days, an hour freezes"
        )}  # fmt: skip
        databases = {"off": off, "on": on, "on without days": bare}
        for number in range(2 * options.rounds):
            freezes = number >= options.rounds
            for name, connection in sorted(databases.items(), reverse=bool(number % 2)):
                if freezes and name == "off":
                    continue
                if freezes:
                    _freeze_an_hour(connection, number - options.rounds)
                _add(connection, options.rows + number * options.new_rows + 1, options.new_rows)
                seconds[f"{name}, an hour freezes" if freezes else name].append(_refresh(connection))
        base = statistics.median(seconds["off"])
        for name, each in seconds.items():
            median = statistics.median(each)
            print(f"{name}: median {median:.3f} s of {len(each)}, {median / base:.2f} of off")
        for table in (*FROZEN_TABLES, "duration_counts"):
            for name, connection in (("off", off), ("on", on)):
                query = "select pg_total_relation_size(to_regclass(%s)) / 1048576.0"
                size = connection.execute(query, [f"analytics_refresh.{table}"]).fetchone()
                print(f"{name} {table}: {size[0] or 0:.1f} MB" if size else "")
        print(f"verified: {verify(on).ok}")
    finally:
        server.destroy()


if __name__ == "__main__":
    main()
