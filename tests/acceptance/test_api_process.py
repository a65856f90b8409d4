"""The API's process in trouble: a database that goes and comes back, a stop with requests under way, ports in use."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.support.api import Answer, Api, api_role, counted, install_api, make_key
from tests.support.daemon import command
from tests.support.faults import Connection, FaultServer, value
from tests.support.first_event import first_event
from tests.support.postgres import Server, free_port
from tests.support.waiting import eventually

EXAMPLES = os.environ.get("REFRESHD_TEST_API_EXAMPLES", "200")
"""How many requests schemathesis draws for each operation."""
RUNS = 2
"""How many runs of schemathesis share the operations."""
LAST_USE = "select last_used_at from analytics_refresh.api_keys"
SLOW = """-- name: slow
-- section: our own
-- endpoint: slow
-- purpose: How long is a while?
-- organizations: no
-- column: waited text; Nothing
select count(*)::text as waited from generate_series(1, 2000000000)
"""


def test_P13_the_database_goes_and_comes_back(fault_server: FaultServer, tmp_path: Path) -> None:
    """Meanwhile each request is a 503 that says when to try again, the process lives, and recovery needs nobody."""
    with fault_server.connect() as connection:
        own, secret = install_api(fault_server.dsn, connection, "api", tmp_path)
    key = make_key(fault_server.dsn, "--all-organizations")
    with Api(own, secret, api__cache_megabytes=0) as api:
        api.until(lambda: api.probe("/readyz").status == 200)
        assert api.ask("triggers/slowest", key).status == 200
        fault_server.server.stop("immediate")
        answer = api.ask("triggers/slowest", key)
        assert (answer.status, answer.json["error"]) == (503, "service_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert "connection" not in answer.json["message"]
        api.until(lambda: api.probe("/readyz").status == 503)
        assert api.probe("/livez").status == 200
        assert api.ask("/api/v1/openapi.json").status == 200
        assert 'endpoint="triggers/slowest"' in api.probe("/metrics").body.decode()
        fault_server.server.start()
        api.until(lambda: api.probe("/readyz").status == 200)
        api.until(lambda: api.ask("triggers/slowest", key).status == 200)
        assert api.stop() == 0
    fault_server.server.stop("immediate")
    with Api(own, secret) as api:
        # it starts without a database, too
        assert api.ask("triggers/slowest", key).status == 503
        assert api.probe("/readyz").status == 503
        fault_server.server.start()
        api.until(lambda: api.ask("triggers/slowest", key).status == 200)


@pytest.fixture
def standby(fault_server: FaultServer) -> Iterator[Server]:
    """A standby of the server, which has what the API needs."""
    server = fault_server.server.standby()
    try:
        yield server
    finally:
        server.destroy()


@pytest.mark.slow
def test_P12_a_standby_answers_and_the_primary_takes_what_is_asked_for(
    fault_server: FaultServer, standby: Server, tmp_path: Path
) -> None:
    """Without `write_url` keys are read on the standby, no use is noted, and what is written is a 503 that names it."""
    with fault_server.connect() as connection:
        own, secret = install_api(fault_server.dsn, connection, "api", tmp_path)
        key = make_key(fault_server.dsn, "--all-organizations", "--role", "admin", "--operator")
        flushed = value(connection, "select pg_current_wal_flush_lsn()")
        standby.start()
        there = psycopg.conninfo.make_conninfo(own, host="127.0.0.1", port=standby.port)
        with standby.connect() as replica:
            eventually(lambda: value(replica, "select pg_last_wal_replay_lsn() >= %s", flushed))
        with Api(there, secret) as api:
            api.until(lambda: api.probe("/readyz").status == 200)
            assert api.ask("triggers/slowest", key).status == 200
            refused = api.post("refresh", key)
            assert (refused.status, refused.json["error"]) == (503, "service_unavailable")
            assert "[api] write_url" in refused.json["message"]
            assert "127.0.0.1" not in refused.json["message"]
            unkept = api.post("questions", key, members={"name": "mine", "address": "?page=growth"})
            assert (unkept.status, unkept.json["error"]) == (503, "service_unavailable")
            assert "[api] write_url" in unkept.json["message"]
            assert api.ask("/api/v1/questions", key).json["data"] == []
            assert value(connection, LAST_USE) is None
            assert api.stop() == 0
        with Api(there, secret, api__write_url=own) as api:
            api.until(lambda: api.probe("/readyz").status == 200)
            assert api.ask("triggers/slowest", key).status == 200
            assert api.post("refresh", key).status == 202
            assert api.post("questions", key, members={"name": "mine", "address": "?page=growth"}).status == 201
            api.until(lambda: [one["name"] for one in api.ask("/api/v1/questions", key).json["data"]] == ["mine"])
            assert value(connection, LAST_USE) is not None
            assert api.stop() == 0


@dataclass(frozen=True)
class World:
    """A database, its owner's connection, and the API's role, secret and key."""

    dsn: str
    connection: Connection
    own: str
    secret: Path
    key: str


@pytest.fixture
def world(dsn: str, connection: Connection, tmp_path: Path) -> Iterator[World]:
    """A database with all that the API needs."""
    with api_role(dsn, connection, tmp_path) as (own, secret):
        yield World(dsn, connection, own, secret, make_key(dsn, "--all-organizations", "--role", "admin"))


def test_P14_a_stop_answers_what_was_asked(world: World) -> None:
    """SIGTERM ends it within ten seconds and with 0; a request under way gets its answer, a new one no connection."""
    with Api(world.own, world.secret, api__statement_timeout="60s", api__cache_megabytes=0) as api:
        assert api.ask("triggers/slowest", world.key).status == 200
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(api.ask("triggers/slowest", world.key)))
        with psycopg.connect(world.dsn) as holder:
            holder.execute("lock table triggers in access exclusive mode")
            asking.start()
            api.until(lambda: waiting(world.connection))
            api.process.send_signal(signal.SIGTERM)
            api.wait_for("api.stopping")
            holder.rollback()
        assert api.process.wait(60) == 0
        asking.join(30)
        assert [answer.status for answer in answers] == [200]
        assert api.wait_for("api.stopped")["exit_code"] == 0
        assert not api.events("shutdown.forced")


@pytest.mark.nightly
def test_P14_a_stop_ends_what_hangs(world: World) -> None:
    """A request that waits for longer than the stop may take is given up."""
    with Api(world.own, world.secret, api__statement_timeout="60s") as api:
        with psycopg.connect(world.dsn) as holder:
            holder.execute("lock table triggers in access exclusive mode")
            threading.Thread(target=lambda: suppressed(api, world.key), daemon=True).start()
            api.until(lambda: waiting(world.connection))
            assert api.stop() == 0
        assert api.events("shutdown.forced")


@pytest.mark.slow
def test_P17_what_is_kept_needs_no_view(world: World) -> None:
    """Behind a lock on what it reads: what was given comes again, also as 304; equal questions wait for one answer."""
    with Api(world.own, world.secret, api__statement_timeout="60s") as api:
        api.until(lambda: api.probe("/readyz").status == 200)
        world.connection.execute("select refresh_action_analytics()")
        first = api.ask("triggers/slowest", world.key)
        assert "etag" in first.headers
        before = counted(api, "analytics_api_cache")
        answers: list[Answer] = []
        ask = [threading.Thread(target=lambda: answers.append(api.ask("triggers/idle", world.key))) for _ in range(3)]
        with psycopg.connect(world.dsn) as holder:
            holder.execute("lock table triggers in access exclusive mode")
            again = api.ask("triggers/slowest", world.key)
            assert (again.status, again.body, again.headers["etag"]) == (200, first.body, first.headers["etag"])
            assert api.ask("triggers/slowest", world.key, {"If-None-Match": first.headers["etag"]}).status == 304
            for thread in ask:
                thread.start()
            api.until(lambda: counted(api, "analytics_api_cache")["joined"] == 2)
            holder.rollback()
        for thread in ask:
            thread.join(60)
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert len({answer.body for answer in answers}) == 1
        after = counted(api, "analytics_api_cache")
        assert (after["hit"] - before["hit"], after["miss"] - before["miss"]) == (1, 1)
        world.connection.execute("select refresh_action_analytics()")
        api.until(lambda: api.ask("triggers/slowest", world.key).headers["etag"] != first.headers["etag"])


def waiting(connection: Connection) -> bool:
    """Whether some session waits for a lock."""
    return connection.execute("select exists (select from pg_locks where not granted)").fetchone() == (True,)


def suppressed(api: Api, key: str) -> None:
    """A request whose connection may be cut."""
    with suppress(OSError, http.client.HTTPException):
        api.ask("triggers/slowest", key)


@pytest.mark.slow
def test_P09_P10_a_query_that_takes_too_long_is_a_timeout(world: World, tmp_path: Path) -> None:
    """The server ends it, and the client learns to ask for less."""
    (tmp_path / "slow.sql").write_text(SLOW)
    with Api(world.own, world.secret, queries__directory=tmp_path, api__statement_timeout="300ms") as api:
        answer = api.ask("custom/slow", world.key)
        assert (answer.status, answer.json["error"]) == (503, "timeout")
        line = api.wait_for("request.finished", lambda line: line["endpoint"] == "custom/slow")
        assert (line["level"], line["code"], line["sqlstate"]) == ("info", "timeout", "57014")
        world.connection.execute("drop materialized view trigger_performance_summary cascade")
        answer = api.ask("triggers/slowest", world.key)
        assert (answer.status, answer.json["error"]) == (503, "service_unavailable")
        assert "trigger_performance_summary" not in json.dumps(answer.json)


@pytest.mark.nightly
@pytest.mark.timeout(14400)
def test_every_operation_does_what_the_document_says(world: World, tmp_path: Path) -> None:
    """schemathesis: requests for each operation, those that the document allows and others; all its checks but one.

    That one wants every request that the parameters allow one by one, and since excludes days. The key may do all that
    there is; a stream, which has no end, is ended after its first event.
    """
    key = make_key(world.dsn, "--all-organizations", "--role", "admin", "--operator")
    with Api(world.own, world.secret) as api, first_event(api.port) as relayed:
        api.until(lambda: api.probe("/readyz").status == 200)
        paths = api.ask("/api/v1/openapi.json").json["paths"]
        streams = {path: len(each) for path, each in paths.items() if path.endswith("/stream")}
        others = [(path, len(each)) for path, each in paths.items() if path not in streams]
        assert streams
        # a run uses one core, so there are several
        parts = [(relayed, streams), *((api.port, dict(others[at::RUNS])) for at in range(RUNS))]
        with ThreadPoolExecutor(len(parts)) as pool:
            outputs = [pool.submit(schemathesis, port, part, key, tmp_path) for port, part in parts]
        for output, (_, part) in zip(outputs, parts, strict=True):
            code, said = output.result()
            print(said[-1500:])
            assert code == 0, said[-5000:]
            assert f"{sum(part.values())} selected" in said
        assert not [line for line in api.events("library.message") if line["level"] == "error"]


def schemathesis(port: int, paths: Iterable[str], key: str, folder: Path) -> tuple[int, str]:
    """Try the operations of these paths; return the exit code and what was said."""
    output = folder / f"schemathesis-{'-'.join(sorted(paths)).replace('/', '_')[:80]}.txt"
    with output.open("w") as file:
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run"),
                f"http://127.0.0.1:{port}/api/v1/openapi.json",
                *("-H", f"X-API-Key: {key}", "--no-color", "--continue-on-failure"),
                *("--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES),
                *(word for path in paths for word in ("--include-path", path)),
                *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode, output.read_text()


@pytest.mark.slow
def test_a_port_in_use_is_one_sentence(world: World) -> None:
    """It says which key to change, and ends with 70."""
    with Api(world.own, world.secret) as api:
        done = command(world.own, "api", api__secret_file=world.secret, api__port=api.port, api__management_port=0)
        assert done.returncode == 70
        assert "[api] port or host" in done.stderr
        done = command(
            world.own, "api", api__secret_file=world.secret, api__port=free_port(), api__management_port=api.management
        )
        assert done.returncode == 70
        assert "[api] management_port" in done.stderr
