"""What writers and readers notice while a live table becomes months, and while a month goes.

    python -m tests.benchmarks.live_months --rows 10000000 --writers 4 --rate 100

Starts a PostgreSQL of its own, durable as in production, in a temporary folder, and removes it. `partitions --apply`
converts the table and makes two months; `retain` detaches an old month of a hundredth of the rows, and drops it. All
the while writers insert a row at a time, and a reader counts what they inserted. Prints the writers' times before and
during each, their ratio, the longest lock against everybody (seen every 2 ms), and rows that the reader missed.
"""

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from analytics_refreshd.core.partitions import Month
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.data import TRIGGERS, add_rows, fill
from tests.benchmarks.live_log import Seen, live
from tests.benchmarks.refresh_cost import SETTINGS
from tests.conftest import create_application
from tests.support.daemon import command
from tests.support.postgres import Server

_SETTINGS: dict[str, Any] = {
    "schedule__interval": "6h",
    "retention__rows": "90d",
    "retention__horizon": "auto",
    "retention__max_share": 1.0,
    "retention__undo": "0s",
}


def _run(dsn: str, *words: str) -> str:
    done = command(dsn, *words, timeout=3600.0, **_SETTINGS)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def _old_month(connection: psycopg.Connection[Any], rows: int) -> Month:
    """Make a month of half a year ago, with rows."""
    month = Month.of(datetime.now(UTC) - timedelta(days=200))
    connection.execute(
        f"create table {month.table} partition of action_results for values from ('{month.start}') to ('{month.end}')"
    )
    add_rows(connection, 10**9, rows, since=month.start, span=month.end - month.start)
    connection.execute(f"analyze {month.table}")
    return month


def _compared(seen: Seen, name: str, before: tuple[float, float], during: tuple[float, float]) -> None:
    print(seen.told("before", *before))
    print(seen.told(name, *during))
    print(f"p99 of {name} / before: {seen.p99(*during) / seen.p99(*before):.2f}")
    locks = ", ".join(f"{table} {1000 * seconds:.0f} ms" for table, seconds in sorted(seen.locks.items()))
    print(f"longest lock against everybody: {locks or 'none was seen'}; rows missed by the reader: {seen.missed}")


def _phase(dsn: str, options: argparse.Namespace, name: str, *words: str) -> None:
    with live(dsn, writers=options.writers, rate=options.rate, reads=True) as seen:
        begun = time.monotonic()
        time.sleep(options.before)
        middle = time.monotonic()
        _run(dsn, *words)
        # what is noticed late counts, too
        time.sleep(2)
        ended = time.monotonic()
    _compared(seen, name, (begun + 2, middle), (middle, ended))


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0, help="rows a second of each writer")
    parser.add_argument("--before", type=float, default=20.0, help="seconds of writes before each command")
    options = parser.parse_args()
    server = Server(settings=SETTINGS).start()
    try:
        dsn = server.dsn()
        create_application(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            fill(connection, options.rows, triggers=TRIGGERS)
            migrate(connection)
            _run(dsn, "migrate", "--incremental")
            token = json.loads(_run(dsn, "partitions", "--plan", "--format", "json"))["token"]
            _phase(dsn, options, "partitions --apply", "partitions", "--apply", "--confirm", token)
            month = _old_month(connection, options.rows // 100)
            _run(dsn, "migrate", "--incremental")
            connection.execute("select * from refresh_action_analytics()")
            token = json.loads(_run(dsn, "retain", "--dry-run", "--format", "json"))["token"]
            _phase(dsn, options, "retain", "retain", "--confirm", token)
            gone = connection.execute("select to_regclass(%s) is null", [month.table]).fetchone()
            print(f"{month.table} is gone: {gone == (True,)}; PostgreSQL {connection.info.server_version // 10000}")
            shown = _run(dsn, "partitions", "--status")
            print(shown.strip())
    finally:
        server.destroy()


if __name__ == "__main__":
    main()
