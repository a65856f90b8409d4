"""A connection with a time limit, which other threads can abandon."""

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, TypeVar

import psycopg
from psycopg import errors, generators, pq, waiting
from psycopg.abc import Buffer, PQGen, Query

from analytics_refreshd.postgres.connection.errors import Abandoned, DeadlineExceeded

_Value = TypeVar("_Value")
_ROWS = 4096
_ENDED = getattr(select, "POLLRDHUP", select.POLLHUP)
"""What the kernel tells of a socket whose other end has closed, also while there is something left to read."""


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """psycopg's connection with a time limit on waiting for the server.

    Keepalives and tcp_user_timeout end the wait for a dead network. A server process that is stopped still
    acknowledges packets, so only a limit of the client's own ends that wait. psycopg wakes a waiting thread ten times
    a second. The limit is checked then, in that thread, so no other thread closes a connection that is in use.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: float | None = None
        self._cancel_seconds = 0.0
        self._abandoned = threading.Event()

    @contextmanager
    def within(self, seconds: float, *, cancel_seconds: float = 0.0) -> Iterator[None]:
        """Limit everything inside to `seconds` together.

        After that the running statement is cancelled. The server has `cancel_seconds` to take the request, and as long
        again to end the statement. Then the connection is closed and DeadlineExceeded raised; without `cancel_seconds`
        that happens at once. An outer limit that ends earlier stays in force.
        """
        outer = self._deadline, self._cancel_seconds
        mine = time.monotonic() + max(0.0, seconds)
        if outer[0] is None or mine < outer[0]:
            self._deadline, self._cancel_seconds = mine, cancel_seconds
        try:
            yield
        finally:
            self._deadline, self._cancel_seconds = outer

    def abandon(self) -> None:
        """Make the waiting thread close this connection within 0.2 s.

        Callable from any thread.
        """
        self._abandoned.set()

    @property
    def abandoned(self) -> bool:
        """Whether `abandon` was called."""
        return self._abandoned.is_set()

    @property
    def is_open(self) -> bool:
        """Whether neither end has closed it, as far as this machine knows. Callable from any thread.

        psycopg learns that the server ended an idle session when it is used next, which may be never.
        """
        try:
            poll = select.poll()
            poll.register(self.fileno(), _ENDED)
            return not poll.poll(0)
        except (psycopg.Error, ValueError):
            # closed here, perhaps meanwhile
            return False

    def copy_out(self, query: Query, body: IO[bytes]) -> int:
        """Write what a COPY TO STDOUT sends to `body`.

        Returns how many rows there were. Copying as psycopg does, which waits once for each row, takes longer than the
        rows of a rollup do.
        """
        with self.cursor() as cursor, cursor.copy(query):
            return self.wait(_copied(self.pgconn, body))

    def wait(self, gen: PQGen[_Value], *args: Any, **kwargs: Any) -> _Value:
        """Run `gen` as psycopg does, within the time limit."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: PQGen[_Value]) -> PQGen[_Value]:
        cancelled_until: float | None = None
        try:
            self._close_if_abandoned()
            wanted = next(gen)
            while True:
                ready = yield wanted
                self._close_if_abandoned()
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    if cancelled_until is None:
                        cancelled_until = self._cancel_at_deadline()
                    if time.monotonic() >= cancelled_until:
                        self.close()
                        raise DeadlineExceeded("the server did not answer within the time limit")
                wanted = gen.send(ready)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _cancel_at_deadline(self) -> float:
        """Ask the server to end the statement; return until when to wait."""
        if self._cancel_seconds <= 0:
            return 0.0
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=self._cancel_seconds)
        return time.monotonic() + self._cancel_seconds

    def _close_if_abandoned(self) -> None:
        if self._abandoned.is_set():
            self.close()
            raise Abandoned("the connection was given up")


def _copied(pgconn: pq.abc.PGconn, body: IO[bytes]) -> PQGen[int]:
    """Read all that has come each time, and wait only where nothing is left of it."""
    rows: list[Buffer] = []
    while True:
        size, row = pgconn.get_copy_data(1)
        if size > 0:
            rows.append(row)
            if len(rows) < _ROWS:
                continue
        body.write(b"".join(rows))
        rows.clear()
        if size < 0:
            break
        if not size:
            while not (yield waiting.Wait.R):
                continue
            pgconn.consume_input()
    (result,) = yield from generators.fetch_many(pgconn)
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise errors.error_from_result(result, encoding="utf-8")
    return result.command_tuples or 0
