"""The catalogue's questions, answered by the warehouse."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

from analytics_refreshd.app.commands.warehouse_question import Asked, NotAnswered, asked_of, why_not
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import query_settings, warehouse_settings
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.catalogue.definition import Column, ParameterError, Query
from analytics_refreshd.postgres.catalogue.horizon import Horizon, with_horizon
from analytics_refreshd.postgres.catalogue.redacting import redacted
from analytics_refreshd.postgres.catalogue.run import ROW_LIMIT, BoundQuery, Result, Row, bind
from analytics_refreshd.warehouse.catalogue.statement import SETTINGS, statement
from analytics_refreshd.warehouse.reading import Reader, State
from analytics_refreshd.warehouse.settings import WarehouseSettings

_DATABASE = Column("database", "text", "The database that the row is of, by its daemon's name")


@dataclass(frozen=True, slots=True)
class WarehouseQuestion:
    """One query, asked about one database or about a `fleet`.

    Raises ParameterError when made, where the warehouse does not answer the query or a value is none that it takes.
    """

    query: Query
    parameters: Mapping[str, object]
    organizations: Sequence[str] | None
    fleet: bool = False

    def __post_init__(self) -> None:
        reason = why_not(self.query)
        if reason is not None:
            raise ParameterError(_refusal(self.query, reason))
        self.query.bind(self.parameters, self.organizations, datetime.now(UTC))

    def printed(self, config: Config) -> str:
        """Return the SQL for clickhouse-client, with what sets its parameters above it."""
        with _reader(config, 30, fleet=self.fleet) as (settings, reader):
            _, asked = self._asked(config, reader.state())
        asks = statement(asked, settings.database)
        lines = [f"set param_{name} = {_literal(value)};" for name, value in asks.parameters.items()]
        needed = ", ".join(
            f"{name} = {value if value.isdecimal() else _literal(value)}" for name, value in SETTINGS.items()
        )
        return "\n".join([*lines, asks.text, f"settings {needed};"])

    def answer(self, config: Config, seconds: float, *, raw: bool) -> Result:
        """Return the rows up to the limit. Redacts messages and JSON unless `raw`."""
        with _reader(config, seconds, fleet=self.fleet) as (_, reader):
            bound, columns, state, rows = self._rows(config, reader, raw=raw)
            kept = tuple(islice(rows, ROW_LIMIT))
            complete = next(rows, None) is None
        notes = (*bound.notes, f"from the warehouse, as of {state.as_of:%Y-%m-%d %H:%M:%S} UTC")
        return Result(
            self.query, columns, kept, bound.values, complete, bound.frozen_until, notes, "warehouse", state.as_of
        )

    def export(
        self, config: Config, seconds: float, take: Callable[[Sequence[Column], Iterator[Row]], None], *, raw: bool
    ) -> None:
        """Hand the columns and all rows to `take`."""
        with _reader(config, seconds, fleet=self.fleet) as (_, reader):
            _, columns, _, rows = self._rows(config, reader, raw=raw)
            take(columns, rows)

    def _rows(
        self, config: Config, reader: Reader, *, raw: bool
    ) -> tuple[BoundQuery, tuple[Column, ...], State, Iterator[Row]]:
        state = reader.state()
        bound, asked = self._asked(config, state)
        if self.organizations:
            unknown = reader.unknown_organizations(asked)
            if unknown:
                raise ParameterError(f"there is no organization {printable(', '.join(unknown))[:200]}")
        if asked.reads_trigger_hours:
            frozen = reader.frozen_until(asked)
            if frozen is not None and not self.query.days:
                reason = f"before {frozen:%Y-%m-%d %H:%M} UTC only whole days are kept of organizations and triggers"
                raise ParameterError(_refusal(self.query, reason))
            bound = with_horizon(bound, None if frozen is None else Horizon(frozen))
        columns = (_DATABASE, *bound.columns) if self.fleet and asked.answer.of_database else bound.columns
        rows = reader.rows(asked, [column.unit for column in bound.columns])
        return bound, columns, state, (row if raw else redacted(columns, row) for row in rows)

    def _asked(self, config: Config, state: State) -> tuple[BoundQuery, Asked]:
        """Bind what was asked at the warehouse's clock. Raises ParameterError for what it cannot answer."""
        bound = bind(
            self.query, self.parameters, self.organizations, state.now, config.database.db_schema,
            settings=query_settings(config),
        )  # fmt: skip
        try:
            return bound, asked_of(bound, self.parameters, state.epochs, fleet=self.fleet)
        except NotAnswered as refusal:
            raise ParameterError(_refusal(self.query, str(refusal))) from None


def _refusal(query: Query, reason: str) -> str:
    return f"the warehouse does not answer {query.name} like this: {reason}; --engine postgres does"


@contextmanager
def _reader(config: Config, seconds: float, *, fleet: bool) -> Iterator[tuple[WarehouseSettings, Reader]]:
    settings = warehouse_settings(config)
    if settings is None:
        raise ConfigError(["warehouse.url is missing: without it there is no warehouse to ask"])
    reader = Reader(replace(settings, request_seconds=min(settings.request_seconds, seconds + 5)), seconds, fleet=fleet)
    try:
        yield settings, reader
    finally:
        reader.close()


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
