"""Reads an answer from the database, at one moment."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from analytics_refreshd.api.answers import Reading
from analytics_refreshd.api.engine import Admitted
from analytics_refreshd.api.freshness import KNOWN_SECONDS, Known, Successes
from analytics_refreshd.api.outlook import KeptOutlooks
from analytics_refreshd.api.pool import PooledConnection, ReadPool
from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.outlook import LimitDays
from analytics_refreshd.postgres.catalogue.definition import ParameterError
from analytics_refreshd.postgres.catalogue.horizon import Horizon, may_reach, with_horizon
from analytics_refreshd.postgres.catalogue.page import Page, page_of, page_statement, stream_rows, total_statement
from analytics_refreshd.postgres.catalogue.parameters import Column
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row, reading
from analytics_refreshd.postgres.catalogue.sources import Sources
from analytics_refreshd.postgres.connection.batch import Statement
from analytics_refreshd.postgres.connection.connector import search_path
from analytics_refreshd.postgres.tenants.freshness import last_successes
from analytics_refreshd.postgres.tenants.horizon import HORIZON, frozen_horizon, horizon_of
from analytics_refreshd.postgres.tenants.live import LastCost, last_cost
from analytics_refreshd.postgres.tenants.outlook import limit_days
from analytics_refreshd.postgres.tenants.reading import Transaction, admitted, read
from analytics_refreshd.postgres.tenants.wall import Wall

_Value = TypeVar("_Value")

_DAYS_SECONDS = 2.0
"""A forecast is worth no more of the database."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one transaction read: the query as it was asked, what is known, and each statement's rows."""

    bound: BoundQuery
    known: Known
    rows: Sequence[Sequence[Row]]


