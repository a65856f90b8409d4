"""What it costs to be told what a refresh costs: bare calls beside calls under EXPLAIN, in turn in the same run.

    python -m tests.benchmarks.measuring_refreshes --rows 100000 --rounds 40

Starts a PostgreSQL of its own. In incremental mode without new rows a refresh takes least, so that shows most; plain
refreshes come beside it. Nothing is asserted.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.refresh.verification import statement
from tests.benchmarks.data import fill
from tests.conftest import create_application
from tests.support.postgres import Server

Connection = psycopg.Connection[Any]


def bare(connection: Connection) -> None:
    """The call as it was before it was explained."""
    connection.execute(
        "select f.view_name::text, f.refresh_duration_ms::text, f.rows_refreshed::text, f.success::text,"
        " pg_catalog.left(f.error_message::text, 4096) from public.refresh_action_analytics() as f limit 1000"
    ).fetchall()


def explained(connection: Connection) -> None:
    """The call as the daemon makes it, with its answer."""
    function = psycopg.sql.Identifier("public", "refresh_action_analytics")
    changed = statement("changed", relation=psycopg.sql.SQL("r.value ->> 0"), schema=psycopg.sql.Literal("public"))
    connection.execute(statement("call_function", function=function)).fetchall()
    connection.execute(statement("answer", changed=changed)).fetchall()


def seconds(connection: Connection, call: Callable[[Connection], None]) -> float:
    """How long one call takes in a transaction of its own."""
    with connection.transaction():
        begun = time.perf_counter()
        call(connection)
        return time.perf_counter() - begun


def compare(connection: Connection, rounds: int) -> dict[str, Any]:
    """Medians of both, and of the ratio of two calls beside each other."""
    seconds(connection, bare), seconds(connection, explained)
    pairs = []
    for turn in range(rounds):
        order = (bare, explained) if turn % 2 else (explained, bare)
        took = {call: seconds(connection, call) for call in order}
        pairs.append((took[bare], took[explained]))
    return {
        "bare_seconds": round(statistics.median(one for one, _ in pairs), 4),
        "explained_seconds": round(statistics.median(other for _, other in pairs), 4),
        "ratio": round(statistics.median(other / one for one, other in pairs), 3),
    }


def main() -> int:
    """Measure both modes and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    server = Server().start()
    try:
        create_application(server.dsn())
        with server.connect() as connection:
            migrate(connection)
            fill(connection, options.rows)
            connection.execute("vacuum analyze")
            result = {"rows": options.rows, "plain": compare(connection, max(4, options.rounds // 4))}
            incremental.install(connection)
            result["incremental"] = compare(connection, options.rounds)
    finally:
        server.destroy()
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
