"""Reads closed months of action rows for a warehouse."""

from typing import IO, Any

from psycopg import sql

from analytics_refreshd.core.warehouse import Range
from analytics_refreshd.core.warehouse_rows import Month
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.incremental.blocks import block as incremental
from analytics_refreshd.postgres.schema.definitions import compose
from analytics_refreshd.postgres.state import outbox_cells as cells

FILE = "state/months.sql"
PORTION = 400_000
_READ_SECONDS = 600.0


class PostgresMonths:
    """`core.warehouse_rows.RowSource` on the sender's session."""

    def __init__(self, session: Session, keep_seconds: float, portion: int = PORTION) -> None:
        self._session = session
        self._keep_seconds = keep_seconds
        self._portion = portion
        self._statements = blocks(FILE)

    def months(self) -> list[Month]:
        """As `core.warehouse_rows.RowSource.months`."""
        return [Month(*row) for row in self._rows("months", {"keep_seconds": self._keep_seconds})]

    def parts(self, month: Month) -> list[Range]:
        """As `core.warehouse_rows.RowSource.parts`."""
        return [Range(*row) for row in self._rows("parts", {**hours_of(month), "portion": self._portion})]

    def write(self, month: Month, part: Range, body: IO[bytes]) -> int:
        """As `core.warehouse_rows.RowSource.write`."""
        query = compose(
            self._statements["rows"],
            app=sql.Identifier(self._session.app_schema),
            columns=incremental("capture", "columns", row=sql.SQL("a.")),
            database=sql.Literal(self._session.name),
            month=sql.Literal(month.month),
            low=sql.Literal(part.from_hour_at),
            high=sql.Literal(part.until_hour_at),
        )
        return self._session.run(lambda connection: cells.write(connection, query, body), seconds=_READ_SECONDS)

    def moved(self, month: Month, batch: int) -> bool:
        """As `core.warehouse_rows.RowSource.moved`."""
        return bool(self._rows("moved", {**hours_of(month), "batch": batch})[0][0])

    def _rows(self, name: str, values: dict[str, object]) -> list[tuple[Any, ...]]:
        def work(connection: BoundedConnection) -> list[tuple[Any, ...]]:
            return connection.execute(self._statements[name], values).fetchall()

        return self._session.run(work, seconds=_READ_SECONDS)


def hours_of(month: Month) -> dict[str, object]:
    """Return the limits of a month, as a statement's parameters."""
    return {"from_hour_at": month.from_hour_at, "until_hour_at": month.until_hour_at}
