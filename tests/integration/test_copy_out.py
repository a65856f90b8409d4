"""Copying rows out of PostgreSQL as a warehouse gets them: all of them, counted, and within a limit."""

import io
from collections.abc import Iterator

import psycopg
import pytest

from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.errors import DeadlineExceeded

_ROWS = 20_000
"""More than are written at once, and more than come at once."""


@pytest.fixture
def bounded(dsn: str) -> Iterator[BoundedConnection]:
    """A connection as adapters have it."""
    with BoundedConnection.connect(dsn, autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize("rows", [0, 1, 4096, 4097, _ROWS])
def test_every_row_is_written_and_counted(bounded: BoundedConnection, rows: int) -> None:
    """In order, to the last one."""
    body = io.BytesIO()
    query = psycopg.sql.SQL("copy (select i from generate_series(1, {}) i) to stdout").format(rows)
    assert bounded.copy_out(query, body) == rows
    assert body.getvalue() == b"".join(b"%d\n" % number for number in range(1, rows + 1))


def test_an_error_after_the_first_rows_is_raised(bounded: BoundedConnection) -> None:
    """What came before it would pass for all; the connection goes on."""
    body = io.BytesIO()
    with pytest.raises(psycopg.errors.DivisionByZero):
        bounded.copy_out(f"copy (select 1 / ({_ROWS} - i) from generate_series(1, {_ROWS}) i) to stdout", body)
    assert body.getvalue()
    assert bounded.execute("select 1").fetchone() == (1,)


def test_waiting_for_a_row_has_a_limit(bounded: BoundedConnection) -> None:
    """Also where rows have come already."""
    body = io.BytesIO()
    sleeps = f"case when i = {_ROWS} then pg_sleep(20)::text end"
    with pytest.raises(DeadlineExceeded), bounded.within(1.0):
        bounded.copy_out(f"copy (select i, {sleeps} from generate_series(1, {_ROWS}) i) to stdout", body)
    assert body.getvalue()
    assert bounded.closed
