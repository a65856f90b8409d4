"""Three processes of the API that count together in a Redis, and what they do without it.

With `-s` the figures are shown.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from analytics_refreshd.api.access.limits import PER_HOUR
from tests.integration.test_limits_redis import redis
from tests.support.api import Answer, Api, api_role, make_key
from tests.support.api import counted as series
from tests.support.faults import Connection

HOUR = 40
PATH = "organizations/top"

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]


def asked(replicas: list[Api], key: str, requests: int) -> list[Answer]:
    """Ask them in turn, from many threads."""
    with ThreadPoolExecutor(12) as pool:
        turns = [replicas[number % len(replicas)] for number in range(requests)]
        return list(pool.map(lambda api: api.ask(PATH, key), turns))


def counted(found: list[Answer]) -> dict[int, int]:
    """How many answers of each status."""
    return dict(Counter(answer.status for answer in found))


def ready(api: Api) -> bool:
    """Whether it can answer."""
    return api.probe("/readyz").status == 200


@pytest.fixture
def replicas(dsn: str, connection: Connection, tmp_path: Path) -> Iterator[tuple[str, list[Api], ExitStack]]:
    """A key and three processes with one budget: two admit without Redis, one refuses."""
    with ExitStack() as stack:
        own, secret = stack.enter_context(api_role(dsn, connection, tmp_path))
        key = make_key(dsn, "--all-organizations")
        folder = tmp_path / "redis"
        folder.mkdir()
        counting = stack.enter_context(ExitStack())
        url, _ = counting.enter_context(redis(folder))
        address = tmp_path / "limits-url"
        address.write_text(url)
        settings = {
            "api__limits_url_file": address,
            "api__requests_per_hour": dict.fromkeys(PER_HOUR, HOUR),
            "api__concurrent_queries": 30,
        }
        every = [
            stack.enter_context(Api(own, secret, **settings, api__without_limits=without))
            for without in ("admit", "admit", "refuse")
        ]
        for api in every:
            api.until(partial(ready, api))
        yield key, every, counting


def test_three_processes_let_one_budget_through(replicas: tuple[str, list[Api], ExitStack]) -> None:
    """Together as many as the hour has, whoever asks whom; without Redis each does what it is told to."""
    key, every, counting = replicas
    found = counted(asked(every, key, 2 * HOUR))
    print(f"\n{HOUR} an hour, {2 * HOUR} requests at three processes: {found}")
    assert set(found) == {200, 429}
    assert abs(found[200] - HOUR) <= 1
    counting.close()
    admitted, refused = (asked(one, key, 10) for one in (every[:2], every[2:]))
    print(f"without Redis: {counted(admitted)} where requests are admitted, {counted(refused)} where they are refused")
    assert counted(admitted) == {200: 10}
    told = [series(api, "analytics_api_requests_uncounted") for api in every]
    assert [(one["admitted"], one["refused"]) for one in told] == [(5, 0), (5, 0), (0, 10)]
    assert not any("x-ratelimit-limit" in answer.headers for answer in admitted)
    assert counted(refused) == {503: 10}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)


def test_one_process_counts_in_memory(dsn: str, connection: Connection, tmp_path: Path) -> None:
    """As many as the hour has."""
    with api_role(dsn, connection, tmp_path) as (own, secret):
        key = make_key(dsn, "--all-organizations")
        budget = dict.fromkeys(PER_HOUR, HOUR)
        with Api(own, secret, api__requests_per_hour=budget, api__concurrent_queries=30) as api:
            api.until(partial(ready, api))
            found = counted(asked([api], key, 2 * HOUR))
    print(f"\n{HOUR} an hour, {2 * HOUR} requests at one process: {found}")
    assert set(found) == {200, 429}
    assert abs(found[200] - HOUR) <= 1
