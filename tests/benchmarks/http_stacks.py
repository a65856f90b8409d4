"""The daemon's port on its own server, and the same answers on uvicorn and Starlette: both attacked, in one run.

    python -m tests.benchmarks.http_stacks --seconds 20 --rounds 2

Each server is a process of its own that has loaded what the daemon loads, and answers from a snapshot that is made up,
without a database. uvicorn gets the API's bounds of clients, with the daemon's numbers. Hostile clients of
`tests.support.hostile` take their turn at each; meanwhile it is probed and scraped. Printed are the answers, how long
they took, the process's memory and CPU time, and what the kernel holds; then what uvicorn and Starlette cost who only
refreshes: memory and CPU time of loading them into a process that has loaded the daemon. Exits 1 where the daemon's own
server misses an answer.
"""

import argparse
import asyncio
import contextlib
import http.client
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.support.hostile import KINDS, attacked

if TYPE_CHECKING:
    from analytics_refreshd.observe.http import HttpServer

STACKS = ("own", "uvicorn")
PROBED = ("/livez", "/metrics", "/readyz")
ATTACKS: dict[str, tuple[int, tuple[str, ...]]] = {
    "nobody": (0, ()),
    "300 of five kinds": (300, KINDS),
    "500 unread pipelines": (500, ("unread-pipeline",)),
    "no descriptor left": (100, ("dripped-headers",)),
}
"""The last one's clients may get the place of who asks: with a dozen places, that one is reset, and asks again."""
LIMIT_MB = 5.0
"""What one stack for both may cost who only refreshes."""
ANSWERED_WITHIN_SECONDS = 8.0
_MORE_FILES = 20
_VIEWS = 50


@dataclass
class Held:
    """How one server held out: what was asked, what was answered after so many seconds, and what that took."""

    asked: int = 0
    took: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    kernel_bytes: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0

    def line(self, attack: str, stack: str) -> str:
        """Its row of the table."""
        took = sorted(self.took) or [float("nan")]
        return (
            f"{attack:22}{stack:9}{len(self.took):6} of {self.asked:<6}"
            f"{1000 * statistics.median(took):9.1f}{1000 * took[int(len(took) * 0.99)]:9.0f}{1000 * took[-1]:9.0f}"
            f"{self.peak_bytes / 1e6:8.1f}{self.kernel_bytes / 1e6:8.1f}{100 * self.cpu_seconds / self.seconds:7.0f}"
        )


def serve(stack: str) -> None:
    """Serve the daemon's answers until a signal; print the port."""
    import analytics_refreshd.app.service  # noqa: F401 - a process is judged with all that the daemon has loaded
    from analytics_refreshd.observe.http import HttpServer, HttpSettings
    from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
    from tests.support.fakes import FakeHealth
    from tests.support.states import healthy

    names = [f"analytics_of_department_{number:02}" for number in range(_VIEWS)]
    server = HttpServer(HttpSettings(port=0), FakeHealth(healthy(names)), PrometheusMetrics("orders", "0.1.0", names))
    if stack == "uvicorn":
        serve_uvicorn(server)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    print(server.start(), flush=True)
    signal.sigwait([signal.SIGTERM])
    server.close()


