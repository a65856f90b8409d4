"""What a refresh takes from its database: locks, snapshots, WAL, temporary files, dead rows, readers, a standby.

    python tests/benchmarks/database_impact.py --rows 1000000

Starts a server and a standby of its own, with PostgreSQL's default durability, and prints the tables of
deploy/guides/database-impact.md. Nothing is left behind.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[2]))

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.demo import loading
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.data import add_rows, fill
from tests.support.postgres import Server
from tests.support.waiting import eventually

Connection = psycopg.Connection[tuple[Any, ...]]
_DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "autovacuum": "off",
}
_LOCKS = """
select l.relation::regclass::text, l.mode, a.backend_xmin is not null, a.backend_xid is not null
  from pg_stat_activity a left join pg_locks l on l.pid = a.pid and l.relation is not null and l.granted
 where a.pid = %s"""
_TOTALS = """
select pg_current_wal_lsn() - '0/0'::pg_lsn, d.temp_bytes, d.temp_files,
       (select sum(n_dead_tup) from pg_stat_user_tables where relname = any(%(views)s)),
       (select sum(pg_total_relation_size(format('%%I', name)::regclass)) from unnest(%(views)s::text[]) name)
  from pg_stat_database d where datname = current_database()"""


@dataclass
class Impact:
    """What one refresh was seen to do; seconds, bytes and rows."""

    seconds: float = 0.0
    held: dict[tuple[str, str], float] = field(default_factory=dict)
    xmin_seconds: float = 0.0
    wal_bytes: int = 0
    temp_bytes: int = 0
    temp_files: int = 0
    dead_rows: int = 0
    growth_bytes: int = 0
    reads_ms: list[float] = field(default_factory=list)
    writes_ms: list[float] = field(default_factory=list)
    standby_seconds: float = 0.0
    standby_reads_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Measure every mode and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--new-rows", type=int, default=1_200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    primary = Server(settings=_DURABLE).start()
    standby: Server | None = None
    try:
        with primary.connect() as connection:
            _prepare(connection, arguments.rows)
            standby = primary.standby()
            standby.settings["max_standby_streaming_delay"] = "1s"
            standby.start()
            _print_modes(connection, primary, standby, arguments)
            _print_vacuum(connection, primary)
            _print_standby(connection, standby)
    finally:
        if standby:
            standby.destroy()
        primary.destroy()


def _prepare(connection: Connection, rows: int) -> None:
    loading.create_application(connection, "public")
    started = time.monotonic()
    fill(connection, rows)
    migrate(connection, app_schema="public")
    connection.execute("vacuum (analyze)")
    print(f"{rows:,} actions, views built, in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _print_modes(connection: Connection, primary: Server, standby: Server, arguments: argparse.Namespace) -> None:
    modes: dict[str, tuple[str, ...]] = {
        "one transaction (default)": ("select * from refresh_action_analytics()",),
        'isolation = "view"': tuple(f"select * from refresh_action_analytics_view('{view}')" for view in VIEWS),
    }
    next_row = arguments.rows + 1
    results: dict[str, list[Impact]] = {}
    for name, statements in modes.items():
        for _ in range(arguments.rounds):
            next_row = _add(connection, next_row, arguments.new_rows)
            results.setdefault(name, []).append(_measure(connection, primary, standby, statements))
    incremental.install(connection, "public", progress=lambda _: None)
    connection.execute("vacuum (analyze)")
    for _ in range(arguments.rounds):
        next_row = _add(connection, next_row, arguments.new_rows)
        statements = modes["one transaction (default)"]
        results.setdefault("incremental", []).append(_measure(connection, primary, standby, statements))
    _print_table(results)
    for name, impacts in results.items():
        print(f"\nLocks, {name}, median seconds held:")
        for (relation, mode), seconds in _medians(impacts).items():
            print(f"  {relation:50} {mode:26} {seconds:6.2f}")


def _add(connection: Connection, first: int, count: int) -> int:
    since = datetime.now(UTC) - timedelta(minutes=5)
    add_rows(connection, first, count, since=since, span=timedelta(minutes=5))
    return first + count


def _medians(impacts: list[Impact]) -> dict[tuple[str, str], float]:
    keys = sorted({key for impact in impacts for key in impact.held})
    return {key: statistics.median([impact.held.get(key, 0.0) for impact in impacts]) for key in keys}


def _print_table(results: dict[str, list[Impact]]) -> None:
    rows: dict[str, Callable[[Impact], float]] = {
        "time, s": lambda impact: impact.seconds,
        "snapshot held (backend_xmin), s": lambda impact: impact.xmin_seconds,
        "WAL, MB": lambda impact: impact.wal_bytes / 1e6,
        "temporary files, MB": lambda impact: impact.temp_bytes / 1e6,
        "temporary files": lambda impact: impact.temp_files,
        "dead rows in the four views": lambda impact: impact.dead_rows,
        "growth of the four views, MB": lambda impact: impact.growth_bytes / 1e6,
        "reader beside it: median, ms": lambda impact: statistics.median(impact.reads_ms),
        "reader beside it: slowest, ms": lambda impact: max(impact.reads_ms),
        "writer beside it: median, ms": lambda impact: statistics.median(impact.writes_ms),
        "writer beside it: slowest, ms": lambda impact: max(impact.writes_ms),
        "reader on the standby: slowest, ms": lambda impact: max(impact.standby_reads_ms),
        "replayed on the standby after, s": lambda impact: impact.standby_seconds,
    }
    print(f"{'':36}" + "".join(f"{name:>30}" for name in results))
    for label, figure in rows.items():
        cells = [statistics.median([figure(impact) for impact in impacts]) for impacts in results.values()]
        print(f"{label:36}" + "".join(f"{cell:30.2f}" for cell in cells))


def _measure(connection: Connection, primary: Server, standby: Server, statements: tuple[str, ...]) -> Impact:
    impact = Impact()
    with closing(primary.connect()) as worker:
        before = _totals(connection)
        stop = threading.Event()
        pid = worker.info.backend_pid
        with (
            _beside(stop, lambda: _watch(primary, pid, impact, stop)),
            _beside(stop, lambda: _timed(primary, _READ, impact.reads_ms, stop)),
            _beside(stop, lambda: _timed(primary, _WRITE, impact.writes_ms, stop)),
            _beside(stop, lambda: _timed(standby, _READ, impact.standby_reads_ms, stop)),
        ):
            time.sleep(0.3)
            started = time.monotonic()
            for statement in statements:
                rows = worker.execute(statement).fetchall()
                if not all(row[3] for row in rows):
                    raise SystemExit(f"a refresh failed: {rows}")
            impact.seconds = time.monotonic() - started
        impact.standby_seconds = _standby_lag(connection, standby)
        worker.execute("select pg_stat_force_next_flush()")
    time.sleep(1.2)
    after = _totals(connection)
    (impact.wal_bytes, impact.temp_bytes, impact.temp_files, impact.dead_rows, impact.growth_bytes) = (
        int(new - old) for new, old in zip(after, before, strict=True)
    )
    return impact


_READ = "select count(*) from action_type_distribution"
_WRITE = """
insert into action_results (id, job_id, action_type, status)
values (gen_random_uuid()::text, 'x', 'rest', 'success')"""


@contextmanager
def _beside(stop: threading.Event, work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _timed(primary: Server, statement: str, into: list[float], stop: threading.Event) -> None:
    with closing(primary.connect()) as connection:
        while not stop.is_set():
            started = time.monotonic()
            connection.execute(statement)
            into.append(1000 * (time.monotonic() - started))
            stop.wait(0.02)


def _watch(primary: Server, pid: int, impact: Impact, stop: threading.Event) -> None:
    with closing(primary.connect()) as connection:
        last = time.monotonic()
        while not stop.is_set():
            rows: list[tuple[Any, ...]] = connection.execute(_LOCKS, [pid]).fetchall()
            now = time.monotonic()
            for relation, mode, _, _ in rows:
                if relation in (*VIEWS, "action_results"):
                    impact.held[relation, mode] = impact.held.get((relation, mode), 0.0) + now - last
            if rows and rows[0][2]:
                impact.xmin_seconds += now - last
            last = now
            stop.wait(0.004)


def _totals(connection: Connection) -> tuple[Any, ...]:
    return connection.execute(_TOTALS, {"views": list(VIEWS)}).fetchone() or ()


def _standby_lag(connection: Connection, standby: Server) -> float:
    (target,) = connection.execute("select pg_current_wal_lsn()").fetchone() or ("",)
    started = time.monotonic()
    with closing(standby.connect()) as reader:
        arrived = "select 1 where pg_last_wal_replay_lsn() >= %s::pg_lsn"
        eventually(lambda: reader.execute(arrived, [target]).fetchone(), within=60)
    return time.monotonic() - started


def _print_vacuum(connection: Connection, primary: Server) -> None:
    view = VIEWS[0]
    with closing(primary.connect()) as worker:
        worker.execute("begin")
        worker.execute(f"refresh materialized view concurrently {view}")
        notices: list[str] = []
        connection.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))
        connection.execute(f"vacuum (skip_locked) {view}")
        worker.execute("rollback")
    print(f"\nVACUUM (SKIP_LOCKED) of a view while its refresh is open: {notices}")


def _print_standby(connection: Connection, standby: Server) -> None:
    """A long transaction on the standby reads a view; the primary refreshes and vacuums that view meanwhile."""
    with closing(standby.connect()) as reader:
        reader.execute("begin isolation level repeatable read")
        reader.execute(f"select count(*) from {VIEWS[0]}")
        connection.execute(
            "insert into action_results (id, job_id, action_type, status) values ('s', 's', 'sms', 'failed')"
        )
        connection.execute("select refresh_action_analytics()")
        time.sleep(3)
        outcomes = [_outcome(reader)]
        connection.execute(f"vacuum {VIEWS[0]}")
        time.sleep(3)
        outcomes.append(_outcome(reader))
    print(f"A transaction on the standby: after a refresh {outcomes[0]}; after a VACUUM of the view {outcomes[1]}")


def _outcome(reader: Connection) -> str:
    try:
        reader.execute(f"select count(*) from {VIEWS[0]}")
    except psycopg.Error as error:
        return f"{error.sqlstate} {type(error).__name__}"
    return "reads on"


if __name__ == "__main__":
    main()
