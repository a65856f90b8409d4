"""Requests a second of the API beside two bare servers that read the same rows, and what a 304 and a kept answer cost.

    python -m tests.benchmarks.api_load --rows 100000 --rounds 5 --seconds 3 [--before SRC]

Starts a PostgreSQL of its own, makes 30 days of actions of 100 organizations and asks for the last 24 hours, hour by
hour, with so many connections at once. Beside the API stand two Starlette routes on the same server, psycopg and pool:
`bare` sends the query, prepared; `preamble` sends it, prepared, in the API's transaction, as the API's role: with the
wall, and the views' last successes at the same moment. `tenant` is an answer that is kept for the largest organization,
which has a third of all actions. `--before` measures the API of another version, too: SRC is where its package lies.
All take turns in each round, so that a load on the machine hits them alike; medians are printed, and for each request
the CPU time of the server's process and of PostgreSQL, which such a load hardly changes. Exits 1 where a limit is
missed.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.query_latency import fill
from tests.conftest import create_application
from tests.support.api import BASE, Api, install_api, make_key
from tests.support.postgres import Server, free_port
from tests.support.tenants import add_organizations

PATH = f"{BASE}/actions/hourly"
LEAST = {"bare": 0.5, "preamble": 0.8}
"""The least share of a bare server's requests a second."""
LEAST_304 = 5.0
"""How many times cheaper a 304 is, in CPU time."""
MOST_KEPT_MS = 1.0
"""The most CPU time of an answer that is kept: with less, one core gives over a thousand a second."""
TENANT_PATH = f"{BASE}/triggers/slowest"
TENANTS = """
update triggers set organization_id = 'tenant-' || floor(100 * power(substr(id, 9)::int / 1000.0, 2))
"""
"""The triggers with low numbers do most; the first tenant has a tenth of them."""
_THREADS = 20


@dataclass
class Served:
    """One server: its port, its process, the request to send, and what each round gave."""

    name: str
    port: int
    process: int
    request: bytes
    per_second: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    database_ms: list[float] = field(default_factory=list)
    client_share: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


