"""An action log in use: writers with a pace, a reader that counts, and a watch over locks and standbys."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

WRITER = "a live writer"
"""The trigger of the rows that the writers insert."""
_INSERT = (
    "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)"
    " values (%s, 'job', %s, 'rest', 'success', now(), %s, 0)"
)
_HELD = """
select l.pid, l.relation::regclass::text from pg_locks l
join pg_stat_activity a on a.pid = l.pid and a.application_name like 'analytics-refreshd/%'
where l.mode = 'AccessExclusiveLock' and l.granted and l.relation in (
    select c.oid from pg_class c where c.relname like 'action_results%' and c.relkind in ('r', 'p'))
"""
_LAG = """
select coalesce(max(extract(epoch from replay_lag)), 0)::float8,
    coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::float8
from pg_stat_replication
"""


@dataclass
class Seen:
    """What was seen: each write's begin and seconds, waits of the reader, rows that it missed, locks, and lag.

    Times are those of `time.monotonic`. `locks` are seconds by relation, the longest; `lags` are seconds and bytes.
    """

    writes: list[tuple[float, float]] = field(default_factory=list)
    reads: list[tuple[float, float]] = field(default_factory=list)
    missed: int = 0
    locks: dict[str, float] = field(default_factory=dict)
    lags: list[tuple[float, float, float]] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def milliseconds(self, begun: float, ended: float) -> list[float]:
        """Return how long each write took that began between the two, in order of length."""
        return sorted(1000 * seconds for at, seconds in self.writes if begun <= at < ended)

    def told(self, name: str, begun: float, ended: float) -> str:
        """Return a line about the writes, reads and lag between the two."""
        took = self.milliseconds(begun, ended)
        if len(took) < 2:
            return f"{name}: {ended - begun:.1f} s, too short to say more"
        p99 = statistics.quantiles(took, n=100)[98]
        reads = [1000 * seconds for at, seconds in self.reads if begun <= at < ended]
        text = (
            f"{name}: {ended - begun:.1f} s, {len(took)} writes, median {statistics.median(took):.1f} ms,"
            f" p99 {p99:.1f} ms, longest {took[-1]:.1f} ms"
        )
        if reads:
            text += f"; {len(reads)} reads, the longest {max(reads):.1f} ms"
        lags = [each for each in self.lags if begun <= each[0] < ended]
        if lags:
            late, behind = [1000 * lag for _, lag, _ in lags], [size / 1048576 for *_, size in lags]
            text += f"; replay lag median {statistics.median(late):.0f} ms, at most {max(late):.0f} ms"
            text += f" and {max(behind):.1f} MiB"
        return text

    def p99(self, begun: float, ended: float) -> float:
        """Return the 99th percentile of the writes between the two, in milliseconds."""
        return statistics.quantiles(self.milliseconds(begun, ended), n=100)[98]


@contextmanager
def live(dsn: str, *, writers: int, rate: float, reads: bool = False, standbys: bool = False) -> Iterator[Seen]:
    """Let writers insert a row at a time, `rate` a second each, until the block ends.

    With `reads` a reader counts their rows throughout, and locks are watched; with `standbys` their lag is.
    """
    seen, stop = Seen(), threading.Event()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into triggers (id, name) values (%s, %s) on conflict do nothing", [WRITER, WRITER])

    def guarded(work: Callable[[Connection], None]) -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                work(connection)
        except BaseException as error:  # told at the end
            seen.errors.append(error)

    works: list[Callable[[Connection], None]] = [
        lambda connection, number=number: _write(connection, seen, stop, number, rate)  # type: ignore[misc]
        for number in range(writers)
    ]
    works += [lambda connection: _read(connection, seen, stop), lambda connection: _watch(connection, seen, stop)][
        : 2 * reads
    ]
    works += [lambda connection: _follow(connection, seen, stop)][:standbys]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if seen.errors:
        raise seen.errors[0]


def _write(connection: Connection, seen: Seen, stop: threading.Event, number: int, rate: float) -> None:
    count, due = 0, time.monotonic()
    while not stop.is_set():
        begun = time.monotonic()
        connection.execute(_INSERT, [f"live {number} {begun} {count}", WRITER, count % 997], prepare=True)
        seen.writes.append((begun, time.monotonic() - begun))
        count += 1
        due += 1 / rate
        # who came late does not make up for it
        due = max(due, time.monotonic())
        stop.wait(due - time.monotonic())


def _read(connection: Connection, seen: Seen, stop: threading.Event) -> None:
    while not stop.is_set():
        before, begun = len(seen.writes), time.monotonic()
        row = connection.execute("select count(*) from action_results where trigger_id = %s", [WRITER]).fetchone()
        seen.reads.append((begun, time.monotonic() - begun))
        seen.missed += max(0, before - int(row[0] if row else 0))
        stop.wait(0.02)


def _watch(connection: Connection, seen: Seen, stop: threading.Event) -> None:
    """Note for how long each lock against everybody is there, to within the pause."""
    held: dict[tuple[int, str], float] = {}
    while not stop.wait(0.002):
        now = time.monotonic()
        there = {(int(pid), str(name)) for pid, name in connection.execute(_HELD, prepare=True)}
        held = {lock: held.get(lock, now) for lock in there}
        for (_, name), since in held.items():
            seen.locks[name] = max(seen.locks.get(name, 0.0), now - since)


def _follow(connection: Connection, seen: Seen, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        ((seconds, size),) = connection.execute(_LAG, prepare=True).fetchall()
        seen.lags.append((time.monotonic(), float(seconds), float(size)))
