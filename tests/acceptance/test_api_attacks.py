"""Hostile clients against the API's public port: a keyed request is answered, in bounded memory.

With `-s` the figures are shown.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_refreshd.api.access.unknown import IN_ALL
from tests.acceptance.test_http_attacks import kernel_bytes, peak_memory
from tests.support.api import Api, api_role, counted, make_key
from tests.support.faults import Connection
from tests.support.hostile import KINDS, attacked

OPEN = "/api/v1/openapi.json"
THREADS = 20
MEMORY_BYTES = 200_000_000
KERNEL_BYTES = 128 * 1024
"""For each client."""

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def keyed(dsn: str, connection: Connection, tmp_path: Path) -> Iterator[tuple[Api, str]]:
    """An API, and a key for it."""
    with api_role(dsn, connection, tmp_path) as (own, secret), Api(own, secret, api__cache_megabytes=0) as api:
        key = make_key(dsn, "--all-organizations")
        api.until(lambda: api.ask("triggers/slowest", key).status == 200)
        yield api, key
        assert api.stop() == 0


def hold_out(api: Api, key: str, *kinds: str, clients: int = 300, requests: int = 40) -> int:
    """Every request with the key must be answered, in little memory; returns how many lookups that time allows."""
    most_in_kernel, began = 0, time.monotonic()
    with attacked(api.port, 240, clients, *kinds):
        for _ in range(requests):
            assert api.ask("triggers/slowest", key).status == 200
            most_in_kernel = max(most_in_kernel, kernel_bytes(api.port))
    print(f"\n{peak_memory(api) / 1e6:.0f} MB resident and {most_in_kernel / 1e6:.1f} MB in the kernel at most")
    assert peak_memory(api) < MEMORY_BYTES
    assert most_in_kernel < clients * KERNEL_BYTES
    # threads that look at the same moment may each be the last
    return (int((time.monotonic() - began) / 60) + 2) * (IN_ALL + THREADS)


def test_P05_three_hundred_hostile_clients(keyed: tuple[Api, str]) -> None:
    """Unread pipelines of a large document, dripped headers and bodies, half-closed and idle ones, and unknown keys.

    The database is asked for so many of these keys a minute, and no more.
    """
    api, key = keyed
    most = hold_out(api, key, OPEN, *KINDS, "unknown-keys")

    def all_are_counted() -> bool:
        # what was under way when the clients ended is counted when it is answered
        keys, refused = counted(api, "analytics_api_unknown_keys"), counted(api, "analytics_api_requests_refused")
        assert 0 < keys["unknown"] <= most
        tried = keys["unknown"] + keys["remembered"]
        return (refused["unauthorized"], refused["rate_limited"]) == (tried, keys["limited"])

    api.until(all_are_counted)


@pytest.mark.nightly
def test_P05_five_hundred_clients_that_never_read(keyed: tuple[Api, str]) -> None:
    """Each asks for a large document again and again: what waits for them stays within one bound for all."""
    api, key = keyed
    hold_out(api, key, OPEN, "unread-pipeline", clients=500, requests=100)


@pytest.mark.nightly
def test_P03_unknown_keys_alone(keyed: tuple[Api, str]) -> None:
    """However many are tried, the database is asked for few, and a key that is known is not limited."""
    api, key = keyed
    most = hold_out(api, key, "unknown-keys", requests=60)
    keys = counted(api, "analytics_api_unknown_keys")
    assert 0 < keys["unknown"] <= most
    assert keys["limited"] > 0
