"""What a thousand clients of the stream cost the API, and how soon a figure is with them.

    python -m tests.benchmarks.stream_clients --clients 1000 --seconds 60

Starts a PostgreSQL of its own in incremental mode, and the API; half of the clients see all organizations, the others
one of nine. Once a second a transaction adds an action to each of these. Then clients that read nothing listen, while
requests are asked. Exits 1 where 1,000 clients cost 80 MB or 10 % of a core or more, a figure takes 2 s or more from
the commit to a client (p99), or a request fails while slow clients are there.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from analytics_refreshd.postgres.incremental.install import install
from analytics_refreshd.postgres.migrate.run import migrate
from tests.benchmarks.query_latency import fill
from tests.conftest import create_application
from tests.support.api import Api, install_api, make_key
from tests.support.postgres import Server

ORGANIZATIONS = [f"org-{number}" for number in range(1, 10)]
ADD = """
insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)
select gen_random_uuid()::text, 'live', (select min(t.id) from triggers t where t.organization_id = o), 'rest',
       'success', now(), 100
  from unnest(%s::text[]) o
"""
_OPEN = "GET /api/v1/stream?topics=summary HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\n\r\n"


@dataclass
class Client:
    """One stream: when each total was first heard of."""

    key: str
    heard: dict[int, float] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, port: int) -> None:
        """Read until cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(_OPEN.format(self.key).encode())
            name = b""
            while line := await reader.readline():
                if line.startswith(b"event: "):
                    name = line[7:].strip()
                elif line.startswith(b"data: ") and name == b"summary":
                    total = json.loads(line[6:])["data"]["total_executions"]
                    self.heard.setdefault(total, time.monotonic())
                    self.started.set()
        finally:
            writer.close()


@dataclass(frozen=True)
class Cost:
    """CPU seconds and resident bytes of a process."""

    seconds: float
    bytes: int

    @classmethod
    def of(cls, pid: int) -> "Cost":
        """Measure it."""
        process = psutil.Process(pid)
        used = process.cpu_times()
        return cls(used.user + used.system, process.memory_info().rss)


@contextmanager
def world(rows: int) -> Iterator[tuple[Api, str, list[str]]]:
    """The API over a filled database: itself, the owner's address, and keys."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = Server(settings={"shared_buffers": "256MB"})
        stack.callback(server.destroy)
        server.start()
        create_application(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            migrate(connection)
            fill(connection, rows)
            install(connection)
            connection.execute("select * from refresh_action_analytics()")
            own, secret = install_api(server.dsn(), connection, "api", Path(folder))
        keys = [make_key(server.dsn(), "--all-organizations")]
        keys += [make_key(server.dsn(), "--organization", name) for name in ORGANIZATIONS]
        settings: dict[str, Any] = {"api__streams": 10_000, "api__streams_per_key": 10_000, "log__level": "info"}
        with Api(own, secret, **settings) as api:
            api.until(lambda: api.probe("/readyz").status == 200)
            yield api, server.dsn(), keys


async def crowd(api: Api, dsn: str, keys: list[str], clients: int, seconds: int) -> bool:
    """Let all listen while figures change; print what it costs; return whether that is as it should be."""
    first = Client(keys[0])
    tasks = [asyncio.create_task(first.listen(api.port))]
    await first.started.wait()
    before = Cost.of(api.process.pid)
    listening = [first]
    for number in range(clients):
        one = Client(keys[0] if number % 2 else keys[1 + number // 2 % len(ORGANIZATIONS)])
        listening.append(one)
        tasks.append(asyncio.create_task(one.listen(api.port)))
        await asyncio.sleep(0.005)
    for one in listening:
        await one.started.wait()
    commits: list[float] = []
    begun, at = Cost.of(api.process.pid), time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as writer:
        for _ in range(seconds):
            await asyncio.to_thread(writer.execute, ADD, (ORGANIZATIONS,))
            commits.append(time.monotonic())
            await asyncio.sleep(1)
    took = time.monotonic() - at
    ended = Cost.of(api.process.pid)
    await asyncio.sleep(5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    share = 100 * (ended.seconds - begun.seconds) / took
    grown = (ended.bytes - before.bytes) / 2**20
    delays = sorted(delay for one in listening for delay in _delays(one, commits, keys))
    p99 = delays[int(len(delays) * 0.99)]
    events = sum(len(one.heard) - 1 for one in listening)
    print(f"{clients} clients, {seconds} commits in {took:.0f} s, {events} events received")
    print(f"memory {grown:.1f} MB more, {share:.1f} % of a core at {events / took:.0f} events a second")
    print(f"from commit to client: median {delays[len(delays) // 2]:.2f} s, p99 {p99:.2f} s, most {delays[-1]:.2f} s")
    return grown < 80 and share < 10 and p99 < 2


def _delays(one: Client, commits: list[float], keys: list[str]) -> Iterator[float]:
    """Yield how long after each commit the client had a total with it."""
    step = len(ORGANIZATIONS) if one.key == keys[0] else 1
    totals = sorted(one.heard)
    for number, at in enumerate(commits, 1):
        wanted = totals[-1] - step * (len(commits) - number)
        yield next(one.heard[total] for total in totals if total >= wanted) - at


def slow(api: Api, dsn: str, keys: list[str], clients: int, seconds: int) -> bool:
    """Let clients listen that read nothing; print how requests fare; return whether all were answered."""
    silent = []
    for number in range(clients):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        one.connect(("127.0.0.1", api.port))
        one.sendall(_OPEN.format(keys[number % len(keys)]).encode())
        silent.append(one)
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(dsn, autocommit=True) as writer:
            while not stop.wait(1):
                writer.execute(ADD, (ORGANIZATIONS,))

    writing = threading.Thread(target=write)
    writing.start()
    taken, failed, until = [], 0, time.monotonic() + seconds
    while time.monotonic() < until:
        at = time.monotonic()
        failed += api.ask("health/summary", keys[0]).status != 200
        taken.append(time.monotonic() - at)
        time.sleep(0.1)
    stop.set()
    writing.join()
    taken.sort()
    metrics = api.probe("/metrics").body.decode()
    ended = sum(float(line.split()[-1]) for line in metrics.splitlines() if "streams_ended_total{" in line)
    print(
        f"{clients} clients that read nothing, for {seconds} s: {len(taken)} requests, {failed} failed,"
        f" median {1000 * taken[len(taken) // 2]:.0f} ms, p99 {1000 * taken[int(len(taken) * 0.99)]:.0f} ms,"
        f" most {1000 * taken[-1]:.0f} ms; streams ended since the start: {ended:.0f}"
    )
    for one in silent:
        one.close()
    return not failed


def main() -> int:
    """Print the costs, and the load of the machine meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--slow-seconds", type=int, default=180)
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    with world(arguments.rows) as (api, dsn, keys):
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        good = asyncio.run(crowd(api, dsn, keys, arguments.clients, arguments.seconds))
        print(f"load average {os.getloadavg()[0]:.1f}")
        good &= slow(api, dsn, keys, arguments.slow, arguments.slow_seconds)
        print(f"load average {os.getloadavg()[0]:.1f}")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
