"""Limits: exact by plan and hour, a burst in a minute, so many at once, and who a client is behind proxies."""

import threading
from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from analytics_refreshd.api.access.address import client_address
from analytics_refreshd.api.access.limits import PER_HOUR, ConcurrentQueries, LimitRules, Limits
from analytics_refreshd.api.access.principal import AccessDenied, Principal

ACME = Principal("key_1", ("acme",), "viewer", "free")
EVEN = LimitRules(burst=1.0)


def used_up(
    limits: Limits, principal: Principal, cost: int = 1, address: str = "192.0.2.1"
) -> tuple[int, AccessDenied]:
    """How many requests are let through, and the refusal of the next."""
    for number in range(10_000):
        try:
            limits.count(principal, address, cost)
        except AccessDenied as denied:
            return number, denied
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize("plan", ["free", "starter", "pro", "enterprise"])
def test_an_hour_has_so_many(plan: str) -> None:
    """Exactly those of the plan; the refusal says when to come again."""
    number, denied = used_up(Limits(EVEN), Principal("key_1", ("acme",), "viewer", plan))
    assert number == PER_HOUR[plan]
    assert (denied.status, denied.code) == (429, "rate_limited")
    assert 0 < int(denied.headers["Retry-After"]) <= 3601
    assert denied.headers["X-RateLimit-Remaining"] == "0"


def test_costs_add_up() -> None:
    """A request that counts for ten leaves ten fewer; one that does not fit any more uses nothing."""
    limits = Limits(EVEN)
    headers = limits.count(ACME, "", 10)
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("50", "40")
    assert used_up(limits, ACME, 9)[0] == 4
    assert used_up(limits, ACME, 1)[0] == 4


def test_headers_tell_what_is_left() -> None:
    """Those that clients of that platform know, and those of the IETF's draft."""
    headers = Limits(EVEN).count(ACME, "", 2)
    assert headers["X-RateLimit-Window"] == "3600"
    assert headers["RateLimit-Policy"] == '"hour";q=50;w=3600'
    assert headers["RateLimit"].startswith('"hour";r=48;t=36')
    assert 3590 < int(headers["X-RateLimit-Reset"]) - __import__("time").time() < 3610


def test_a_burst_is_smaller_than_an_hour() -> None:
    """A fifth of the hour in a minute, and no less than the dearest query; the rest of the hour stays."""
    number, denied = used_up(Limits(LimitRules()), Principal("k", ("acme",), "viewer", "starter"))
    assert (number, denied.headers["X-RateLimit-Remaining"]) == (20, "80")
    assert int(denied.headers["Retry-After"]) <= 61
    assert used_up(Limits(LimitRules()), ACME)[0] == 10


def test_each_has_a_budget_of_its_own() -> None:
    """Two keys of an organization share one; without one organization it is the key's, without a key the address's."""
    limits = Limits(EVEN)
    used_up(limits, ACME)
    assert used_up(limits, Principal("key_2", ("acme",), "admin", "free"))[0] == 0
    for other in (
        Principal("key_1", ("bolt",), "viewer", "free"),
        Principal("key_1", ("acme", "bolt"), "viewer", "free"),
        Principal("key_2", None, "admin", "free"),
    ):
        assert used_up(limits, other)[0] == 50
    nobody = Principal(None, (), "viewer", "free")
    assert [used_up(limits, nobody, address=address)[0] for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [
        50, 50, 0,
    ]  # fmt: skip


def test_replicas_divide_it() -> None:
    """Each counts in its own memory, so each lets its share through."""
    assert used_up(Limits(LimitRules(burst=1.0, replicas=4)), ACME)[0] == 12
    assert used_up(Limits(LimitRules(per_hour={"free": 3})), Principal("k", None, "viewer", "other"))[0] == 3


def test_many_threads_share_one_budget() -> None:
    """No request more is let through because they come at once."""
    limits, through = Limits(EVEN), []

    def ask() -> None:
        for _ in range(30):
            try:
                limits.count(ACME, "", 1)
            except AccessDenied:
                continue
            through.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert abs(len(through) - 50) <= 1


@pytest.mark.parametrize(("opens", "answer"), [(True, {}), (False, None)])
def test_P18_a_storage_that_is_away(opens: bool, answer: dict[str, str] | None) -> None:
    """Let through or refused, as configured."""
    limits = Limits(LimitRules(storage="redis://127.0.0.1:1/0?socket_connect_timeout=1", open_without_storage=opens))
    if answer is not None:
        assert limits.count(ACME, "", 1) == answer
    else:
        with pytest.raises(AccessDenied) as denied:
            limits.count(ACME, "", 1)
        assert (denied.value.status, "Retry-After" in denied.value.headers) == (503, True)


def test_so_many_at_once() -> None:
    """One more of the same organization is refused until one has ended, however it ended."""
    queries = ConcurrentQueries(2)
    bolt = Principal("key_2", ("bolt",), "viewer", "free")
    with queries.slot(ACME, ""), queries.slot(ACME, ""), queries.slot(bolt, ""):
        with pytest.raises(AccessDenied) as denied, queries.slot(ACME, ""):
            pass
        assert denied.value.status == 429
    with pytest.raises(ZeroDivisionError), queries.slot(ACME, ""):
        raise ZeroDivisionError
    assert queries._running == {}


TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.9", [], "192.0.2.9"),
        ("192.0.2.9", ["198.51.100.1"], "192.0.2.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("not an address", ["198.51.100.1"], "not an address"),
    ],
)
def test_who_a_client_is(peer: str, forwarded: Sequence[str], address: str) -> None:
    """The last one that a trusted proxy saw; what anybody else wrote before is not believed."""
    assert client_address(peer, forwarded, TRUSTED) == address
    assert client_address(peer, forwarded, []) == peer
