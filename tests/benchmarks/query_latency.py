"""How long each catalogue query takes on a large action log, warm, and which indexes it uses.

    python -m tests.benchmarks.query_latency --rows 1000000 --executions 100

Starts a PostgreSQL of its own, makes 30 days of actions for 1,000 triggers of 50 organizations, refreshes the views
and runs every query with its defaults. The time is that of `run`: transaction, query, rows, redaction; beside it the
CPU time of server and client together, which another load on the machine hardly changes. Exits 1 where the p95 of a
query that reads views only is not under the limit.
"""

import argparse
import math
import re
import sys
import time
from datetime import datetime

import psutil
import psycopg

from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind, explain, run
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.postgres import Server
from tests.support.tenants import add_organizations

VIEWS = ("action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution")
ROWS = """
insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, error_message,
                            response_data, retry_count)
select gen_random_uuid()::text, 'job-' || n %% 5000, 'trigger-' || floor(1000 * random() ^ 2),
       (array['telegram', 'rest', 'mcp'])[1 + floor(3 * random())::int],
       case when fate < 0.93 then 'success' when fate < 0.98 then 'failed' else 'retrying' end,
       now() - interval '30 days' * random(),
       case when random() < 0.97 then least(600000, exp(6.5 + 1.2 * random_normal()))::int end,
       case when fate between 0.93 and 0.98 then 'HTTP 50' || floor(10 * random()) || ' for user' || n %% 200
            || '@example.org' end,
       case when fate between 0.93 and 0.98 then '{"code": 502, "body": "bad gateway"}'::jsonb end,
       case when random() < 0.1 then 1 + floor(3 * random())::int else 0 end
  from generate_series(1, %s) as n, lateral (select random() as fate, n as same) as f
"""


def fill(connection: Connection, rows: int) -> None:
    """Make the action log and refresh the views."""
    connection.execute("select setseed(0.42)")
    add_organizations(connection, {f"org-{n}": f"Organization {n}" for n in range(50)}, plan="pro")
    connection.execute(
        "insert into triggers (id, organization_id, name, created_at) select 'trigger-' || n,"
        " case when n %% 20 > 0 then 'org-' || n %% 50 end, 'Trigger ' || n, now() - interval '60 days'"
        " from generate_series(0, 999) n",
        (),
    )
    connection.execute(ROWS, (rows,))
    for view in VIEWS:
        connection.execute(f"refresh materialized view {view}")
    connection.execute("vacuum analyze")


def measure(
    connection: Connection, query: Query, executions: int, organizations: list[str] | None, now: datetime
) -> list[float]:
    """Milliseconds of each execution, in ascending order; three more before them warm up."""
    taken = []
    for number in range(executions + 3):
        started = time.perf_counter()
        run(connection, bind(query, {}, organizations, now, "public"))
        if number >= 3:
            taken.append((time.perf_counter() - started) * 1000)
    return sorted(taken)


def cpu_ms(pid: int) -> float:
    """CPU milliseconds of the server's process and of this one so far; the server must run on this machine."""
    used = psutil.Process(pid).cpu_times()
    return (used.user + used.system + time.process_time()) * 1000


def indexes(lines: list[str]) -> str:
    """What the plan reads: index names, and tables it scans whole."""
    found = re.findall(r"(?:using|Bitmap Index Scan on) (\w+)", "\n".join(lines))
    scans = [f"seq {name}" for name in re.findall(r"Seq Scan on (\w+)", "\n".join(lines))]
    return ", ".join(dict.fromkeys(found + scans)) or "-"


def percentile(ordered: list[float], share: float) -> float:
    """The nearest rank."""
    return ordered[math.ceil(share * len(ordered)) - 1]


def main() -> int:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--executions", type=int, default=100)
    parser.add_argument("--limit-ms", type=float, default=10.0, help="for queries that read views only")
    parser.add_argument("--organization", action="append", help="limit the queries, e.g. org-1")
    options = parser.parse_args()
    server = Server(settings={"shared_buffers": "1GB", "max_parallel_workers_per_gather": "0"})
    slow = []
    try:
        server.start()
        create_application(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            migrate(connection, app_schema="public")
            fill(connection, options.rows)
            row = connection.execute("select clock_timestamp(), version()").fetchone()
            assert row is not None
            print(f"{options.rows:,} actions, {options.executions} executions each; {row[1]}\n")
            print(f"{'query':20} {'reads':6} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8} {'cpu ms':>7}  plan")
            for query in Catalogue.load():
                limit = options.organization if query.organizations else None
                before = cpu_ms(connection.info.backend_pid)
                taken = measure(connection, query, options.executions, limit, row[0])
                cpu = (cpu_ms(connection.info.backend_pid) - before) / (options.executions + 3)
                plan = indexes(explain(connection, bind(query, {}, limit, row[0], "public")))
                kind = "rows" if query.reads_rows else "views"
                p95 = percentile(taken, 0.95)
                figures = f"{percentile(taken, 0.5):8.2f} {p95:8.2f} {taken[-1]:8.2f} {cpu:7.2f}"
                print(f"{query.name:20} {kind:6} {figures}  {plan}", flush=True)
                if kind == "views" and not options.organization and p95 >= options.limit_ms:
                    slow.append(query.name)
    finally:
        server.destroy()
    print(
        f"\nover {options.limit_ms:g} ms: {', '.join(slow)}" if slow else f"\nall views under {options.limit_ms:g} ms"
    )
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
