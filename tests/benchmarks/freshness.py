"""Views at 30 s, 5 min and 1 h on one daemon: slots, lateness, alerts, log lines, and the size of the frequent view.

    python -m tests.benchmarks.freshness --factor 30 --hours 1 --rows 3000 --page
    python -m tests.benchmarks.freshness --factor 15 --hours 1 --view trigger_performance_summary --incremental \\
        --inserted 900 --naptime 15

Starts a PostgreSQL of its own, and a daemon on it, with every interval divided by `--factor`; so are the times of the
server that matter here, autovacuum_naptime and deadlock_timeout, which is as far as PostgreSQL lets them. The log of
actions grows meanwhile: so many rows between two refreshes, each of another trigger. `--page` opens the API's page
beside it in Chromium, whose figures are live. Each slot is a run, or was skipped and counted; lateness is from a slot
to the start of its run. The largest size of the frequent view and of its indexes is compared with that after VACUUM
FULL, and so is that of the last third, where it should have stopped to grow.

Exits 1 where a slot is missing or recorded twice, the 99th percentile of lateness is 50 ms or more, an alert fired, or
the view grew to twice its size by more than a few pages.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.core.schedule import Schedule
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.query_latency import fill
from tests.conftest import create_application
from tests.support.api import Api, api_role, make_key
from tests.support.browser import Browser
from tests.support.daemon import Daemon
from tests.support.pages import PagesInBrowser
from tests.support.postgres import Server

VIEWS = ("trigger_performance_summary", "recent_failures", "action_metrics_hourly", "action_type_distribution")
SECONDS = (30, 300, 3600)
MOST_LATE_MS = 50.0
FEW_PAGES = 8 * 8192
TRIGGERS = 1000
"""That `fill` makes."""
_AUTOVACUUM = (
    "alter materialized view {} set (autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0.05,"
    " autovacuum_vacuum_cost_delay = 0)"
)
_INSERT = (
    "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, error_message)"
    " select gen_random_uuid(), 'j', 'trigger-' || (%(first)s + n) %% %(triggers)s, 'rest',"
    " case when random() < 0.05 then 'failed' else 'success' end, clock_timestamp(), 100 + 900 * random(), 'no'"
    " from generate_series(1, %(rows)s) n"
)
_SIZES = "select pg_relation_size(c.oid), pg_indexes_size(c.oid) from pg_class c where c.oid = %s::regclass"
_RUNS = (
    "select scheduled_at, outcome, reason, lateness_seconds from analytics_refresh.runs where origin = 'schedule'"
    " order by started_at"
)
_CHANGED = (
    "select percentile_cont(0.5) within group (order by v.rows_changed / 2.0 / v.row_count)"
    " from analytics_refresh.view_results v where v.view_name = %s and v.success and v.row_count > 0"
)
_VACUUMS = "select autovacuum_count from pg_stat_all_tables where relid = %s::regclass"
Sizes = tuple[int, int]
"""Bytes of a view and of its indexes."""


class Writer:
    """Adds rows between refreshes, and notes how large the view is."""

    def __init__(self, dsn: str, view: str, rows: int, every: timedelta) -> None:
        self._dsn, self._view, self._rows, self._every = dsn, view, rows, every.total_seconds()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.sizes: list[Sizes] = []

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _work(self) -> None:
        first = 0
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._over.wait(self._every):
                if self._rows:
                    connection.execute(_INSERT, {"first": first, "triggers": TRIGGERS, "rows": self._rows})
                    first += self._rows
                self.sizes.append(_sizes(connection, self._view))


def _sizes(connection: psycopg.Connection[Any], view: str) -> Sizes:
    row = connection.execute(_SIZES, [view]).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


@contextmanager
def page_open(dsn: str, owner: psycopg.Connection[Any]) -> Iterator[PagesInBrowser]:
    """Serve the API, and show the overview to a browser."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refreshd-page-")))
        folder.chmod(0o755)
        own, secret = stack.enter_context(api_role(dsn, owner, folder))
        api = stack.enter_context(Api(own, secret, log__level="info"))
        browser = Browser(folder)
        stack.callback(browser.close)
        pages = PagesInBrowser(browser, api.port)
        pages.sign_in(make_key(dsn, "--all-organizations"))
        yield pages


@dataclass(slots=True)
class Measured:
    """What a stretch of time left behind."""

    plan: Schedule
    runs: list[tuple[Any, ...]]
    lines: list[dict[str, Any]]
    sizes: list[Sizes]
    packed: Sizes
    changed: float
    vacuums: int
    page: list[str] = field(default_factory=list)


