"""What a refresh costs: plain, one connection per view, and incremental, on the same rows in the same run.

    python tests/benchmarks/refresh_cost.py --rows 1000000 10000000 --new-rows 1200 --json result.json

Starts a PostgreSQL of its own in a temporary folder and removes it; per million rows it needs about 1.2 GB of disk.
The plain views stand beside the incremental ones, over the same table, with their own function: every round inserts
new rows and refreshes each of them in turn. Times are wall-clock seconds as the caller sees them; nothing is asserted.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.schema.definitions import Definitions
from tests.benchmarks.data import FAILED_PERCENT, TRIGGERS, add_rows, fill
from tests.conftest import create_application
from tests.support.postgres import Server

Connection = psycopg.Connection[Any]

# durable as in production; memory as for a small server; everything else as PostgreSQL comes
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "2GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
}
LATE_UPDATES = 300
LATE_HOURS = 200
SINGLE_ROWS = 100
COPY_ROWS = 1_000
# turns are short and many: what else the machine does falls on both alike
WRITER_ROUNDS = 40
CYCLES = 5


@dataclass(slots=True)
class Samples:
    """Seconds and WAL bytes of repeated calls."""

    seconds: list[float] = field(default_factory=list)
    wal_bytes: list[int] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    def as_json(self) -> dict[str, Any]:
        """Median and all samples."""
        return {
            "median_seconds": round(self.median, 4),
            "median_wal_bytes": int(statistics.median(self.wal_bytes)) if self.wal_bytes else None,
            "seconds": [round(each, 4) for each in self.seconds],
        }


class Steps:
    """A progress bar with one task."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress = progress
        self.task = task

    def __call__(self, doing: str, share: float = 0.0) -> None:
        """Show what is done now and the share of it, 0 to 1."""
        self.progress.update(self.task, description=doing, completed=share * 100)


def _one(connection: Connection, query: str, *values: object) -> Any:
    row = connection.execute(query, values or None).fetchone()
    return row[0] if row else None


@contextmanager
def _measured(connection: Connection, samples: Samples) -> Iterator[None]:
    before = _one(connection, "select pg_current_wal_insert_lsn()")
    started = time.perf_counter()
    yield
    samples.seconds.append(time.perf_counter() - started)
    samples.wal_bytes.append(int(_one(connection, "select pg_current_wal_insert_lsn() - %s::pg_lsn", before)))