class Reader:
    """Reads pages in admitted transactions, and what is known beside them."""

    def __init__(
        self,
        pool: ReadPool,
        views: tuple[str, ...],
        wall: Wall,
        seconds: float,
        monotonic: Callable[[], float],
        limits: Limits,
    ) -> None:
        self.outlooks = KeptOutlooks(self._limit_days, limits, monotonic)
        self._pool = pool
        self._views = views
        self._wall = wall
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._successes: tuple[float, Successes] | None = None
        self._horizon: tuple[float, Horizon | None] | None = None

    def sources(self, bound: BoundQuery) -> Sources:
        """Return the views that the query reads, and whether it reads rows."""
        return bound.sources

    def read(self, asked: Admitted, page: Page, summary: BoundQuery | None = None, *, stored: bool = False) -> Reading:
        """Read a page, the row beside it, and how fresh views are.

        With `stored` error texts are as they are stored. Raises ParameterError for what frozen days do not hold, and
        DatabaseFault.
        """
        columns = _columns(asked.bound)
        beside = [] if summary is None else [page_statement(summary, Page(1), _columns(summary))]

        def work(connection: PooledConnection) -> tuple[_Answer, int | None]:
            with reading(asked.bound.query):
                found = self._answer(connection, asked, lambda bound: [page_statement(bound, page, columns), *beside])
                if found.rows[0] or not page.offset:
                    return found, None
                # past the last row nothing tells how many there are
                found = self._answer(
                    connection,
                    asked,
                    lambda bound: [page_statement(bound, page, columns), *beside, total_statement(bound)],
                )
                return found, int(str(found.rows[-1][0][0]))

        found, total = self._pool.read(work, self._seconds)
        rows = page_of(found.rows[0], columns, stored=stored)
        if total is not None:
            rows = replace(rows, total=total)
        row = None if summary is None else page_of(found.rows[1], _columns(summary)).rows[0]
        return Reading(found.bound, rows, row, found.known)

    def _answer(
        self, connection: PooledConnection, asked: Admitted, statements: Callable[[BoundQuery], Sequence[Statement]]
    ) -> _Answer:
        """Read in one transaction what `statements` makes of the query.

        That depends on the horizon, which hardly ever moves: the one that was known is taken, and if it was not that of
        the transaction, all is read again.
        """
        horizon, sure = self._assumed(connection, asked.bound)
        while True:
            began = self._monotonic()
            try:
                bound = with_horizon(asked.bound, horizon)
            except ParameterError:
                # it may have been so only before
                horizon = frozen_horizon(connection)
                bound = with_horizon(asked.bound, horizon)
            more = [] if sure else [HORIZON]
            successes, rows = read(
                connection, self._wall, self._transaction(connection, asked), [*more, *statements(bound)]
            )
            found = horizon if sure else horizon_of(rows[0])
            self._remember(began, successes, None if sure else (began, found))
            if found == horizon or with_horizon(asked.bound, found) == bound:
                return _Answer(bound, Known(successes, found), rows[len(more) :])
            horizon = found

    def _assumed(self, connection: PooledConnection, bound: BoundQuery) -> tuple[Horizon | None, bool]:
        """Return the horizon as it is known, and whether it need not be read with the rows."""
        known = self._horizon
        if not connection.knows_horizon:
            return None, True
        if known is None:
            return None, False
        return known[1], self._is_now(known[0]) and not may_reach(bound)

    def export(
        self, asked: Admitted, page: Page, take: Callable[[Iterator[Row]], None], *, stored: bool = False
    ) -> Known:
        """Hand rows to `take`; return the views' last successes and the horizon.

        With `stored` error texts are as they are stored. `take` may be called again, from the first row on. Raises
        ParameterError and DatabaseFault, as `read` does.
        """

        def work(connection: PooledConnection) -> Known:
            with admitted(connection, self._wall, self._transaction(connection, asked)) as successes:
                horizon = frozen_horizon(connection) if connection.knows_horizon else None
                bound = with_horizon(asked.bound, horizon)
                take(stream_rows(connection, bound, page, _columns(bound), stored=stored))
            return Known(successes, horizon)

        return self._pool.read(work, self._seconds)

    def last_cost(self) -> LastCost | None:
        """Return what the last run that ended cost, for a platform administrator. Raises DatabaseFault."""
        return self._for_all(last_cost, self._seconds)

    def _limit_days(self, min_executions: int) -> tuple[LimitDays, list[SizeSample]]:
        return self._for_all(
            lambda connection: limit_days(connection, min_executions), min(self._seconds, _DAYS_SECONDS)
        )

    def _for_all(self, read: Callable[[PooledConnection], _Value], seconds: float) -> _Value:
        """Read what is for who sees all, each statement within `seconds`. Raises DatabaseFault."""
        wanted = Transaction(None, search_path(), int(seconds * 1000), plan_anew=False, views=None)

        def work(connection: PooledConnection) -> _Value:
            with admitted(connection, self._wall, wanted):
                return read(connection)

        return self._pool.read(work, self._seconds)

    def _transaction(self, connection: PooledConnection, asked: Admitted) -> Transaction:
        return Transaction(
            asked.organizations,
            asked.bound.search_path,
            int(self._seconds * 1000),
            # how many rows a window has differs by its length; views are small
            plan_anew=asked.bound.sources.rows,
            views=self._views if connection.records else None,
        )

    def known_now(self) -> Known | None:
        """Return the views' last successes and the horizon, if they are known.

        That is for a second after they were read.
        """
        successes, horizon = self._successes, self._horizon
        if successes is None or horizon is None or not self._is_now(min(successes[0], horizon[0])):
            return None
        return Known(successes[1], horizon[1])

    def known(self) -> Known:
        """Return the views' last successes and the horizon.

        What was read within a second is taken again. Raises DatabaseFault.
        """
        known = self.known_now()
        if known is not None:
            return known
        began = self._monotonic()
        found = self._pool.read(self._read_known, self._seconds)
        self._remember(began, found.successes, (began, found.horizon))
        return found

    def _read_known(self, connection: PooledConnection) -> Known:
        successes = last_successes(connection, list(self._views)) if connection.records else {}
        return Known(successes, frozen_horizon(connection) if connection.knows_horizon else None)

    def _is_now(self, read_at: float) -> bool:
        return self._monotonic() - read_at < KNOWN_SECONDS

    def _remember(self, began: float, successes: Successes, horizon: tuple[float, Horizon | None] | None) -> None:
        with self._lock:
            if self._successes is None or began >= self._successes[0]:
                self._successes = (began, successes)
            if horizon is not None and (self._horizon is None or began >= self._horizon[0]):
                self._horizon = horizon


def _columns(bound: BoundQuery) -> list[Column]:
    return [field.column for field in bound.query.api.fields]
