"""Times catalogue queries, for the dashboards' latency figures."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import psycopg

from analytics_refreshd.core.ports import ProbeResult
from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.run import bind, read_only, stream
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.errors import primary_text
from analytics_refreshd.postgres.connection.session import Session


class PostgresProbes:
    """`core.ports.Probes` over the shared session."""

    def __init__(self, session: Session, queries: Sequence[Query], monotonic: Callable[[], float]) -> None:
        self._session = session
        self._queries = queries
        self._monotonic = monotonic
        self.endpoints = tuple(query.endpoint for query in queries)

    def run(self, budget_seconds: float, now: datetime) -> list[ProbeResult]:
        """Time each query once, within the budget for all of them. Raises DatabaseFault."""
        return self._session.run(
            lambda connection: probe(
                connection,
                self._queries,
                budget_seconds,
                self._monotonic,
                now=now,
                app_schema=self._session.app_schema,
            ),
            seconds=budget_seconds,
        )


def probe(
    connection: Connection,
    queries: Iterable[Query],
    budget_seconds: float,
    monotonic: Callable[[], float],
    *,
    now: datetime,
    app_schema: str,
) -> list[ProbeResult]:
    """Time each query with its defaults, within one budget for all.

    A query that fails is a result with an error; psycopg.Error is raised only where the connection is lost. Each
    statement may take what is left of the budget, waiting for locks included. Queries that the budget does not reach
    are results with an error. The time is that of the statement and its rows, without the transaction's set-up.
    Rows are read one by one and not kept.
    """
    deadline = monotonic() + budget_seconds
    results: list[ProbeResult] = []
    for query in queries:
        left_ms = int((deadline - monotonic()) * 1000)
        if left_ms < 1:
            results.append(ProbeResult(query.endpoint, None, f"the budget of {budget_seconds:g} s is used up"))
            continue
        try:
            bound = bind(query, {}, None, now, app_schema)
            with read_only(connection, bound, left_ms), connection.cursor() as cursor:
                started = monotonic()
                with stream(cursor, bound) as rows:
                    for _ in rows:
                        pass
                seconds = monotonic() - started
            results.append(ProbeResult(query.endpoint, seconds, None))
        except psycopg.Error as error:
            if connection.closed:
                raise
            state = f"{error.sqlstate}: " if error.sqlstate else ""
            results.append(ProbeResult(query.endpoint, None, state + primary_text(error)))
    return results