def measure(options: argparse.Namespace) -> Measured:
    """Run the daemon for the time given."""
    every = [timedelta(seconds=seconds / options.factor) for seconds in SECONDS]
    fast, middle = options.view, next(view for view in VIEWS if view != options.view)
    with ExitStack() as stack:
        server = Server(
            settings={
                "shared_buffers": "256MB",
                "autovacuum_naptime": f"{max(1, round(options.naptime / options.factor))}s",
                "deadlock_timeout": f"{max(1, round(1000 / options.factor))}ms",
            }
        ).start()
        stack.callback(server.destroy)
        with server.connect() as admin:
            admin.execute("create database fresh")
        dsn = server.dsn("fresh")
        create_application(dsn)
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC"))
        migrate(connection)
        fill(connection, options.rows)
        if options.incremental:
            incremental.install(connection)
        connection.execute("select * from refresh_action_analytics()")
        if not options.plain_autovacuum:
            connection.execute(sql.SQL(_AUTOVACUUM).format(sql.Identifier(fast)))
        pages = stack.enter_context(page_open(dsn, connection)) if options.page else None
        daemon = stack.enter_context(
            Daemon(
                dsn,
                refresh__isolation="view",
                schedule__interval=f"{every[2].total_seconds():g}s",
                schedule__views={fast: f"{every[0].total_seconds():g}s", middle: f"{every[1].total_seconds():g}s"},
                # what the actions are like is no matter here
                alerts__latency_p95_max="1h",
                alerts__success_rate_min=0,
            )
        )
        daemon.wait_for("refresh.finished")
        writer = stack.enter_context(Writer(dsn, fast, options.inserted, every[0]))
        threading.Event().wait(options.hours * every[2].total_seconds())
        found = [] if pages is None else [*pages.browser.complaints(), pages.text[:120]]
        assert daemon.stop() == 0
        writer.__exit__()
        runs = connection.execute(_RUNS).fetchall()
        (changed,), (vacuums,) = (connection.execute(text, [fast]).fetchone() or (0,) for text in (_CHANGED, _VACUUMS))
        connection.execute(sql.SQL("vacuum (full) {}").format(sql.Identifier(fast)))
        return Measured(
            Schedule(every[2], views=VIEWS, own={fast: every[0], middle: every[1]}),
            runs, list(daemon.lines), writer.sizes, _sizes(connection, fast), changed or 0.0, vacuums, found,
        )  # fmt: skip


def slots_hold(measured: Measured, factor: float) -> bool:
    """Print slots, lateness and alerts; return whether they are as they should be."""
    plan = measured.plan
    # the run at the start has no slot
    slots = [run for run in measured.runs if run[0] == plan.slot_at(run[0])]
    seen = Counter(slot for slot, *_ in slots)
    first, last = min(seen), max(seen)
    expected: list[datetime] = [first]
    while expected[-1] < last:
        expected.append(plan.next_slot(expected[-1]))
    missing = [slot for slot in expected if slot not in seen]
    twice = [slot for slot, times in seen.items() if times > 1]
    late = sorted(1000 * run[3] for run in slots if run[1] != "skipped")
    p99 = late[min(len(late) - 1, int(0.99 * len(late)))]
    alerts = [(line["alert"], line.get("view")) for line in measured.lines if line["event"] == "alert.firing"]
    outcomes = Counter(run[1] if run[1] != "skipped" else f"skipped ({run[2]})" for run in slots)
    day = 86_400 / factor / (last - first).total_seconds()
    print(f"slots     {len(expected)} expected, {len(missing)} missing, {len(twice)} twice; {dict(outcomes)}")
    print(f"lateness  median {statistics.median(late):.1f} ms, p99 {p99:.1f} ms, most {late[-1]:.1f} ms")
    print(f"alerts    {len(alerts)} {alerts[:5]}")
    events = Counter(line["event"] for line in measured.lines)
    print(f"log       {len(measured.lines)} lines: {dict(events.most_common(6))}")
    print(f"runs      {len(slots) * day:.0f} slots a day at this rate")
    return not (missing or twice or alerts or p99 >= MOST_LATE_MS)


def size_holds(measured: Measured, view: str) -> bool:
    """Print what the view and its indexes grew to; return whether the view stayed under twice its size."""
    share = f"{100 * measured.changed:.0f} % of its rows change in a refresh"
    print(f"{view}: {share}, autovacuum came {measured.vacuums} times")
    for number, part in enumerate(("view", "indexes")):
        packed, sizes = measured.packed[number], [each[number] for each in measured.sizes]
        most, late = max(sizes), max(sizes[-len(sizes) // 3 :])
        print(f"{part:9} at most {most:,} bytes, {packed:,} packed: {most / packed:.2f} times; last third {late:,}")
    most, packed = max(each[0] for each in measured.sizes), measured.packed[0]
    return most < 2 * packed or most - packed < FEW_PAGES


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=float, default=30.0, help="by which intervals are shortened")
    parser.add_argument("--hours", type=float, default=1.0, help="of the time that is shortened")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--inserted", type=int, default=20, help="actions between two refreshes")
    parser.add_argument("--view", choices=VIEWS, default="recent_failures", help="the frequent one")
    parser.add_argument("--incremental", action="store_true")
    parser.add_argument("--naptime", type=float, default=60.0, help="autovacuum's, before it is shortened")
    parser.add_argument("--plain-autovacuum", action="store_true", help="without the view's settings of the guide")
    parser.add_argument("--page", action="store_true", help="with the API's page in Chromium beside it")
    options = parser.parse_args()
    measured = measure(options)
    load = f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"
    print(f"{load}; {options.rows:,} rows; factor {options.factor:g}; naptime {options.naptime:g} s")
    if measured.page:
        print(f"page      {' | '.join(measured.page)}")
    good = [slots_hold(measured, options.factor), size_holds(measured, options.view)]
    print("holds" if all(good) else "does not hold")
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
