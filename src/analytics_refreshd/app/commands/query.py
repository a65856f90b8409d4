"""The catalogue's questions, answered over a session of their own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings, query_settings
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.catalogue import run
from analytics_refreshd.postgres.catalogue.definition import Column, ParameterError, Query, QueryFileError
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.horizon import in_database
from analytics_refreshd.postgres.catalogue.organizations import unknown_organizations
from analytics_refreshd.postgres.catalogue.run import Result, Row
from analytics_refreshd.postgres.catalogue.times import read_every_time
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.session import Session

__all__ = ["Catalogue", "Column", "ParameterError", "Query", "QueryFileError", "Result"]

_WHO_GRANTS = (
    "; deploy/sql/grants.sql -v probes=1 grants all that queries read. deploy/sql/reader.sql grants no error text: the"
    " questions on failures it answers in the dashboard alone, redacted"
)
_Value = TypeVar("_Value")


def catalogue(directory: Path | None) -> Catalogue:
    """Load the built-in queries and those of `directory`."""
    return Catalogue.load(directory)


@dataclass(frozen=True, slots=True)
class Question:
    """One query with the parameters and organizations asked for.

    Raises ParameterError when made, where a value is none that the query takes: before any connection.
    """

    query: Query
    parameters: Mapping[str, object]
    organizations: Sequence[str] | None

    def __post_init__(self) -> None:
        self.query.bind(self.parameters, self.organizations, datetime.now(UTC))

    def printed(self, config: Config) -> str:
        """The SQL with its values as literals, for people to read."""
        return run.printed(self._bound(config, datetime.now(UTC), config.database.db_schema))

    def explain(self, config: Config, seconds: float) -> list[str]:
        """Run it and return the plan's lines."""
        return self._asked(config, seconds, lambda c, bound: run.explain(c, bound))

    def answer(self, config: Config, seconds: float, *, raw: bool) -> Result:
        """Run it and return its rows up to the limits. Redacts messages and JSON unless `raw`."""
        return self._asked(config, seconds, lambda c, bound: run.run(c, bound, raw=raw))

    def export(
        self, config: Config, seconds: float, take: Callable[[Sequence[Column], Iterable[Row]], None], *, raw: bool
    ) -> None:
        """Run it and hand its columns and all its rows to `take`. Redacts messages and JSON unless `raw`."""
        columns = self.query.columns
        self._asked(config, seconds, lambda c, bound: run.export(c, bound, lambda rows: take(columns, rows), raw=raw))

    def _asked(self, config: Config, seconds: float, work: Callable[[Connection, run.BoundQuery], _Value]) -> _Value:
        """Do `work`. Raises ParameterError for organizations that do not exist: no row would be read as no action."""

        def answer(connection: Connection, now: datetime, app_schema: str) -> _Value:
            refuse_unknown(connection, app_schema, self.organizations or ())
            return work(connection, in_database(connection, self._bound(config, now, app_schema), now))

        return with_session(config, seconds, answer)

    def _bound(self, config: Config, now: datetime, app_schema: str) -> run.BoundQuery:
        settings = query_settings(config)
        return run.bind(self.query, self.parameters, self.organizations, now, app_schema, settings=settings)


def refuse_unknown(connection: Connection, app_schema: str, organizations: Sequence[str]) -> None:
    """Raise ParameterError where one of the organizations does not exist."""
    unknown = unknown_organizations(connection, app_schema, organizations)
    if unknown:
        raise ParameterError(f"there is no organization {printable(', '.join(unknown))[:200]}")


def with_session(config: Config, seconds: float, work: Callable[[Connection, datetime, str], _Value]) -> _Value:
    """Do `work` with a connection, the server's time and the application's schema."""
    session = Session(
        Connector(connection_settings(config)), label="query", profile=Profile(statement_timeout_seconds=seconds)
    )

    def answer(connection: Connection) -> _Value:
        read_every_time(connection)
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        return work(connection, row[0], session.app_schema)

    try:
        return session.run(answer, seconds=seconds)
    except DatabaseFault as fault:
        if fault.reason is not Reason.PERMISSION:
            raise
        raise fault.reworded(fault.message + _WHO_GRANTS) from fault
    finally:
        session.close()
