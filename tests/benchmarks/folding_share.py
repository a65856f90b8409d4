"""From which share of changed rows on a rebuild of the rollups is cheaper than the fold of the changes.

    python -m tests.benchmarks.folding_share --rows 300000 --shares 0.01 0.05 0.2 0.5 1

Starts a PostgreSQL of its own. Each share of the rows is updated once all over the log ("spread"), and once in whole
hours from the newest on ("hours"); then the fold is timed. A rebuild is timed on the same rows. Nothing is asserted.
"""

import argparse
import json
import sys
import time
from typing import Any

import psycopg

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.data import fill
from tests.conftest import create_application
from tests.support.postgres import Server

Connection = psycopg.Connection[Any]
_UPDATE = "update action_results set duration_ms = (duration_ms + 17) %% 5000 where "
_WHICH = {
    "spread": "abs(hashtext(id)) %% 10000 < %s * 10000",
    "hours": "executed_at >= (select min(e) from (select executed_at as e from action_results"
    " order by executed_at desc limit (%s * (select count(*) from action_results))::bigint) newest)",
}


def folded_seconds(connection: Connection) -> tuple[float, int]:
    """How long one fold takes, and how many changes it took."""
    begun = time.perf_counter()
    row = connection.execute("select rows_folded from analytics_refresh.fold()").fetchone()
    return time.perf_counter() - begun, int(row[0]) if row else 0


def rebuilt_seconds(connection: Connection) -> float:
    """How long the fold takes where it must rebuild."""
    connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('measured')")
    return folded_seconds(connection)[0]


def measure(connection: Connection, shares: list[float]) -> list[dict[str, Any]]:
    """One entry for each share and way of spreading it."""
    results = []
    for way, where in _WHICH.items():
        for share in shares:
            connection.execute(_UPDATE + where, [share])
            seconds, changes = folded_seconds(connection)
            results.append({"way": way, "share": share, "changes": changes, "fold_seconds": round(seconds, 3)})
            connection.execute("vacuum analyze")
    return results


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.05, 0.2, 0.5, 1.0])
    options = parser.parse_args()
    settings = {"shared_buffers": "512MB", "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    server = Server(settings=settings).start()
    try:
        create_application(server.dsn())
        with server.connect() as connection:
            migrate(connection)
            fill(connection, options.rows)
            connection.execute("vacuum analyze")
            incremental.install(connection)
            rebuilt = [rebuilt_seconds(connection)]
            folds = measure(connection, options.shares)
            rebuilt.append(rebuilt_seconds(connection))
    finally:
        server.destroy()
    result = {"rows": options.rows, "rebuild_seconds": [round(each, 3) for each in rebuilt], "folds": folds}
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
