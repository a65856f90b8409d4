"""What it costs that views over rollups fold by themselves: a whole refresh beside the same without it, in one run.

    python tests/benchmarks/folding_views.py --rows 300000 --rounds 15

Starts a PostgreSQL of its own in a temporary folder and removes it. Two databases hold the same rows in incremental
mode; in one of them the views read the rollups without a fold, as before. Medians and their ratio; nothing is asserted.
"""

import argparse
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

sys.path.insert(0, str(Path(__file__).parents[2]))

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.data import FAILED_PERCENT, TRIGGERS, add_rows, fill
from tests.conftest import create_application
from tests.support.incremental import read_rollups_alone
from tests.support.postgres import Server

NEW_ROWS = 1_200
WAYS = ("without", "folding")


def prepare(server: Server, name: str, rows: int) -> psycopg.Connection[Any]:
    """Return a connection to a new database in incremental mode."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    dsn = make_conninfo(server.dsn(), dbname=name)
    create_application(dsn)
    connection = psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")
    fill(connection, rows, triggers=TRIGGERS, failed_percent=FAILED_PERCENT, progress=lambda share: None)
    migrate(connection)
    incremental.install(connection)
    if name == "without":
        read_rollups_alone(connection)
    return connection


def seconds(connection: psycopg.Connection[Any], written: int, *, bare: bool) -> float:
    """Insert the rows of five minutes, refresh all views, and return the time of the latter."""
    row = connection.execute("select clock_timestamp()").fetchone()
    assert row is not None
    for done in range(0, NEW_ROWS, 100):
        add_rows(
            connection,
            written + done + 1,
            100,
            since=row[0] - timedelta(minutes=5),
            span=timedelta(minutes=5),
            triggers=TRIGGERS,
            failed_percent=FAILED_PERCENT,
        )
    started = time.perf_counter()
    if bare:
        for view in VIEWS:
            connection.execute(sql.SQL("refresh materialized view concurrently {}").format(sql.Identifier(view)))
    elif connection.execute("select from refresh_action_analytics() where not success").fetchall():
        raise RuntimeError("the refresh failed")
    return time.perf_counter() - started


def main() -> None:
    """Print the medians of both ways, and of bare statements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=300_000, help="rows of action_results")
    parser.add_argument("--rounds", type=int, default=15, help="rounds; medians are shown")
    options = parser.parse_args()
    server = Server(folder=Path(tempfile.mkdtemp(prefix="folding")), settings={"shared_buffers": "256MB"}).start()
    try:
        connections = {name: prepare(server, name, options.rows) for name in WAYS}
        samples: dict[str, list[float]] = {"without": [], "folding": [], "bare": []}
        written = options.rows
        # the first two rounds warm up
        for number in range(-2, options.rounds):
            for name in sorted(WAYS, reverse=bool(number % 2)):
                took = seconds(connections[name], written, bare=False)
                if number >= 0:
                    samples[name].append(took)
            samples["bare"].append(seconds(connections["folding"], written + NEW_ROWS, bare=True))
            seconds(connections["without"], written + NEW_ROWS, bare=False)
            written += 2 * NEW_ROWS
        medians = {name: statistics.median(found) for name, found in samples.items()}
        for name, found in medians.items():
            print(f"{name:8} {found * 1000:8.1f} ms")
        print(f"folding is {medians['folding'] / medians['without']:.2f} of without, {options.rows:,} rows")
    finally:
        server.destroy()


if __name__ == "__main__":
    main()
