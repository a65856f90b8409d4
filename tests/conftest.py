"""A real PostgreSQL for every test: a server per test process, a template, and a copy for each test."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from analytics_refreshd.demo import loading
from tests.support import fault_table, selection
from tests.support.examples import examples
from tests.support.postgres import Server, keep_in_memory

_numbers = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let all tests be run, and another server than the embedded one be tested."""
    parser.addoption("--full", action="store_true", help="run every test, not the quick ones of each area alone")
    parser.addoption("--dsn", help="URL of a superuser on a server to test against (default: an embedded one)")
    parser.addoption("--fault-table", help="write the table of fault tests to this file once they are collected")
    parser.addoption(
        "--quick-files", help="write to this file of which files a plain run takes a test, as --full sees it"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Judge properties by their examples, not by how busy the machine is; by fewer where tests are to be quick.

    Servers are kept in memory.
    """
    number = examples(100 if config.getoption("--full") else 25)
    keep_in_memory()
    settings.register_profile("untimed", deadline=None, max_examples=number)
    settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Give all tests that share a fixture which takes long to make to one process."""
    return selection.scheduler(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what bears a row of the fault table; keep the quick tests, unless the command line says which to run.

    What runs at night may take longer than the others.
    """
    for item in items:
        if item.get_closest_marker("nightly") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(3600))
        if fault_table.rows_of(item.name):
            item.add_marker(pytest.mark.fault)
    selection.select(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write what --fault-table and --quick-files ask for."""
    if hasattr(session.config, "workerinput"):
        return
    if path := session.config.getoption("--fault-table"):
        Path(path).write_text(fault_table.table(fault_table.tests_by_row(session.items, session.config.rootpath)))
    if path := session.config.getoption("--quick-files"):
        files = selection.quick_files(session.items, Path(__file__).parent)
        Path(path).write_text("\n".join(sorted(files)))


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The embedded server of this test process; a test that breaks a server starts its own."""
    instance = Server().start()
    yield instance
    instance.destroy()


@pytest.fixture(scope="session")
def admin_dsn(request: pytest.FixtureRequest) -> str:
    """URL of a superuser on the server under test: `--dsn`, or the embedded one."""
    given: str | None = request.config.getoption("--dsn")
    return given or request.getfixturevalue("server").dsn()


def _with_database(dsn: str, database: str) -> str:
    return psycopg.conninfo.make_conninfo(dsn, dbname=database)


def create_application(dsn: str, schema: str = "public") -> None:
    """Create the application's four source tables as the contract describes them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("create schema if not exists {}").format(name))
        loading.create_application(connection, schema)


@contextmanager
def _creating(admin_dsn: str, prefix: str) -> Iterator[Callable[..., str]]:
    """Yield what creates a database and returns its URL; drop all of them in the end."""
    created: list[sql.Identifier] = []

    def create(template: str | None = None) -> str:
        name = f"t{os.getpid()}_{prefix}_{next(_numbers)}"
        source = str(psycopg.conninfo.conninfo_to_dict(template)["dbname"]) if template else "template0"
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            # the default writes the whole copy to the WAL, too; before PostgreSQL 15 there is no other way
            by = " strategy file_copy" if connection.info.server_version >= 150000 else ""
            statement = sql.SQL("create database {} template {}" + by)
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(source)))
        created.append(sql.Identifier(name))
        return _with_database(admin_dsn, name)

    yield create
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        for name in reversed(created):
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))


@pytest.fixture
def databases(admin_dsn: str, worker_id: str) -> Iterator[Callable[..., str]]:
    """`databases(template=None)` creates a database and returns its URL; the test's end drops it.

    `template` is the URL of the database to copy, which no session may use meanwhile.
    """
    with _creating(admin_dsn, worker_id) as create:
        yield create


@pytest.fixture(scope="session")
def templates(admin_dsn: str, worker_id: str) -> Iterator[Callable[..., str]]:
    """As `databases`, for those that many tests copy: they stay until all tests are over."""
    with _creating(admin_dsn, worker_id) as create:
        yield create


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The pytest-xdist worker's name, `main` without xdist."""
    worker_input = getattr(request.config, "workerinput", None)
    return str(worker_input["workerid"]) if worker_input else "main"


@pytest.fixture(scope="session")
def application_template(templates: Callable[..., str]) -> str:
    """A database that holds the application's source tables and nothing of ours."""
    dsn = templates()
    create_application(dsn)
    return dsn


@pytest.fixture(scope="session")
def migrated_template(templates: Callable[..., str], application_template: str) -> str:
    """A database with the application's tables and our schema, views and functions."""
    from analytics_refreshd.postgres.migrate.run import migrate

    dsn = templates(application_template)
    with psycopg.connect(dsn, autocommit=True) as connection:
        migrate(connection, app_schema="public")
    return dsn


@pytest.fixture
def application_dsn(databases: Callable[..., str], application_template: str) -> str:
    """A fresh database with the application's empty tables only."""
    return databases(application_template)


@pytest.fixture(scope="session")
def dsn_template(migrated_template: str) -> str:
    """What `dsn` copies; a module whose tests all begin with more overrides it."""
    return migrated_template


@pytest.fixture
def dsn(databases: Callable[..., str], dsn_template: str) -> str:
    """A fresh copy of `dsn_template`: as it is, empty source tables, our four views, functions and history."""
    return databases(dsn_template)


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """An autocommit superuser connection to `dsn`, in UTC."""
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as opened:
        yield opened
