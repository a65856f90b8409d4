"""What tests of several adapters share."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Outbox
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.client import Client
from tests.support.clickhouse import ClickHouse, serving
from tests.support.warehouse import settings


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A ClickHouse with the tables. Its tests tell themselves apart by the names of their databases."""
    with serving(tmp_path_factory.mktemp("clickhouse")) as server:
        tables.create(Client(settings(server.url, "none", tmp_path_factory.mktemp("password"))))
        yield server


@pytest.fixture(scope="session")
def fed_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database in incremental mode, with an outbox."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True) as connection:
        incremental.install(connection, outbox=Outbox(True))
    return dsn
