"""Limits that several processes count together, in a Redis."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from analytics_refreshd.api.access.limits import LimitRules, Limits
from analytics_refreshd.api.access.principal import AccessDenied, Principal
from tests.support.postgres import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
ACME = Principal("key_1", ("acme",), "viewer", "starter")


@contextmanager
def redis(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis of the test's own, and its address."""
    port = free_port()
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: b"Ready to accept connections" in (folder / "log").read_bytes())
            yield f"redis://127.0.0.1:{port}/0?socket_timeout=5&socket_connect_timeout=5", process
        finally:
            process.kill()


def let_through(limits: Limits, tries: int, cost: int = 1) -> int:
    """How many of so many requests are let through."""
    through = 0
    for _ in range(tries):
        try:
            limits.count(ACME, "", cost)
        except AccessDenied:
            continue
        through += 1
    return through


def test_three_replicas_let_one_budget_through(tmp_path: Path) -> None:
    """At once, and exactly: the storage counts, not the processes."""
    with redis(tmp_path) as (url, _):
        replicas = [Limits(LimitRules(burst=1.0, storage=url)) for _ in range(3)]
        counts: list[int] = []
        threads = [
            threading.Thread(target=lambda one=each: counts.append(let_through(one, 60))) for each in replicas * 2
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert abs(sum(counts) - 100) <= 1
        assert let_through(replicas[0], 3) == 0


@pytest.mark.parametrize("admits", [True, False])
def test_P18_a_redis_that_was_killed(tmp_path: Path, admits: bool) -> None:
    """Requests go through uncounted or are refused, as configured; back again, it counts from the beginning."""
    with redis(tmp_path) as (url, process):
        uncounted: list[str] = []
        limits = Limits(LimitRules(burst=1.0, storage=url, open_without_storage=admits), uncounted.append)
        assert let_through(limits, 1) == 1
        process.kill()
        process.wait(timeout=60)
        if admits:
            assert limits.count(ACME, "", 1) == {}
        else:
            with pytest.raises(AccessDenied) as denied:
                limits.count(ACME, "", 1)
            assert denied.value.status == 503
        assert uncounted == ["admitted" if admits else "refused"]