def serve_uvicorn(server: "HttpServer") -> None:
    """Serve the same answers by uvicorn and Starlette, on the loop's thread: all are made from memory."""
    from starlette.applications import Starlette
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response
    from starlette.routing import Route

    from analytics_refreshd.api.connections import ClientLimits
    from analytics_refreshd.api.server import build_server
    from analytics_refreshd.observe.http import HttpSettings, listen
    from analytics_refreshd.observe.http_loop import HttpLimits
    from analytics_refreshd.observe.http_request import Request

    made: dict[Any, Any] = {}

    async def answer(http: HttpRequest) -> Response:
        fields = {name: ", ".join(http.headers.getlist(name)) for name in http.headers}
        question = server._question(Request(http.method, http.url.path, fields))
        if question not in made:
            made[question] = server._answer(question)
            # as the daemon's own server: who asks at the same moment gets the same answer, made once
            asyncio.get_running_loop().call_soon(made.clear)
        found = made[question]
        headers = {"Content-Security-Policy": found.policy, **dict(found.headers)}
        return Response(found.body, found.status.value, headers, found.content_type)

    own = HttpLimits()
    limits = ClientLimits(own.connections, own.answer_bytes, own.seconds)
    listener = listen(HttpSettings(port=0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    every = [Route(path, answer, methods=["GET"]) for path in ("/metrics", *server._paths)]
    served = build_server(Starlette(routes=every), limits, lambda: None, drain_seconds=1)
    print(listener.getsockname()[1], flush=True)
    served.run([listener])


@contextlib.contextmanager
def serving(stack: str) -> Iterator[tuple[psutil.Process, int]]:
    """Yield a server's process and port."""
    words = [sys.executable, "-m", "tests.benchmarks.http_stacks", "--serve", stack]
    with subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            while ask(port, "/livez") is None:
                assert process.poll() is None, "the server ended"
            yield psutil.Process(process.pid), port
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def ask(port: int, path: str) -> float | None:
    """Get a path as a scraper does; the seconds it took, None without an answer of 200."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWERED_WITHIN_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return time.monotonic() - began if answer.read() and answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def hold_out(stack: str, attack: str, seconds: float, held: Held) -> None:
    """Attack a server for a while, and add how it held out."""
    # not above: the servers would load pytest, too
    from tests.acceptance.test_http_attacks import kernel_bytes

    count, kinds = ATTACKS[attack]
    with serving(stack) as (process, port), contextlib.ExitStack() as hostile:
        if attack == "no descriptor left":
            most = process.num_fds() + _MORE_FILES
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, most))
        if count:
            hostile.enter_context(attacked(port, seconds + 60, count, *kinds))
            time.sleep(1.0)
        before, began = process.cpu_times(), time.monotonic()
        while time.monotonic() - began < seconds:
            for path in PROBED:
                held.asked += 1
                found = ask(port, path)
                if found is not None:
                    held.took.append(found)
            held.kernel_bytes = max(held.kernel_bytes, kernel_bytes(port))
            time.sleep(0.1)
        after = process.cpu_times()
        held.cpu_seconds += after.user + after.system - before.user - before.system
        held.seconds += time.monotonic() - began
        held.peak_bytes = max(held.peak_bytes, peak_bytes(process.pid))


def peak_bytes(pid: int) -> int:
    """The most that the process has had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


_LOAD = """
import time, psutil
import analytics_refreshd.app.service
process = psutil.Process()
before, began = process.memory_info().rss, time.process_time()
import uvicorn, starlette.applications, starlette.routing, starlette.responses, analytics_refreshd.api.connections
import asyncio, uvicorn.loops.auto, uvicorn.lifespan.off
print(process.memory_info().rss - before, time.process_time() - began)
"""


def loading(rounds: int) -> tuple[float, float]:
    """Megabytes and CPU seconds of loading uvicorn and Starlette beside the daemon: medians."""
    found = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", _LOAD], capture_output=True, text=True, check=True)
        found.append([float(word) for word in done.stdout.split()])
    megabytes, seconds = (statistics.median(column) for column in zip(*found, strict=True))
    return megabytes / 1e6, seconds


def main() -> int:
    """Attack both, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--serve", choices=STACKS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    held = {(attack, stack): Held() for attack in ATTACKS for stack in STACKS}
    for _ in range(options.rounds):
        for (attack, stack), one in held.items():
            hold_out(stack, attack, options.seconds, one)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {_VIEWS} views; milliseconds, MB")
    print(f"{'':31}{'answered':>16}{'median':>9}{'p99':>9}{'slowest':>9}{'peak':>8}{'kernel':>8}{'CPU %':>7}")
    for (attack, stack), one in held.items():
        print(one.line(attack, stack))
    megabytes, seconds = loading(5)
    cost = f"{megabytes:.1f} MB, at most {LIMIT_MB:g}, and {seconds:.2f} s of CPU"
    print(f"uvicorn and Starlette cost who only refreshes {cost}")
    idle = [held["nobody", stack].peak_bytes / 1e6 for stack in STACKS]
    print(f"a process that serves nobody else: {idle[0]:.1f} MB with its own server, {idle[1]:.1f} MB with uvicorn")
    missed = [one for (attack, stack), one in held.items() if stack == "own" and attack != "no descriptor left"]
    return int(any(len(one.took) < one.asked for one in missed))


if __name__ == "__main__":
    sys.exit(main())
