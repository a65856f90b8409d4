"""Databases and servers for tests of the daemon as a process."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.faults import Connection, Fragile, age_views
from tests.support.installs import make_stretchable


@pytest.fixture
def stretched(connection: psycopg.Connection[tuple[object, ...]]) -> Connection:
    """A migrated database with views a day old whose refresh `stretch` can hold or fail."""
    make_stretchable(connection)
    age_views(connection)
    return connection


@pytest.fixture(scope="session")
def pristine() -> Iterator[Fragile]:
    """The stopped server that each test's own is a copy of."""
    made = Fragile()
    yield made
    made.destroy()


@pytest.fixture
def fragile(pristine: Fragile) -> Iterator[Fragile]:
    """A running server that the test may break, with one migrated database whose views can be stretched."""
    made = Fragile(pristine)
    try:
        made.server.start()
        yield made
    finally:
        made.destroy()
