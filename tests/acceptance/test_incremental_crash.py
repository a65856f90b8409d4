"""A client or a server killed at any point of fold, refresh or build: the next refresh leaves exact views."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.incremental import Changes, refresh_and_compare
from tests.support.postgres import Server
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]

pytestmark = pytest.mark.fault

_POINTS = 8
_seeds = itertools.count(2)
_CLIENT = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print(connection.info.backend_pid, flush=True)
    sys.stdin.readline()
    connection.execute(sys.argv[2])
    print("done", flush=True)
"""
_REFRESH = "select * from refresh_action_analytics()"
_REBUILD = "call analytics_refresh.rebuild('a test')"


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that may be crashed."""
    server = Server(settings={"restart_after_crash": "on"}).start()
    try:
        create_application(server.dsn())
        with connect(server) as connection:
            migrate(connection)
            changes = Changes(connection, 1)
            for _ in range(40):
                changes.copy()
            incremental.install(connection)
        yield server
    finally:
        server.destroy()


def connect(server: Server) -> Connection:
    """An autocommit connection in UTC."""
    return psycopg.connect(server.dsn(), autocommit=True, options="-c timezone=UTC")


def start(server: Server, statement: str) -> tuple["subprocess.Popen[str]", int]:
    """A client process that is about to run `statement`, and its backend's pid."""
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, server.dsn(), statement],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert client.stdout
    return client, int(client.stdout.readline())


def go(client: "subprocess.Popen[str]") -> None:
    """Let the client run its statement."""
    assert client.stdin
    client.stdin.write("\n")
    client.stdin.flush()


def end(client: "subprocess.Popen[str]") -> None:
    """Kill the client if it lives, and reap it."""
    client.kill()
    client.communicate()


def change(server: Server) -> None:
    """Give the next refresh something to fold."""
    seed = next(_seeds)
    with connect(server) as connection:
        changes = Changes(connection, seed)
        changes.rows = 100_000 * seed
        changes.copy()
        changes.update()
        changes.delete()


def seconds_of(server: Server, statement: str) -> float:
    """How long `statement` takes uninterrupted."""
    client, _ = start(server, statement)
    started = time.monotonic()
    go(client)
    assert client.stdout
    assert client.stdout.readline() == "done\n"
    took = time.monotonic() - started
    end(client)
    return took


@pytest.mark.parametrize("statement", [_REFRESH, _REBUILD], ids=["refresh", "build"])
@pytest.mark.parametrize("victim", ["client", pytest.param("server", marks=pytest.mark.nightly)])
def test_killed_anywhere_is_exact_afterwards(own_server: Server, statement: str, victim: str) -> None:
    """SIGKILL to the client or to its backend, at points spread over the statement, costs nothing but time."""
    change(own_server)
    whole = seconds_of(own_server, statement)
    for point in range(_POINTS):
        change(own_server)
        client, backend = start(own_server, statement)
        go(client)
        # a point in time within the statement: there is no event to wait for inside the server
        time.sleep(whole * point / _POINTS)
        if victim == "client":
            client.kill()
        else:
            kill_backend(backend)
        end(client)
        with eventually(partial(connect_without, own_server, backend)) as connection:
            assert not refresh_and_compare(connection)
    with connect(own_server) as connection:
        assert verify(connection).ok


def kill_backend(pid: int) -> None:
    """SIGKILL to a backend makes the postmaster restart every other: a crash of the server."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def connect_without(server: Server, backend: int) -> Connection | None:
    """A connection, once the server has recovered and the killed client's backend has ended."""
    try:
        connection = connect(server)
        if gone(connection, backend):
            return connection
        connection.close()
    except psycopg.OperationalError:
        return None
    return None


def gone(connection: Connection, backend: int) -> bool:
    """Whether the killed client's backend has ended."""
    row = connection.execute("select count(*) from pg_stat_activity where pid = %s", [backend]).fetchone()
    return row == (0,)


@pytest.mark.quick
def test_interrupted_install_goes_on(own_server: Server) -> None:
    """An installation that is killed leaves the plain views at work; the same command again finishes it."""
    with own_server.connect() as admin:
        admin.execute("create database interrupted")
    create_application(own_server.dsn("interrupted"))
    code = (
        "import sys, psycopg\nfrom analytics_refreshd.postgres import incremental\n"
        "with psycopg.connect(sys.argv[1], autocommit=True) as c:\n"
        "    print(c.info.backend_pid, flush=True)\n"
        "    incremental.install(c, progress=lambda p: print(p.doing, flush=True))\n"
    )
    with psycopg.connect(own_server.dsn("interrupted"), autocommit=True, options="-c timezone=UTC") as connection:
        migrate(connection)
        changes = Changes(connection, 21)
        seen = -1
        while True:
            for _ in range(3):
                changes.copy()
            client = subprocess.Popen(
                [sys.executable, "-c", code, own_server.dsn("interrupted")],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            assert client.stdout
            backend = int(client.stdout.readline())
            seen += 1
            lines = [client.stdout.readline() for _ in range(seen)]
            end(client)
            eventually(partial(gone, connection, backend))
            changes.update()
            assert not refresh_and_compare(connection), lines
            if not all(lines):
                break
        incremental.install(connection)
        assert incremental.state(connection).mode == "incremental"
        changes.update()
        assert not refresh_and_compare(connection)