class Bench:
    """One size on one database."""

    def __init__(self, connection: Connection, rows: int, options: argparse.Namespace, steps: Steps) -> None:
        self.connection = connection
        self.dsn = connection.info.dsn
        self.rows = rows
        self.options = options
        self.steps = steps
        self.written = rows
        self.plain, self.per_view, self.cycle = Samples(), Samples(), Samples()
        self.fold, self.floor, self.late, self.late_fold = Samples(), Samples(), Samples(), Samples()

    def prepare(self) -> dict[str, float]:
        """Rows, plain views beside the ones to measure, and the incremental mode; seconds that each took."""
        took = {}
        for name, work in (("generate", self._generate), ("install plain", self._plain), ("build", self._incremental)):
            started = time.perf_counter()
            work()
            took[name] = round(time.perf_counter() - started, 1)
        return took

    def _generate(self) -> None:
        fill(
            self.connection,
            self.rows,
            triggers=self.options.triggers,
            failed_percent=self.options.failed_percent,
            progress=lambda share: self.steps("generate", share),
        )

    def _plain(self) -> None:
        """The shipped plain definitions in a schema of their own, over the same table."""
        self.steps("fill the plain views")
        self.connection.execute("create schema plain; create view plain.action_results as table public.action_results")
        definitions = Definitions("plain", self.connection.info.server_version)
        for command in definitions.everything("plain"):
            self.connection.execute(command)
        for number, view in enumerate(VIEWS):
            self.steps("fill the plain views", number / len(VIEWS))
            self.connection.execute(sql.SQL("refresh materialized view plain.{}").format(sql.Identifier(view)))
            self.connection.execute(sql.SQL("analyze plain.{}").format(sql.Identifier(view)))

    def _incremental(self) -> None:
        migrate(self.connection)
        incremental.install(self.connection, progress=lambda each: self.steps(each.doing, each.share))

    def new_rows(self) -> None:
        """The rows of five minutes, in one statement per 100."""
        now = _one(self.connection, "select clock_timestamp()")
        for done in range(0, self.options.new_rows, 100):
            count = min(100, self.options.new_rows - done)
            add_rows(
                self.connection,
                self.written + 1,
                count,
                since=now - timedelta(minutes=5),
                span=timedelta(minutes=5),
                triggers=self.options.triggers,
                failed_percent=self.options.failed_percent,
            )
            self.written += count

    def refresh_incremental(self, cycle: Samples, fold: Samples) -> None:
        """One call of the function, as pg_cron or psql make it; the fold's share as it records it."""
        with _measured(self.connection, cycle):
            failed = self.connection.execute("select * from refresh_action_analytics() where not success").fetchall()
        if failed:
            raise RuntimeError(f"the refresh failed: {failed}")
        fold.seconds.append(_one(self.connection, "select fold_ms from analytics_refresh.incremental") / 1000)

    def refresh_floor(self) -> None:
        """The four concurrent refreshes with nothing new and no fold, with the settings of the refresh function."""
        with self.connection.transaction(), _measured(self.connection, self.floor):
            self.connection.execute(
                "set local jit = off; set local work_mem = '64MB'; set local default_statistics_target = 5;"
                " set local analytics_refresh.fold = 'off'"
            )
            for view in VIEWS:
                self.connection.execute(
                    sql.SQL("refresh materialized view concurrently {}").format(sql.Identifier(view))
                )

    def refresh_plain(self) -> None:
        """One call of the plain function."""
        with _measured(self.connection, self.plain):
            failed = self.connection.execute(
                "select * from plain.refresh_action_analytics() where not success"
            ).fetchall()
        if failed:
            raise RuntimeError(f"the plain refresh failed: {failed}")

    def refresh_per_view(self) -> None:
        """The plain views, each on a connection of its own, all at once."""

        def one(view: str) -> None:
            with psycopg.connect(self.dsn, autocommit=True) as own:
                own.execute(sql.SQL("refresh materialized view concurrently plain.{}").format(sql.Identifier(view)))

        with _measured(self.connection, self.per_view), ThreadPoolExecutor(len(VIEWS)) as pool:
            list(pool.map(one, VIEWS))

    def rounds(self) -> None:
        """Each way of refreshing in turn, after new rows each time; the incremental one, being short, several times."""
        for number in range(self.options.rounds):
            self.steps(f"round {number + 1} of {self.options.rounds}: incremental", number / self.options.rounds)
            # the rows of the slower ways, so that each cycle measured has the same number of new ones
            self.refresh_incremental(Samples(), Samples())
            for _ in range(CYCLES):
                self.new_rows()
                self.refresh_incremental(self.cycle, self.fold)
                self.refresh_floor()
            for name, work in (("plain", self.refresh_plain), ("one connection per view", self.refresh_per_view)):
                self.steps(f"round {number + 1} of {self.options.rounds}: {name}", number / self.options.rounds)
                self.new_rows()
                work()

    def late_updates(self) -> None:
        """Updates of single rows, spread over many hours: each is its own statement."""
        self.steps("late updates")
        for _ in range(self.options.rounds):
            for number in range(LATE_UPDATES):
                self.connection.execute(
                    "update action_results set status = case status when 'success' then 'failed' else 'success' end,"
                    " duration_ms = coalesce(duration_ms, 0) + 1 where id = (select id from action_results"
                    " where executed_at >= now() - make_interval(hours => %s, secs => %s)"
                    " order by executed_at limit 1)",
                    [24 + 2 * (number % LATE_HOURS), 11 * number % 3600],
                )
            self.refresh_incremental(self.late, self.late_fold)

    def exactness(self) -> dict[str, Any]:
        """Rows per view, and how many differ in each direction."""
        self.steps("verify")
        report = verify(self.connection)
        return {
            each.view_name: {"rows": each.rows, "missing": each.missing, "extra": each.extra} for each in report.views
        }

    def writers(self) -> dict[str, Any]:
        """The writer's cost without and with capture, turn by turn; the last thing done, since it ends the capture."""
        table = sql.Identifier("action_results")
        shapes: dict[str, tuple[Callable[[int], None], int]] = {
            f"{SINGLE_ROWS} single rows, one transaction each": (self._single_rows, SINGLE_ROWS),
            f"COPY of {COPY_ROWS} rows": (self._copy, COPY_ROWS),
        }
        found: dict[str, Any] = {}
        for name, (work, rows) in shapes.items():
            seconds: dict[str, list[float]] = {"disable": [], "enable always": []}
            for number in range(WRITER_ROUNDS + 1):
                self.steps(f"writer: {name}", number / (WRITER_ROUNDS + 1))
                for state in sorted(seconds, reverse=bool(number % 2)):
                    for event in ("insert", "update", "delete", "truncate"):
                        self.connection.execute(
                            sql.SQL("alter table {} {} trigger {}").format(
                                table, sql.SQL(state), sql.Identifier(f"analytics_refresh_{event}")
                            )
                        )
                    started = time.perf_counter()
                    work(rows)
                    if number:
                        seconds[state].append(time.perf_counter() - started)
            without, with_capture = (statistics.median(seconds[state]) for state in ("disable", "enable always"))
            found[name] = {
                "without_ms_per_row": round(without / rows * 1000, 4),
                "with_ms_per_row": round(with_capture / rows * 1000, 4),
                "ratio": round(with_capture / without, 3),
            }
        return found

    def _values(self, number: int) -> list[Any]:
        kind = ("rest", "telegram", "mcp")[number % 3]
        names = [f"{word}{self.written}-{number}" for word in ("row ", "job ")]
        trigger, event = f"trigger-{number % 997 % self.options.triggers}", f"event {number}"
        return [*names, trigger, event, kind, "success", 100 + number % 900, '{"code": 200, "region": "eu-1"}', 0]

    def _single_rows(self, rows: int) -> None:
        self.written += 1
        for number in range(rows):
            self.connection.execute(
                "insert into action_results (id, job_id, trigger_id, event_id, action_type, status, duration_ms,"
                " response_data, retry_count) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                self._values(number),
                prepare=True,
            )

    def _copy(self, rows: int) -> None:
        self.written += 1
        columns = "id, job_id, trigger_id, event_id, action_type, status, duration_ms, response_data, retry_count"
        with self.connection.cursor() as cursor, cursor.copy(f"copy action_results ({columns}) from stdin") as copy:
            for number in range(rows):
                copy.write_row(self._values(number))

    def sizes(self) -> dict[str, int]:
        """Bytes of the table, of the rollups together, and of each view, indexes included."""
        size = "select pg_total_relation_size(%s::regclass)"
        rollups = (
            "select sum(pg_total_relation_size(oid))::bigint from pg_class"
            " where relnamespace = 'analytics_refresh'::regnamespace and relkind = 'r'"
        )
        return {
            "action_results": _one(self.connection, size, "action_results"),
            "rollups": _one(self.connection, rollups),
            **{view: _one(self.connection, size, view) for view in VIEWS},
        }

    def run(self) -> dict[str, Any]:
        """Everything, as one JSON object."""
        prepared = self.prepare()
        self.rounds()
        self.late_updates()
        exact = self.exactness()
        sizes = self.sizes()
        result: dict[str, Any] = {
            "rows": self.rows,
            "new_rows": self.options.new_rows,
            "rounds": self.options.rounds,
            "triggers": self.options.triggers,
            "failed_percent": self.options.failed_percent,
            "server": _one(self.connection, "show server_version"),
            "settings": SETTINGS,
            "prepared_seconds": prepared,
            "plain": self.plain.as_json(),
            "per_view": self.per_view.as_json(),
            "incremental": self.cycle.as_json(),
            "fold": self.fold.as_json(),
            "floor": self.floor.as_json(),
            "late_updates": {"updates": LATE_UPDATES, "hours": LATE_HOURS, **self.late.as_json()},
            "late_fold": self.late_fold.as_json(),
            "exact": exact,
            "sizes_bytes": sizes,
        }
        result["ratio_plain"] = round(self.plain.median / self.cycle.median, 1)
        result["ratio_per_view"] = round(self.per_view.median / self.cycle.median, 1)
        result["above_floor_seconds"] = round(self.cycle.median - self.floor.median, 4)
        result["writers"] = self.writers()
        return result


