"""The API in trouble: who reads slowly, who leaves, connections that are all lent out, a standby that is behind."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.support.api import BASE, Api, api_role, install_api, make_key
from tests.support.faults import Connection, FaultServer, value
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fault, pytest.mark.slow]

ROWS = 150_000
LONG = f"""-- name: long
-- section: our own
-- endpoint: long
-- purpose: What does not fit into the buffers of a connection?
-- organizations: no
-- column: number count; Its place
-- column: filler text; A hundred letters
select i as number, repeat('x', 100) as filler from generate_series(1, {ROWS}) i order by i
"""


@pytest.fixture
def api(dsn: str, connection: Connection, tmp_path: Path) -> Iterator[tuple[Api, str]]:
    """An API with one connection to its database and an endpoint of a long answer, and a key."""
    (tmp_path / "long.sql").write_text(LONG)
    with api_role(dsn, connection, tmp_path) as (own, secret):
        key = make_key(dsn, "--all-organizations")
        settings = {"queries__directory": tmp_path, "api__connections": 1, "api__cache_megabytes": 0}
        with Api(own, secret, **settings, api__statement_timeout="60s") as made:
            made.until(lambda: made.probe("/readyz").status == 200)
            yield made, key
            assert made.stop() == 0


@contextmanager
def asked_for_long(api: Api, key: str) -> Iterator[socket.socket]:
    """A client that asked for the long answer as CSV."""
    with closing(socket.create_connection(("127.0.0.1", api.port), 60)) as client:
        head = f"GET {BASE}/custom/long?format=csv HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        client.sendall(f"{head}X-API-Key: {key}\r\n\r\n".encode())
        yield client


def held_files(api: Api) -> int:
    """How many files without a name the process holds: what waits for a client to read it."""
    links = Path(f"/proc/{api.process.pid}/fd").iterdir()
    return sum("(deleted)" in str(link.readlink()) for link in links if link.is_symlink())


def test_P06_who_reads_slowly_holds_up_nobody(api: tuple[Api, str]) -> None:
    """The only connection is free before the answer is read, and all of the answer comes."""
    made, key = api
    with asked_for_long(made, key) as client:
        got = client.recv(1000)
        for _ in range(3):
            assert made.ask("triggers/slowest", key).status == 200
            got += client.recv(1000)
        while piece := client.recv(1 << 20):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body.count(b"\r\n") == ROWS + 1
    assert body.endswith(f"{ROWS},{'x' * 100}\r\n".encode())


def test_P07_who_leaves_leaves_nothing_behind(api: tuple[Api, str]) -> None:
    """The answer's file is closed, and no error is logged."""
    made, key = api
    before = held_files(made)
    with asked_for_long(made, key) as client:
        client.recv(1000)
        eventually(lambda: held_files(made) == before + 1)
    eventually(lambda: held_files(made) == before)
    assert made.ask("triggers/slowest", key).status == 200
    assert not [line for line in made.lines if line["level"] == "error"]
    assert psutil.Process(made.process.pid).is_running()


def test_P08_where_all_connections_are_lent_a_request_waits_for_seconds_and_is_told(
    api: tuple[Api, str], dsn: str
) -> None:
    """503 with a time to try again; who was first gets the answer, and so does the next."""
    made, key = api
    with psycopg.connect(dsn) as holder, ThreadPoolExecutor(1) as beside:
        holder.execute("lock table triggers in access exclusive mode")
        first = beside.submit(made.ask, "triggers/slowest", key)
        eventually(lambda: value(holder, "select exists (select from pg_locks where not granted)"))
        refused = made.ask("actions/hourly", key)
        holder.rollback()
        assert first.result(60).status == 200
    assert (refused.status, refused.json["error"]) == (503, "service_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert made.ask("actions/hourly", key).status == 200
    line = next(line for line in made.events("request.finished") if line["status"] == 503)
    assert "no connection became free" in line["error"]


def test_P12_a_standby_that_is_behind_tells_the_age_of_what_it_shows(fault_server: FaultServer, tmp_path: Path) -> None:
    """`as_of` is of the standby's own record, which comes with its rows: old figures are not called new."""
    with fault_server.connect() as connection:
        own, secret = install_api(fault_server.dsn, connection, "api", tmp_path)
        key = make_key(fault_server.dsn, "--all-organizations")
        standby = fault_server.server.standby()
        try:
            standby.start()
            there = psycopg.conninfo.make_conninfo(own, host="127.0.0.1", port=standby.port)
            with standby.connect() as replica, Api(there, secret) as api:
                api.until(lambda: api.probe("/readyz").status == 200)
                replica.execute("select pg_wal_replay_pause()")
                eventually(lambda: value(replica, "select pg_get_wal_replay_pause_state() = 'paused'"))
                before = api.ask("triggers/slowest", key).json
                connection.execute("insert into triggers (id) values ('new')")
                connection.execute(
                    "insert into action_results (id, job_id, trigger_id, action_type, status)"
                    " values ('new', 'j', 'new', 'rest', 'success')"
                )
                connection.execute("select refresh_action_analytics()")
                behind = api.ask("triggers/new/stats", key)
                assert behind.status == 404
                assert api.ask("triggers/slowest", key).json["meta"]["as_of"] == before["meta"]["as_of"]
                replica.execute("select pg_wal_replay_resume()")
                # the trigger itself may be replayed before the refresh
                api.until(lambda: api.ask("triggers/slowest", key).json["meta"]["as_of"] != before["meta"]["as_of"])
                assert api.ask("triggers/new/stats", key).status == 200
                assert api.stop() == 0
        finally:
            standby.destroy()
