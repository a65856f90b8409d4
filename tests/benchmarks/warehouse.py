"""What a warehouse gives and costs on a large action log, in one run: refreshes, writers, backfill, lag, questions.

    python -m tests.benchmarks.warehouse --rows 1000000 --cycles 100 --folder /var/tmp

A PostgreSQL and a ClickHouse (chdb, in a process of its own) are started here. 30 days of actions come first, in
incremental mode. Then the same cycles are run in three blocks, without, with and again without an outbox: new rows, a
refresh, and with an outbox what the daemon sends after it. A cycle's lag is from the beginning of its run until
ClickHouse had acknowledged its batch and had the snapshots. Then the questions, on both. Nothing is asserted: JSON with
medians and percentiles, the load of the machine beside each part.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from analytics_refreshd.core.warehouse_rows import Month
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind, run
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Outbox
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.state.outbox_months import PostgresMonths
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.catalogue.definition import answers
from analytics_refreshd.warehouse.catalogue.statement import Asked, NotAnswered, refuse
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.months import ClickHouseMonths
from analytics_refreshd.warehouse.reading import Reader
from analytics_refreshd.warehouse.rows import MonthLoader
from analytics_refreshd.warehouse.sender import Sender
from tests.benchmarks.data import add_rows, fill
from tests.conftest import create_application
from tests.support.clickhouse import serving
from tests.support.postgres import Server
from tests.support.warehouse import Fed, settings

Connection = psycopg.Connection[tuple[Any, ...]]
NEW_ROWS = 1_200
LONG_SECONDS = 3.0
FOLDS = (1_200, 12_000, 60_000, 120_000)
_FREE_POSTGRES = """
select trigger_id, count(*), percentile_cont(0.95) within group (order by duration_ms)
from action_results
where status = 'failed' and executed_at >= %s and executed_at < %s and trigger_id is not null
group by trigger_id order by trigger_id
"""
_FREE_CLICKHOUSE = """
select trigger_id, count(), quantileExactInclusive(0.95)(duration_ms)
from analytics.action_results
where database = {name:String} and status = 'failed' and trigger_id is not null
    and executed_at >= {since:DateTime64(6, 'UTC')} and executed_at < {until:DateTime64(6, 'UTC')}
