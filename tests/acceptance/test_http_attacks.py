"""Hostile clients against the daemon's HTTP port: every scrape and probe is answered, in bounded memory.

Seconds of attack each; REFRESHD_TEST_SOAK_SECONDS sets for how long. With `-s` the figures are shown.
"""

import http.client
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from analytics_refreshd.core.model import VIEWS
from tests.support.daemon import Daemon
from tests.support.hostile import KINDS, attacked
from tests.support.memory_limit import memory_limited
from tests.support.waiting import eventually

SECONDS = float(os.environ.get("REFRESHD_TEST_SOAK_SECONDS", "5"))
ANSWERED_WITHIN_SECONDS = 8.0
MEMORY_BYTES = 120_000_000
SHIPPED_BYTES = 256 << 20
KERNEL_BYTES = 400 * 64 * 1024
"""What the kernel holds counts in the memory of a container, too."""

pytestmark = [pytest.mark.fault, pytest.mark.timeout(int(SECONDS) + 110)]


def peak_memory(daemon: Daemon) -> int:
    """The most memory, in bytes, that the process has had resident so far."""
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def kernel_bytes(port: int) -> int:
    """What the kernel holds in both directions for the connections that the port accepted."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    queues = [row[4].split(":") for row in rows if row[1].endswith(f":{port:04X}") and row[3] != "0A"]
    return sum(int(size, 16) for queue in queues for size in queue)


def ask(daemon: Daemon, path: str) -> float:
    """Get `path` as a scraper does; returns the seconds it took, and fails without an answer of 200."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=ANSWERED_WITHIN_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True), path
    finally:
        connection.close()
    return time.monotonic() - began


def hold_out(daemon: Daemon, count: int, *kinds: str, seconds: float = SECONDS) -> None:
    """Scrape and probe the attacked daemon; it must answer always, in little memory, and go on refreshing."""
    took: list[float] = []
    most_in_kernel = 0
    finished = len(daemon.events("refresh.finished"))
    with attacked(daemon.port, seconds + 30, count, *kinds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            took += [ask(daemon, path) for path in ("/livez", "/metrics", "/readyz")]
            most_in_kernel = max(most_in_kernel, kernel_bytes(daemon.port))
            assert peak_memory(daemon) < MEMORY_BYTES
            time.sleep(0.1)
    runs = daemon.events("refresh.finished")[finished:]
    late = max(float(run["lateness_seconds"]) for run in runs)
    took.sort()
    print(f"\n{count} clients, {seconds:g} s: {len(took)} answers, p99 {took[int(len(took) * 0.99)]:.3f} s")
    print(f"slowest {took[-1]:.3f} s; {len(runs)} runs, at most {late * 1000:.0f} ms late")
    print(f"{peak_memory(daemon) / 1e6:.0f} MB resident and {most_in_kernel / 1e6:.1f} MB in the kernel at most")
    assert most_in_kernel < KERNEL_BYTES
    assert len(runs) >= seconds / 4
    assert {view["success"] for run in runs for view in run["views"] if view["view"] in VIEWS} == {True}


@pytest.fixture
def daemon(dsn: str) -> Iterator[Daemon]:
    """A daemon that refreshes every second."""
    with Daemon(dsn, cold=True, schedule__interval="1s") as made:
        made.wait_for("refresh.finished")
        yield made
        assert made.stop() == 0


def test_G02_three_hundred_hostile_clients_of_five_kinds(daemon: Daemon) -> None:
    """Unread pipelines, dripped headers and bodies, half-closed and idle connections, all at once."""
    hold_out(daemon, 300, *KINDS)


def test_G02_three_hundred_hostile_clients_in_the_memory_that_is_shipped(dsn: str) -> None:
    """Within the 256 MiB that unit and manifests set, what the kernel holds included, nothing is killed."""
    with memory_limited(SHIPPED_BYTES) as limit:
        if limit is None:
            pytest.skip("no control group with a limit on memory can be made here")
        with Daemon(dsn, broken=limit.entering, schedule__interval="1s") as daemon:
            daemon.wait_for("refresh.finished")
            assert limit.entered
            hold_out(daemon, 300, *KINDS)
            assert daemon.stop() == 0
        print(f"{limit.most_bytes / 1e6:.0f} MB of {SHIPPED_BYTES / 1e6:.0f} MB at most")
        assert limit.kills == 0
        # files that were read count too, but give way
        assert 0 < limit.most_bytes <= SHIPPED_BYTES


def test_G02_five_hundred_clients_that_never_read(daemon: Daemon) -> None:
    """More connections than there are places, each with more requests than anybody would answer."""
    hold_out(daemon, 500, "unread-pipeline")


def test_G02_four_clients_that_never_read_with_fifty_views(dsn: str) -> None:
    """Large answers, unread, stop no other answer and do not pile up."""
    views = [*VIEWS, *(f"view_that_makes_answers_large_{number}" for number in range(46))]
    with Daemon(dsn, cold=True, schedule__interval="1s", refresh__views=views) as daemon:
        daemon.wait_for("refresh.finished")
        # an answer takes tens of milliseconds, and hundreds of them filled the buffers
        hold_out(daemon, 4, "unread-pipeline", seconds=max(SECONDS, 12.0))
        assert daemon.stop() == 0


@pytest.mark.quick
def test_G02_no_descriptor_is_left(daemon: Daemon) -> None:
    """Where the process may open no other file, clients that hold one give way to those that ask."""
    daemon.get("/livez")
    in_use = psutil.Process(daemon.process.pid).num_fds()
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (in_use + 20, in_use + 20))
    with attacked(daemon.port, 60, 100, "dripped-headers"):
        eventually(lambda: psutil.Process(daemon.process.pid).num_fds() >= in_use + 18)
        for _ in range(20):
            # with a dozen places, a client that is slow to ask may be the oldest: it is reset, and asks again
            eventually(lambda: ask(daemon, "/livez"), within=ANSWERED_WITHIN_SECONDS)