def request(key: str, *headers: str, path: str = PATH) -> bytes:
    """A request that keeps its connection."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", f"X-API-Key: {key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> tuple[int, bytes, bytes]:
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    return int(head[9:12]), head, await reader.readexactly(length)


async def load(served: Served, connections: int, seconds: float, status: int) -> int:
    """Ask over so many connections for a while; return how many requests were answered."""
    done, end = 0, time.monotonic() + seconds
    varied = served.name in ("api", "before")

    async def client(number: int) -> None:
        nonlocal done
        # each its own question, where it is to be read: equal ones would wait for one answer
        sent = (
            served.request.replace(PATH.encode(), f"{PATH}?limit={24 + number}".encode()) if varied else served.request
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        while time.monotonic() < end:
            began = time.perf_counter()
            found, _head, body = await _ask(reader, writer, sent)
            assert found == status, (served.name, found, body)
            served.latencies.append((time.perf_counter() - began) * 1000)
            done += 1
        writer.close()

    await asyncio.gather(*(client(number) for number in range(connections)))
    return done


def once(served: Served, sent: bytes) -> tuple[int, bytes, bytes]:
    """Send one request on a connection of its own."""

    async def ask() -> tuple[int, bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        answer = await _ask(reader, writer, sent)
        writer.close()
        return answer

    return asyncio.run(ask())


def _cpu(process: int, *, children: bool = False) -> float:
    """CPU seconds so far; of a server with those of its sessions, which all stay in a round."""
    found = psutil.Process(process)
    every = [found, *found.children(recursive=True)] if children else [found]
    spent = 0.0
    for each in every:
        # a worker of autovacuum may end meanwhile
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            spent += times.user + times.system
    return spent


def round_of(served: Served, postgres: int, connections: int, seconds: float, status: int) -> None:
    """Load one server for a while, and note what that gave."""
    before = (_cpu(served.process), _cpu(postgres, children=True), time.process_time(), time.monotonic())
    done = asyncio.run(load(served, connections, seconds, status))
    after = (_cpu(served.process), _cpu(postgres, children=True), time.process_time(), time.monotonic())
    spent = [late - early for early, late in zip(before, after, strict=True)]
    served.per_second.append(done / spent[3])
    served.cpu_ms.append(spent[0] * 1000 / done)
    served.database_ms.append(spent[1] * 1000 / done)
    served.client_share.append(spent[2] / spent[3])


def serve_bare(mode: str, dsn: str, secret: str, port: int) -> None:
    """Serve the bare route, on the API's server with its settings."""
    import anyio
    import uvicorn
    from psycopg_pool import ConnectionPool
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    from analytics_refreshd.api.exchange import as_json
    from analytics_refreshd.api.routes import SCHEMA
    from analytics_refreshd.core.display import json_number
    from analytics_refreshd.postgres.catalogue.files import Catalogue
    from analytics_refreshd.postgres.catalogue.run import bind
    from analytics_refreshd.postgres.connection.batch import BatchConnection, Statement
    from analytics_refreshd.postgres.tenants.reading import Transaction, read
    from analytics_refreshd.postgres.tenants.wall import Wall

    query = Catalogue.load().get("hourly-actions")
    wall = Wall(Path(secret).read_bytes().strip())
    pool = ConnectionPool(
        dsn, connection_class=BatchConnection, min_size=5, max_size=5, open=True, kwargs={"autocommit": True}
    )
    names = [column.name for column in query.columns]

    def plain(value: object) -> object:
        return value.isoformat() if isinstance(value, datetime) else json_number(value)

    def document(found: list[tuple[object, ...]]) -> bytes:
        return as_json({"data": [dict(zip(names, map(plain, row), strict=True)) for row in found]})

    text: Any = {
        schema: bind(query, {}, None, datetime.now(UTC), schema).statement().as_string(None)
        for schema in ("public", SCHEMA)
    }

    def bare() -> bytes:
        bound = bind(query, {}, None, datetime.now(UTC), "public")
        with pool.connection() as connection:
            return document(connection.execute(text["public"], bound.placeholders, prepare=True).fetchall())

    def preamble() -> bytes:
        bound = bind(query, {}, None, datetime.now(UTC), SCHEMA)
        opened = Transaction(None, bound.search_path, 5000, plan_anew=False, views=VIEWS)
        with pool.connection() as connection:
            (found,) = read(connection, wall, opened, [Statement(text[SCHEMA], bound.placeholders)])[1]
        return document(found)

    work: Callable[[], bytes] = bare if mode == "bare" else preamble
    limiter: list[anyio.CapacityLimiter] = []

    async def handle(_request: object) -> Response:
        if not limiter:
            limiter.append(anyio.CapacityLimiter(_THREADS))
        return Response(await anyio.to_thread.run_sync(work, limiter=limiter[0]), media_type="application/json")

    app = Starlette(routes=[Route(PATH, handle)])
    uvicorn.run(app, port=port, http="h11", lifespan="off", access_log=False, log_config=None, ws="none")


@contextmanager
def bare_server(mode: str, dsn: str, secret: Path) -> Iterator[Served]:
    """Yield a bare server, in a process of its own."""
    port = free_port()
    words = [sys.executable, "-m", "tests.benchmarks.api_load", "--serve", mode, dsn, str(secret), str(port)]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[2])
    try:
        served = Served(mode, port, process.pid, request("none"))
        while True:
            try:
                once(served, served.request)
                break
            except OSError:
                assert process.poll() is None, "the bare server ended"
                time.sleep(0.1)
        yield served
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def api_server(name: str, dsn: str, secret: Path, key: str, **settings: Any) -> Iterator[Served]:
    """Yield an API, with its log as it is by default; a request that a busy machine makes slow is no line in it."""
    own = {"schedule__interval": "1h", "api__concurrent_queries": 100, "api__slow_request": "1m"}
    given: Any = {"log__level": "info", **own, **settings}
    with Api(dsn, secret, **given) as api:
        api.until(lambda: api.ask(PATH, key).status == 200)
        yield Served(name, api.port, api.process.pid, request(key))