def show(results: list[dict[str, Any]], console: Console) -> None:
    """One table with a column per size."""
    table = Table(title="Cost of a refresh (medians)", title_justify="left")
    table.add_column("")
    for each in results:
        table.add_column(f"{each['rows']:,} rows", justify="right")

    def row(label: str, value: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(label, *(value(each) for each in results))

    for key, label in (
        ("plain", "plain"),
        ("per_view", "plain, one connection per view"),
        ("incremental", "incremental"),
        ("fold", "  of that, the fold"),
        ("floor", "floor: four refreshes, nothing new"),
        ("late_updates", f"incremental, {LATE_UPDATES} late updates over {LATE_HOURS} h"),
    ):
        row(label, lambda each, key=key: f"{each[key]['median_seconds']:.3f} s")  # type: ignore[misc]
    row("incremental above the floor", lambda each: f"{each['above_floor_seconds']:.3f} s")
    row("plain ÷ incremental", lambda each: f"{each['ratio_plain']:.0f}")
    row("per view ÷ incremental", lambda each: f"{each['ratio_per_view']:.0f}")
    row("WAL, plain", lambda each: f"{each['plain']['median_wal_bytes'] / 1e6:.1f} MB")
    row("WAL, incremental", lambda each: f"{each['incremental']['median_wal_bytes'] / 1e6:.1f} MB")
    for name in results[0]["writers"]:
        row(
            f"writer, {name}",
            lambda each, name=name: (  # type: ignore[misc]
                f"x {each['writers'][name]['ratio']:.2f} of {each['writers'][name]['without_ms_per_row']:.3f} ms/row"
            ),
        )
    row(
        "rows that differ",
        lambda each: str(sum(view["missing"] + view["extra"] for view in each["exact"].values())),
    )
    row("rows in the views", lambda each: " + ".join(f"{view['rows']:,}" for view in each["exact"].values()))
    row("build", lambda each: f"{each['prepared_seconds']['build']:.0f} s")
    row(
        "table, rollups",
        lambda each: " / ".join(f"{each['sizes_bytes'][k] / 1e6:,.0f} MB" for k in ("action_results", "rollups")),
    )
    console.print(table)
    if len(results) > 1:
        growth = results[-1]["fold"]["median_seconds"] / results[0]["fold"]["median_seconds"]
        console.print(f"the fold grows by {growth:.2f} from {results[0]['rows']:,} to {results[-1]['rows']:,} rows")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000_000], help="rows of action_results, one run for each"
    )
    parser.add_argument("--new-rows", type=int, default=1_200, help="rows inserted before each refresh")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are shown")
    parser.add_argument("--triggers", type=int, default=TRIGGERS)
    parser.add_argument("--failed-percent", type=float, default=FAILED_PERCENT)
    parser.add_argument("--json", type=Path, help="file for the result (default: stdout)")
    parser.add_argument("--folder", type=Path, help="where the server keeps its data (default: a temporary folder)")
    return parser.parse_args()


def main() -> None:
    """Run every size and print."""
    options = _arguments()
    console = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="refresh-cost-", dir=options.folder))
    need, free = max(options.rows) * 1_200 + 10 * 10**9, shutil.disk_usage(folder).free
    if free < need:
        folder.rmdir()
        sys.exit(f"{need / 1e9:.0f} GB of disk are needed, {free / 1e9:.0f} GB are free: use fewer --rows or --folder")
    results = []
    server = Server(settings=SETTINGS, folder=folder).start()
    try:
        for rows in options.rows:
            with server.connect() as admin:
                admin.execute("create database bench")
            create_application(server.dsn("bench"))
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            with Progress(*columns, console=console, transient=True) as progress:
                steps = Steps(progress, progress.add_task("start", total=100))
                with server.connect("bench", options="-c timezone=UTC") as connection:
                    results.append(Bench(connection, rows, options, steps).run())
            with server.connect() as admin:
                admin.execute("drop database bench with (force)")
            _write(results, options.json)
    finally:
        server.destroy()
    show(results, console)
    if options.json is None:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")


def _write(results: list[dict[str, Any]], file: Path | None) -> None:
    """Keep what is known after each size: the next one may take an hour."""
    if file is not None:
        file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
