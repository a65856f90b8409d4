"""Reads an answer from the database, at one moment."""

import threading
from collections.abc import Callable, Iterator

from analytics_refreshd.api.answers import Reading
from analytics_refreshd.api.freshness import Known, Successes
from analytics_refreshd.api.pool import PooledConnection, ReadPool
from analytics_refreshd.postgres.catalogue.horizon import with_horizon
from analytics_refreshd.postgres.catalogue.page import Page, read_page, stream_rows
from analytics_refreshd.postgres.catalogue.parameters import Column
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row, read_only
from analytics_refreshd.postgres.tenants.freshness import last_successes
from analytics_refreshd.postgres.tenants.horizon import frozen_horizon

KNOWN_SECONDS = 1.0
"""How long the views' last successes are taken as they were read, where nothing else is."""


class Reader:
    """Reads pages, the views' last successes, and where the horizon is."""

    def __init__(self, pool: ReadPool, views: tuple[str, ...], seconds: float, monotonic: Callable[[], float]) -> None:
        self._pool = pool
        self._views = list(views)
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: tuple[float, Known] | None = None

    def read(self, bound: BoundQuery, page: Page, summary: BoundQuery | None, *, stored: bool = False) -> Reading:
        """Read a page, the row beside it, and how fresh views are.

        With `stored` error texts are as they are stored. Raises ParameterError for what frozen days do not hold, and
        DatabaseFault.
        """
        timeout_ms = int(self._seconds * 1000)

        def work(connection: PooledConnection) -> Reading:
            with read_only(connection, bound, timeout_ms, snapshot=True):
                known = self._read_known(connection)
                question = with_horizon(bound, known.horizon)
                rows = read_page(connection, question, page, _columns(bound), stored=stored)
                beside = read_page(connection, summary, Page(1), _columns(summary)).rows[0] if summary else None
            return Reading(question, rows, beside, known)

        began = self._monotonic()
        reading = self._pool.read(work, self._seconds)
        self._remember(began, reading.known)
        return reading

    def export(
        self, bound: BoundQuery, page: Page, take: Callable[[Iterator[Row]], None], *, stored: bool = False
    ) -> Successes:
        """Hand rows to `take`; return the views' last successes.

        With `stored` error texts are as they are stored. `take` may be called again, from the first row on. Raises
        ParameterError and DatabaseFault, as `read` does.
        """

        def work(connection: PooledConnection) -> Successes:
            with read_only(connection, bound, int(self._seconds * 1000), snapshot=True):
                known = self._read_known(connection)
                question = with_horizon(bound, known.horizon)
                take(stream_rows(connection, question, page, _columns(bound), stored=stored))
            return known.successes

        return self._pool.read(work, self._seconds)

    def known(self) -> Known:
        """Return the views' last successes and the horizon.

        What was read within a second is taken again. Raises DatabaseFault.
        """
        with self._lock:
            known = self._known
        began = self._monotonic()
        if known is not None and began - known[0] < KNOWN_SECONDS:
            return known[1]
        found = self._pool.read(self._read_known, self._seconds)
        self._remember(began, found)
        return found

    def _read_known(self, connection: PooledConnection) -> Known:
        successes = last_successes(connection, self._views) if connection.records else {}
        return Known(successes, frozen_horizon(connection) if connection.knows_horizon else None)

    def _remember(self, began: float, found: Known) -> None:
        with self._lock:
            if self._known is None or began >= self._known[0]:
                self._known = (began, found)


def _columns(bound: BoundQuery) -> list[Column]:
    return [field.column for field in bound.query.api.fields]
