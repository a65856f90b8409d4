"""An action log in use: a writer of rows of every time, and a reader that counts them."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]

TIMES = ("now()", "null", "'infinity'", "'-infinity'", "now() + interval '2 years'", "now() - interval '400 days'")
YOUNG = ("now()", "null", "'infinity'", "now() + interval '2 years'", "now() - interval '40 days'")
"""Times of rows that no retention deletes."""
_INSERT = (
    "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
    " values (%s, 'j', %s, 'rest', %s, {}, %s)"
)


class Traffic:
    """What a writer and a reader saw. `written` counts rows that are committed; none of them is ever deleted."""

    def __init__(self, prefix: str, times: Sequence[str]) -> None:
        self.times = times
        self.prefix = prefix
        self.written = 0
        self.reads = 0
        self.missed: list[tuple[int, int]] = []
        self.errors: list[BaseException] = []
        self.stop = threading.Event()

    def wait_for(self, rows: int) -> None:
        """Wait until more rows than that are written."""
        eventually(lambda: self.written > rows or self.errors)

    def write(self, dsn: str) -> None:
        """Insert and update a row at a time, of every time in turn."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("set lock_timeout = 0")
            for number in itertools.count():
                if self.stop.is_set():
                    return
                time = self.times[number % len(self.times)]
                name = f"{self.prefix} {number}"
                # PostgreSQL 15 cannot tell the time between infinite ones
                trigger = None if "infinity" in time else "busy"
                values = [name, trigger, "failed" if number % 5 == 0 else "success", number % 997]
                connection.execute(_INSERT.format(time), values)
                self.written += 1
                if number % 7 == 0:
                    connection.execute("update action_results set duration_ms = 3 where id = %s", [name])

    def read(self, dsn: str) -> None:
        """Count all rows again and again; no row that was there before may be missing."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not self.stop.is_set():
                before = self.written
                query = "select count(*) from action_results where starts_with(id, %s)"
                row = connection.execute(query, [f"{self.prefix} "]).fetchone()
                found = int(row[0]) if row else 0
                self.reads += 1
                if found < before:
                    self.missed.append((before, found))


@contextmanager
def traffic(dsn: str, prefix: str = "traffic", times: Sequence[str] = TIMES) -> Iterator[Traffic]:
    """Write and read throughout; whatever failed, or was missed, is an assertion at the end."""
    seen = Traffic(prefix, times)

    def guarded(work: Any) -> None:
        try:
            work(dsn)
        except BaseException as error:  # told by the test
            seen.errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (seen.write, seen.read)]
    for each in threads:
        each.start()
    try:
        eventually(lambda: seen.errors or (seen.reads and seen.written))
        yield seen
    finally:
        seen.stop.set()
        for each in threads:
            each.join(60)
    assert seen.errors == []
    assert seen.missed == []


class Later(threading.Thread):
    """Ends a reader's transaction once a writer has gone on beside those who wait for it."""

    def __init__(self, reader: Connection, seen: Traffic) -> None:
        super().__init__()
        self._reader = reader
        self._seen = seen

    def run(self) -> None:
        """Wait for twenty more rows, then let go."""
        written = self._seen.written
        while self._seen.written < written + 20 and not self._seen.stop.wait(0.01):
            pass
        self._reader.rollback()