group by trigger_id order by trigger_id
"""
_DISK = """
select table, sum(rows), sum(bytes_on_disk) from system.parts
where active and database = 'analytics' group by table order by table
"""


def seconds_of(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(work: Callable[[], object], rounds: int = 5) -> float:
    """The median of `rounds`, after one that is not counted; of what takes long, that one alone."""
    first = seconds_of(work)
    if first > LONG_SECONDS:
        return round(first, 4)
    return round(statistics.median(seconds_of(work) for _ in range(rounds)), 4)


def percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def load() -> float:
    """The load of the last minute."""
    return round(os.getloadavg()[0], 2)


@dataclass
class Block:
    """The cycles of one block: seconds of writers, of refreshes, and until the warehouse had it."""

    writers: list[float]
    refreshes: list[float]
    lags: list[float]

    def figures(self) -> dict[str, float]:
        """Medians and 99th percentiles, in milliseconds."""
        named = {"writer": self.writers, "refresh": self.refreshes, "lag": self.lags}
        return {
            f"{name}_{word}_ms": round(1000 * value, 1)
            for name, values in named.items()
            if values
            for word, value in (("median", statistics.median(values)), ("p99", percentile(values, 0.99)))
        }


class Cycles:
    """New rows, a refresh, and what is sent after it."""

    def __init__(self, connection: Connection, first: int) -> None:
        self._connection = connection
        self._next = first

    def block(self, cycles: int, fed: Fed | None) -> Block:
        """Run cycles one after another; where a warehouse is `fed`, the next begins when it has all and is at rest.

        Minutes lie between two cycles of a daemon, and the warehouse is another machine: nothing is sent, and nothing
        merged, while it refreshes.
        """
        block = Block([], [], [])
        for _ in range(cycles):
            block.writers.append(seconds_of(self.write))
            began = time.perf_counter()
            block.refreshes.append(seconds_of(self.refresh))
            if fed is not None:
                fed.sender.send()
                block.lags.append(time.perf_counter() - began)
                settled(fed)
        return block

    def write(self, rows: int = NEW_ROWS) -> None:
        """Add rows of the last five minutes."""
        since, span = datetime.now(UTC) - timedelta(minutes=5), timedelta(minutes=5)
        add_rows(self._connection, self._next, rows, since=since, span=span)
        self._next += rows

    def refresh(self) -> None:
        """Fold, and refresh the views."""
        failed = self._connection.execute("select error_message from refresh_action_analytics() where not success")
        assert not failed.fetchall()


def settled(fed: Fed) -> None:
    """Wait until the warehouse merges nothing any more."""
    until = time.monotonic() + 20
    while time.monotonic() < until and fed.client.one("select count() from system.merges", int) != [0]:
        time.sleep(0.05)


def folding(connection: Connection, cycles: Cycles, fed: Fed, rows: int) -> dict[str, float]:
    """What one fold of so many new rows takes, what it leaves in the outbox, and what sending that takes."""
    cycles.write(rows)
    refresh = seconds_of(cycles.refresh)
    outbox = fed.outbox.state()
    assert outbox is not None
    (size,) = connection.execute("select pg_total_relation_size('analytics_refresh.outbox_rows')").fetchone() or (0,)
    return {
        "rows": rows,
        "refresh_seconds": round(refresh, 2),
        "batch_rows": outbox.rows,
        "outbox_bytes": size,
        "send_seconds": round(seconds_of(fed.sender.send), 2),
    }


class AllMonths(PostgresMonths):
    """Every month, also the open one: nothing changes meanwhile."""

    def months(self) -> list[Month]:
        """The months of 40 days."""
        found: dict[int, Month] = {}
        at = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        for _ in range(3):
            following = (at + timedelta(days=32)).replace(day=1)
            month = at.year * 100 + at.month
            found[month] = Month(month, int(at.timestamp()), int(following.timestamp()))
            at = (at - timedelta(days=1)).replace(day=1)
        return list(found.values())


def questions(connection: Connection, fed: Fed) -> dict[str, dict[str, float]]:
    """The named queries that both answer, in milliseconds."""
    reader, found = Reader(fed.client.settings, 300), {}
    state = reader.state()
    now = datetime.now(UTC)
    for name, answer in answers().items():
        query = Catalogue.load().get(name)
        bound = bind(query, {}, None, now, "public")
        asked = Asked(answer, bound.values, state.epochs)
        try:
            refuse(asked)
        except NotAnswered:
            continue
        units = [column.unit for column in query.columns]
        found[name] = {
            "warehouse_ms": round(1000 * median(lambda: list(reader.rows(asked, units)), 3), 1),  # noqa: B023
            "postgres_ms": round(1000 * median(lambda: run(connection, bound, raw=True).rows, 3), 1),  # noqa: B023
        }
    return found


def free_question(connection: Connection, fed: Fed) -> dict[str, object]:
    """The p95 of failed calls per trigger in 7 days, from the rows of both."""
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    since = until - timedelta(days=7)
    given = {
        "name": fed.client.settings.name,
        "since": f"{since:%Y-%m-%d %H:%M:%S}",
        "until": f"{until:%Y-%m-%d %H:%M:%S}",
    }
    ours = [(row[0], row[1], float(row[2])) for row in connection.execute(_FREE_POSTGRES, [since, until]).fetchall()]
    theirs = [(row[0], int(row[1]), float(row[2])) for row in fed.client.select(_FREE_CLICKHOUSE, **given)]
    ours.sort(), theirs.sort()
    equal = [(one[:2], round(one[2], 6)) for one in ours] == [(one[:2], round(one[2], 6)) for one in theirs]
    return {
        "equal": equal,
        "triggers": len(ours),
        "warehouse_ms": round(1000 * median(lambda: fed.client.select(_FREE_CLICKHOUSE, **given)), 1),
        "postgres_ms": round(
            1000 * median(lambda: connection.execute(_FREE_POSTGRES, [since, until]).fetchall(), 3), 1
        ),
    }


def measure(server: Server, folder: Path, rows: int, cycles: int) -> dict[str, object]:
    """Measure all of it."""
    result: dict[str, object] = {"rows": rows, "cycles": cycles, "new_rows_per_cycle": NEW_ROWS}

    def done(name: str, figures: object) -> None:
        result[name] = {"load": load(), "figures": figures}
        print(name, json.dumps(result[name]), file=sys.stderr, flush=True)

    with server.connect() as connection:
        connection.execute("set timezone to 'UTC'")
        migrate(connection)
        done("fill_seconds", round(seconds_of(lambda: fill(connection, rows))))
        done("build_seconds", round(seconds_of(lambda: incremental.install(connection))))
        run_of = Cycles(connection, rows + 1)
        run_of.block(5, None)
        done("without", run_of.block(cycles, None).figures())
        incremental.install(connection, outbox=Outbox(True))
        with feeding(server.dsn(), folder) as fed:
            done("backfill_seconds", round(seconds_of(fed.sender.send), 1))
            settled(fed)
            run_of.block(5, fed)
            done("with", run_of.block(cycles, fed).figures())
            verified: list[int] = []
            took = seconds_of(lambda: verified.append(fed.verify().differences))
            done("verify", {"seconds": round(took, 1), "differences": verified[0]})
            done("folds", [folding(connection, run_of, fed, count) for count in FOLDS])
            months = MonthLoader(AllMonths(fed.session, 86_400.0 * 400), ClickHouseMonths(fed.client))
            rows_sender = Sender(fed.outbox, fed.warehouse, rows=months)
            done("rows_loaded_seconds", round(seconds_of(rows_sender.send), 1))
            done("free_question", free_question(connection, fed))
            done("questions", questions(connection, fed))
            done("disk", {name: sizes for name, *sizes in fed.client.select(_DISK, str, int, int)})
        incremental.install(connection, outbox=Outbox(False))
        run_of.block(5, None)
        done("without_again", run_of.block(cycles, None).figures())
    return result | {"ratios": ratios(result)}


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """The medians with a warehouse, over the mean of those before and after it."""
    blocks = [result[name]["figures"] for name in ("without", "with", "without_again")]
    before, during, after = ({key: block[f"{key}_median_ms"] for key in ("writer", "refresh")} for block in blocks)
    return {key: round(2 * during[key] / (before[key] + after[key]), 3) for key in during}


@contextlib.contextmanager
def feeding(dsn: str, folder: Path) -> Iterator[Fed]:
    """A warehouse of its own."""
    with serving(folder / "clickhouse") as clickhouse:
        client = Client(settings(clickhouse.url, "shop", folder))
        tables.create(client)
        fed = Fed(dsn, client)
        try:
            yield fed
        finally:
            fed.close()


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to keep both (default: the system's temporary one)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "postgres").mkdir()
        server = Server(
            folder=folder / "postgres",
            settings={
                "shared_buffers": "1GB", "work_mem": "64MB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB",
            },
        ).start()  # fmt: skip
        try:
            create_application(server.dsn())
            result = measure(server, folder, options.rows, options.cycles)
        finally:
            server.destroy()
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