def compare(options: argparse.Namespace) -> list[Served]:
    """Measure all servers in turn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(settings={"shared_buffers": "256MB"}).start()
        stack.callback(server.destroy)
        with server.connect() as admin:
            admin.execute("create database load")
        dsn = server.dsn("load")
        create_application(dsn)
        with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
            migrate(connection)
            fill(connection, options.rows)
            add_organizations(connection, {f"tenant-{n}": f"Tenant {n}" for n in range(100)}, plan="pro")
            connection.execute(TENANTS)
            own, secret = install_api(dsn, connection, "load_api", folder)
            connection.execute("select * from refresh_action_analytics()")
        key, of_tenant = make_key(dsn, "--all-organizations"), make_key(dsn, "--organization", "tenant-0")
        every = [stack.enter_context(bare_server("bare", dsn, secret))]
        every.append(stack.enter_context(bare_server("preamble", own, secret)))
        if options.before:
            earlier = {"extra": {"PYTHONPATH": options.before}}
            every.append(stack.enter_context(api_server("before", own, secret, key, api__cache_megabytes=0, **earlier)))
        uncached = stack.enter_context(api_server("api", own, secret, key, api__cache_megabytes=0))
        kept = [(stack.enter_context(api_server("cached", own, secret, key)), "")]
        if options.before:
            kept.append((stack.enter_context(api_server("cached-before", own, secret, key, **earlier)), "-before"))
        every.append(uncached)
        for served, suffix in kept:
            tag = next(
                line.split(b": ", 1)[1].decode()
                for line in once(served, served.request)[1].split(b"\r\n")
                if line.lower().startswith(b"etag:")
            )
            every.append(Served(f"304{suffix}", served.port, served.process, request(key, f"If-None-Match: {tag}")))
            every.append(served)
            asked = request(of_tenant, path=TENANT_PATH)
            every.append(Served(f"tenant{suffix}", served.port, served.process, asked))
        for number in range(options.rounds + 1):
            for served in every:
                status = 304 if served.name.startswith("304") else 200
                round_of(served, server.postmaster_pid, options.connections, options.seconds if number else 1.0, status)
                if not number:
                    # to be warm
                    for figures in (served.per_second, served.cpu_ms, served.database_ms, served.client_share):
                        figures.clear()
                    served.latencies.clear()
        return every


def report(every: list[Served]) -> int:
    """Print the figures; return the exit code."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':14}{'req/s':>8}{'cpu ms':>8}{'pg ms':>8}{'client':>8}{'p50 ms':>8}{'p99 ms':>8}")
    median: dict[str, tuple[float, float, float]] = {}
    for served in every:
        rate, cpu, database, client = (
            statistics.median(figures)
            for figures in (served.per_second, served.cpu_ms, served.database_ms, served.client_share)
        )
        median[served.name] = (rate, cpu, database)
        taken = sorted(served.latencies)
        p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
        print(f"{served.name:14}{rate:8.0f}{cpu:8.3f}{database:8.3f}{client:8.2f}{p50:8.1f}{p99:8.1f}")
    wrong = 0
    for name, least in LEAST.items():
        share = median["api"][0] / median[name][0]
        wrong += share < least
        print(f"api / {name}: {share:.2f} of the requests a second, at least {least}")
    times = sum(median["api"][1:]) / sum(median["304"][1:])
    wrong += times < LEAST_304
    print(f"api / 304: {times:.1f} times the CPU of process and PostgreSQL, at least {LEAST_304:g}")
    for name in ("cached", "tenant"):
        spent = sum(median[name][1:])
        wrong += spent > MOST_KEPT_MS
        print(f"{name}: {spent:.2f} ms of CPU, at most {MOST_KEPT_MS:g}")
    return min(1, wrong)


def main() -> int:
    """Run the comparison, or one bare server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--before", help="where the package of another version lies")
    parser.add_argument("--serve", nargs=4)
    options = parser.parse_args()
    if options.serve:
        mode, dsn, secret, port = options.serve
        serve_bare(mode, dsn, secret, int(port))
        return 0
    return report(compare(options))


if __name__ == "__main__":
    sys.exit(main())
