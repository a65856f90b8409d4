"""Errors of megabytes leave no more than their first line behind."""

from collections.abc import Iterator

import psycopg
import pytest

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.redaction import LIMIT_BYTES
from tests.support.adapters import session

LONG_CHARACTERS = 64 * 1024


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it keeps alive: causes and contexts."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_fault_does_not_keep_the_servers_text(dsn: str) -> None:
    """Its context is psycopg's error, which would hold 12 MB three times for as long as the fault is kept."""
    with session(dsn) as opened, pytest.raises(DatabaseFault) as caught:
        opened.run(lambda c: c.execute("do $$ begin raise exception '%', repeat('x ', 6000000); end $$"))
    kept = [error for error in chain(caught.value) if isinstance(error, psycopg.Error)]
    assert kept
    for error in kept:
        assert len(str(error)) <= LONG_CHARACTERS
        assert not error.diag.message_primary
    assert len(caught.value.message.encode()) <= LIMIT_BYTES
    assert caught.value.sqlstate == "P0001"
